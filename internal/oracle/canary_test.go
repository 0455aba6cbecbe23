package oracle_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"confgate/internal/confctl"
	"confgate/internal/fanout/fanouttest"
	"confgate/internal/gateway"
	"confgate/internal/oracle"
	"confgate/internal/oracle/oracletest"
	"confgate/internal/simulator"
	"confgate/internal/simulator/simulatortest"
)

// Marks that nothing else contains. The first four are secrets; the others are personal data.
const (
	markPassword = "canary-password-7f3a"
	markToken    = "canary-token-91bc"
	markLink     = "https://meeting.example.com/#/j/canary-link-5d20"
	markAuth     = "canary-auth-e8f1"
	markPhone    = "+8657199900042"
	markEmail    = "canary-mail-3c@example.com"
	markAccount  = "canary-account-b7"
)

var (
	secretMarks = []string{markPassword, markToken, markLink, markAuth}
	piiMarks    = []string{markPhone, markEmail, markAccount}
)

// bin collects bytes from one place.
type bin struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *bin) add(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.Write(p)
	b.text.WriteByte('\n')
}

func (b *bin) has(mark string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Contains(b.text.Bytes(), []byte(mark))
}

// expectMarks says which marks a place must have, each proving that the place was looked at, and which not.
func expectMarks(t *testing.T, place string, b *bin, want, never []string) {
	t.Helper()
	for _, m := range want {
		if !b.has(m) {
			t.Errorf("%s doesn't have %s: the search there proves nothing", place, m)
		}
	}
	for _, m := range never {
		if b.has(m) {
			t.Errorf("%s has %s", place, m)
		}
	}
}

// A password, a token, a join link and personal data are put into the world; then every place where they might come out is
// searched. Clients with the right scopes see them, which proves that they went through.
func TestCanary(t *testing.T) {
	t.Parallel()
	for _, sealed := range []bool{true, false} {
		name := map[bool]string{true: "sealed", false: "without a key"}[sealed]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			canary(t, sealed)
		})
	}
}

func canary(t *testing.T, sealed bool) {
	t.Helper()
	provider, origin := simulatortest.Start(t, simulator.Config{
		Conferences: 1, Participants: 20, Rate: 100, Seed: 3, TokenLife: 2 * time.Second,
		Canary: simulator.Canary{
			Password: confctl.NewSecret(markPassword), Token: confctl.NewSecret(markToken), JoinLink: confctl.NewSecret(markLink),
			AuthInfo: confctl.NewSecret(markAuth), Phone: markPhone, Email: markEmail, Account: markAccount,
		},
		Faults: simulator.FaultPlan{Garbage: 0.05, Unknown: 0.05, Cut: 1500 * time.Millisecond, Refuse: 1, Seed: 1},
	})
	url, _ := fanouttest.StartRedis(t)
	published := listen(t, url)
	w := startWorker(t, provider, origin, func(o *gateway.Options) {
		o.RedisURL = confctl.NewSecret(url)
		if sealed {
			o.SealKeyFile = oracletest.SealKeyFile(t)
		}
	})

	conf := provider.Conferences()[0].ID
	nudge := make(chan struct{}, 1)
	reader := func(name string, s oracle.Scopes) (*oracletest.Reader, *bin) {
		b := new(bin)
		return startReader(t, w, &oracletest.Reader{Name: name, Conference: conf, Scopes: s, Nudge: nudge, Raw: b.add}), b
	}
	plain, plainBytes := reader("read", oracle.Scopes{})
	pii, piiBytes := reader("pii", oracle.Scopes{PII: true})
	all, allBytes := reader("secrets", oracle.Scopes{PII: true, Secrets: true})

	run(t, []*oracletest.Reader{plain, pii, all}, 2*time.Second, func() bool {
		return provider.Requests()["refresh"] > 0 && allFired(provider, []string{"refuse", "cut", "garbage", "unknown"})
	})
	provider.Pause()
	provider.Heal()
	if !sealed { // the log keeps no secrets for anybody: compare with what it keeps
		all.Scopes = oracle.Scopes{PII: true}
	}
	oracletest.AwaitTruth(t, provider, []*oracletest.Reader{plain, pii, all}, nudge)

	expectMarks(t, "read client", plainBytes, nil, append(secretMarks, piiMarks...))
	expectMarks(t, "pii client", piiBytes, piiMarks, secretMarks)
	shown := []string{markPassword, markLink, markAuth}
	if sealed {
		expectMarks(t, "secrets client", allBytes, append(shown, piiMarks...), []string{markToken})
	} else {
		expectMarks(t, "secrets client without a seal key", allBytes, piiMarks, secretMarks)
	}
	expectMarks(t, "pub/sub", published, []string{markPhone}, secretMarks)
	expectMarks(t, "Redis", dump(t, url), piiMarks, secretMarks)

	logs := new(bin)
	logs.add([]byte(w.log.String()))
	expectMarks(t, "log", logs, []string{"link is live"}, append(secretMarks, piiMarks...))
	metrics := new(bin)
	metrics.add([]byte(w.metrics(t)))
	expectMarks(t, "metrics", metrics, []string{"confgate_upstream_links"}, append(append(secretMarks, piiMarks...), conf))
}

// listen collects what goes over pub/sub, on all channels.
func listen(t *testing.T, url string) *bin {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	ctx, cancel := context.WithCancel(context.Background())
	sub := rdb.PSubscribe(ctx, "*")
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	b := new(bin)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := sub.ReceiveMessage(ctx)
			if err != nil {
				return
			}
			b.add([]byte(m.Channel))
			b.add([]byte(m.Payload))
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = sub.Close()
		<-done
		_ = rdb.Close()
	})
	return b
}

// dump is everything that Redis holds, uncompressed.
func dump(t *testing.T, url string) *bin {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	defer func() { _ = rdb.Close() }()
	ctx := t.Context()
	if err := rdb.ConfigSet(ctx, "rdbcompression", "no").Err(); err != nil {
		t.Fatal(err)
	}
	keys, err := rdb.Keys(ctx, "*").Result()
	if err != nil || len(keys) < 3 {
		t.Fatalf("keys = %v, %v; want the log's", keys, err)
	}
	b := new(bin)
	for _, k := range keys {
		if !strings.HasPrefix(k, "confgate:") {
			t.Errorf("key %s isn't under confgate:", k)
		}
		text, err := rdb.Dump(ctx, k).Result()
		if err != nil {
			t.Fatal(err)
		}
		b.add([]byte(k))
		b.add([]byte(text))
	}
	return b
}
