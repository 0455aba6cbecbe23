package fanout

import "sync"

// room is memory in which something is made that is of no use soon after. One that is free is in the processor's cache,
// and no garbage.
type room struct{ bytes []byte }

// rooms are those that nobody has.
type rooms struct {
	pool sync.Pool
	most int // bytes of a room that is worth keeping
}

func (r *rooms) borrow() *room {
	if free, ok := r.pool.Get().(*room); ok {
		return free
	}
	return new(room)
}

// giveBack takes a room that nothing may refer to any more.
func (r *rooms) giveBack(used *room) {
	if cap(used.bytes) <= r.most {
		r.pool.Put(used)
	}
}
