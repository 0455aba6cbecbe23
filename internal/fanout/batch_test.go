package fanout_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"confgate/internal/conference"
	"confgate/internal/fanout"
	"confgate/internal/fanout/fanouttest"
)

// counting counts a client's round trips and the script calls in them.
type counting struct{ alone, together, calls atomic.Int64 }

func (c *counting) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "evalsha" {
			c.alone.Add(1)
		}
		return next(ctx, cmd)
	}
}

func (c *counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() == "evalsha" {
			c.together.Add(1)
			c.calls.Add(int64(len(cmds)))
		}
		return next(ctx, cmds)
	}
}

// Many conferences that append at once share round trips; each is answered for itself, a fenced one and one whose caller
// gave up too, also by a server that doesn't know the script yet.
func TestAppendsShareRoundTrips(t *testing.T) {
	t.Parallel()
	url, _ := fanouttest.StartRedis(t)
	client := connect(t, url)
	var trips counting
	client.AddHook(&trips)
	m := newMetrics()
	log := fanout.NewRedisLog(client, nil, fanout.LogOptions{Metrics: m})
	const conferences, appends = 60, 20
	owners := make([]*fanouttest.Owner, conferences)
	for i := range owners {
		owners[i] = fanouttest.StartOwner(t, log, fmt.Sprint("conf", i))
	}
	fenced, gone := owners[0], owners[1]
	if _, _, err := log.Claim(t.Context(), fenced.Conf); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	before := trips.alone.Load()

	var wg sync.WaitGroup
	for _, o := range owners[2:] {
		wg.Go(func() {
			for n := range appends {
				pos, err := log.Append(t.Context(), o.Conf, o.Claim, o.Pos, []conference.Change{fanouttest.Set("p1", fmt.Sprint(n))})
				if err != nil || pos.Seq != o.Pos.Seq+1 {
					t.Errorf("Append %d to %s after %v = %v, %v", n, o.Conf, o.Pos, pos, err)
					return
				}
				o.Pos = pos
			}
		})
	}
	wg.Go(func() {
		for range appends {
			change := []conference.Change{fanouttest.Set("p1", "late")}
			if _, err := log.Append(t.Context(), fenced.Conf, fenced.Claim, fenced.Pos, change); !errors.Is(err, conference.ErrFenced) {
				t.Errorf("Append by an old claim = %v, want fenced", err)
			}
			if _, err := log.Append(over, gone.Conf, gone.Claim, gone.Pos, change); !errors.Is(err, context.Canceled) {
				t.Errorf("Append for nobody = %v, want canceled", err)
			}
		}
	})
	wg.Wait()

	calls, together, alone := trips.calls.Load(), trips.together.Load(), trips.alone.Load()-before
	if calls <= 2*together || together == 0 {
		t.Errorf("%d appends in %d round trips and %d alone, want most of them together", calls, together, alone)
	}
	for _, o := range owners[2:] {
		cp, err := log.Load(t.Context(), o.Conf)
		if err != nil || cp.Position != o.Pos || cp.Seq != appends {
			t.Errorf("%s is at %v, %v, want %v", o.Conf, cp.Position, err, o.Pos)
		}
	}
	if n := metric(t, m, "fanout_fenced_total"); n != appends {
		t.Errorf("%v fenced appends counted, want %d", n, appends)
	}
}

// An append that nobody waits for is only taken where appends share round trips, and is answered like any other.
func TestAppendSoon(t *testing.T) {
	t.Parallel()
	url, _ := fanouttest.StartRedis(t)
	client := connect(t, url)
	var trips counting
	client.AddHook(&trips)
	log := fanout.NewRedisLog(client, nil, fanout.LogOptions{})
	runHub(t, log)
	o, late := fanouttest.StartOwner(t, log, "conf"), fanouttest.StartOwner(t, log, "late")
	old := late.Claim
	if _, _, err := log.Claim(t.Context(), late.Conf); err != nil {
		t.Fatal(err)
	}
	type answer struct {
		pos conference.Position
		err error
	}
	answers, refused := make(chan answer, 1), make(chan answer, 1)
	taken := 0
	for n := 0; taken < 20; n++ {
		change := []conference.Change{fanouttest.Set("p1", fmt.Sprint(n))}
		soon := log.AppendSoon(o.Conf, o.Claim, o.Pos, change, func(pos conference.Position, err error) { answers <- answer{pos, err} })
		if !soon {
			pos, err := log.Append(t.Context(), o.Conf, o.Claim, o.Pos, change)
			if err != nil {
				t.Fatal(err)
			}
			o.Pos = pos
			continue
		}
		taken++
		got := <-answers
		if got.err != nil || got.pos.Seq != o.Pos.Seq+1 || got.pos.Epoch != o.Pos.Epoch {
			t.Fatalf("answer = %v, %v, want the place behind %v", got.pos, got.err, o.Pos)
		}
		o.Pos = got.pos
		if log.AppendSoon(late.Conf, old, late.Pos, change, func(pos conference.Position, err error) { refused <- answer{pos, err} }) {
			if got := <-refused; !errors.Is(got.err, conference.ErrFenced) {
				t.Fatalf("answer to an old claim = %v, %v, want fenced", got.pos, got.err)
			}
		}
		if n > 10_000 {
			t.Fatal("appends never share round trips")
		}
	}
	cp, err := log.Load(t.Context(), o.Conf)
	if err != nil || cp.Position != o.Pos {
		t.Errorf("log is at %v, %v, want %v", cp.Position, err, o.Pos)
	}
	if trips.together.Load() < int64(taken) {
		t.Errorf("%d round trips of batches, want one for each of %d appends at least", trips.together.Load(), taken)
	}
}
