package heartbeat_test

import (
	"fmt"
	"time"

	"confgate/internal/heartbeat"
)

// A link whose peer answers two beats and then falls silent.
func ExampleMonitor() {
	start := time.Unix(1_700_000_000, 0)
	now := start
	answers := 2

	m := heartbeat.New(20 * time.Second)
	m.Start(now)
	for {
		action, wake := m.Next(now)
		switch action {
		case heartbeat.Beat:
			sequence := m.Sequence(now)
			m.Sent(sequence, now) // having written it
			if answers > 0 {
				answers--
				rtt, _ := m.Answered(sequence, now.Add(40*time.Millisecond))
				fmt.Println(now.Sub(start), "beat, answered after", rtt)
			} else {
				fmt.Println(now.Sub(start), "beat; stale:", m.Stale())
			}
		case heartbeat.Dead:
			fmt.Println(now.Sub(start), "dead")
			return
		case heartbeat.None:
			now = wake // where a session sleeps, and reads meanwhile
		}
	}
	// Output:
	// 20s beat, answered after 40ms
	// 40s beat, answered after 40ms
	// 1m0s beat; stale: false
	// 1m20s beat; stale: true
	// 1m30s dead
}

// Sequences are the time in milliseconds, and never the same twice.
func ExampleMonitor_Sequence() {
	m := heartbeat.New(20 * time.Second)
	now := time.UnixMilli(1_611_993_655_770)
	fmt.Println(m.Sequence(now))
	fmt.Println(m.Sequence(now))
	// Output:
	// 000000000000000001611993655770
	// 000000000000000001611993655771
}
