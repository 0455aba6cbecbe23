package simulatortest

import (
	"context"
	"net/http/httptest"
	"testing"

	"confgate/internal/simulator"
)

// Start runs a simulated provider on a loopback port until the test ends, and gives its URL.
func Start(tb testing.TB, cfg simulator.Config) (*simulator.Provider, string) {
	tb.Helper()
	provider := simulator.New(cfg)
	server := httptest.NewServer(provider.Handler())
	Run(tb, provider, server)
	return provider, server.URL
}

// Run runs a provider until the test ends, and then closes the server that it is reached by.
func Run(tb testing.TB, provider *simulator.Provider, server *httptest.Server) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- provider.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("simulator.Run = %v", err)
		}
		server.Close()
	})
}
