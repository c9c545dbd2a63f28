package cache

import (
	"sync"
	"unsafe"
)

// arena holds small entries side by side in large chunks of memory. For the garbage collector a cache of a million entries is then
// some thousand objects without pointers, and nothing is lost to size classes.
//
// It is log-structured memory (Rumble, Kejriwal, Ousterhout: "Log-structured Memory for DRAM-based Storage", FAST 2014): entries are
// appended to the newest chunk, what dies leaves a hole, and where there are more holes than slack allows, the entries that are left
// in a chunk with many of them move to the newest chunk. A chunk without a living entry is forgotten. Nothing is ever written where
// an entry was, and the collector frees a chunk when nobody has a pointer into it any more: whoever still reads an entry that died
// or moved keeps its memory.
//
// Entries are named by a [ref], so that not even the million pointers to them have to be followed: that the chunks are reached is
// enough.
//
// Its methods may be called at once, and with a lock of the memory tier held: none of them takes one. A nil arena is one that
// takes no entries.
type arena struct {
	slack int64 // how many bytes of holes there may be
	size  int   // of a chunk, in words
	limit int   // up to which size an entry lies here, in words

	chunks table[chunk, *chunk] // changed under mu

	mu      sync.Mutex // guards the following, and all chunks but for their names and words
	current *chunk     // the newest
	sealed  int        // how many others there are
	living  int64      // bytes of all chunks' entries
	adopted uint64     // how many entries ever came
}

// chunk is a piece of an arena. Its words are written behind used alone, and never again.
type chunk struct {
	name    ref // of its first word
	words   []uint64
	used    int   // words
	living  int64 // bytes
	leaving bool  // its entries are being moved
}

func (c *chunk) called() *ref { return &c.name }

const (
	// A chunk has chunkMax bytes, or in a small cache so many that one more or less does not count. Larger ones would be fewer for the
	// collector, but a client that takes its time over one entry keeps the whole chunk.
	chunkMax   = 64 << 10
	chunkShare = 256
	// arenaLeast is from which budget on there is an arena.
	arenaLeast = 8 << 20
	// entryShare of a chunk is the largest entry in it. Larger ones are few, and would leave large ends of chunks unused.
	entryShare = 8
	// slackShare of the budget may be holes. With a tenth some four bytes are moved for each that is stored, where what dies is spread
	// evenly; with less it would be many more.
	slackShare = 10
	// tries is how many chunks are looked at to find one with many holes: the best of a few is nearly as good as the best of all.
	tries = 32
)

// newArena returns the arena for a budget of bytes, and what is left of it for entries.
func newArena(budget int64) (a *arena, rest int64) {
	if budget < arenaLeast {
		return nil, budget
	}
	size := int(min(budget/chunkShare, chunkMax)) / wordSize
	a = &arena{slack: budget / slackShare, size: size, limit: size / entryShare}
	a.chunks.kind = inChunk
	a.begin()
	return a, budget - a.slack
}

// begin makes an empty chunk the current one. mu is held, or nobody else has the arena yet.
func (a *arena) begin() {
	a.current = &chunk{words: make([]uint64, a.size)}
	a.chunks.put(a.current)
}

// entry returns the entry of that name; nil where it has been removed, or has moved, since the name was read.
func (a *arena) entry(r ref) *Entry {
	if c := a.chunks.get(r); c != nil {
		return c.entry(r.word())
	}
	return nil
}

// holes returns the bytes of full chunks that no entry uses.
func (a *arena) holes() int64 {
	if a == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.dead()
}

// dead is holes with mu held.
func (a *arena) dead() int64 {
	return int64(a.sealed*a.size*wordSize) - (a.living - a.current.living)
}

// adopt returns a copy of e that lies in the arena, or e itself where it does not belong there.
func (a *arena) adopt(e *Entry) *Entry {
	n := e.words()
	if a == nil || e.linked || n > a.limit {
		return e
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if full := a.current; full.used+n > a.size {
		a.sealed++
		a.begin()
		a.forget(full)
	}
	c := a.current
	copied, name := c.entry(c.used), c.name|ref(c.used)
	c.used += n
	copied.Stamp = e.Stamp.Copy()
	copied.record = e.record
	copy(copied.all(), e.all())
	copied.home, copied.cost = name, int64(n*wordSize)
	c.living += copied.cost
	a.living += copied.cost
	a.adopted++
	return copied
}

// entry returns the entry that begins at a word.
func (c *chunk) entry(at int) *Entry { return (*Entry)(unsafe.Pointer(&c.words[at])) }

// words returns how many words the entry takes with its texts and body.
func (e *Entry) words() int { return (int(entrySize) + int(e.size) + wordSize - 1) / wordSize }

// release notes that e is not stored any more. It must be called once for each entry that adopt returned.
func (a *arena) release(e *Entry) {
	if a == nil || e.home == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.chunks.get(e.home)
	c.living -= e.cost
	a.living -= e.cost
	a.forget(c)
}

// overdue returns a chunk whose entries the caller must move elsewhere, where there are too many holes; else nil.
func (a *arena) overdue() *chunk {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dead() <= a.slack {
		return nil
	}
	return a.emptiest()
}

// forget lets a full chunk go in which nothing lives. mu is held.
func (a *arena) forget(c *chunk) {
	if c.living > 0 || c == a.current {
		return
	}
	a.chunks.remove(c.name)
	a.sealed--
}

// emptiest returns one of the fullest of holes, or nil where it finds none. mu is held.
func (a *arena) emptiest() *chunk {
	var best *chunk
	for range tries {
		c := a.chunks.any()
		if c != nil && c != a.current && !c.leaving && (best == nil || c.living < best.living) {
			best = c
		}
	}
	if best != nil {
		best.leaving = true
	}
	return best
}

// each calls f for each entry that was ever in the chunk, which must be full.
func (c *chunk) each(f func(*Entry)) {
	for at := 0; at < c.used; {
		e := c.entry(at)
		at += e.words()
		f(e)
	}
}
