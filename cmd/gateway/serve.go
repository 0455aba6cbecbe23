package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"confgate/internal/gateway"
)

func serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: `Run the gateway: hold the links of the conferences named by --conference and serve clients.

Every flag can also be given in the environment (--redis-url is CONFGATE_REDIS_URL) and in the YAML file that
--config names (redis-url:). Flags win over the environment, and the environment over the file. In the environment,
lists are parted by commas, and conferences by white space. Where 0 is no sensible value it means the default.

SIGTERM or Ctrl-C drains: the worker turns not ready, sends its clients to others, ends its links, and exits with
status 0. A second one ends it at once. Exit status 2 means a bad flag, variable or file.`,
		Example: `  # against a simulated provider (see: gateway simulate)
  gateway serve --provider-url http://127.0.0.1:9000 --conference 900000001=123456 --auth none

  # for real, with a shared log; the chair password comes from a file
  gateway serve --redis-url rediss://:password@redis.example:6379 --seal-key-file /run/secrets/seal \
    --auth-hmac-secret-file /run/secrets/hmac --conference 900487914=@/run/secrets/900487914

  # Redis Cluster; Redis Sentinel
  gateway serve --redis-url redis://a.example:6379,b.example:6379 --auth-hmac-secret-file hmac
  gateway serve --redis-url 'redis://a.example:26379,b.example:26379?master=main' --auth-hmac-secret-file hmac

  # from the environment and a file
  CONFGATE_LOG_LEVEL=debug gateway serve --config gateway.yaml`,
		Args: args(cobra.NoArgs),
	}
	loader := gateway.NewLoader(cmd.Flags())
	cmd.Flags().SortFlags = false
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		opts, err := loader.Load(os.Environ())
		if err != nil {
			return usageError{err}
		}
		opts.LogOutput = cmd.ErrOrStderr()
		opts.Version = gateway.NewVersion(version, commit)
		worker, err := gateway.Build(opts)
		if err != nil {
			return configError(err)
		}
		return worker.Run(cmd.Context())
	}
	return cmd
}

// configError makes a refused option a usage error.
func configError(err error) error {
	if _, bad := errors.AsType[*gateway.BadValue](err); bad {
		return usageError{err}
	}
	return err
}
