package bench

import (
	"context"
	"strings"
	"testing"
)

// Symptom: a server that stopped sending to some of the clients passed, as a loss shows only by the message behind it.
func TestClientsLeftBehindAreAFault(t *testing.T) {
	t.Parallel()
	crowd := NewCrowd(Config{Conferences: []string{"1", "2"}, Clients: 6})
	defer crowd.Close()
	for i, cl := range crowd.clients {
		cl.seq.Store([]uint64{40, 7}[i%2]) // conferences have nothing to do with each other
	}
	var load Load
	var good, bad Result
	load.judge(t.Context(), &good, crowd)
	if len(good.Faults) != 0 {
		t.Errorf("faults = %q where all have the same, want none", good.Faults)
	}
	crowd.clients[0].seq.Store(41)
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	load.judge(impatient, &bad, crowd)
	if len(bad.Faults) != 1 || !strings.HasPrefix(bad.Faults[0], "2 clients") {
		t.Errorf("faults = %q, want two clients that were left behind", bad.Faults)
	}
}
