package edge

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// readFrame reads a frame of a server by RFC 6455, section 5.2, refusing what a server mustn't send.
func readFrame(r io.Reader) (op byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0]&0x80 == 0 || head[0]&0x70 != 0 || head[1]&0x80 != 0 {
		return 0, nil, errors.New("fragmented, extended or masked")
	}
	n, least := uint64(head[1]), uint64(0)
	if n >= 126 {
		wide := make([]byte, 2+6*(n-126))
		if _, err := io.ReadFull(r, wide); err != nil {
			return 0, nil, err
		}
		least = 126
		if n == 127 {
			least = 1 << 16
		}
		n = 0
		for _, b := range wide {
			n = n<<8 | uint64(b)
		}
	}
	if n < least {
		return 0, nil, errors.New("length isn't in its shortest form")
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(r, payload)
	return head[0] & 0xF, payload, err
}

var frameSizes = []int{0, 1, 125, 126, 127, 65535, 65536, 1 << 20}

func FuzzFrame(f *testing.F) {
	for _, n := range frameSizes {
		f.Add(byte(opText), n)
	}
	f.Add(byte(opClose), 125)
	f.Fuzz(func(t *testing.T, op byte, n int) {
		if op > 0xF || n < 0 || n > 1<<24 {
			t.Skip("no frame")
		}
		head := appendFrameHeader(nil, op, n)
		gotOp, payload, err := readFrame(io.MultiReader(bytes.NewReader(head), io.LimitReader(zeros{}, int64(n))))
		if err != nil || gotOp != op || len(payload) != n {
			t.Errorf("frame of opcode %d and %d bytes reads as %d, %d, %v", op, n, gotOp, len(payload), err)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func newWriter(nc net.Conn, stall, grace time.Duration) *frameWriter {
	w := new(frameWriter)
	w.open(nc, stall, grace)
	return w
}

// pipe makes a frameWriter and the client's end.
func pipe(t *testing.T, stall, grace time.Duration) (*frameWriter, net.Conn) {
	t.Helper()
	server, client := net.Pipe()
	t.Cleanup(func() { _ = server.Close(); _ = client.Close() })
	return newWriter(server, stall, grace), client
}

func TestFramesArriveWhole(t *testing.T) {
	t.Parallel()
	w, client := pipe(t, time.Minute, time.Second)
	chunked, chunkedClient := pipe(t, time.Minute, time.Second)
	chunked.chunk = tlsChunk
	for _, end := range []struct {
		w      *frameWriter
		client net.Conn
	}{{w, client}, {chunked, chunkedClient}} {
		for _, n := range frameSizes {
			payload := bytes.Repeat([]byte{'x'}, n)
			done := make(chan error, 1)
			go func() { done <- end.w.write(opText, payload, time.Now()) }()
			op, got, err := readFrame(end.client)
			if err != nil || op != opText || !bytes.Equal(got, payload) {
				t.Fatalf("frame of %d bytes in chunks of %d: read opcode %d, %d bytes, %v", n, end.w.chunk, op, len(got), err)
			}
			if err := <-done; err != nil {
				t.Fatalf("write of %d bytes = %v", n, err)
			}
		}
	}
}

func TestWriteStall(t *testing.T) {
	t.Parallel()
	const stall, grace = 30 * time.Second, 5 * time.Second
	payload := make([]byte, 100)
	tests := []struct {
		name  string
		takes []time.Duration // when the client takes 10 bytes
		all   time.Duration   // when it takes the rest; 0: never
		err   error
		slow  bool
		least time.Duration // the end, in time since the write
		most  time.Duration
	}{
		{"takes it at once", nil, 1, nil, false, 0, time.Second},
		{"takes nothing", nil, 0, errStalled, true, stall + grace, stall + grace + 2*stall/8},
		{"takes nothing, then all within the grace", nil, stall + grace - time.Second, nil, true, stall + grace - time.Second, stall + grace},
		{"takes a little now and then", []time.Duration{25 * time.Second, 50 * time.Second, 75 * time.Second}, 100 * time.Second, nil, false, 100 * time.Second, 101 * time.Second},
		{"takes a little, then nothing", []time.Duration{25 * time.Second}, 0, errStalled, true, 25*time.Second + stall + grace, 25*time.Second + stall + grace + 3*stall/8},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w, client := pipe(t, stall, grace)
				start := time.Now()
				read := make(chan struct{})
				go func() {
					defer close(read)
					for _, at := range tt.takes {
						<-time.After(time.Until(start.Add(at)))
						_, _ = io.ReadFull(client, make([]byte, 10))
					}
					if tt.all > 0 {
						<-time.After(time.Until(start.Add(tt.all)))
						_, _ = io.Copy(io.Discard, client)
					}
				}()
				err := w.write(opText, payload, start)
				took := time.Since(start)
				if !errors.Is(err, tt.err) || w.slow != tt.slow || took < tt.least || took > tt.most {
					t.Errorf("write = %v after %v, slow %v; want %v after %v to %v, slow %v", err, took, w.slow, tt.err, tt.least, tt.most, tt.slow)
				}
				_ = w.nc.Close()
				<-read
			})
		})
	}
}

// A TLS connection is broken for good by a write's deadline, so it isn't asked to go on after one.
func TestWriteStallOverTLS(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server, client := net.Pipe()
		defer func() { _ = client.Close() }()
		w := newWriter(tls.Server(server, &tls.Config{}), 30*time.Second, time.Second)
		if w.chunk != tlsChunk || w.poll != 30*time.Second {
			t.Errorf("TLS: chunk %d, poll %v; want %d, 30s", w.chunk, w.poll, tlsChunk)
		}
		w.nc = server // a handshake isn't of interest here
		start := time.Now()
		err := w.write(opText, make([]byte, 3*tlsChunk), start)
		if took := time.Since(start); !errors.Is(err, errStalled) || took != 30*time.Second {
			t.Errorf("write = %v after %v, want errStalled after 30s", err, took)
		}
	})
}

func TestWriteAfterTheDeadlineHasPassed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, client := pipe(t, 8*time.Second, time.Second)
		got := make(chan error, 1)
		for range 3 {
			go func() {
				_, _, err := readFrame(client)
				got <- err
			}()
			if err := w.write(opText, []byte("{}"), time.Now()); err != nil {
				t.Errorf("write = %v, want nil: the deadline of an earlier write has nothing to do with it", err)
			}
			if err := <-got; err != nil {
				t.Error(err)
			}
			<-time.After(time.Minute)
		}
	})
}

func TestWriteToClosedSocket(t *testing.T) {
	t.Parallel()
	w, client := pipe(t, time.Minute, time.Second)
	_ = client.Close()
	if err := w.write(opText, []byte("{}"), time.Now()); err == nil || errors.Is(err, errStalled) {
		t.Errorf("write to a closed socket = %v, want its own error", err)
	}
}

// sink is a socket that takes everything.
type sink struct{ net.Conn }

func (sink) Write(p []byte) (int, error)        { return len(p), nil }
func (sink) SetWriteDeadline(_ time.Time) error { return nil }

//nolint:paralleltest // counts allocations, which others would add to
func TestWriteAllocatesNothing(t *testing.T) {
	w := newWriter(sink{}, time.Minute, time.Second)
	payload := make([]byte, 300)
	if allocs := testing.AllocsPerRun(100, func() { _ = w.write(opText, payload, time.Now()) }); allocs != 0 {
		t.Errorf("write allocates %v times, want 0", allocs)
	}
}

func BenchmarkWrite(b *testing.B) {
	// A real socket, with a reader that keeps up.
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, bufio.NewReaderSize(c, 1<<16))
			_ = c.Close()
		}
	}()
	nc, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	w := newWriter(nc, time.Minute, time.Second)
	payload := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		if err := w.write(opText, payload, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
}

func TestCloseCauses(t *testing.T) {
	t.Parallel()
	documented := map[uint16]bool{1001: false, 1013: false, 4401: false, 4403: false, 4408: false, 4409: false, 4429: false}
	for cause := causeNone + 1; cause < numCauses; cause++ {
		if cause.metric() == "" {
			t.Errorf("cause %d has no label", cause)
		}
		p := cause.payload()
		if cause == causeClient || cause == causeLost || cause == causeReleased {
			if p != nil {
				t.Errorf("cause %s sends a close frame, want none", cause.metric())
			}
			continue
		}
		code := binary.BigEndian.Uint16(p)
		if _, ok := documented[code]; !ok || len(p) <= 2 || len(p) > 125 {
			t.Errorf("cause %s sends code %d and %d bytes of reason, want a documented code and 1 to 123 bytes", cause.metric(), code, len(p)-2)
		}
		documented[code] = true
	}
	for code, used := range documented {
		if !used {
			t.Errorf("close code %d is never sent", code)
		}
	}
}
