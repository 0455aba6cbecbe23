package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"confgate/internal/simulator"
)

func simulateCommand() *cobra.Command {
	var (
		listen, faults string
		cfg            simulator.Config
	)
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run the simulated provider alone",
		Long: `Run the simulated provider alone, on a port, for development and load tests. It speaks the provider's REST and
WebSocket protocol over plain HTTP. The flags for ` + "`gateway serve`" + ` that reach it are printed to standard output.

The faults of --faults, parted by commas:

` + indent(simulator.FaultHelp()),
		Example: `  gateway simulate
  gateway simulate --conferences 10 --participants 200 --rate 50 --seed 7
  gateway simulate --faults drop=1%,repeat=1%,swap=1%,cut=2s --numbering conference
  gateway simulate --token-life 6s`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if cfg.Faults, err = simulator.ParseFaults(faults); err != nil {
				return usageError{fmt.Errorf("--faults: %w", err)}
			}
			if err := cfg.Validate(); err != nil {
				return usageError{err}
			}
			ln, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", listen)
			if _, bad := errors.AsType[*net.AddrError](err); bad {
				return usageError{fmt.Errorf("--listen %q: want HOST:PORT", listen)}
			}
			if err != nil {
				return fmt.Errorf("listen for the gateway: %w", err)
			}
			provider := simulator.New(cfg)
			if err := printServeFlags(cmd.OutOrStdout(), ln.Addr(), provider.Conferences()); err != nil {
				return err
			}
			return serveProvider(cmd.Context(), ln, provider)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&listen, "listen", "127.0.0.1:9000", "where gateways connect")
	f.IntVar(&cfg.Conferences, "conferences", simulator.DefaultConferences, "conferences that are running")
	f.IntVar(&cfg.Participants, "participants", simulator.DefaultParticipants, "participants of each conference, about")
	f.Float64Var(&cfg.Rate, "rate", simulator.DefaultRate, "frames per second and conference; negative: none")
	f.Uint64Var(&cfg.Seed, "seed", 1, "the same seed makes the same world")
	f.StringVar(&cfg.Numbering, "numbering", simulator.NumberPerKind, "how increments are numbered: kind or conference")
	f.StringVar(&faults, "faults", "", "what goes wrong, as name=value,…")
	f.DurationVar(&cfg.TokenLife, "token-life", simulator.DefaultTokenLife, "life of control tokens")
	f.DurationVar(&cfg.WSTokenLife, "ws-token-life", simulator.DefaultWSTokenLife, "life of connection tokens")
	f.IntVar(&cfg.Quota, "quota", 0, "REST calls a minute and API; 0: no limit")
	f.BoolVar(&cfg.Lively, "lively", false, "human pace and names to look at")
	return cmd
}

// printServeFlags writes what `gateway serve` needs to reach the simulated provider, ready to be pasted.
func printServeFlags(w io.Writer, addr net.Addr, conferences []simulator.Credential) error {
	flags := []string{"--provider-url", "http://" + addr.String()}
	for _, c := range conferences {
		// A password of a simulated world opens nothing else.
		flags = append(flags, "--conference", c.ID+"="+c.Password.Reveal())
	}
	_, err := fmt.Fprintln(w, strings.Join(flags, " "))
	return err
}

// serveProvider runs a simulated provider until ctx ends.
func serveProvider(ctx context.Context, ln net.Listener, provider *simulator.Provider) error {
	server := &http.Server{Handler: provider.Handler(), ReadHeaderTimeout: 10 * time.Second}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return provider.Run(ctx) })
	group.Go(func() error {
		if err := server.Serve(ln); err != http.ErrServerClosed {
			return fmt.Errorf("serve the simulated provider: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return group.Wait()
}

func indent(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return "  " + strings.Join(lines, "\n  ")
}
