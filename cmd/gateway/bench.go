package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"confgate/internal/bench"
)

// benchFlags is what the command line of bench says.
type benchFlags struct {
	load                bench.Load
	scenario, tokenFile string
	duration            time.Duration
	asJSON              bool
}

func benchCommand() *cobra.Command {
	var b benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure load and cost",
		Long: `Put a load of clients on a gateway, check that none of them misses a message, and print deliveries, latencies and
what they cost the server. There are --runs measurements of --window each; --duration says how long they are together.

With --simulator, the provider of the gateway is the ` + "`gateway simulate --rate -1 --control ADDRESS`" + ` at that address. It makes
--rate changes a second, over the conferences in turn, and at the end each document is compared with its truth. Without it
the load takes what comes. A run without any delivery is a failed one, unless --rate 0 wants connections only.

With --floor, each measurement is followed by the same one of a floor: a bare server of its own process that gets messages
of the same size at the same pace from a Redis of its own, and writes them to as many sockets. To compare fairly, run the
gateway by taskset on the core that --core pins the floor to, and everything else (bench, simulator, Redis) on others.

With --scenario, play a preset that starts a server, a Redis and a simulated provider of its own, and compares with a floor.
Floors and scenarios need redis-server, and taskset for --core.

The scenarios:

` + indent(scenarioHelp()),
		Example: `  gateway bench --url http://127.0.0.1:8080 --conference 900000001 --clients 1000 --duration 30s --pid 4711
  gateway bench --simulator http://127.0.0.1:9001 --clients 1000 --rate 50 --pid 4711
  taskset -c 1 gateway bench --simulator http://127.0.0.1:9001 --clients 1000 --rate 50 --pid 4711 --floor --core 0
  gateway bench --url https://127.0.0.1:8443 --ca-file ca.pem --conference 900000001 --rate 0 --clients 10000
  taskset -c 1 gateway bench --scenario fanout-1000 --core 0
  gateway bench --scenario idle --runs 1 --clients 2000 --json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			b.load.Log = cmd.ErrOrStderr()
			if err := b.settle(cmd.Flags()); err != nil {
				return usageError{err}
			}
			result, err := b.run(cmd.Context(), cmd.Flags().Changed("clients"))
			if result == nil {
				return err
			}
			write := result.WriteText
			if b.asJSON {
				write = result.WriteJSON
			}
			return errors.Join(err, write(cmd.OutOrStdout()))
		},
	}
	b.define(cmd.Flags())
	cmd.AddCommand(floorCommand(), floodCommand())
	return cmd
}

func (b *benchFlags) define(f *pflag.FlagSet) {
	f.SortFlags = false
	f.StringVar(&b.load.URL, "url", "http://127.0.0.1:8080", "the gateway: http, https, ws or wss")
	f.StringVar(&b.load.CAFile, "ca-file", "", "whom to trust at https and wss, as PEM; empty: the system's roots")
	f.StringSliceVar(&b.load.Conferences, "conference", nil, "what to subscribe to, in turn; repeatable; empty: the simulator's")
	f.IntVar(&b.load.Clients, "clients", 100, "clients over all conferences; instead of a scenario's")
	f.StringVar(&b.load.Simulator, "simulator", "", "the control address of the simulated provider, http://HOST:PORT")
	f.Float64Var(&b.load.Rate, "rate", 50, "changes a second that the simulator makes, over all conferences; 0: connections only")
	f.StringVar(&b.tokenFile, "token-file", "", "a file with a JWT")
	f.IntVar(&b.load.PID, "pid", 0, "the server's process, for its CPU time and memory")
	f.BoolVar(&b.load.Floor, "floor", false, "measure the floor too; needs --pid")
	f.BoolVar(&b.load.Anywhere, "anywhere", false, "put a load also on a gateway that isn't on this machine")
	f.StringVar(&b.scenario, "scenario", "", "the preset to play")
	f.StringVar(&b.load.Core, "core", "", "what the floor, and a scenario's server, are pinned to, as for taskset -c")
	f.IntVar(&b.load.Runs, "runs", 5, "how often to measure")
	f.DurationVar(&b.load.Window, "window", 5*time.Second, "how long each time")
	f.DurationVar(&b.duration, "duration", 0, "how long all times together, instead of --window")
	f.BoolVar(&b.asJSON, "json", false, "print one JSON object")
}

// loadOnly are the flags that mean nothing to a scenario, which brings its own.
var loadOnly = []string{"url", "ca-file", "conference", "simulator", "rate", "token-file", "pid", "floor", "anywhere"}

// settle says what is wrong with the flags, and fills in what one says by another.
func (b *benchFlags) settle(f *pflag.FlagSet) error {
	if f.Changed("duration") {
		if f.Changed("window") {
			return errors.New("--duration and --window exclude each other: one follows from the other and --runs")
		}
		b.load.Window = b.duration / time.Duration(max(b.load.Runs, 1))
	}
	var err error
	if b.load.Binary, err = os.Executable(); err != nil {
		return err
	}
	if b.scenario != "" {
		if i := slices.IndexFunc(loadOnly, f.Changed); i >= 0 {
			return fmt.Errorf("--%s doesn't go with --scenario, which brings its own", loadOnly[i])
		}
		if b.preset() == nil {
			return fmt.Errorf("--scenario %q: want one of those in gateway bench --help", b.scenario)
		}
		if b.load.Runs < 1 || b.load.Window <= 0 {
			return errors.New("--runs, --window and --duration must be above 0")
		}
		return nil
	}
	if b.load.Quiet = f.Changed("rate") && b.load.Rate == 0; b.load.Simulator == "" && !f.Changed("rate") {
		b.load.Rate = 0 // the default is the simulator's
	}
	if b.tokenFile != "" {
		data, err := os.ReadFile(b.tokenFile)
		if err != nil {
			return fmt.Errorf("--token-file: %w", err)
		}
		b.load.Token = strings.TrimSpace(string(data))
	}
	return b.load.Validate()
}

// preset is the scenario that was asked for; nil: there is none of that name.
func (b *benchFlags) preset() *bench.Scenario {
	all := bench.Scenarios()
	if i := slices.IndexFunc(all, func(s bench.Scenario) bool { return s.Name == b.scenario }); i >= 0 {
		return &all[i]
	}
	return nil
}

func (b *benchFlags) run(ctx context.Context, clients bool) (*bench.Result, error) {
	scenario := b.preset()
	if scenario == nil {
		return bench.Attach(ctx, b.load)
	}
	l := b.load
	opts := bench.Options{Binary: l.Binary, Core: l.Core, Runs: l.Runs, Window: l.Window, Log: l.Log}
	if clients {
		opts.Clients = l.Clients
	}
	return scenario.Run(ctx, opts)
}

func scenarioHelp() string {
	var b strings.Builder
	for _, s := range bench.Scenarios() {
		fmt.Fprintf(&b, "%-12s %s\n", s.Name, s.About)
	}
	return b.String()
}

// floodCommand is what a scenario starts to see what becomes of clients.
func floodCommand() *cobra.Command {
	var addr string
	cmd := &cobra.Command{
		Use:    "flood",
		Short:  "Make handshakes without a token until told to stop",
		Args:   args(cobra.NoArgs),
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.RunFlood(cmd.Context(), addr, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "", "where to, an `ADDRESS:PORT` of this machine")
	return cmd
}

// floorCommand is what loads and scenarios start to compare with.
func floorCommand() *cobra.Command {
	var redisURL string
	cmd := &cobra.Command{
		Use:    "floor",
		Short:  "Serve the floor to compare with",
		Args:   args(cobra.NoArgs),
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.RunFloor(cmd.Context(), redisURL, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&redisURL, "redis-url", "", "where messages come from")
	return cmd
}
