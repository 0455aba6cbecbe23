package watch

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// Options say what Run shows of which conference.
type Options struct {
	URL        string // http, https, ws or wss
	Token      string // empty: none
	Conference string
	Topics     []string // empty: all that the token may see
	// JSON prints every message of the server verbatim, one a line, instead of a table.
	JSON bool
	// Out gets what is shown. A terminal gets a table that lives; anything else, or with JSON, gets lines.
	Out io.Writer
	// Notes gets lines about the connection, where Out isn't a terminal; nil: nobody.
	Notes io.Writer
	// Size gives the columns and rows of a terminal, false where Out is none; nil: Out is asked, if it is a file.
	Size func() (width, height int, ok bool)
	// NoColour leaves out colours in the table.
	NoColour bool
	// HTTPClient as in Config.
	HTTPClient *http.Client
}

// Check says whether Run could begin: what the conference and the URL look like.
func (o Options) Check() error {
	if _, err := endpoint(o.URL); err != nil {
		return err
	}
	return checkConference(o.Conference)
}

// Run shows a conference until ctx is done, which is no error, or until one of the final errors (ErrUnauthorized,
// ErrForbidden, ErrNotFound, ErrReleased, ErrRefused, ErrProtocol) or an error of Out comes.
func Run(ctx context.Context, o Options) error {
	cfg := Config{URL: o.URL, Conference: o.Conference, Topics: o.Topics, HTTPClient: o.HTTPClient}
	if o.Token != "" {
		cfg.Token = func(context.Context) (string, error) { return o.Token, nil }
	}
	size := o.Size
	if size == nil {
		size = sizeOf(o.Out)
	}
	_, _, terminal := size()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p := &printer{out: o.Out, notes: o.Notes, fail: cancel}
	switch {
	case o.JSON:
		cfg.OnMessage, cfg.OnNotice = p.raw, p.notice
	case !terminal:
		cfg.OnUpdate, cfg.OnNotice = p.update, p.notice
	default:
		return runTable(ctx, cfg, o, size)
	}
	client, err := NewClient(cfg)
	if err != nil {
		return err
	}
	err = client.Run(ctx)
	if p.err != nil {
		return p.err
	}
	return err
}

// runTable lets a client work and paints what it knows.
func runTable(ctx context.Context, cfg Config, o Options, size func() (int, int, bool)) error {
	s := newScreen(o.Out, size, !o.NoColour)
	cfg.OnUpdate, cfg.OnNotice = s.update, s.notice
	client, err := NewClient(cfg)
	if err != nil {
		return err
	}
	s.report = client.Report
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	var runErr error
	running.Go(func() {
		defer cancel()
		runErr = client.Run(ctx)
	})
	paintErr := s.run(ctx)
	cancel()
	running.Wait()
	if paintErr != nil {
		return paintErr
	}
	return runErr
}

func sizeOf(out io.Writer) func() (int, int, bool) {
	f, isFile := out.(*os.File)
	return func() (int, int, bool) {
		if !isFile {
			return 0, 0, false
		}
		w, h, err := term.GetSize(int(f.Fd()))
		return w, h, err == nil
	}
}

// printer prints lines. It is used by one goroutine.
type printer struct {
	out, notes io.Writer
	fail       func(error)
	err        error
}

func (p *printer) print(line []byte) {
	if p.err != nil {
		return
	}
	if _, err := p.out.Write(line); err != nil {
		p.err = fmt.Errorf("watch: write: %w", err)
		p.fail(p.err)
	}
}

// raw prints a message as it came. A server's messages hold no line breaks, except from one that formats its JSON.
func (p *printer) raw(message []byte) {
	var line bytes.Buffer
	if bytes.IndexByte(message, '\n') < 0 || json.Compact(&line, message) != nil {
		line.Reset()
		line.Write(message)
	}
	line.WriteByte('\n')
	p.print(line.Bytes())
}

// update prints one line: when, which topic, its seq, and what changed.
func (p *printer) update(m *Message) {
	topic, body := m.Topic, string(m.Patch)
	at := time.UnixMilli(m.Time)
	switch m.Type {
	case "event":
		body = string(m.Data)
	case "snapshot":
		state, err := json.Marshal(m.State)
		if err != nil {
			return // raw JSON that was decoded can be encoded
		}
		topic, body, at = "snapshot", string(state), time.Now()
	case "status":
		topic, body, at = "status", "fresh", time.UnixMilli(m.Since)
		if !m.Fresh {
			body = "not fresh: " + m.Reason
		}
		if m.Since == 0 {
			at = time.Now()
		}
	}
	p.print(fmt.Appendf(nil, "%s %-12s %6d %s\n", at.Format("15:04:05.000"), topic, m.Seq, printable(body)))
}

func (p *printer) notice(n Notice) {
	if p.notes == nil {
		return
	}
	line := string(n.State)
	if n.State == Waiting {
		line = fmt.Sprintf("%v; trying again in %s", n.Err, n.Wait.Round(10*time.Millisecond))
	}
	_, _ = fmt.Fprintln(p.notes, line) // notes are a courtesy
}
