package subscribe

import (
	"testing"
	"time"
)

// TestRefresh has one case for each rule about when the periodic check is due.
func TestRefresh(t *testing.T) {
	t.Parallel()
	play(t, []clause{
		{name: "only with increments since", script: `
			up P
			full P 100
			wait 1h
			next = none
			inc P 1 101
			next = resync 1s
			wait 1ms
			sent
			wait 20ms
			full P 200
			next = none
			wait 1h
			next = none`},
		{name: "one interval after the last Subscribe", refresh: 3 * time.Second, script: `
			up P
			full P 100
			wait 1s
			inc P 1 101
			next = none 2s
			wait 2s
			next = resync 1s
			sent
			wait 1ms
			inc P 2 102
			full P 103
			next = none 2.999s`},
		{name: "no more than one a second", refresh: time.Millisecond, script: `
			up P
			full P 100
			inc P 1 101
			next = none 1s`},
		{name: "off", refresh: -1, script: `
			up P
			full P 100
			inc P 1 101
			wait 24h
			next = none`},
		{name: "also by an event, or a repeat, which show that the provider is at it", script: `
			up P T
			full P 100
			inc T 1 101
			next = none 5m0s
			wait 5m
			next = resync 1s
			sent
			full P 500
			wait 1s
			inc T 1 101 
			next = none 4m59s`},
		{name: "owed still where a full frame was too old", script: `
			up P
			full P 100
			inc P 1 105
			wait 5m
			sent
			full P 104 = old
			next = none 5m0s
			wait 5m
			next = resync 1s
			sent
			wait 1ms
			full P 106 = apply
			next = none`},
		{name: "doesn't wait for resyncs that were slowed down", refresh: 2 * time.Second, script: `
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
			same P 108
			inc P 9 109
			wait 2s
			sent
			same P 110
			inc P 11 111
			wait 2s
			sent
			same P 112
			inc P 13 113
			wait 2s
			sent
			same P 114
			inc P 15 115    # four seconds by now
			wait 2s
			next = resync 1s`},
	})
}
