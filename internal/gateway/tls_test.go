package gateway

import (
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"confgate/internal/simulator"
	"confgate/internal/simulator/simulatortest"
)

// TestProviderTLS checks which certificates of the provider are accepted. httptest's is valid for 127.0.0.1 and
// example.com, and signed by itself.
func TestProviderTLS(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		ca         bool
		serverName string
		live       bool
	}{
		{"known root, address in the certificate", true, "", true},
		{"known root, name in the certificate", true, "example.com", true},
		{"known root, other name", true, "other.example", false},
		{"unknown root", false, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			provider := simulator.New(simulator.Config{Conferences: 1, Participants: 3, Seed: 4})
			server := httptest.NewUnstartedServer(provider.Handler())
			server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that the worker breaks off
			server.StartTLS()
			simulatortest.Run(t, provider, server)

			opts := workerOptions(t, provider, server.URL)
			opts.ProviderServerName = tt.serverName
			if tt.ca {
				opts.ProviderCAFile = writeFile(t, "ca.pem",
					string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
			}
			w := startWorker(t, opts)
			c := w.dial(t, "read")
			c.send(`{"type":"subscribe","conference":"` + opts.Conferences[0].ID + `"}`)
			if tt.live {
				c.untilState("a live link", linkLive)
				return
			}
			c.untilState("a link that can't be made", func(state map[string]any) bool {
				link, _ := state["link"].(map[string]any)
				return link["reason"] == "network"
			})
			if n := provider.Requests()["token"]; n != 0 {
				t.Errorf("the provider got %d token requests, want none: they hold the password", n)
			}
			if !strings.Contains(w.log(), "certificate") {
				t.Errorf("the log doesn't name the certificate as the cause")
			}
		})
	}
}
