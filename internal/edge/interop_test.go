package edge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"strings"
	"testing"

	nhooyr "nhooyr.io/websocket"
)

// Another library's client understands the frames that this package writes itself, of every form and size.
func TestInterop(t *testing.T) {
	t.Parallel()
	w := loopback(t, nil)
	ctx := t.Context()
	ws, _, err := nhooyr.Dial(ctx, "ws"+strings.TrimPrefix(w.url, "http")+"/v1/ws", &nhooyr.DialOptions{
		Subprotocols: []string{subprotocol, bearerPrefix + token(t, Claims{Scopes: ScopeRead})},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	ws.SetReadLimit(-1)
	next := func() []byte {
		t.Helper()
		typ, data, err := ws.Read(ctx)
		if err != nil || typ != nhooyr.MessageText {
			t.Fatalf("Read = %v, %v; want text", typ, err)
		}
		return data
	}
	if got := next(); ws.Subprotocol() != subprotocol || !bytes.Contains(got, []byte(`"welcome"`)) {
		t.Fatalf("subprotocol %q, first message %s", ws.Subprotocol(), got)
	}
	if err := ws.Write(ctx, nhooyr.MessageText, []byte(`{"type":"subscribe","conference":"900"}`)); err != nil {
		t.Fatal(err)
	}
	next()
	sub := <-w.src.subs
	for _, n := range append(frameSizes[1:], 16<<20) { // 16 MiB is the largest message of a server
		msg := bytes.Repeat([]byte{'1'}, n)
		sub.put(Frame{Bytes: msg, Messages: []MessageCount{{"snapshot", 1}}})
		if got := next(); !bytes.Equal(got, msg) {
			t.Fatalf("message of %d bytes came as %d bytes", n, len(got))
		}
	}
	pinged := make(chan error, 1)
	go func() { pinged <- ws.Ping(ctx) }()
	sub.put(text("delta", `{}`))
	next()
	go func() { // the pong is seen by a reader only
		_, _, _ = ws.Read(context.WithoutCancel(ctx))
	}()
	if err := <-pinged; err != nil {
		t.Errorf("Ping = %v, want nil", err)
	}
	if err := ws.Close(nhooyr.StatusNormalClosure, ""); err != nil {
		t.Errorf("Close = %v, want nil", err)
	}
}

// raw is a client that speaks WebSocket by hand, to do what no library does.
type raw struct {
	t  *testing.T
	nc net.Conn
	r  *bufio.Reader
}

func (w *world) raw() *raw {
	w.t.Helper()
	nc, err := (&net.Dialer{}).DialContext(w.t.Context(), "tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = nc.Close() })
	c := &raw{w.t, nc, bufio.NewReader(nc)}
	c.write([]byte("GET /v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: confgate.v1\r\nAuthorization: Bearer " +
		token(w.t, Claims{Scopes: ScopeRead}) + "\r\n\r\n"))
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			w.t.Fatal(err)
		}
		if line == "\r\n" {
			break
		}
	}
	if op, payload, err := readFrame(c.r); err != nil || op != opText || !bytes.Contains(payload, []byte(`"welcome"`)) {
		w.t.Fatalf("first frame = %d, %s, %v; want the welcome", op, payload, err)
	}
	return c
}

func (c *raw) write(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// frame makes a client's frame, masked by zeros.
func frame(first byte, payload string) []byte {
	return append([]byte{first, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
}

func TestFraming(t *testing.T) {
	t.Parallel()
	const fin, ping = 0x80, 0x9
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	tests := []struct {
		name string
		send []byte
		want []byte // the frames that come, without the length
		code uint16 // of a close frame after them; 0: none comes
	}{
		{
			"fragments with a ping between", join(frame(opText, `{"type":"pi`), frame(fin|ping, "hello"), frame(fin, `ng"}`)),
			[]byte("\x8ahello\x81" + `{"type":"pong"}`), 0,
		},
		{"empty ping", frame(fin|ping, ""), []byte("\x8a"), 0},
		{"close with a code", frame(fin|opClose, "\x03\xe8bye"), nil, 1000},
		{"more behind what is broken", join(frame(fin, "{}"), make([]byte, 32<<20)), nil, 4409},
		{"unmasked", []byte{fin | opText, 2, '{', '}'}, nil, 4409},
		{"reserved bits", frame(0xF0|opText, "{}"), nil, 4409},
		{"reserved opcode", frame(fin|0x3, "{}"), nil, 4409},
		{"continuation of nothing", frame(fin, "{}"), nil, 4409},
		{"message within a message", join(frame(opText, "{"), frame(fin|opText, "}")), nil, 4409},
		{"fragmented ping", frame(ping, "x"), nil, 4409},
		{"bad close code", frame(fin|opClose, "\x03\xed"), nil, 4409},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := loopback(t, nil)
			c := w.raw()
			c.write(tt.send)
			var got []byte
			for len(got) < len(tt.want) {
				op, payload, err := readFrame(c.r)
				if err != nil {
					t.Fatalf("after %q: %v", got, err)
				}
				got = append(append(got, 0x80|op), payload...)
			}
			if !bytes.Equal(got, tt.want) {
				t.Errorf("frames = %q, want %q", got, tt.want)
			}
			if tt.code == 0 {
				return
			}
			op, payload, err := readFrame(c.r)
			if err != nil || op != opClose || len(payload) < 2 || binary.BigEndian.Uint16(payload) != tt.code {
				t.Fatalf("frame = %d, %q, %v; want close code %d", op, payload, err, tt.code)
			}
			_ = c.nc.(*net.TCPConn).CloseWrite()
			if _, err := c.r.ReadByte(); err == nil {
				t.Error("something follows the close frame")
			}
		})
	}
}
