package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"confgate/internal/oracle"
	"confgate/internal/simulator"
	"confgate/internal/watch"
)

const (
	// settleWait is how long clients may be behind at the end.
	settleWait = 10 * time.Second
	// inspecting is how many documents are compared at a time.
	inspecting = 8
	// maxWrong is how many wrong documents are named before the rest isn't looked at any more.
	maxWrong = 20
)

// inspector compares the documents of a gateway with the provider's truth. What is in them reaches no output: they hold
// passwords.
type inspector struct {
	url, token string
	http       *http.Client // nil: watch's own
	truth      func(ctx context.Context, id string) (simulator.Truth, error)
	patience   time.Duration // how long what differs may take to come right
	say        func(format string, args ...any)
}

// verify compares what the clients of a crowd saw since Arm with each other, and fresh clients' documents of the first n
// conferences with the provider's truth, which must stand still.
func (v inspector) verify(ctx context.Context, c *Crowd, r *Result, n int) {
	different, skipped := c.Different()
	if different > 0 {
		r.fault("%d clients saw other bytes than the first of their conference", different)
	}
	v.say("compared %d clients, %d had a snapshot meanwhile", len(c.clients)-skipped, skipped)
	r.faultTotals(c)
	v.documents(ctx, c.groups[:min(n, len(c.groups))], len(c.groups), r)
}

// faultTotals says what was lost on the way.
func (r *Result) faultTotals(c *Crowd) {
	if t := c.Totals(); t.Lost > 0 || t.Failed > 0 {
		r.fault("%d messages lost, %d connections failed", t.Lost, t.Failed)
	}
}

// documents compares those of some groups, of all that there are.
func (v inspector) documents(ctx context.Context, groups []*group, all int, r *Result) {
	var work errgroup.Group
	work.SetLimit(inspecting)
	wrong := make([]error, len(groups))
	var compared, failed, bare atomic.Int64
	late := time.Now().Add(v.patience) // for all of them: they settle at the same time
	for i, g := range groups {
		work.Go(func() error {
			if failed.Load() >= maxWrong {
				return nil
			}
			compared.Add(1)
			withoutSecrets, err := v.document(ctx, g, late)
			if wrong[i] = err; err != nil {
				failed.Add(1)
			} else if withoutSecrets {
				bare.Add(1)
			}
			return nil
		})
	}
	_ = work.Wait() // no error comes this way
	for _, err := range wrong {
		if err != nil {
			r.fault("%v", err)
		}
	}
	good := compared.Load() - failed.Load()
	r.Documents = fmt.Sprintf("%d of %d compared by fresh clients, %d are the provider's", compared.Load(), all, good)
	switch n := bare.Load(); {
	case n > 0 && n < good:
		r.fault("%d of %d documents are without what needs the scope secrets, which the token has", n, good)
	case n > 0:
		r.Documents += "; none has what needs the scope secrets: the gateway seems to keep none (--seal-key-file)"
	}
}

// document compares a fresh client's document with the provider's truth, and its position with that of the group's. What
// differs may come right until it is late. withoutSecrets: it is right for a reader who may not see secrets, though the
// token allows them.
func (v inspector) document(ctx context.Context, g *group, late time.Time) (withoutSecrets bool, err error) {
	truth, err := v.truth(ctx, g.conf)
	if err != nil {
		return false, err
	}
	var scopes atomic.Pointer[oracle.Scopes]
	c, err := watch.NewClient(watch.Config{
		URL: v.url, Conference: g.conf, HTTPClient: v.http,
		Token:     func(context.Context) (string, error) { return v.token, nil },
		OnMessage: func(raw []byte) { noteScopes(raw, &scopes) },
	})
	if err != nil {
		return false, err
	}
	running, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Run(running) // ended by cancel, or there is no document
	}()
	defer func() {
		cancel()
		<-ended
	}()
	seen := false
	patient, done := context.WithTimeout(ctx, dialWait)
	defer done()
	waiting := poll(patient, "a document", func() bool {
		report := c.Report()
		s := scopes.Load()
		if !report.Whole || s == nil {
			return false
		}
		seen = true
		withoutSecrets, err = g.judge(truth, report, *s)
		return err == nil || time.Now().After(late)
	})
	if err != nil {
		if now, again := v.truth(ctx, g.conf); again == nil && now.Steps != truth.Steps {
			return false, fmt.Errorf("bench: the simulator changed conference %s while it was compared", g.conf)
		}
		return false, err
	}
	if !seen {
		return false, fmt.Errorf("bench: no document of conference %s: %w", g.conf, waiting)
	}
	return withoutSecrets, nil
}

// noteScopes reads what a client may see out of a welcome.
func noteScopes(raw []byte, into *atomic.Pointer[oracle.Scopes]) {
	var welcome struct {
		Type   string
		Scopes []string
	}
	if into.Load() != nil || json.Unmarshal(raw, &welcome) != nil || welcome.Type != "welcome" {
		return
	}
	into.Store(&oracle.Scopes{PII: slices.Contains(welcome.Scopes, "pii"), Secrets: slices.Contains(welcome.Scopes, "secrets")})
}

// judge says what is wrong with a fresh client's document and position.
func (g *group) judge(truth simulator.Truth, report watch.Report, s oracle.Scopes) (withoutSecrets bool, err error) {
	topic, err := differs(truth, report.Document, s)
	if err == nil && topic != "" && s.Secrets {
		plain, err := differs(truth, report.Document, oracle.Scopes{PII: s.PII})
		if withoutSecrets = err == nil && plain == ""; withoutSecrets {
			topic = ""
		}
	}
	switch seq := g.clients[0].seq.Load(); {
	case err != nil:
		return false, err
	case topic != "":
		return false, fmt.Errorf("bench: %s of conference %s isn't the provider's", topic, g.conf)
	case report.Seq != seq:
		return false, fmt.Errorf("bench: clients of conference %s are at %d, a fresh one is at %d", g.conf, seq, report.Seq)
	}
	return withoutSecrets, nil
}

// differs names a topic that isn't as the provider's truth wants it; empty: there is none.
func differs(truth simulator.Truth, document []byte, s oracle.Scopes) (string, error) {
	want, err := oracle.Expect(truth, s)
	if err != nil {
		return "", err
	}
	got, err := oracle.Normal(document)
	if err != nil {
		return "", err
	}
	delete(got, "link") // the gateway's own
	for _, doc := range []map[string]any{want, got} {
		for _, topic := range slices.Sorted(maps.Keys(doc)) {
			if !reflect.DeepEqual(got[topic], want[topic]) {
				return topic, nil
			}
		}
	}
	return "", nil
}
