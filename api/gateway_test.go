package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"confgate/internal/gateway"
	"confgate/internal/simulator"
	"confgate/internal/simulator/simulatortest"
	"confgate/internal/watch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Everything that a whole gateway sends over a lively conference fits the strict schemas, whatever the reader's scopes,
// and so does the document that comes of it.
func TestGatewaySendsWhatTheSchemasSay(t *testing.T) {
	t.Parallel()
	provider, origin := simulatortest.Start(t, simulator.Config{Conferences: 1, Participants: 20, Rate: 400, Seed: 7})
	secret := filepath.Join(t.TempDir(), "hmac")
	if err := os.WriteFile(secret, bytes.Repeat([]byte("k"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := provider.Conferences()[0]
	worker, err := gateway.Build(gateway.Options{
		Listen: "127.0.0.1:0", AdminListen: "127.0.0.1:0", AuthHMACSecretFile: secret, ProviderURL: origin,
		ProviderRate: "100000/s", DrainTimeout: time.Second, LogLevel: "error", LogOutput: t.Output(),
		Conferences: []gateway.Conference{{ID: conf.ID, Password: conf.Password}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		if err := worker.Run(ctx); err != nil {
			t.Errorf("gateway.Run = %v", err)
		}
	})
	var reading sync.WaitGroup
	for _, scopes := range [][]string{{"read"}, {"read", "pii"}, {"read", "pii", "secrets"}} {
		token, err := gateway.MintToken(gateway.TokenRequest{
			SecretFile: secret, Scopes: scopes, Conferences: []string{conf.ID}, TTL: time.Hour, Subject: "reader",
		})
		if err != nil {
			t.Fatal(err)
		}
		reading.Go(func() {
			readAll(t, "http://"+worker.Addr().String(), token, conf.ID, slices.Contains(scopes, "secrets"))
			readREST(t, "http://"+worker.Addr().String(), token, conf.ID, slices.Contains(scopes, "secrets"))
		})
	}
	reading.Wait()
}

// readREST checks the list and the document by REST.
func readREST(t *testing.T, url, token, conf string, secrets bool) {
	t.Helper()
	v, err := NewValidator(Strict)
	if err != nil {
		t.Error(err)
		return
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for _, path := range []string{"/v1/conferences", "/v1/conferences/" + conf} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+path, http.NoBody)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s = %d, %v", path, resp.StatusCode, err)
		}
		if err := v.Answer(http.MethodGet, path, resp.StatusCode, resp.Header, body); err != nil {
			t.Errorf("%s: %v in %v %s", path, err, resp.Header, body)
		}
		if document := strings.HasSuffix(path, conf); bytes.Contains(body, []byte(`"passwords"`)) != (secrets && document) {
			t.Errorf("%s shows passwords: %t, want %t", path, !secrets, secrets && document)
		}
	}
}

// wanted are the messages that a reader waits for, by type and topic, so that the check has seen them all.
var wanted = []string{
	"welcome", "subscribed", "snapshot", "delta conference", "delta participants", "delta attendees", "delta waiting",
	"delta speakers", "delta quality", "delta layout", "event invites", "event subtitles",
}

// readAll follows a conference until every kind of message has come, and checks each.
func readAll(t *testing.T, url, token, conf string, secrets bool) {
	t.Helper()
	v, err := NewValidator(Strict)
	if err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	missing := slices.Clone(wanted)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	complaints := 0
	var client *watch.Client
	client, err = watch.NewClient(watch.Config{
		URL: url, Conference: conf, HTTPClient: &http.Client{Transport: transport},
		Token: func(context.Context) (string, error) { return token, nil },
		OnMessage: func(raw []byte) {
			if err := v.Server(raw); err != nil && complaints < 10 {
				complaints++
				t.Errorf("%v in %s", err, raw)
			}
			var m struct{ Type, Topic string }
			if err := json.Unmarshal(raw, &m); err != nil {
				t.Error(err)
			}
			missing = slices.DeleteFunc(missing, func(kind string) bool { return kind == strings.TrimSpace(m.Type+" "+m.Topic) })
			if len(missing) == 0 {
				cancel()
			}
		},
	})
	if err != nil {
		t.Error(err)
		return
	}
	if err := client.Run(ctx); err != nil {
		t.Errorf("watch.Run = %v", err)
	}
	if len(missing) > 0 {
		t.Errorf("these never came: %v", missing)
	}
	report := client.Report()
	if err := v.State(report.Document); err != nil {
		t.Errorf("%v in %s", err, report.Document)
	}
	if len(report.Violations) > 0 {
		t.Errorf("violations: %q", report.Violations)
	}
	if got := bytes.Contains(report.Document, []byte(`"passwords"`)); got != secrets {
		t.Errorf("passwords in the document: %t, want %t", got, secrets)
	}
}
