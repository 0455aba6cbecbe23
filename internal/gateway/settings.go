package gateway

import (
	"slices"
	"strconv"
	"strings"

	"confgate/internal/edge"
	"confgate/internal/ownership"
	"confgate/internal/subscribe"
	"confgate/internal/telemetry"
)

// setting is one flag of `gateway serve`. Its name is its key in the YAML file too, and, in capitals after CONFGATE_, its
// variable in the environment.
type setting struct {
	name  string
	value string // what the value is called in the help; empty for a toggle
	def   string // the default, as the help shows it
	want  string // what is allowed, to follow the word "want"
	usage string
	// field points at the option: a *string, *bool, *int, *time.Duration, *[]string, *[]Conference or *confctl.Secret.
	field func(o *Options) any
}

// settings lists every flag of `gateway serve`, in the order of the help.
func settings() []setting {
	return slices.Concat(workerSettings(), providerSettings(), clientSettings(), limitSettings())
}

func findSetting(all []setting, name string) (setting, bool) {
	i := slices.IndexFunc(all, func(s setting) bool { return s.name == name })
	if i < 0 {
		return setting{}, false
	}
	return all[i], true
}

const (
	wantHostPort = "HOST:PORT with a port from 0 to 65535; an empty HOST means every address"
	wantToggle   = "true or false"
	wantFile     = "a readable file"
)

func workerSettings() []setting {
	return []setting{
		{
			"listen", "HOST:PORT", DefaultListen, wantHostPort,
			"where clients connect", func(o *Options) any { return &o.Listen },
		},
		{
			"admin-listen", "HOST:PORT", DefaultAdminListen, wantHostPort,
			"where operators look: /metrics, /livez, /readyz", func(o *Options) any { return &o.AdminListen },
		},
		{
			"pprof", "", "false", wantToggle,
			"serve /debug/pprof on the admin address", func(o *Options) any { return &o.Pprof },
		},
		{
			"redis-url", "URL", "", wantRedisURL,
			"the log that workers share; empty: a log in this process, for one worker only",
			func(o *Options) any { return &o.RedisURL },
		},
		{
			"seal-key-file", "FILE", "", "a readable file with keys of 32 bytes in hex or base64, one a line",
			"keys that seal secrets in Redis; without it no secret is put there",
			func(o *Options) any { return &o.SealKeyFile },
		},
		{
			"resume-window", "DURATION", DefaultResumeWindow.String(), "a duration from 1s to 1h",
			"how far back a client can resume", func(o *Options) any { return &o.ResumeWindow },
		},
		{
			"lease-ttl", "DURATION", ownership.DefaultLeaseTTL.String(), "a duration from 500ms to 1m",
			"how long a dead worker's conferences stay unowned, and a second more at the most",
			func(o *Options) any { return &o.LeaseTTL },
		},
		{
			"on-demand", "", "false", wantToggle,
			"hold a known conference only while it has clients", func(o *Options) any { return &o.OnDemand },
		},
		{
			"linger", "DURATION", ownership.DefaultLinger.String(), "a duration from 1s to 24h",
			"how long to hold it after the last client, with --on-demand", func(o *Options) any { return &o.Linger },
		},
		{
			"max-conferences", "N", strconv.Itoa(DefaultMaxConferences), "a number from 1 to 100000",
			"links that this worker holds at the most", func(o *Options) any { return &o.MaxConferences },
		},
		{
			"drain-timeout", "DURATION", DefaultDrainTimeout.String(), "a duration from 1ms to 1h",
			"how long SIGTERM may take to move clients away and end the links",
			func(o *Options) any { return &o.DrainTimeout },
		},
		{
			"worker-id", "NAME", "host name and a random suffix", "1 to 64 characters of A-Z a-z 0-9 . _ -",
			"this worker in logs, metrics and the welcome message", func(o *Options) any { return &o.WorkerID },
		},
		{
			"log-level", "LEVEL", DefaultLogLevel, "one of " + strings.Join(telemetry.Levels, ", "),
			"how much to log", func(o *Options) any { return &o.LogLevel },
		},
		{
			"log-format", "FORMAT", DefaultLogFormat, "one of " + strings.Join(telemetry.Formats, ", "),
			"json for machines, console for people", func(o *Options) any { return &o.LogFormat },
		},
	}
}

func providerSettings() []setting {
	return []setting{
		{
			"provider-url", "URL", DefaultProviderURL, "an origin, https://HOST[:PORT] (or http:// for a simulator)",
			"the provider's REST API", func(o *Options) any { return &o.ProviderURL },
		},
		{
			"provider-ws-url", "URL", "", "wss://HOST[:PORT], or ws:// where --provider-url is http://",
			"where to open links, instead of where the provider's token answer says",
			func(o *Options) any { return &o.ProviderWSURL },
		},
		{
			"provider-ca-file", "FILE", "", "a readable file with certificates in PEM",
			"roots that the provider's certificate must lead to; empty: the system's",
			func(o *Options) any { return &o.ProviderCAFile },
		},
		{
			"provider-server-name", "HOST", "", "a host name",
			"the name in the certificate of links; empty: their host, or --provider-url's where that is an IP address",
			func(o *Options) any { return &o.ProviderServerName },
		},
		{
			"provider-rate", "N/UNIT", DefaultProviderRate, "calls per second, minute or hour, as 90/m",
			"REST calls and dials at the provider, per API", func(o *Options) any { return &o.ProviderRate },
		},
		{
			"provider-numbering", "HOW", DefaultNumbering, "one of " + subscribe.Numberings(),
			"how the provider numbers increments", func(o *Options) any { return &o.ProviderNumbering },
		},
		{
			"topics", "NAME,…", "all known", "topics of the protocol or notify types of the provider, parted by commas",
			"what to subscribe to at the provider; repeatable", func(o *Options) any { return &o.Topics },
		},
		{
			"conference", "ID=PASSWORD", "", "ID=PASSWORD or ID=@FILE, with an ID of 1 to 64 of A-Z a-z 0-9 _ -, each once",
			"hold this conference from the start, by its chair password or the file that has it; repeatable",
			func(o *Options) any { return &o.Conferences },
		},
		{
			"heartbeat-interval", "DURATION", DefaultHeartbeatInterval.String(), "a duration from 10ms to 60s",
			"how often to beat on a link", func(o *Options) any { return &o.HeartbeatInterval },
		},
		{
			"refresh-interval", "DURATION", DefaultRefreshInterval.String(), "a duration of 100ms or more; negative: off",
			"how often a busy conference is checked against fresh full frames",
			func(o *Options) any { return &o.RefreshInterval },
		},
	}
}

func clientSettings() []setting {
	return []setting{
		{
			"auth", "HOW", DefaultAuth, "jwt, or none (for development)",
			"how clients are known; none binds loopback only", func(o *Options) any { return &o.Auth },
		},
		{
			"auth-none-anywhere", "", "false", wantToggle,
			"let --auth none bind other addresses than loopback", func(o *Options) any { return &o.AuthNoneAnywhere },
		},
		{
			"auth-hmac-secret-file", "FILE", "", "a readable file with 32 bytes at least",
			"the secret that HS256 tokens are verified with", func(o *Options) any { return &o.AuthHMACSecretFile },
		},
		{
			"auth-jwks-url", "URL", "", "an https:// URL, or http:// on a loopback address",
			"where the keys are that RS256, ES256 and EdDSA tokens are verified with",
			func(o *Options) any { return &o.AuthJWKSURL },
		},
		{
			"auth-issuer", "NAME", "", "any text",
			"the issuer that tokens must name", func(o *Options) any { return &o.AuthIssuer },
		},
		{
			"auth-audience", "NAME", "", "any text",
			"the audience that tokens must name", func(o *Options) any { return &o.AuthAudience },
		},
		{
			"allowed-origins", "ORIGIN,…", "same origin", "origins such as https://app.example.com or *.example.com, parted by commas",
			"browser origins admitted; * stands for any part of a host; repeatable", func(o *Options) any { return &o.AllowedOrigins },
		},
	}
}

const wantLimit = "a number from 1 to 1000000, or -1 for no limit"

// limitSettings are the bounds of what clients may take.
func limitSettings() []setting {
	return []setting{
		{
			"max-connections", "N", strconv.Itoa(edge.DefaultMaxConnections), wantLimit,
			"clients of this worker at the most", func(o *Options) any { return &o.MaxConnections },
		},
		{
			"max-connections-per-subject", "N", "no limit", "a number from 1 to 1000000, or 0 for no limit",
			"clients of this worker that one token subject may be", func(o *Options) any { return &o.MaxConnectionsPerSubject },
		},
		{
			"max-subscriptions", "N", strconv.Itoa(edge.DefaultMaxSubscriptions), wantLimit,
			"conferences that one client may follow", func(o *Options) any { return &o.MaxSubscriptions },
		},
		{
			"message-rate", "N", strconv.Itoa(edge.DefaultMessageRate), wantLimit,
			"messages a second that one client may send; twice that at once", func(o *Options) any { return &o.MessageRate },
		},
		{
			"max-message-bytes", "N", strconv.Itoa(edge.MaxMessage), "a number from 4096 to 65536",
			"size of a client's message at the most", func(o *Options) any { return &o.MaxMessageBytes },
		},
		{
			"request-rate", "N", strconv.Itoa(edge.DefaultRequestRate), wantLimit,
			"REST requests a second that one token subject may make; twice that at once",
			func(o *Options) any { return &o.RequestRate },
		},
		{
			"handshake-rate", "N", strconv.Itoa(edge.DefaultHandshakeRate), wantLimit,
			"connections a second that clients may open; twice that at once", func(o *Options) any { return &o.HandshakeRate },
		},
		{
			"max-pending", "N", strconv.Itoa(DefaultMaxPending), wantLimit,
			"sockets at the most without a request under way", func(o *Options) any { return &o.MaxPending },
		},
		{
			"handshake-timeout", "DURATION", DefaultHandshakeTimeout.String(), "a duration from 100ms to 1m",
			"how long a client may take to send a request's header", func(o *Options) any { return &o.HandshakeTimeout },
		},
		{
			"max-header-bytes", "N", strconv.Itoa(DefaultMaxHeaderBytes), "a number from 4096 to 1048576",
			"size of a request's header at the most", func(o *Options) any { return &o.MaxHeaderBytes },
		},
	}
}
