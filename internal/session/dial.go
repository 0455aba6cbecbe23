package session

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"confgate/internal/confctl"
	"confgate/internal/rawsock"
)

// ErrEndpoint says that the provider named a WebSocket address which must not be dialled.
var ErrEndpoint = errors.New("session: wsURL is not acceptable")

const (
	// socketPath is the incremental notify socket (chapter 6.1.3.1).
	socketPath = "cms/open/websocket/confctl/increment/conn"
	// readLimit bounds a frame, in bytes: a full frame of a conference of tens of thousands stays below.
	readLimit = 16 << 20
	// closeWait is how long the provider may take to answer a close frame.
	closeWait = time.Second
	// handshakeWait bounds TCP and TLS of one connection.
	handshakeWait = 10 * time.Second
)

// TLSConfig makes the configuration for connections to the provider: caFile names a PEM file of certificates to trust instead
// of the system's, serverName the name that the certificates must bear instead of the address's; either may be empty.
func TLSConfig(caFile, serverName string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: serverName}
	if caFile == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("session: provider CA file: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("session: provider CA file %s: no PEM certificate in it", caFile)
	}
	return cfg, nil
}

// HTTPClient makes the client for the provider's REST API. It is for many sessions; its caller closes its idle connections.
func HTTPClient(cfg *tls.Config) *http.Client {
	return &http.Client{Transport: transport(cfg, nil)}
}

func transport(cfg *tls.Config, control func(network, address string, _ syscall.RawConn) error) *http.Transport {
	d := &net.Dialer{Timeout: handshakeWait, KeepAlive: 15 * time.Second, Control: control}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         rawsock.Dial(d),
		TLSClientConfig:     cfg.Clone(),
		TLSHandshakeTimeout: handshakeWait,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     90 * time.Second,
	}
}

// endpoint checks the address that a token answer named. base is the origin of the REST API, which an operator chose: only
// where it is plain or local itself may the socket be so too.
func endpoint(raw string, base *url.URL) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: it can't be parsed", ErrEndpoint)
	}
	switch {
	case u.Scheme != "wss" && (u.Scheme != "ws" || base.Scheme != "http"):
		return nil, fmt.Errorf("%w: scheme %.16q", ErrEndpoint, u.Scheme)
	case u.User != nil:
		return nil, fmt.Errorf("%w: it has user information", ErrEndpoint)
	case u.Hostname() == "":
		return nil, fmt.Errorf("%w: it has no host", ErrEndpoint)
	case localHost(u.Hostname()) && !localHost(base.Hostname()):
		return nil, fmt.Errorf("%w: its host is local", ErrEndpoint)
	}
	return u, nil
}

// localHost says whether a host, as a URL names it, means this machine, its own network segment or a group of machines.
func localHost(host string) bool {
	if name := strings.TrimSuffix(strings.ToLower(host), "."); name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && localAddr(ip)
}

func localAddr(ip netip.Addr) bool {
	ip = ip.Unmap()
	return ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsMulticast() || ip.IsUnspecified()
}

// refuseLocal is a net.Dialer's Control that looks at the address that a name turned out to mean.
func refuseLocal(_, address string, _ syscall.RawConn) error {
	if ap, err := netip.ParseAddrPort(address); err != nil || localAddr(ap.Addr()) {
		return fmt.Errorf("%w: its host is local", ErrEndpoint)
	}
	return nil
}

// errClosedByPeer says that the provider closed a socket by a close frame.
var errClosedByPeer = errors.New("session: the provider closed the link")

// wire is one open socket: the seam at which tests stand in for the network. Whatever ends a link closes it, and that ends
// its calls: a context that may end would be watched anew for each frame, which costs as much as reading one.
type wire interface {
	// Read appends the next frame to into, in whose place the result may be kept.
	Read(into []byte) ([]byte, error)
	Write(frame []byte) error
	// Close says goodbye first, and waits for a second at the most; CloseNow doesn't.
	Close()
	CloseNow()
}

// dialer opens sockets.
type dialer struct {
	base     *url.URL
	override *url.URL    // dialled in place of what answers name; nil: none. It is the operator's word, so it isn't checked.
	tls      *tls.Config // an empty ServerName means the address's, or base's where the address is an IP address
}

func (d *dialer) dial(ctx context.Context, wsURL, confID string, token confctl.Secret) (wire, error) {
	u, control := d.override, func(string, string, syscall.RawConn) error { return nil }
	if u == nil {
		var err error
		if u, err = endpoint(wsURL, d.base); err != nil {
			return nil, err
		}
		// Behind a proxy the address would be the proxy's; it is the one that resolves and that must look.
		if !localHost(d.base.Hostname()) && !proxied(u) {
			control = refuseLocal
		}
	}
	cfg := d.tls.Clone()
	if _, err := netip.ParseAddr(u.Hostname()); err == nil && cfg.ServerName == "" {
		cfg.ServerName = d.base.Hostname()
	}
	tr := transport(cfg, control)
	defer tr.CloseIdleConnections()
	target := u.JoinPath(socketPath)
	target.RawQuery = url.Values{"confID": {confID}, "tmpToken": {token.Reveal()}}.Encode()
	conn, resp, err := websocket.Dial(ctx, target.String(), &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     tr,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, confctl.Refusal("dial", resp)
		}
		return nil, fmt.Errorf("session: dial %s: %w", u.Host, confctl.TransportError(err))
	}
	conn.SetReadLimit(readLimit)
	return &socket{conn: conn}, nil
}

func proxied(u *url.URL) bool {
	h := *u
	h.Scheme = strings.Replace(u.Scheme, "ws", "http", 1)
	p, err := http.ProxyFromEnvironment(&http.Request{URL: &h})
	return err == nil && p != nil
}

// socket is a wire over coder/websocket.
type socket struct{ conn *websocket.Conn }

// Read implements wire.
func (s *socket) Read(into []byte) ([]byte, error) {
	_, r, err := s.conn.Reader(context.Background())
	if err == nil {
		into, err = readAll(r, into)
	}
	if err == nil {
		return into, nil
	}
	if status := websocket.CloseStatus(err); status != -1 {
		// The close frame's reason is the provider's text, which may repeat anything.
		return into, fmt.Errorf("%w with status %d", errClosedByPeer, status)
	}
	return into, err
}

// readAll appends what there is to read to b.
func readAll(r io.Reader, b []byte) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = slices.Grow(b, max(cap(b), leastFrame))
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// leastFrame is what a frame gets room for at least, in bytes: most increments are smaller.
const leastFrame = 1 << 10

// Write implements wire.
func (s *socket) Write(frame []byte) error {
	return s.conn.Write(context.Background(), websocket.MessageText, frame)
}

func (s *socket) Close() {
	late := time.AfterFunc(closeWait, s.CloseNow)
	defer late.Stop()
	_ = s.conn.Close(websocket.StatusNormalClosure, "")
}

func (s *socket) CloseNow() { _ = s.conn.CloseNow() }
