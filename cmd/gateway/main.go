package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"confgate/internal/gateway"
)

// Set by the linker (see the Makefile); empty in a plain `go run` or `go install`.
var version, commit string

// Exit statuses.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() {
	// Libraries that log by themselves tell nothing here that their errors don't, and the HTTP client quotes what it received.
	log.SetOutput(io.Discard)
	logging.Disable()
	ctx, stop := untilSignal(context.Background(), os.Exit)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// untilSignal makes a context that SIGINT or SIGTERM ends. A second one ends the process at once, with the status that
// shells give to a program killed by that signal.
func untilSignal(parent context.Context, exit func(int)) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		first := true
		for {
			select {
			case s := <-signals:
				if !first {
					number, _ := s.(syscall.Signal)
					exit(128 + int(number))
				}
				first = false
				cancel(fmt.Errorf("signal: %s", s))
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}

// usageError is a mistake on the command line or in the configuration.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// run executes one command line and gives the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "gateway",
		Short:         "A real-time gateway between a conferencing service and browsers",
		SilenceErrors: true,
		SilenceUsage:  true,
		// An error is one line.
		DisableSuggestions: true,
		Example:            "  gateway demo\n  gateway serve --help",
		CompletionOptions: cobra.CompletionOptions{
			HiddenDefaultCmd: true,
		},
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w (see %s --help)", flagMistake(err), cmd.CommandPath())}
	})
	root.AddCommand(demoCommand(), serveCommand(), simulateCommand(), watchCommand(), benchCommand(),
		tokenCommand(), versionCommand())

	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintln(stderr, err)                                      // if that fails nobody is left to tell
	if _, usage := errors.AsType[usageError](err); usage || cmd == root { // root: no such command
		return exitUsage
	}
	return exitError
}

// flagMistake is an error of the flags' parser without what it may quote of a value.
func flagMistake(err error) error {
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok && e.GetSpecifiedShortnames() != "" {
		return fmt.Errorf("unknown shorthand flag: '%.1s', names have two dashes", e.GetSpecifiedShortnames())
	}
	if _, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		return errors.New("a flag without a name")
	}
	return err
}

// args turns a check of the arguments' number into a usage error. It quotes none of them: one may be a password that was
// meant for a flag.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, given []string) error {
		if check(cmd, given) != nil {
			return usageError{fmt.Errorf("got %d argument(s), want: %s", len(given), cmd.UseLine())}
		}
		return nil
	}
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print version, commit and Go version",
		Example: "  gateway version",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), gateway.NewVersion(version, commit))
			return err
		},
	}
}
