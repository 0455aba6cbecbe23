//go:build !linux

package hugepages

import (
	"context"
	"errors"
)

// Run does nothing here.
func Run(context.Context) error { return errors.New("hugepages: only Linux makes them when asked") }
