package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"confgate/internal/watch"
)

func watchCommand() *cobra.Command {
	opts := watch.Options{}
	var tokenFile string
	cmd := &cobra.Command{
		Use:   "watch CONFERENCE",
		Short: "Show a conference in a terminal",
		Long: `Show a conference in a terminal: a table that lives, or with --json one JSON line per message. It reconnects and
resumes by itself, and ends on Ctrl-C. Without a terminal it prints a line per change.

The token is taken from --token, from the file that --token-file names, or from the variable CONFGATE_TOKEN. On the
command line it can be seen by every user of the machine.`,
		Example: `  gateway watch 900487914
  gateway watch 900487914 --url https://confgate.example.com --token-file token
  gateway watch 900487914 --json --topics participants,speakers | jq .`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, given []string) error {
			opts.Conference = given[0]
			if err := opts.Check(); err != nil {
				return usageError{err}
			}
			opts.Out, opts.Notes = cmd.OutOrStdout(), cmd.ErrOrStderr()
			opts.NoColour = os.Getenv("NO_COLOR") != "" // https://no-color.org
			if tokenFile != "" {
				data, err := os.ReadFile(tokenFile)
				if err != nil {
					return usageError{fmt.Errorf("--token-file: %w", err)}
				}
				opts.Token = strings.TrimSpace(string(data))
			}
			if opts.Token == "" {
				opts.Token = os.Getenv("CONFGATE_TOKEN")
			}
			return watch.Run(cmd.Context(), opts)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&opts.URL, "url", "http://127.0.0.1:8080", "the gateway's address")
	f.StringVar(&opts.Token, "token", "", "the JWT to show")
	f.StringVar(&tokenFile, "token-file", "", "file with the JWT")
	f.StringSliceVar(&opts.Topics, "topics", nil, "topics to subscribe to, parted by commas; empty: all that the token allows")
	f.BoolVar(&opts.JSON, "json", false, "one JSON line per message, as the gateway sent it")
	return cmd
}
