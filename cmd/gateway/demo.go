package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"confgate/internal/gateway"
	"confgate/internal/simulator"
)

const defaultDemoListen = "127.0.0.1:8080"

func demoCommand() *cobra.Command {
	var listen, logLevel string
	cfg := simulator.Config{Lively: true, Cycle: 10 * time.Minute}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a live conference: everything in one process",
		Long: `Show a live conference: a simulated provider with a few lively conferences, a log in memory, the gateway and its page,
all in one process. It needs no Redis, no credentials and no network, and ends on Ctrl-C.`,
		Example: `  gateway demo
  gateway demo --listen 127.0.0.1:0 --participants 200 --conferences 1`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.Validate(); err != nil {
				return usageError{err}
			}
			opts := gateway.Options{
				Listen: listen, AdminListen: "127.0.0.1:0", Auth: gateway.AuthNone, WorkerID: "demo",
				DrainTimeout: 3 * time.Second, ProviderRate: "6000/m",
				LogLevel: logLevel, LogFormat: "console", LogOutput: cmd.ErrOrStderr(),
				Version: gateway.NewVersion(version, commit),
			}
			mayMove := !cmd.Flags().Changed("listen")
			return configError(demo(cmd.Context(), cmd.OutOrStdout(), cfg, opts, mayMove))
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&listen, "listen", defaultDemoListen, "where browsers connect; a free port where the default one is taken")
	f.IntVar(&cfg.Conferences, "conferences", simulator.DefaultConferences, "conferences that are running")
	f.IntVar(&cfg.Participants, "participants", simulator.DefaultParticipants, "participants of each conference, about")
	f.Float64Var(&cfg.Rate, "rate", simulator.DefaultRate, "changes per second and conference, about")
	f.Uint64Var(&cfg.Seed, "seed", 1, "the same seed makes the same world")
	f.StringVar(&logLevel, "log-level", "warn", "how much to log: debug, info, warn, error")
	return cmd
}

// demo runs a simulated provider and a worker that holds its conferences, until ctx ends. The worker leaves before the
// provider does. mayMove lets it take another port where the wanted one is taken.
func demo(ctx context.Context, out io.Writer, cfg simulator.Config, opts gateway.Options, mayMove bool) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the simulated provider: %w", err)
	}
	provider := simulator.New(cfg)
	opts.ProviderURL = "http://" + ln.Addr().String()
	for _, c := range provider.Conferences() {
		opts.Conferences = append(opts.Conferences, gateway.Conference{ID: c.ID, Password: c.Password})
	}
	worker, err := gateway.Build(opts)
	if mayMove && errors.Is(err, syscall.EADDRINUSE) {
		opts.Listen = "127.0.0.1:0"
		worker, err = gateway.Build(opts)
	}
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	if err := printDemo(out, worker.Addr(), opts.Conferences); err != nil {
		return errors.Join(err, worker.Close(), ln.Close())
	}

	providing, stopProvider := context.WithCancel(context.WithoutCancel(ctx))
	defer stopProvider()
	group, providing := errgroup.WithContext(providing)
	group.Go(func() error { return serveProvider(providing, ln, nil, provider) })
	working, stopWorker := context.WithCancelCause(ctx)
	defer stopWorker(nil)
	unhook := context.AfterFunc(providing, func() { stopWorker(context.Cause(providing)) })
	defer unhook()
	err = worker.Run(working)
	stopProvider()
	return errors.Join(err, group.Wait())
}

// printDemo says where to look.
func printDemo(w io.Writer, addr net.Addr, conferences []gateway.Conference) error {
	ids := make([]string, len(conferences))
	for i, c := range conferences {
		ids[i] = c.ID
	}
	_, err := fmt.Fprintf(w, "Open http://%s/ in a browser, or watch in a terminal: gateway watch %s --url http://%s\n"+
		"Conferences: %s. Ctrl-C ends.\n", addr, ids[0], addr, strings.Join(ids, ", "))
	return err
}
