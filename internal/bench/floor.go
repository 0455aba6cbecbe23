package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// floorChannel is what the floor subscribes to.
const floorChannel = "confgate-bench-floor"

// RunFloor serves the floor until ctx is done: each connection names its group by a line, and each message, "group", a line
// feed and a frame's bytes, is written to each connection of the group, one write each, in a loop. It prints its address.
func RunFloor(ctx context.Context, redisURL string, out io.Writer) error {
	opts, err := redis.ParseURL(redisURL)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	client := redis.NewClient(opts)
	defer func() { _ = client.Close() }()
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer ln.Close()
	f := &floor{groups: make(map[int][]net.Conn)}
	sub := client.Subscribe(ctx, floorChannel)
	defer func() { _ = sub.Close() }()
	stop := context.AfterFunc(ctx, func() {
		_ = ln.Close()
		_ = sub.Close() // ends Receive
	})
	defer stop()
	if _, err := sub.Receive(ctx); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if _, err := fmt.Fprintln(out, ln.Addr()); err != nil {
		return err
	}
	go f.accept(ln)
	for {
		got, err := sub.Receive(ctx)
		if ctx.Err() != nil {
			f.close()
			return nil
		}
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		if m, ok := got.(*redis.Message); ok {
			f.write(m.Payload)
		}
	}
}

// floor is the connections of a floor by group.
type floor struct {
	mu     sync.Mutex
	groups map[int][]net.Conn
}

func (f *floor) accept(ln net.Listener) {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			line, err := bufio.NewReaderSize(nc, 16).ReadString('\n')
			group, bad := strconv.Atoi(strings.TrimSpace(line))
			if err != nil || bad != nil {
				_ = nc.Close()
				return
			}
			f.mu.Lock()
			f.groups[group] = append(f.groups[group], nc)
			f.mu.Unlock()
			var b [1]byte // a bare reader, as any server needs one
			_, _ = nc.Read(b[:])
		}()
	}
}

func (f *floor) write(message string) {
	head, frame, _ := strings.Cut(message, "\n")
	group, err := strconv.Atoi(head)
	if err != nil {
		return
	}
	b := []byte(frame)
	f.mu.Lock()
	conns := f.groups[group]
	f.mu.Unlock()
	for _, nc := range conns {
		_, _ = nc.Write(b) // a client that has gone costs the others nothing
	}
}

func (f *floor) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conns := range f.groups {
		for _, nc := range conns {
			_ = nc.Close()
		}
	}
}

// floorMessage is a message for a floor: a frame with a delta of the given size in all.
func floorMessage(group int, seq uint64, size int, now time.Time) []byte {
	msg := fmt.Appendf(nil, `{"type":"delta","conference":"floor","topic":"quality","seq":%d,"prev":%d,"time":%d,"patch":"`,
		seq, seq-1, now.UnixMilli())
	if pad := size - len(msg) - 2; pad > 0 {
		msg = append(msg, bytes.Repeat([]byte{'x'}, pad)...)
	}
	msg = append(msg, `"}`...)
	frame := fmt.Appendf(nil, "%d\n\x81", group)
	if len(msg) < 126 {
		frame = append(frame, byte(len(msg)))
	} else {
		frame = binary.BigEndian.AppendUint16(append(frame, 126), uint16(min(len(msg), 1<<16-1)))
	}
	return append(frame, msg...)
}
