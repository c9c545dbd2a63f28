package tiers

import (
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// item is one value in memory. It is immutable but for retry.
type item[V any] struct {
	value   V
	tags    []string
	on      []invalidation.Selector // what it depends on
	label   *label                  // by which purges find it; nil without a State
	seq     uint64                  // the number of the load or Set that made it; see state. 0: it comes from Redis
	stored  time.Time
	expires time.Time
	cost    int64
	retry   atomic.Int64 // before it nobody begins to refresh it; Unix time in nanoseconds
}

func (it *item[V]) isFresh(now time.Time) bool { return now.Before(it.expires) }

// isRipe reports whether share of its lifetime has passed.
func (it *item[V]) isRipe(share float64, now time.Time) bool {
	return float64(now.Sub(it.stored)) >= share*float64(it.expires.Sub(it.stored))
}

// state is what is under way for one key; there is none while nothing is.
//
// Whatever brings a value takes a number when it begins: a load, or a read of
// Redis. A Set or Delete takes its number at its end, when Redis knows of it,
// and makes it the floor: what began before has perhaps seen what was there
// before, and is not stored. So a Delete that has returned is never undone by
// a load that was slow.
//
// The number is also what orders the frames of this Cache in Redis, where two
// writes of the queue may overtake each other.
type state[V any] struct {
	users   int // the loads, reads and writes under way
	floor   uint64
	load    *load[V] // that may be joined; nil: none
	writes  uint64   // begun so far
	writing int      // under way
}

// use returns the state of key and counts its user. mu is held.
func (c *Cache[V]) use(key string) (*state[V], error) {
	if c.closed {
		return nil, ErrClosed
	}
	s := c.keys[key]
	if s == nil {
		s = &state[V]{}
		c.keys[key] = s
	}
	s.users++
	return s, nil
}

// drop forgets one user. mu is held.
func (c *Cache[V]) drop(key string, s *state[V]) {
	if s.users--; s.users == 0 {
		delete(c.keys, key)
	}
}

// enter begins something that may bring a value, and gives it its number.
func (c *Cache[V]) enter(key string) (*state[V], uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.use(key)
	return s, c.clock.Add(1), err
}

// leave ends what enter began, and stores what it has brought; nil: nothing.
func (c *Cache[V]) leave(key string, s *state[V], seq uint64, it *item[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.drop(key, s)
	if it != nil && seq >= s.floor {
		c.keep(key, it)
	}
}

// keep stores it in memory, unless something newer is there, and reports
// whether it did. What comes from Redis has no number, only a time.
func (c *Cache[V]) keep(key string, it *item[V]) bool {
	now, kept := time.Now(), true
	c.memory.Update(key, func(old *item[V], ok bool) (*item[V], bool) {
		newer := old != nil && (old.seq > it.seq && it.seq > 0 || it.seq == 0 && !old.stored.Before(it.stored))
		if ok && newer && old.isFresh(now) && !c.purged(old) {
			kept = false
			return old, true
		}
		return it, true
	})
	return kept
}

// write is one Set or Delete under way.
type write[V any] struct {
	state *state[V]
	nth   uint64
	alone bool // no other was under way when it began
}

func (c *Cache[V]) beginWrite(key string) (w write[V], err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.use(key)
	if err != nil {
		return w, err
	}
	s.writes++
	s.writing++
	return write[V]{state: s, nth: s.writes, alone: s.writing == 1}, nil
}

// endWrite makes the write count: it stores the value, or where it is nil
// deletes what is there. It reports whether no other write of the key overlapped.
// Of two that did, memory and Redis may have seen the ends in different
// orders: neither is sent to Redis then.
func (c *Cache[V]) endWrite(key string, w write[V], it *item[V]) (alone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := w.state
	defer c.drop(key, s)
	s.writing--
	s.floor = c.clock.Add(1)
	s.load = nil
	c.memory.Delete(key)
	if it != nil && it.isFresh(it.stored) {
		it.seq = s.floor
		c.keep(key, it)
	}
	return w.alone && s.writes == w.nth
}

// inMemory returns the value of key in memory that may be used, and how; nil where
// there is none. What was purged is freed.
func (c *Cache[V]) inMemory(key string, now time.Time) (*item[V], verdict) {
	it, ok := c.memory.Get(key)
	if !ok {
		return nil, gone
	}
	v := c.verdict(key, it, now)
	if v == dead {
		c.free(key, it)
	}
	if v < soft {
		return nil, v
	}
	return it, v
}

// newItem makes an item of a value that was born at born and begins to live now,
// and its serialized form where that is needed. The error says that it cannot be
// serialized, or cannot depend on what it should.
func (c *Cache[V]) newItem(key string, v V, born invalidation.Birth, now time.Time, options []ValueOption) (it *item[V], body []byte, err error) {
	o := c.optionsOf(options)
	if err := checkDependencies(o.on); err != nil {
		return nil, nil, err
	}
	if c.o.Tags != nil {
		o.tags = append(o.tags, c.o.Tags(key, v)...)
	}
	if c.remote != nil || c.o.Cost == nil {
		if body, err = marshalValue(c.codec.Serializer, v); err != nil {
			return nil, nil, err
		}
	}
	it = &item[V]{value: v, tags: o.tags, on: o.on, stored: now, expires: now.Add(o.ttl)}
	it.label = c.label(key, born, o.tags, o.on)
	it.cost = c.cost(key, it, len(body))
	return it, body, nil
}

// optionsOf returns what is said of a value, but for what is found out from it.
func (c *Cache[V]) optionsOf(options []ValueOption) valueOptions {
	o := valueOptions{ttl: c.o.TTL}
	for _, set := range options {
		set(&o)
	}
	return o
}

// cost is what a value and what is known of it take in memory.
func (c *Cache[V]) cost(key string, it *item[V], serialized int) int64 {
	n := int64(serialized)
	if c.o.Cost != nil {
		n = max(c.o.Cost(key, it.value), 0)
	}
	for _, tag := range it.tags {
		n += int64(len(tag)) + 16 // its header
	}
	for _, s := range it.on {
		n += int64(len(s.Value)) + int64(unsafe.Sizeof(s))
	}
	if it.label != nil {
		n += int64(unsafe.Sizeof(*it.label)) + 8*int64(len(it.label.hashes))
	}
	return n
}

// born is the place that stands in the frame: in the log, or in the order of this
// Cache where there is none.
func (c *Cache[V]) born(it *item[V]) invalidation.Position {
	if it.label != nil {
		return it.label.stamp.Born
	}
	return invalidation.Position{Epoch: c.epoch, Seq: invalidation.Seq(it.seq)}
}
