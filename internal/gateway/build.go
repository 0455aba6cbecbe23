package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"go.uber.org/zap"

	"confgate/internal/confctl"
	"confgate/internal/edge"
	"confgate/internal/edge/page"
	"confgate/internal/fanout"
	"confgate/internal/ownership"
	"confgate/internal/session"
	"confgate/internal/subscribe"
	"confgate/internal/telemetry"
)

// Build makes a worker: it checks the options, reads the files that they name, and opens the two listeners, so that a
// worker that could be built can be reached. It starts nothing; Redis and the provider needn't be there. What it refuses
// is in the error as *BadValue.
func Build(opts Options) (*Worker, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	opts = opts.withDefaults()
	log, err := telemetry.NewLogger(opts.LogOutput, opts.LogLevel, opts.LogFormat)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	w := &Worker{
		opts:    opts,
		log:     log.With(zap.String(telemetry.KeyWorker, opts.WorkerID)),
		metrics: telemetry.NewMetrics(opts.Version.Version, opts.Version.Commit, opts.Version.Go),
	}
	auth, err := w.authenticator()
	if err != nil {
		return nil, err
	}
	keys, err := opts.sealKeys()
	if err != nil {
		return nil, err
	}
	if w.store, err = w.openLog(keys); err != nil {
		return nil, err
	}
	holder, err := w.newHolder(keys.refusal)
	if err != nil {
		return nil, errors.Join(err, w.store.close())
	}
	if w.fleet, err = w.newFleet(holder); err != nil {
		return nil, errors.Join(err, w.store.close())
	}
	w.feeds = fanout.NewFeeds(fanout.FeedOptions{
		Log: w.store.Log, Encoder: edge.Encoder{}, Known: w.known, Held: w.held, Put: w.put,
		Generation:   w.fleet.Generation,
		ResumeWindow: opts.ResumeWindow, WriteRate: fanout.DefaultWriteRate, Logger: w.log,
	})
	pageConfig := page.Config{Auth: opts.Auth}
	if opts.Auth == AuthNone { // else the ids are for those who have a token
		pageConfig.Conferences = w.conferenceIDs
	}
	w.edge = edge.New(edge.Config{
		Source: w.source(), Registry: registry{w.fleet}, Auth: auth, Metrics: w.metrics, Log: w.log,
		Page: page.Handler(pageConfig), AllowedOrigins: opts.AllowedOrigins, WorkerID: opts.WorkerID,
		MaxConnections: opts.MaxConnections, MaxPerSubject: opts.MaxConnectionsPerSubject,
		MaxSubscriptions: opts.MaxSubscriptions, MessageRate: opts.MessageRate, MaxMessage: opts.MaxMessageBytes, RequestRate: opts.RequestRate,
		HandshakeRate: opts.HandshakeRate,
	})
	if err := w.listen(); err != nil {
		return nil, errors.Join(err, w.store.close())
	}
	return w, nil
}

// source is where the edge gets conferences from; on demand, its subscribers are counted.
func (w *Worker) source() edge.Source {
	s := source{feeds: w.feeds, known: w.known, ids: w.conferenceIDs, owner: w.owner}
	if !w.opts.OnDemand {
		return s
	}
	return demanded{s, newDemand(w.fleet, w.log)}
}

// listen opens both listeners or none.
func (w *Worker) listen() error {
	addr, err := w.opts.clientAddress()
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	var lc net.ListenConfig
	if w.clients, err = lc.Listen(context.Background(), "tcp", addr); err != nil {
		return fmt.Errorf("gateway: --listen: %w", err)
	}
	if w.operators, err = lc.Listen(context.Background(), "tcp", w.opts.AdminListen); err != nil {
		return errors.Join(fmt.Errorf("gateway: --admin-listen: %w", err), w.clients.Close())
	}
	return nil
}

// authenticator is what knows clients. It sets w.keys where there are any.
func (w *Worker) authenticator() (edge.Authenticator, error) {
	o := w.opts
	if o.Auth == AuthNone {
		return edge.Anyone{}, nil
	}
	cfg := edge.VerifierConfig{Issuer: o.AuthIssuer, Audience: o.AuthAudience}
	var err error
	if o.AuthHMACSecretFile != "" {
		if cfg.Secret, err = readHMACSecret(o.AuthHMACSecretFile); err != nil {
			return nil, err
		}
	}
	if o.AuthJWKSURL != "" {
		w.keys, err = edge.NewKeySet(edge.KeySetConfig{URL: o.AuthJWKSURL, Metrics: w.metrics, Log: w.log})
		if err != nil {
			return nil, fmt.Errorf("gateway: --auth-jwks-url: %w", err)
		}
		cfg.Keys = w.keys
	}
	auth, err := edge.NewVerifier(cfg)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return auth, nil
}

// sealKeys are what the seal key file gives: the ring that seals, and a key for the HMACs of refused passwords. Both are
// nil without a file.
type sealKeys struct {
	ring    *fanout.Keyring
	refusal []byte
}

func (o Options) sealKeys() (sealKeys, error) {
	if o.SealKeyFile == "" {
		return sealKeys{}, nil
	}
	s, _ := findSetting(settings(), "seal-key-file")
	refused := &BadValue{Flag: s.name, Value: o.SealKeyFile, Want: s.want}
	data, err := os.ReadFile(o.SealKeyFile)
	if err != nil {
		return sealKeys{}, refused
	}
	ring, err := fanout.ParseKeyFile(data)
	if err != nil {
		return sealKeys{}, fmt.Errorf("%w: %w", refused, err)
	}
	// Another key file makes another HMAC key: then a refused password may be tried once more, which does no harm.
	mac := hmac.New(sha256.New, data)
	mac.Write([]byte("confgate refusal key"))
	return sealKeys{ring, mac.Sum(nil)}, nil
}

// openLog opens what workers share, or the like of it for one worker.
func (w *Worker) openLog(keys sealKeys) (store, error) {
	rate, err := session.ParseRate(w.opts.ProviderRate)
	if err != nil {
		return store{}, fmt.Errorf("gateway: --provider-rate: %w", err)
	}
	logOptions := fanout.LogOptions{ResumeWindow: w.opts.ResumeWindow, Metrics: w.metrics, Logger: w.log}
	if w.opts.RedisURL.Empty() {
		idle := func(ctx context.Context) error { <-ctx.Done(); return nil }
		return store{
			Log: fanout.NewMemoryLog(logOptions), run: idle, close: func() error { return nil },
			fleet: ownership.NewMemoryStore(), limiter: session.NewLimiter(rate),
		}, nil
	}
	redisOptions, err := parseRedisURL(w.opts.RedisURL.Reveal())
	if err != nil {
		return store{}, fmt.Errorf("gateway: --redis-url: %w", err)
	}
	// Two pools of connections: a lease that had to wait behind a thousand conferences that load their logs would run out.
	changes, fleet := newRedisClient(redisOptions), newRedisClient(redisOptions)
	log := fanout.NewRedisLog(changes, keys.ring, logOptions)
	s := store{
		Log: log, run: log.Run, limiter: ownership.NewRate(fleet, rate.Calls, rate.Per),
		close: func() error { return errors.Join(changes.Close(), fleet.Close()) },
	}
	var sealer ownership.Sealer
	if keys.ring != nil { // a nil *Keyring in an interface would not be nil
		sealer = keys.ring
		s.tokens, s.refusals = ownership.NewTokens(fleet, sealer), ownership.NewRefusals(fleet)
	}
	s.fleet = ownership.NewRedisStore(fleet, sealer)
	return s, nil
}

// newHolder is what makes sessions.
func (w *Worker) newHolder(refusalKey []byte) (holder, error) {
	base, err := parseOrigin(w.opts.ProviderURL, "https", "http")
	if err != nil {
		return holder{}, fmt.Errorf("gateway: --provider-url: %w", err)
	}
	// The server name is that of links, which go to addresses; the API has a name of its own, unless it is an address too.
	apiName := ""
	if _, err := netip.ParseAddr(base.Hostname()); err == nil {
		apiName = w.opts.ProviderServerName
	}
	apiTLS, err := session.TLSConfig(w.opts.ProviderCAFile, apiName)
	if err != nil {
		s, _ := findSetting(settings(), "provider-ca-file")
		return holder{}, &BadValue{Flag: s.name, Value: w.opts.ProviderCAFile, Want: s.want}
	}
	linkTLS := apiTLS.Clone()
	linkTLS.ServerName = w.opts.ProviderServerName
	types, err := subscribe.Types(w.opts.Topics)
	if err != nil {
		return holder{}, fmt.Errorf("gateway: --topics: %w", err)
	}
	shared := session.Config{
		Log: w.store.Log, Limiter: w.store.limiter,
		API: &confctl.API{Base: base, HTTP: session.HTTPClient(apiTLS)}, TLS: linkTLS,
		Types: types, Numbering: subscribe.Numbering(w.opts.ProviderNumbering),
		Refresh: w.opts.RefreshInterval, Heartbeat: w.opts.HeartbeatInterval,
		RefusalKey: refusalKey, Tokens: w.store.tokens, Refusals: w.store.refusals, Logger: w.log, Metrics: w.metrics,
	}
	if w.opts.ProviderWSURL != "" {
		if shared.WSURL, err = parseOrigin(w.opts.ProviderWSURL, "wss", "ws"); err != nil {
			return holder{}, fmt.Errorf("gateway: --provider-ws-url: %w", err)
		}
	}
	passwords := map[string]confctl.Secret{}
	for _, c := range w.opts.Conferences {
		if passwords[c.ID], err = c.password(); err != nil {
			return holder{}, err
		}
	}
	return holder{shared: shared, passwords: passwords}, nil
}
