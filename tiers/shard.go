package tiers

import (
	"math"
	"sync"
	"time"
	"unsafe"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// list is a recency list of slot numbers. It never evicts by itself: its
// bound is in entries and ours is in bytes.
type list = simplelru.LRU[uint32, struct{}]

func newList() *list {
	l, err := simplelru.NewLRU[uint32, struct{}](math.MaxInt, nil)
	if err != nil {
		panic(err) // only for a size under one
	}
	return l
}

// place says where a slot is.
type place uint8

const (
	free   place = iota
	inList       // shard.list
	inMain       // shard.main
)

// slot is one entry. Slots refer to each other by number, not by pointer:
// zero is no slot.
type slot[K comparable, V any] struct {
	value   V
	key     K
	cost    int64  // in bytes, bookkeeping included
	expires int64  // Unix seconds; zero is never
	next    uint32 // in its wheel bucket, or in the list of free slots
	prev    uint32 // in its wheel bucket
	pos     uint32 // in main, when it is there
	bucket  uint16 // of the wheel, when expires is not zero
	place   place
}

const pageSlots = 256

type page[K comparable, V any] [pageSlots]slot[K, V]

// removal is a value that left, to be reported once the lock is released.
type removal[K comparable, V any] struct {
	key    K
	value  V
	reason RemoveReason
}

// shard is a part of a Memory with a lock and a budget of its own. Methods in
// this file take the lock where their comment says so; all others, here and in
// admission.go and expiry.go, need it held.
type shard[K comparable, V any] struct {
	budget   int64 // in bytes
	policy   Policy
	overhead int64 // bytes of bookkeeping per entry
	cost     func(K, V) int64
	expiry   func(V) time.Time
	spread   func(K) uint64

	mu    sync.Mutex
	index map[K]uint32
	pages []*page[K, V]
	slots uint32 // used so far, free ones and number zero included
	freed uint32 // head of the list of free slots
	bytes int64  // the sum of cost over all entries

	// list holds all entries with LRU, the window with Auto. The rest is in
	// main, a clock: hand is the next entry to defend its place.
	list      *list
	listBytes int64 // the part of bytes that is in list
	main      []uint32
	hand      int
	sketch    sketch
	victims   []uint32 // scratch of contest

	wheel   wheel
	removed [removeReasons]uint64
}

func newShard[K comparable, V any](o Options[K, V], budget int64, spread func(K) uint64, now int64) *shard[K, V] {
	return &shard[K, V]{
		budget:   budget,
		policy:   o.Policy,
		overhead: entryOverhead[K, V](o.Policy),
		cost:     o.Cost,
		expiry:   o.Expires,
		spread:   spread,
		index:    make(map[K]uint32),
		slots:    1,
		list:     newList(),
		sketch:   newSketch(),
		wheel:    wheel{now: now},
	}
}

// entryOverhead returns the bytes that an entry takes beside its key and
// value: its slot and its place in the index, and with Auto its place in main
// and its share of the sketch, with LRU its element in the list and its place
// in that list's own map. TestOverhead measures that it is what is really used.
func entryOverhead[K comparable, V any](p Policy) int64 {
	var (
		k K
		s slot[K, V]
	)
	n := int64(unsafe.Sizeof(s)) + mapped(pad4(unsafe.Sizeof(k))+4)
	if p == LRU {
		const element, keyAndPointer = 64, 4 + 4 + 8 // with padding between
		return n + element + mapped(keyAndPointer)
	}
	return n + 2*4 + sketchBytesPerEntry
}

// mapped returns what an entry of a Go map with keys and values of that many
// bytes costs at worst: a control byte comes with each place, and after a table
// was split only 7 of 16 places are in use.
func mapped(size uintptr) int64 { return int64(size+1) * 16 / 7 }

func pad4(n uintptr) uintptr { return (n + 3) &^ 3 }

func (s *shard[K, V]) at(i uint32) *slot[K, V] {
	return &s.pages[i/pageSlots][i%pageSlots]
}

// get returns the value under k, whose stirred hash is h, and notes the access.
//
// Auto notes it in the sketch alone: lists are only reordered when room is
// needed, so a hit touches the sketch, the index and the slot.
func (s *shard[K, V]) get(k K, h uint64) (v V, ok bool) {
	if s.policy == Auto {
		s.sketch.add(h)
	}
	i, ok := s.index[k]
	if !ok {
		return v, false
	}
	if s.policy == LRU {
		s.list.Get(i)
	}
	return s.at(i).value, true
}

// hit is get, but notes nothing where k is absent.
func (s *shard[K, V]) hit(k K, h uint64) (v V, ok bool) {
	i, ok := s.index[k]
	if !ok {
		return v, false
	}
	if s.policy == Auto {
		s.sketch.add(h)
	} else {
		s.list.Get(i)
	}
	return s.at(i).value, true
}

func (s *shard[K, V]) peek(k K) (v V, ok bool) {
	i, ok := s.index[k]
	if !ok {
		return v, false
	}
	return s.at(i).value, true
}

// update does what Memory.Update says and returns what left. It takes the lock.
func (s *shard[K, V]) update(k K, f func(V, bool) (V, bool)) (gone []removal[K, V]) {
	s.mu.Lock()
	defer s.mu.Unlock() // f is not ours and may panic
	var old V
	i, ok := s.index[k]
	if ok {
		old = s.at(i).value
	}
	v, keep := f(old, ok)
	if !keep {
		if ok {
			gone = append(gone, s.drop(i, Deleted))
		}
		return gone
	}
	cost := s.costOf(k, v)
	if cost > s.budget {
		if ok {
			s.unlink(i)
		}
		s.removed[Rejected]++
		return append(gone, removal[K, V]{k, v, Rejected})
	}
	if !ok {
		i = s.insert(k)
	}
	s.set(i, v, cost)
	return s.makeRoom(i, gone)
}

// swap does what Memory.Swap says. It takes the lock.
func (s *shard[K, V]) swap(k K, f func(V) (V, bool)) bool {
	s.mu.Lock()
	defer s.mu.Unlock() // f is not ours and may panic
	i, ok := s.index[k]
	if !ok {
		return false
	}
	v, ok := f(s.at(i).value)
	if ok {
		s.at(i).value = v
	}
	return ok
}

// costOf returns what an entry costs, without overflow.
func (s *shard[K, V]) costOf(k K, v V) int64 {
	if s.cost == nil {
		return s.overhead
	}
	return min(max(s.cost(k, v), 0), math.MaxInt64-s.overhead) + s.overhead
}

// insert makes an empty entry for k and returns its slot.
func (s *shard[K, V]) insert(k K) uint32 {
	i := s.freed
	if i != 0 {
		s.freed = s.at(i).next
	} else {
		i = s.slots
		s.slots++
		if int(i/pageSlots) == len(s.pages) {
			s.pages = append(s.pages, new(page[K, V]))
		}
	}
	*s.at(i) = slot[K, V]{key: k}
	s.index[k] = i
	if s.policy == Auto {
		s.sketch.fit(len(s.index))
	}
	s.list.Add(i, struct{}{})
	s.at(i).place = inList
	return i
}

// set gives slot i a new value and, if it is in the list, moves it to the front.
func (s *shard[K, V]) set(i uint32, v V, cost int64) {
	e := s.at(i)
	s.bytes += cost - e.cost
	if e.place == inList {
		s.listBytes += cost - e.cost
		s.list.Get(i)
	}
	e.value, e.cost = v, cost
	if s.expiry != nil {
		s.unschedule(e)
		s.schedule(i, e, seconds(s.expiry(v)))
	}
}

// drop removes slot i, counts why, and returns what to report.
func (s *shard[K, V]) drop(i uint32, reason RemoveReason) removal[K, V] {
	e := s.at(i)
	r := removal[K, V]{e.key, e.value, reason}
	s.removed[reason]++
	s.unlink(i)
	return r
}

// unlink takes slot i out of everything and frees it.
func (s *shard[K, V]) unlink(i uint32) {
	e := s.at(i)
	s.leave(i)
	s.unschedule(e)
	s.bytes -= e.cost
	delete(s.index, e.key)
	*e = slot[K, V]{next: s.freed}
	s.freed = i
}

// leave takes slot i out of the list or out of main.
func (s *shard[K, V]) leave(i uint32) {
	e := s.at(i)
	switch e.place {
	case inList:
		s.list.Remove(i)
		s.listBytes -= e.cost
	case inMain:
		last := len(s.main) - 1
		moved := s.main[last]
		s.main[e.pos] = moved
		s.at(moved).pos = e.pos
		s.main = s.main[:last]
	}
	e.place = free
}

// remove deletes k. It takes the lock.
func (s *shard[K, V]) remove(k K) (gone removal[K, V], ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, ok := s.index[k]
	if !ok {
		return gone, false
	}
	return s.drop(i, Deleted), true
}

// removeFunc deletes the entries of one page for which f returns true; more
// says whether there is another page. It takes the lock.
func (s *shard[K, V]) removeFunc(page int, f func(K, V) bool) (gone []removal[K, V], more bool) {
	s.mu.Lock()
	defer s.mu.Unlock() // f is not ours and may panic
	if page >= len(s.pages) {
		return nil, false
	}
	for j := range s.pages[page] {
		e := &s.pages[page][j]
		if e.place != free && f(e.key, e.value) {
			gone = append(gone, s.drop(uint32(page*pageSlots+j), Deleted))
		}
	}
	return gone, true
}

// snapshot appends the entries of one page to buf; more says whether there is
// another page. It takes the lock.
func (s *shard[K, V]) snapshot(page int, buf []removal[K, V]) (entries []removal[K, V], more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if page >= len(s.pages) {
		return buf, false
	}
	for j := range s.pages[page] {
		if e := &s.pages[page][j]; e.place != free {
			buf = append(buf, removal[K, V]{key: e.key, value: e.value})
		}
	}
	return buf, true
}
