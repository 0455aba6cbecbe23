package edge

import (
	"bufio"
	"encoding/base64"
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"
)

// subprotocol is the protocol's name in the handshake; bearerPrefix marks a second offered one that is a token, since a
// page can't set headers on a WebSocket.
const (
	subprotocol  = "confgate.v1"
	bearerPrefix = "bearer."
)

// checkUpgrade says what is wrong with a handshake before anything is upgraded: a status and a detail, or 0.
func checkUpgrade(r *http.Request) (status int, detail string) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(r.Header.Get("Sec-WebSocket-Key")))
	switch {
	case !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket") || r.ProtoMajor != 1:
		return http.StatusUpgradeRequired, "this is a WebSocket endpoint"
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return http.StatusUpgradeRequired, "only WebSocket version 13 is spoken here"
	case err != nil || len(key) != 16 || len(r.Header.Values("Sec-WebSocket-Key")) != 1:
		return http.StatusBadRequest, "Sec-WebSocket-Key must be 16 bytes in base64"
	}
	return 0, ""
}

// offer reads the handshake: whether confgate.v1 was offered, and the token. A header names the token before the
// subprotocols do; an Authorization of another scheme may be a proxy's and isn't ours to read.
func offer(h http.Header) (ours bool, token string) {
	for _, line := range h.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			p = strings.TrimSpace(p)
			if p == subprotocol {
				ours = true
			} else if t, ok := strings.CutPrefix(p, bearerPrefix); ok && token == "" {
				token = t
			}
		}
	}
	scheme, credentials, ok := strings.Cut(h.Get("Authorization"), " ")
	if ok && strings.EqualFold(scheme, "Bearer") {
		token = strings.TrimSpace(credentials)
	}
	return ours, token
}

// hasToken says whether a comma-separated header has a word.
func hasToken(h http.Header, name, word string) bool {
	for _, line := range h.Values(name) {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(t), word) {
				return true
			}
		}
	}
	return false
}

// accept upgrades the request. The library then reads from the socket, and what it would write itself, control frames,
// goes to c.
func (c *conn) accept(w http.ResponseWriter, r *http.Request) (*websocket.Conn, error) {
	ws, err := websocket.Accept(&upgrader{ResponseWriter: w, c: c}, r, &websocket.AcceptOptions{
		Subprotocols:       []string{subprotocol},
		InsecureSkipVerify: true, // the origin has been checked by now
	})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(-1) // the reader has its own, with a close code of this protocol
	return ws, nil
}

// upgrader hands the library a socket that it can't write to.
type upgrader struct {
	http.ResponseWriter
	c *conn
}

// readBuffer holds the header of a frame and most messages, in bytes. What is longer is read past it.
const readBuffer = 256

// controlBuffer holds the largest control frame, 127 bytes, so that each comes in one write.
const controlBuffer = 128

// Hijack takes the socket over for c.
func (u *upgrader) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(u.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	u.c.nc = nc
	u.c.out.open(nc, u.c.s.cfg.WriteStall, closeWait)
	boundSocket(nc)
	if u.c.out.raw != nil {
		u.c.writer = u.c.s.shared.pick()
	}
	half := &readHalf{Conn: nc, c: u.c}
	if n := rw.Reader.Buffered(); n > 0 { // a client may send before it has the answer
		early, _ := rw.Peek(n)
		half.early = append([]byte(nil), early...)
	}
	// The request's own buffers are 4 KiB each, which is more than all else that an idle client costs.
	half.buffered, u.c.half = bufio.NewReaderSize(half, readBuffer), half
	return half, bufio.NewReadWriter(half.buffered, bufio.NewWriterSize(half, controlBuffer)), nil
}

// readHalf is a socket as the library sees it.
type readHalf struct {
	net.Conn
	c     *conn
	early []byte // came with the request; read first

	buffered *bufio.Reader // the library's, over this
}

// Read implements net.Conn.
func (h *readHalf) Read(b []byte) (int, error) {
	if len(h.early) > 0 {
		n := copy(b, h.early)
		if h.early = h.early[n:]; len(h.early) == 0 {
			h.early = nil
		}
		return n, nil
	}
	return h.Conn.Read(b)
}

// mustWait says whether nothing that was received is left, and the socket can be waited for without reading.
func (c *conn) mustWait() bool {
	return c.out.raw != nil && len(c.half.early) == 0 && c.half.buffered.Buffered() == 0
}

// await waits until there is something to read, or reading fails.
func (c *conn) await() {
	if c.mustWait() {
		_ = c.out.raw.Read(readable) // an error is the library's to find
	}
}

// Write takes a control frame.
func (h *readHalf) Write(frame []byte) (int, error) {
	h.c.control(frame)
	return len(frame), nil
}

// Close does nothing: the library closes as soon as it has handed over its close frame, and that has yet to be written.
func (*readHalf) Close() error { return nil }
