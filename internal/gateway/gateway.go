package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"confgate/internal/edge"
	"confgate/internal/fanout"
	"confgate/internal/hugepages"
	"confgate/internal/ownership"
	"confgate/internal/session"
	"confgate/internal/telemetry"
)

// Timeouts of the HTTP servers. A WebSocket leaves them behind when its upgrade is done.
const (
	readTimeout  = 15 * time.Second
	writeTimeout = 30 * time.Second
	idleTimeout  = 2 * time.Minute
	// profileTimeout lets an operator take a profile of a minute or two.
	profileTimeout = 3 * time.Minute
)

// Worker is one gateway process, less the process: tests run several in one.
type Worker struct {
	opts    Options // with defaults
	log     *zap.Logger
	metrics *telemetry.Metrics
	health  telemetry.Health

	clients, operators net.Listener
	store              store
	feeds              *fanout.Feeds
	edge               *edge.Server
	keys               *edge.KeySet // nil: none
	fleet              *ownership.Worker
}

// store is the log and what it needs to live.
type store struct {
	fanout.Log
	run     func(ctx context.Context) error
	close   func() error
	fleet   ownership.Store
	limiter session.Limiter
	// What workers tell each other of the provider beside that; nil where they can't.
	tokens   session.TokenStore
	refusals session.RefusalStore
}

// Addr is where clients connect.
func (w *Worker) Addr() net.Addr { return w.clients.Addr() }

// AdminAddr is where operators look.
func (w *Worker) AdminAddr() net.Addr { return w.operators.Addr() }

// Close gives up what Build opened. It is for a worker that is never run; Run closes by itself.
func (w *Worker) Close() error {
	return errors.Join(w.clients.Close(), w.operators.Close(), w.store.close())
}

// Run serves until ctx is done, then drains, and returns nil where that went in order. It returns earlier, with the error,
// if a part fails. It may be called once.
func (w *Worker) Run(ctx context.Context) error {
	defer func() { _ = w.log.Sync() }()
	w.announce()

	// The parts live on while the worker drains, so their contexts aren't ctx's children.
	parts, stopParts := context.WithCancel(context.WithoutCancel(ctx))
	defer stopParts()
	group, parts := errgroup.WithContext(parts)

	clients := newSockets(w.opts.MaxPending, w.metrics).guard(w.server(w.edge.Handler(), writeTimeout))
	operators := w.server(telemetry.AdminHandler(w.metrics, &w.health, w.opts.Pprof), profileTimeout)
	group.Go(func() error { return w.store.run(parts) })
	group.Go(func() error { return w.feeds.Run(parts) })
	group.Go(func() error { return w.edge.Run(parts) })
	if w.keys != nil {
		group.Go(func() error { return w.keys.Run(parts) })
	}
	group.Go(func() error { return serve(clients, w.clients) })
	group.Go(func() error { return serve(operators, w.operators) })
	group.Go(func() error { return w.fleet.Run(parts) })
	group.Go(func() error {
		if err := hugepages.Run(parts); err != nil {
			w.log.Debug("the heap isn't kept in huge pages", zap.Error(err))
		}
		return nil
	})
	w.health.SetReady(true)
	w.log.Info("ready")

	var failed error
	select {
	case <-ctx.Done():
		w.log.Info("draining", zap.String(telemetry.KeyReason, context.Cause(ctx).Error()), telemetry.Delay(w.opts.DrainTimeout))
	case <-parts.Done():
		failed = context.Cause(parts)
		w.log.Error("a part failed, leaving", zap.Error(failed))
	}
	w.drain()

	_ = clients.Close()
	stopParts()
	_ = operators.Close()
	err := group.Wait()
	if closing := w.store.close(); closing != nil {
		w.log.Warn("closing the log", zap.Error(closing))
	}
	if failed == nil && err != nil && !errors.Is(err, context.Canceled) {
		failed = err
	}
	if failed != nil {
		return fmt.Errorf("gateway: %w", failed)
	}
	w.log.Info("stopped")
	return nil
}

// announce logs what runs, and what an operator should know about how.
func (w *Worker) announce() {
	w.log.Info("starting", zap.Stringer("build", w.opts.Version), zap.Stringer("listen", w.Addr()),
		zap.Stringer("admin", w.AdminAddr()), zap.Int("conferences", len(w.opts.Conferences)))
	for _, warning := range w.opts.Warnings {
		w.log.Warn(warning)
	}
	if w.opts.Auth == AuthNone {
		w.log.Warn("every client may see everything: --auth none is for development")
	}
	if w.opts.RedisURL.Empty() {
		w.log.Info("the log is in this process: one worker only, and a restart starts anew")
	} else if w.opts.SealKeyFile == "" {
		w.log.Warn("passwords and join links aren't put into Redis, since there is no --seal-key-file")
	}
}

// server makes an HTTP server that is gentle to no slow sender.
func (w *Worker) server(h http.Handler, writeTimeout time.Duration) *http.Server {
	errorLog, _ := zap.NewStdLogAt(w.log, zap.WarnLevel) // fails for unknown levels only
	return &http.Server{
		Handler: h, ErrorLog: errorLog, MaxHeaderBytes: w.opts.MaxHeaderBytes,
		ReadHeaderTimeout: w.opts.HandshakeTimeout, ReadTimeout: readTimeout + w.opts.HandshakeTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
	}
}

func serve(s *http.Server, ln net.Listener) error {
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	}
	return nil
}
