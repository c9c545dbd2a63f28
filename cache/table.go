package cache

import (
	"math/rand/v2"
	"sync/atomic"
)

// ref names something in a table, and where it is a chunk of an arena, the entry that begins at one of its words. A name is not given
// twice as long as somebody may have it: it says how often its place in the table was taken. 0 names nothing.
//
// What refers by name needs no pointer, which the garbage collector would have to follow.
type ref uint64

// A ref is, from the lowest bit on, word, place, life, and whether it is of the table of chunks.
const (
	wordBits  = 16
	placeBits = 26
	lifeBits  = 21

	oneLife = ref(1) << (wordBits + placeBits)
	lives   = ref(1) << (wordBits + placeBits + lifeBits)
	inChunk = lives
)

func (r ref) word() int  { return int(r & (1<<wordBits - 1)) }
func (r ref) place() int { return int(r >> wordBits & (1<<placeBits - 1)) }
func (r ref) base() ref  { return r &^ (1<<wordBits - 1) }

// next is the name of what comes to the same place after r has gone.
func (r ref) next() ref {
	kind := r & inChunk
	if r = r.base()&^inChunk + oneLife; r >= lives {
		r = r&(oneLife-1) | oneLife
	}
	return r | kind
}

// namer is a pointer to a thing that has room for its name.
type namer[T any] interface {
	*T
	called() *ref
}

// table finds things by name. get may be called at any time; all else by one goroutine at once.
type table[T any, P namer[T]] struct {
	kind  ref
	slots atomic.Pointer[[]atomic.Pointer[T]]
	free  []ref
}

// get returns what has the name; nil where it has been removed.
func (t *table[T, P]) get(r ref) P {
	slots := t.slots.Load()
	if slots == nil || r.place() >= len(*slots) {
		return nil
	}
	if it := P((*slots)[r.place()].Load()); it != nil && *it.called() == r.base() {
		return it
	}
	return nil
}

// put gives it a name and keeps it. Nobody else may have it yet.
func (t *table[T, P]) put(it P) ref {
	if len(t.free) == 0 {
		t.grow()
	}
	last := len(t.free) - 1
	name := t.free[last]
	t.free = t.free[:last]
	*it.called() = name
	(*t.slots.Load())[name.place()].Store(it)
	return name
}

// remove forgets what has the name, which must be there.
func (t *table[T, P]) remove(r ref) {
	(*t.slots.Load())[r.place()].Store(nil)
	t.free = append(t.free, r.next())
}

// any returns one of the things, or nil where chance does not find one.
func (t *table[T, P]) any() P {
	slots := *t.slots.Load()
	return slots[rand.IntN(len(slots))].Load()
}

// grow doubles the number of places. Who still reads the old ones finds what was there, or looks again.
func (t *table[T, P]) grow() {
	var old []atomic.Pointer[T]
	if slots := t.slots.Load(); slots != nil {
		old = *slots
	}
	grown := make([]atomic.Pointer[T], max(2*len(old), 64))
	for i := range old {
		grown[i].Store(old[i].Load())
	}
	for i := len(grown) - 1; i >= len(old); i-- {
		t.free = append(t.free, t.kind|oneLife|ref(i)<<wordBits)
	}
	t.slots.Store(&grown)
}
