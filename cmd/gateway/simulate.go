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
		listen, faults, control string
		controlAnywhere         bool
		cfg                     simulator.Config
	)
	cmd := &cobra.Command{
		Use:   "simulate",
		Short: "Run the simulated provider alone",
		Long: `Run the simulated provider alone, on a port, for development and load tests. It speaks the provider's REST and
WebSocket protocol over plain HTTP. The flags for ` + "`gateway serve`" + ` that reach it are printed to standard output.

With --control it also has an address of its own at which ` + "`gateway bench --simulator`" + ` asks what is true, and for changes.
Whoever reaches it gets the passwords of the simulated conferences. With --rate -1 nothing changes but by that.

The faults of --faults, parted by commas:

` + indent(simulator.FaultHelp()),
		Example: `  gateway simulate
  gateway simulate --conferences 10 --participants 200 --rate 50 --seed 7
  gateway simulate --faults drop=1%,repeat=1%,swap=1%,cut=2s --numbering conference
  gateway simulate --conferences 10 --rate -1 --control 127.0.0.1:9001
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
			ln, err := listenAt(cmd.Context(), "--listen", listen)
			if err != nil {
				return err
			}
			var controlled net.Listener
			if control != "" {
				if controlled, err = listenControl(cmd.Context(), control, controlAnywhere); err != nil {
					return errors.Join(err, ln.Close())
				}
				_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "control API at http://%s\n", controlled.Addr())
			}
			provider := simulator.New(cfg)
			if err := printServeFlags(cmd.OutOrStdout(), ln.Addr(), provider.Conferences()); err != nil {
				return err
			}
			return serveProvider(cmd.Context(), ln, controlled, provider)
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
	f.StringVar(&control, "control", "", "where gateway bench drives it, a loopback address; empty: nowhere")
	f.BoolVar(&controlAnywhere, "control-anywhere", false, "let --control be any address")
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

// listenAt listens at what a flag says.
func listenAt(ctx context.Context, flag, addr string) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if _, bad := errors.AsType[*net.AddrError](err); bad {
		return nil, usageError{fmt.Errorf("%s %q: want HOST:PORT", flag, addr)}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return ln, nil
}

// listenControl listens for the control API: on this machine alone, unless told otherwise.
func listenControl(ctx context.Context, addr string, anywhere bool) (net.Listener, error) {
	ln, err := listenAt(ctx, "--control", addr)
	if err != nil {
		return nil, err
	}
	if at, ok := ln.Addr().(*net.TCPAddr); !anywhere && (!ok || !at.IP.IsLoopback()) {
		return nil, errors.Join(usageError{fmt.Errorf("--control %q: want a loopback address (or --control-anywhere)", addr)}, ln.Close())
	}
	return ln, nil
}

// serveProvider runs a simulated provider until ctx ends, and its control API where there is a listener for it.
func serveProvider(ctx context.Context, ln, control net.Listener, provider *simulator.Provider) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return provider.Run(ctx) })
	serve := func(ln net.Listener, handler http.Handler) {
		server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
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
	}
	serve(ln, provider.Handler())
	if control != nil {
		serve(control, provider.Control())
	}
	return group.Wait()
}

func indent(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return "  " + strings.Join(lines, "\n  ")
}
