package fanout

import (
	"crypto/rand"
	"strings"

	"confgate/internal/conference"
	"confgate/internal/telemetry"
)

// newEpoch is a name that no other epoch of the conference has: 45 random bits, which is plenty for the handful of epochs
// that one client can remember.
func newEpoch() string { return "c" + strings.ToLower(rand.Text()[:9]) }

// newNonce tells two claims apart: 80 random bits.
func newNonce() string { return rand.Text()[:16] }

// published counts what an append has put into the log.
func published(m *telemetry.Metrics, changes []conference.Change) {
	if m == nil {
		return
	}
	for _, c := range changes {
		m.Published(c.Topic.String(), 1)
	}
}
