package oracletest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"confgate/api"
	"confgate/internal/gateway"
	"confgate/internal/oracle"
	"confgate/internal/simulator"
	"confgate/internal/watch"
)

// Patience bounds every wait of these tests; nothing waits that long unless something is broken.
const Patience = time.Minute

// Reader is a client of one conference. The exported fields are set before Start, except Scopes, which tells what the
// document is compared with.
type Reader struct {
	*watch.Client
	Name       string
	Conference string
	Topics     []string // nil: all
	Scopes     oracle.Scopes
	// Endpoint gives the URL of each connection; Secret is the file of the HMAC secret that the workers there verify with.
	Endpoint func() string
	Secret   string
	// Raw, where given, gets every message as it came; Update everything that was applied. The client's goroutine calls them.
	// Notice gets what becomes of the connection.
	Raw    func([]byte)
	Update func(*watch.Message)
	Notice func(watch.Notice)
	// Unchecked messages aren't compared with api/, which costs more than everything else that a reader does.
	Unchecked bool
	Nudge     chan<- struct{} // told, without waiting, of everything that was applied

	mu    sync.Mutex
	wrong []string // messages that aren't as api/ says, and changes that emptied the roster
}

// Start connects a reader, who follows its conference until the test ends.
func (r *Reader) Start(tb testing.TB) {
	tb.Helper()
	scopes := []string{"read"}
	if r.Scopes.PII {
		scopes = append(scopes, "pii")
	}
	if r.Scopes.Secrets {
		scopes = append(scopes, "secrets")
	}
	token := Token(tb, r.Secret, scopes, r.Conference)
	transport := &http.Transport{}
	var err error
	r.Client, err = watch.NewClient(watch.Config{
		Endpoint: r.Endpoint, Conference: r.Conference, Topics: r.Topics,
		Token:      func(context.Context) (string, error) { return token, nil },
		HTTPClient: &http.Client{Transport: transport},
		OnMessage:  r.message, OnUpdate: r.update, OnNotice: r.Notice,
		MinBackoff: time.Millisecond, MaxBackoff: 50 * time.Millisecond,
	})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("%s: %v", r.Name, err)
		}
		transport.CloseIdleConnections()
	})
}

// schemas are those of api/, at their strictest: the simulator sends nothing outside the documented words.
var schemas = sync.OnceValues(func() (*api.Validator, error) { return api.NewValidator(api.Strict) })

func (r *Reader) message(raw []byte) {
	if !r.Unchecked {
		v, err := schemas()
		if err == nil {
			err = v.Server(raw)
		}
		if err != nil {
			r.complain("message isn't as api/ says: %v", err)
		}
	}
	if r.Raw != nil {
		r.Raw(raw)
	}
}

func (r *Reader) complain(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.wrong) < 5 {
		r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
	}
}

// update looks for changes that empty a roster, and nudges whoever waits for documents.
func (r *Reader) update(m *watch.Message) {
	if m.Type == "delta" && m.Topic == "participants" {
		var patch map[string]json.RawMessage
		err := json.Unmarshal(m.Patch, &patch)
		gone := 0
		for _, v := range patch {
			if string(v) == "null" {
				gone++
			}
		}
		if err != nil || patch == nil || gone > 60 {
			r.complain("participants %d removes %d at once", m.Seq, gone)
		}
	}
	if r.Update != nil {
		r.Update(m)
	}
	select {
	case r.Nudge <- struct{}{}:
	default:
	}
}

// Wrong is what a reader shouldn't have been sent: promises of the protocol that were broken, messages that aren't as api/
// says, changes that emptied the roster.
func (r *Reader) Wrong() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Concat(r.Report().Violations, r.wrong)
}

// Differs says how the reader's document differs from the truth; empty where it doesn't.
func (r *Reader) Differs(truth simulator.Truth) (string, error) {
	want, err := oracle.Expect(truth, r.Scopes)
	if err != nil {
		return "", err
	}
	got, err := oracle.Normal(r.Report().Document)
	if err != nil {
		return "", err
	}
	link, _ := got["link"].(map[string]any)
	if link["state"] != "live" {
		return fmt.Sprintf("link is %v", link), nil
	}
	delete(got, "link")
	if r.Topics != nil {
		maps.DeleteFunc(want, func(topic string, _ any) bool { return !slices.Contains(r.Topics, topic) })
	}
	return cmp.Diff(want, got), nil
}

// AwaitTruth waits until every reader's document equals the provider's truth, which must stand still.
func AwaitTruth(tb testing.TB, provider *simulator.Provider, readers []*Reader, nudge <-chan struct{}) {
	tb.Helper()
	late := time.NewTimer(Patience)
	defer late.Stop()
	left := readers
	for {
		var first string
		wrong := left[:0:0]
		for _, r := range left {
			diff, err := r.Differs(provider.Truth(r.Conference))
			if err != nil {
				tb.Fatal(err)
			}
			if diff != "" {
				if wrong = append(wrong, r); len(wrong) == 1 {
					first = r.Name + " of " + r.Conference + ":\n" + diff
				}
			}
		}
		switch {
		case len(wrong) > 0:
			left = wrong
		case len(left) < len(readers): // those that were right first may be wrong again
			left = readers
			continue
		default:
			return
		}
		select {
		case <-nudge:
		case <-late.C:
			tb.Fatalf("%d of %d documents aren't the truth; %s", len(wrong), len(readers), Tail(first, 3000))
		}
	}
}

// CheckHistory checks what readers saw on the way: whole chains, no reset, no roster that empties, and one snapshot.
func CheckHistory(tb testing.TB, readers []*Reader) {
	tb.Helper()
	for _, r := range readers {
		for _, w := range r.Wrong() {
			tb.Errorf("%s: %s", r.Name, w)
		}
		p := r.Report()
		if p.Counts.Snapshots != 1 || p.Counts.Resets != 0 || p.Refused != 0 || p.Counts.Gaps != 0 {
			tb.Errorf("%s: %d snapshots, %d resets, %d resumes refused, %d gaps; want 1, 0, 0, 0 (%d connections, %d resumed)",
				r.Name, p.Counts.Snapshots, p.Counts.Resets, p.Refused, p.Counts.Gaps, p.Connects, p.Recovered)
		}
	}
}

// Token mints a token of an hour for some conferences.
func Token(tb testing.TB, secretFile string, scopes []string, conferences ...string) string {
	tb.Helper()
	token, err := gateway.MintToken(gateway.TokenRequest{
		SecretFile: secretFile, Scopes: scopes, Conferences: conferences, TTL: time.Hour, Subject: "oracle",
	})
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// Tail is the end of a text.
func Tail(s string, n int) string { return s[max(0, len(s)-n):] }
