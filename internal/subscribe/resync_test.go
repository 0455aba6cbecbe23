package subscribe

import "testing"

// TestResyncs has one case for each rule about when a gap brings a Subscribe, and what becomes of it.
func TestResyncs(t *testing.T) {
	t.Parallel()
	play(t, []clause{
		{name: "live when every kind that sends full frames has sent one", script: `
			up B P N T I
			live = false
			next = none 2s
			wait 10ms
			full B 100
			full P 100
			live = false
			next = none 2s
			full I 100
			live = false
			full N 100
			live = true
			stale = false
			next = none`},
		{name: "or after 2 s of quiet", script: `
			up P N
			wait 30ms
			full P 100
			next = none 2s
			wait 1999ms
			live = false
			wait 1ms
			live = true`},
		{name: "quiet is of kinds that had sent none: one that keeps sending doesn't hold it up", script: `
			up S N
			full S 100
			wait 1500ms
			full S 1600
			live = false
			wait 500ms
			live = true`},
		{name: "nothing but events to wait for", script: `
			up T I
			live = true
			next = none`},
		{name: "no full frame in 10 s: redial, and fill by REST meanwhile, from 2 s on, until one comes", script: `
			up P N
			wait 1999ms
			filling = false
			wait 1ms
			filling = true
			live = false
			next = none 8s
			wait 8s
			next = redial
			next = redial
			filling = true
			down
			next = none
			filling = true
			up P N
			next = none 2s
			filling = true
			full P 100
			filling = false`},
		{name: "events aren't full frames of a state", script: `
			up P I
			full I 100
			inc T 1 100
			wait 10s
			next = redial`},
		{name: "a link that is lost early is no reason to fill", script: `
			up P
			wait 1s
			down
			wait 10s
			filling = false`},
		{name: "a gap: at most one a second, counted from the link's own Subscribe", script: `
			up P
			full P 100
			inc P 1 101
			inc P 3 103
			next = none 1s
			wait 1s
			next = resync 1s
			next = resync 1s
			sent
			next = none 2s
			full P 110
			doubt =
			next = none
			inc P 5 111 = apply gap
			next = none 1s`},
		{name: "an idle link's gap asks at once", script: `
			up P
			full P 100
			wait 1m
			inc P 1 101
			inc P 3 103
			next = resync 1s`},
		{name: "one in flight: a gap that comes meanwhile waits for it", script: `
			up P N
			full P 100
			full N 100
			wait 1m
			inc P 1 101
			inc P 3 103
			next = resync 1s
			sent
			inc P 5 105 = apply gap
			full P 104 = apply
			doubt = P
			full N 104
			next = none 1s
			wait 1s
			next = resync 1s`},
		{name: "stale after a second unhealed, until healed", script: `
			up P
			full P 100
			wait 1m
			inc P 1 101
			inc P 3 103
			next = resync 1s
			sent
			next = none 1s
			wait 999ms
			stale = false
			wait 1ms
			stale = true
			full P 110
			stale = false`},
		{name: "stale counts from the oldest gap unhealed", script: `
			up P
			full P 100
			wait 1m
			inc P 1 101
			inc P 3 103
			wait 800ms
			inc P 5 105
			full P 104 = apply
			wait 300ms
			stale = false
			wait 700ms
			stale = true`},
		{name: "a new link is in no doubt: it brings it all", script: `
			up P
			full P 100
			wait 1m
			inc P 1 101
			inc P 3 103
			wait 1s
			stale = true
			down
			stale = false
			up P
			doubt =
			full P 90 = apply
			stale = false
			live = true`},
		{name: "three that change nothing double the interval, again and again", script: `
			up P
			full P 100
			wait 1m
			inc P 1 101
			inc P 3 103
			next = resync 1s
			sent
			same P 104
			inc P 5 105
			next = none 1s
			wait 1s
			next = resync 1s
			sent
			same P 106
			inc P 7 107
			next = none 1s
			wait 1s
			next = resync 1s
			sent
			same P 108
			inc P 9 109
			next = none 1s      # to show it as stale
			wait 1s
			next = none 1s
			wait 1s
			next = resync 1s
			sent
			same P 110
			inc P 11 111
			wait 2s
			next = resync 1s
			sent
			same P 112
			inc P 13 113
			wait 2s
			next = resync 1s
			sent
			same P 114
			inc P 15 115
			wait 3s
			next = none 1s
			wait 1s
			next = resync 1s`},
		{name: "one that changes something resets it", script: `
			up P
			full P 100
			wait 1m
			inc P 1 101
			inc P 3 103
			sent
			same P 104
			inc P 5 105
			wait 1s
			sent
			same P 106
			inc P 7 107
			wait 1s
			sent
			full P 108
			inc P 9 109
			wait 1s
			next = resync 1s
			sent
			same P 110
			inc P 11 111
			wait 1s
			next = resync 1s`},
		{name: "ten minutes without a gap reset it, whatever was checked meanwhile", script: `
			up P
			full P 100
			wait 1m
			inc P 1 101
			inc P 3 103
			sent
			same P 104
			inc P 5 105
			wait 1s
			sent
			same P 106
			wait 5m
			inc P 6 107
			next = resync 1s
			sent
			same P 108
			wait 5m
			inc P 8 109 = apply gap
			sent
			same P 110
			inc P 10 111
			wait 1s
			next = resync 1s`},
		{name: "a kind that sends full frames unasked proves nothing by a change", script: `
			up S
			full S 100
			wait 1m
			full S 101
			inc S 1 102
			inc S 3 103
			sent
			full S 104
			inc S 5 105
			wait 1s
			sent
			full S 106
			inc S 7 107
			wait 1s
			sent
			full S 108
			inc S 9 109
			wait 1s
			next = none 1s`},
		{name: "a resync without any full frame: redial", script: `
			up P
			full P 100
			wait 1m
			inc P 1 101
			inc P 3 103
			sent
			wait 2s
			filling = true
			wait 8s
			next = redial
			down
			up P
			filling = true
			full P 200
			filling = false
			live = true
			doubt =`},
		{name: "full frames that come unasked answer nothing", script: `
			up P S
			full P 100
			full S 100
			wait 1m
			inc P 1 101
			inc P 3 103
			sent
			wait 4s
			full S 110
			wait 4s
			full S 120
			next = none 2s
			wait 2s
			next = redial`},
		{name: "a kind that never comes in full can't be healed, so it is given up after one try", script: `
			up P W
			full P 100
			wait 1m
			inc W 1 101
			inc W 3 103 = apply gap
			doubt = W
			next = resync 1s
			sent
			full P 110
			wait 2s
			next = none 4m58s
			doubt =
			inc W 5 111 = apply gap
			doubt =
			full W 120 = apply
			inc W 7 121 = apply gap
			doubt = W`},
		{name: "a kind that came in full on an earlier link, and not on this one, is asked for once more", script: `
			up P W G
			full P 100
			full W 100
			wait 2s
			live = true
			doubt =
			down
			up P W G
			full P 200
			wait 2s
			live = true
			doubt = W
			next = resync 1s
			sent
			full P 300
			wait 2s
			next = none
			doubt =`},
		{name: "a kind that did come in full stays in doubt until it comes again", script: `
			up P N
			full P 100
			full N 100
			wait 1m
			inc P 1 101
			inc P 3 103
			inc N 1 101
			inc N 3 103
			sent
			full N 110
			wait 2s
			next = resync 1s
			doubt = P`},
		{name: "full frames that are always too old: the clock went back, redial", script: `
			up P
			full P 9000
			wait 1m
			inc P 8 9001
			inc P 10 9002 = apply gap
			sent
			full P 5000 = old
			wait 1s
			next = resync 1s
			sent
			full P 6000 = old
			wait 1s
			sent
			next = none 2s
			full P 7000 = old
			next = redial
			down
			up P
			full P 7100 = apply
			doubt =`},
		{name: "likewise at the periodic checks, where no gap shows", script: `
			up P
			full P 9000
			inc P 1 10
			wait 5m
			next = resync 1s
			sent
			full P 5000 = old
			inc P 2 10
			wait 5m
			sent
			full P 6000 = old
			inc P 3 10
			wait 5m
			sent
			full P 7000 = old
			next = redial`},
		{name: "likewise for a gap shown by a frame from the future", script: `
			up P
			full P 100
			wait 1m
			inc P 1 101
			inc P 3 99999 = apply gap
			sent
			full P 104 = apply
			wait 1s
			sent
			full P 105 = apply
			wait 1s
			sent
			full P 106 = apply
			next = redial`},
		{name: "the same full frame again is no sign of that", script: `
			up P
			full P 100
			inc P 1 101
			wait 5m
			sent
			full P 100 = old
			wait 5m
			sent
			full P 100 = old
			wait 5m
			sent
			full P 100 = old
			next = none 5m0s`},
	})
}
