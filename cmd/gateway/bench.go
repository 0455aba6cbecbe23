package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"confgate/internal/bench"
)

func benchCommand() *cobra.Command {
	var (
		load      bench.Load
		opts      bench.Options
		scenario  string
		tokenFile string
		asJSON    bool
	)
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure load and cost",
		Long: `Put a load of clients on a gateway, check that none of them misses a message, and print deliveries, latencies and
what they cost the server. With --scenario, play a preset that starts a server, a Redis and a simulated provider of its
own (redis-server and taskset must be there), and compares with a floor: a bare server that writes the same bytes.

The scenarios:

` + indent(scenarioHelp()),
		Example: `  gateway bench --url http://127.0.0.1:8080 --conference 900000001 --clients 1000 --duration 30s --pid 4711
  taskset -c 1 gateway bench --scenario fanout-1000 --core 0
  gateway bench --scenario idle --runs 1 --clients 2000 --json`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			load.Log, opts.Log = cmd.ErrOrStderr(), cmd.ErrOrStderr()
			if tokenFile != "" {
				data, err := os.ReadFile(tokenFile)
				if err != nil {
					return usageError{fmt.Errorf("--token-file: %w", err)}
				}
				load.Token = strings.TrimSpace(string(data))
			}
			var result *bench.Result
			var err error
			if scenario != "" {
				all := bench.Scenarios()
				i := slices.IndexFunc(all, func(s bench.Scenario) bool { return s.Name == scenario })
				if i < 0 {
					return usageError{fmt.Errorf("--scenario %q: want one of those in gateway bench --help", scenario)}
				}
				if opts.Binary, err = os.Executable(); err != nil {
					return err
				}
				if cmd.Flags().Changed("clients") {
					opts.Clients = load.Clients
				}
				result, err = all[i].Run(cmd.Context(), opts)
			} else {
				if err := load.Validate(); err != nil {
					return usageError{err}
				}
				result, err = bench.Attach(cmd.Context(), load)
			}
			if result == nil {
				return err
			}
			write := result.WriteText
			if asJSON {
				write = result.WriteJSON
			}
			return errors.Join(err, write(cmd.OutOrStdout()))
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&load.URL, "url", "http://127.0.0.1:8080", "the gateway")
	f.StringSliceVar(&load.Conferences, "conference", nil, "what to subscribe to, in turn; repeatable")
	f.IntVar(&load.Clients, "clients", 100, "clients over all conferences; instead of a scenario's")
	f.DurationVar(&load.Duration, "duration", 10*time.Second, "how long to measure")
	f.StringVar(&tokenFile, "token-file", "", "a file with a JWT")
	f.IntVar(&load.PID, "pid", 0, "the server's process, for its CPU time and memory")
	f.BoolVar(&load.Anywhere, "anywhere", false, "put a load also on a gateway that isn't on this machine")
	f.StringVar(&scenario, "scenario", "", "the preset to play")
	f.StringVar(&opts.Core, "core", "", "what a scenario pins the server and the floor to, as for taskset -c")
	f.IntVar(&opts.Runs, "runs", 5, "how often a scenario measures")
	f.DurationVar(&opts.Window, "window", 5*time.Second, "how long each time")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.AddCommand(floorCommand())
	return cmd
}

func scenarioHelp() string {
	var b strings.Builder
	for _, s := range bench.Scenarios() {
		fmt.Fprintf(&b, "%-12s %s\n", s.Name, s.About)
	}
	return b.String()
}

// floorCommand is what scenarios start to compare with.
func floorCommand() *cobra.Command {
	var redisURL string
	cmd := &cobra.Command{
		Use:    "floor",
		Short:  "Serve the floor that scenarios compare with",
		Args:   args(cobra.NoArgs),
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.RunFloor(cmd.Context(), redisURL, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&redisURL, "redis-url", "", "where messages come from")
	return cmd
}
