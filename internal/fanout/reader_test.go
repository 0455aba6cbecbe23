package fanout

import (
	"testing"
)

// A frame that comes between Next's two looks is given at once, or announced by Wake, and never both.
func TestNextAgainstWake(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		ready int // frames that were there before
		woken bool
	}{
		{"before Wake", 0, false},
		{"after Wake", 0, true},
		{"after Wake, with another behind it", 1, true},
	} {
		wakes := 0
		r := &Reader{feed: &Feed{}, at: &link{}, wake: func() { wakes++ }}
		for range tt.ready {
			r.push(Frame{Bytes: []byte("second")})
		}
		r.armed.Store(true)
		if tt.woken {
			r.ring()
		}
		f, ok := r.disarm(Frame{Bytes: []byte("first")})
		if ok == tt.woken {
			t.Errorf("%s: frame given: %v, want %v", tt.name, ok, !tt.woken)
		}
		if tt.woken {
			f, ok = r.Next()
		}
		if string(f.Bytes) != "first" || !ok {
			t.Errorf("%s: Next = %s, %v, want the frame", tt.name, f.Bytes, ok)
		}
		for range tt.ready {
			if f, ok = r.Next(); string(f.Bytes) != "second" || !ok {
				t.Errorf("%s: the frame behind it = %s, %v", tt.name, f.Bytes, ok)
			}
		}
		r.ring()
		if want := map[bool]int{true: 1}[tt.woken]; wakes != want {
			t.Errorf("%s: woken %d times, want %d", tt.name, wakes, want)
		}
	}
}
