package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"confgate/internal/gateway"
)

func tokenCommand() *cobra.Command {
	var t gateway.TokenRequest
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Mint a JWT for development",
		Long: `Mint a JWT for development, signed (HS256) with the secret that ` + "`gateway serve`" + ` verifies with, and print it.

Scopes: read (see conferences), pii (phone numbers, e-mail addresses, account names), secrets (passwords, join links),
admin (hold and release conferences).`,
		Example: `  head -c 32 /dev/urandom > hmac
  gateway token --auth-hmac-secret-file hmac --conference 900487914
  gateway token --auth-hmac-secret-file hmac --conference '*' --scope read,pii --ttl 8h --subject ana`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			token, err := gateway.MintToken(t)
			if err != nil {
				return configError(err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
			return err
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&t.SecretFile, "auth-hmac-secret-file", "", "the secret, 32 bytes at least")
	f.StringSliceVar(&t.Scopes, "scope", []string{"read"}, "what it allows: read, pii, secrets, admin; repeatable")
	f.StringSliceVar(&t.Conferences, "conference", []string{"*"}, "the conferences that it opens, * for all; repeatable")
	f.DurationVar(&t.TTL, "ttl", time.Hour, "how long it is good for")
	f.StringVar(&t.Subject, "subject", "dev", "whom it names")
	f.StringVar(&t.Issuer, "issuer", "", "the issuer that it names")
	f.StringVar(&t.Audience, "audience", "", "the audience that it names")
	return cmd
}
