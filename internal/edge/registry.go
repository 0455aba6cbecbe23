package edge

import (
	"context"
	"errors"
)

// Registry is the set of conferences that the fleet holds, as far as clients with the scope admin may change it. Its errors
// are those below, ErrNotFound and ErrUnavailable; none holds any of a password.
type Registry interface {
	// Put has the fleet hold a conference by its chair password, which the registry may keep. It is idempotent; created
	// says whether the conference wasn't known.
	Put(ctx context.Context, conf string, password []byte) (created bool, err error)
	// Delete undoes Put.
	Delete(ctx context.Context, conf string) error
}

// Errors of a Registry.
var (
	// ErrNamedByFlags: a worker's flags name the conference, so it can't be deleted.
	ErrNamedByFlags = errors.New("edge: conference is named by flags")
	// ErrNoSealKey: a password can't be stored, since there is no key to seal it with.
	ErrNoSealKey = errors.New("edge: passwords can't be stored without a seal key")
	// ErrFull: the workers hold as many conferences as they may.
	ErrFull = errors.New("edge: no worker has room for another conference")
)
