package edge

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"confgate/internal/telemetry"
)

// The algorithms of tokens (RFC 7518, section 3.1; RFC 8037, section 3.1).
const (
	algHS256 = "HS256"
	algRS256 = "RS256"
	algES256 = "ES256"
	algEdDSA = "EdDSA"
)

const (
	// DefaultKeyRefresh is how long a key that was taken back may still be accepted.
	DefaultKeyRefresh = 5 * time.Minute
	// keyGap is the least time between two fetches that tokens of unknown keys cause: anybody can make up such a token.
	keyGap = 5 * time.Second
	// keyWait is how long such a token waits for the fetch.
	keyWait = 2 * time.Second
	// keyTimeout ends a fetch.
	keyTimeout = 10 * time.Second
	// keyRetryFirst and keyRetryMost bound the time between fetches after one that failed.
	keyRetryFirst = time.Second
	keyRetryMost  = time.Minute
	// maxKeySet bounds a key set, in bytes; sets in the field have a few thousand.
	maxKeySet = 1 << 20
	// minRSA is the least size of an RSA key, in bits (RFC 7518, section 3.3).
	minRSA = 2048
)

// KeySetConfig is what a KeySet needs.
type KeySetConfig struct {
	URL     string             // see CheckKeyURL
	HTTP    *http.Client       // nil: one of its own
	Refresh time.Duration      // between two fetches; zero: DefaultKeyRefresh
	Metrics *telemetry.Metrics // nil: none
	Log     *zap.Logger        // nil: none
}

// KeySet holds the public keys that an issuer of tokens publishes (RFC 7517). It goes on with the keys that it has when the
// issuer is away; Run fetches them.
type KeySet struct {
	cfg  KeySetConfig
	gap  *rate.Limiter // of fetches that tokens cause
	kick chan struct{}

	mu    sync.Mutex // a leaf; guards what follows
	keys  map[string][]publicKey
	round chan struct{} // closed when the fetch that is under way or comes next has ended
	busy  bool          // a fetch is asked for or under way
}

// publicKey is a key and the algorithm that it is for.
type publicKey struct {
	alg string
	key any // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// CheckKeyURL says whether keys may be fetched from a URL: by https, or from this host; who can change the answer on its
// way can mint tokens.
func CheckKeyURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" ||
		u.Scheme != "https" && (u.Scheme != "http" || !loopbackHost(u.Hostname())) {
		return errors.New("edge: keys: want an https URL, or http on a loopback address, without userinfo") // quotes nothing
	}
	return nil
}

func loopbackHost(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// NewKeySet makes an empty set; tokens wait for its first fetch.
func NewKeySet(cfg KeySetConfig) (*KeySet, error) {
	if err := CheckKeyURL(cfg.URL); err != nil {
		return nil, err
	}
	if cfg.Refresh == 0 {
		cfg.Refresh = DefaultKeyRefresh
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Transport: http.DefaultTransport.(*http.Transport).Clone()}
	}
	client := *cfg.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { // it could lead to where CheckKeyURL doesn't
		return http.ErrUseLastResponse
	}
	cfg.HTTP = &client
	return &KeySet{
		cfg: cfg, gap: rate.NewLimiter(rate.Every(keyGap), 1), kick: make(chan struct{}, 1), round: make(chan struct{}),
	}, nil
}

// Run fetches the keys, at once and then again and again, until ctx is done; it returns nil.
func (k *KeySet) Run(ctx context.Context) error {
	defer k.cfg.HTTP.CloseIdleConnections()
	retry := &backoff.ExponentialBackOff{
		InitialInterval: keyRetryFirst, MaxInterval: keyRetryMost, Multiplier: 2, RandomizationFactor: 0.5,
	}
	retry.Reset()
	k.cfg.Metrics.KeysStale(true)
	good := time.Now() // until there are keys, when they were first missed
	failing, stale := false, true
	for {
		err := k.update(ctx)
		if ctx.Err() != nil {
			return nil
		}
		k.cfg.Metrics.KeyRefresh(err == nil)
		wait := k.cfg.Refresh
		if err == nil {
			if failing {
				k.cfg.Log.Info("token keys could be fetched again")
			}
			retry.Reset()
			good, failing, stale = time.Now(), false, false
			k.cfg.Metrics.KeysStale(false)
		} else {
			wait = min(wait, retry.NextBackOff())
			if !failing {
				k.cfg.Log.Warn("token keys could not be fetched, going on with those at hand", zap.Error(err), telemetry.Delay(wait))
			}
			if age := time.Since(good); !stale && age >= 2*k.cfg.Refresh {
				stale = true
				k.cfg.Metrics.KeysStale(true)
				k.cfg.Log.Error("token keys are stale", zap.Error(err), zap.Duration("age", age))
			}
			failing = true
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-k.kick:
		}
		timer.Stop()
	}
}

// update fetches the keys once, and wakes who waits for them.
func (k *KeySet) update(ctx context.Context) error {
	k.mu.Lock()
	k.busy = true
	k.mu.Unlock()
	keys, err := k.fetch(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.busy = false
	if err == nil {
		k.keys = keys
	}
	close(k.round)
	k.round = make(chan struct{})
	return err
}

// fetch reads the set. Its errors hold nothing of the URL, whose query may be secret, nor of the answer.
func (k *KeySet) fetch(ctx context.Context) (map[string][]publicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, keyTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.cfg.URL, http.NoBody)
	if err != nil {
		return nil, errors.New("edge: keys: URL not usable")
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := k.cfg.HTTP.Do(req)
	if err != nil {
		return nil, fmt.Errorf("edge: keys: %w", withoutURL(err))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("edge: keys: status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeySet+1))
	if err != nil {
		return nil, fmt.Errorf("edge: keys: %w", withoutURL(err))
	}
	keys, err := parseKeys(body)
	if err != nil {
		return nil, fmt.Errorf("edge: keys: %w", err)
	}
	return keys, nil
}

// withoutURL is an error of the HTTP client without the URL that it quotes.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("host not found (temporary: %t)", e.IsTemporary)
	}
	return err
}

// parseKeys reads a key set by key ids. Keys of other kinds and for other uses are left out, as the RFC says; a set of which
// nothing is left is an error.
func parseKeys(data []byte) (map[string][]publicKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if len(data) > maxKeySet || json.Unmarshal(data, &set) != nil {
		return nil, errors.New("answer is no key set")
	}
	keys := make(map[string][]publicKey)
	for _, raw := range set.Keys {
		var m jwkset.JWKMarshal
		if json.Unmarshal(raw, &m) != nil {
			continue
		}
		if key, ok := usable(m); ok && !slices.ContainsFunc(keys[m.KID], func(k publicKey) bool { return k.alg == key.alg }) {
			keys[m.KID] = append(keys[m.KID], key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("key set has no key for RS256, ES256 or EdDSA")
	}
	return keys, nil
}

// usable makes a key of its JSON form; false where it isn't for verifying tokens.
func usable(m jwkset.JWKMarshal) (publicKey, bool) {
	if m.USE != "" && m.USE != jwkset.UseSig || len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return publicKey{}, false
	}
	// Only what makes up the public key: certificates and private parts aren't ours to judge.
	public := jwkset.JWKMarshal{KTY: m.KTY, CRV: m.CRV, X: m.X, Y: m.Y, N: m.N, E: m.E}
	jwk, err := jwkset.NewJWKFromMarshal(public, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return publicKey{}, false
	}
	k := publicKey{key: jwk.Key()}
	switch key := k.key.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() >= minRSA {
			k.alg = algRS256
		}
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P256() {
			k.alg = algES256
		}
	case ed25519.PublicKey:
		k.alg = algEdDSA
	}
	return k, k.alg != "" && (m.ALG == "" || m.ALG == jwkset.ALG(k.alg))
}

// find looks a key up by its id and algorithm. A token without a key id is good where one key fits. One with an id that
// isn't known waits for a fetch, if there may be one.
func (k *KeySet) find(ctx context.Context, kid, alg string) (any, bool) {
	key, ok, round := k.look(kid, alg)
	if ok || round == nil {
		return key, ok
	}
	timer := time.NewTimer(keyWait)
	defer timer.Stop()
	select {
	case <-round:
	case <-timer.C:
	case <-ctx.Done():
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known(kid, alg)
}

// look finds a key, or the fetch to wait for; nil: there is none to come.
func (k *KeySet) look(kid, alg string) (any, bool, <-chan struct{}) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.known(kid, alg); ok {
		return key, true, nil
	}
	switch {
	case k.busy: // it may have begun before the key was published, but another will come when this one is asked again
	case k.gap.Allow():
		k.busy = true // who comes before it begins waits too
		select {
		case k.kick <- struct{}{}:
		default: // one is asked for already
		}
	default:
		return nil, false, nil
	}
	return nil, false, k.round
}

// known looks a key up; the caller holds mu.
func (k *KeySet) known(kid, alg string) (any, bool) {
	var found any
	n := 0
	for id, keys := range k.keys {
		if kid != "" && id != kid {
			continue
		}
		for _, key := range keys {
			if key.alg == alg {
				found = key.key
				n++
			}
		}
	}
	return found, n == 1
}

// Format keeps the URL out of whatever prints a KeySet: its query may be secret.
func (*KeySet) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "edge.KeySet(***)") }
