package fanout_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"confgate/internal/conference"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
)

func TestDocument(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := fanout.NewMemoryLog(fanout.LogOptions{})
		o := testOwner(t, log, conf)
		o.Append(t, conference.Change{Topic: conference.Participants, Body: []byte(`{"p1":{"name":"Ann","phone":"+4911"}}`)})
		feeds, stop := runFeeds(fanout.FeedOptions{Log: log, Known: func(c string) bool { return c == conf }})
		defer stop()
		get := func(p conference.Profile, have ...conference.Position) fanout.Document {
			t.Helper()
			d, err := feeds.Document(t.Context(), conf, conference.StateTopics, p, have)
			if err != nil {
				t.Fatal(err)
			}
			if d.Position != o.Pos || !d.Fresh {
				t.Errorf("Document() is at %v, fresh %t, want %v and fresh", d.Position, d.Fresh, o.Pos)
			}
			return d
		}
		for p, want := range map[conference.Profile]string{
			0:              `{"participants":{"p0":{"name":"Null"},"p1":{"name":"Ann"}}}`,
			conference.PII: `{"participants":{"p0":{"name":"Null"},"p1":{"name":"Ann","phone":"+4911"}}}`,
		} {
			if got := string(get(p).JSON); got != want {
				t.Errorf("Document(profile %d) = %s, want %s", p, got, want)
			}
		}
		if a, b := get(0), get(0); &a.JSON[0] != &b.JSON[0] {
			t.Error("two documents of one position aren't the same bytes")
		}
		if d, err := feeds.Document(t.Context(), conf, 0, 0, nil); err != nil || string(d.JSON) != `{}` {
			t.Errorf("Document(no topics) = %s, %v, want {}", d.JSON, err)
		}
		if got := get(0, conference.Position{Epoch: "x", Seq: 9}, o.Pos); got.JSON != nil {
			t.Errorf("Document() at a known position = %s, want none", got.JSON)
		}
		o.Append(t, fanouttest.Set("p2", "Bob"))
		synctest.Wait()
		if got, want := string(get(0).JSON), `{"participants":{"p0":{"name":"Null"},"p1":{"name":"Ann"},"p2":{"name":"Bob"}}}`; got != want {
			t.Errorf("Document() after a change = %s, want %s", got, want)
		}
		if _, err := feeds.Document(t.Context(), "other", 0, 0, nil); !errors.Is(err, fanout.ErrNotFound) {
			t.Errorf("Document(unknown) = %v, want ErrNotFound", err)
		}
	})
}

// A poller that was told of a position by one worker is shown none before it by another.
func TestDocumentWaitsForWhatTheReaderHas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := fanout.NewMemoryLog(fanout.LogOptions{})
		o := testOwner(t, log, conf)
		feeds, stop := runFeeds(fanout.FeedOptions{Log: log})
		defer stop()
		ahead := []conference.Position{{Epoch: o.Pos.Epoch, Seq: 0}, {Epoch: o.Pos.Epoch, Seq: 2}}
		began := time.Now()
		if d, err := feeds.Document(t.Context(), conf, 0, 0, ahead); !errors.Is(err, fanout.ErrUnavailable) ||
			time.Since(began) != 2*time.Second {
			t.Errorf("Document() = %v, %v after %v, want ErrUnavailable after 2s", d, err, time.Since(began))
		}
		go func() {
			time.Sleep(time.Second)
			o.Append(t, fanouttest.Set("p1", "Ann"), fanouttest.Set("p2", "Bob"))
		}()
		d, err := feeds.Document(t.Context(), conf, conference.StateTopics, 0, ahead)
		if err != nil || d.Seq != 2 || d.JSON != nil {
			t.Errorf("Document() = %v, %v, want seq 2, which is known", d, err)
		}
		other := []conference.Position{{Epoch: "other", Seq: 99}}
		if d, err := feeds.Document(t.Context(), conf, conference.StateTopics, 0, other); err != nil || d.JSON == nil {
			t.Errorf("Document() for a reader of another epoch = %v, %v, want one at once", d, err)
		}
	})
}

func TestOverview(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := fanout.NewMemoryLog(fanout.LogOptions{})
		o := testOwner(t, log, conf)
		o.Append(t, fanouttest.Set("p1", "Ann"), conference.Change{Topic: conference.Info, Body: []byte(`{"title":"Standup"}`)})
		feeds, stop := runFeeds(fanout.FeedOptions{Log: log})
		defer stop()
		c := join(t, feeds, fanout.Request{Conference: conf})
		defer c.Close()
		got, err := feeds.Overview(t.Context(), conf)
		if err != nil || got.Position != o.Pos || got.Title != "Standup" || got.Counts[conference.Participants] != 2 ||
			got.Readers != 1 || !got.Fresh {
			t.Errorf("Overview() = %+v, %v, want one reader, two participants and the title", got, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := feeds.Overview(ctx, conf); !errors.Is(err, context.Canceled) {
			t.Errorf("Overview() of a caller that has gone = %v, want context.Canceled", err)
		}
	})
}
