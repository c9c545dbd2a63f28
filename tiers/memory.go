package tiers

import (
	"context"
	"hash/maphash"
	"math/bits"
	"runtime"
	"time"
)

// Policy says which entries stay when there is no room for all.
type Policy uint8

const (
	// Auto keeps what is asked for often and is resistant to scans.
	Auto Policy = iota
	// LRU keeps what was asked for last.
	LRU
)

// RemoveReason says why a value left. The list is closed: it is the label
// reason of the metric l1_evictions_total.
type RemoveReason uint8

const (
	// Evicted values left for want of room.
	Evicted RemoveReason = iota
	// Rejected values were larger than a shard's whole budget and were never
	// stored, or left the window without being asked for often enough to stay.
	Rejected
	// Expired values reached the time that Options.Expires gave.
	Expired
	// Deleted values were taken out by Delete, DeleteFunc or Update.
	Deleted

	removeReasons = iota
)

// String returns the reason as it stands in metrics.
func (r RemoveReason) String() string {
	switch r {
	case Evicted:
		return "evicted"
	case Rejected:
		return "rejected"
	case Expired:
		return "expired"
	case Deleted:
		return "deleted"
	}
	return "unknown"
}

// Options says what a Memory holds. The functions are called with a shard's
// lock held, unless they say otherwise: they must be quick, must not block and
// must not call the Memory.
type Options[K comparable, V any] struct {
	// MaxBytes bounds the cost of all entries, bookkeeping included. With
	// zero or less nothing is stored.
	MaxBytes int64

	// Policy chooses what stays. The zero value is Auto.
	Policy Policy

	// Shards is rounded up to a power of two. Zero means four per processor,
	// but never so many that a shard's budget falls under 16 MiB: a value
	// costing more than MaxBytes / Shards cannot be stored.
	Shards int

	// Hash returns the hash of a key; for keys that are hashes already their
	// first 8 bytes will do. Nil means hash/maphash. It is called without a
	// lock and must not depend on anything but the key.
	Hash func(K) uint64

	// Cost returns the bytes that a key and its value take. The tier adds its
	// own bookkeeping per entry. It is called once per stored value. Nil means
	// that bookkeeping is all there is, and so does a negative cost.
	Cost func(K, V) int64

	// Expires returns when a value may be freed, to the second, while Run is
	// running; the zero time means never. It is called once per stored value.
	// Nil means never.
	Expires func(V) time.Time

	// OnRemove is told of each value that left, and why, but not of one that
	// Update replaced. It is called without a lock held, on the goroutine
	// that caused the removal, so calls for one key may arrive out of order:
	// who keeps an index should look at what is stored now.
	OnRemove func(K, V, RemoveReason)
}

// Memory is a memory tier. It is safe for concurrent use. Make one with New.
type Memory[K comparable, V any] struct {
	maxBytes int64
	hash     func(K) uint64
	expires  bool
	onRemove func(K, V, RemoveReason)
	shards   []*shard[K, V] // a power of two of them
	mask     uint64
}

// minShardBytes is the least budget that New gives a shard of its own accord:
// an object of the default largest size, 8 MiB, leaves half of it to others.
const minShardBytes = 16 << 20

// maxShards leaves the hash enough bits that the sketches do not share with
// the choice of the shard.
const maxShards = 1 << shardBits

// New returns an empty Memory. It starts no goroutine: expired values are
// freed while Run is running.
func New[K comparable, V any](o Options[K, V]) *Memory[K, V] {
	n := shardCount(o.Shards, o.MaxBytes)
	m := &Memory[K, V]{
		maxBytes: max(o.MaxBytes, 0),
		hash:     o.Hash,
		expires:  o.Expires != nil,
		onRemove: o.OnRemove,
		shards:   make([]*shard[K, V], n),
		mask:     uint64(n - 1),
	}
	if m.hash == nil {
		seed := maphash.MakeSeed()
		m.hash = func(k K) uint64 { return maphash.Comparable(seed, k) }
	}
	now := time.Now().Unix()
	for i := range m.shards {
		m.shards[i] = newShard(o, m.maxBytes/int64(n), m.spread, now)
	}
	return m
}

// shardCount returns how many shards to make: a power of two.
func shardCount(asked int, maxBytes int64) int {
	n := asked
	if n <= 0 {
		n = 4 * runtime.GOMAXPROCS(0)
	}
	n = 1 << bits.Len(uint(min(n, maxShards)-1))
	for asked <= 0 && n > 1 && maxBytes/int64(n) < minShardBytes {
		n /= 2
	}
	return n
}

// spread returns the key's hash with its bits stirred, so that keys which
// differ in a few places only still fall into different shards and counters.
func (m *Memory[K, V]) spread(k K) uint64 {
	h := m.hash(k)
	h ^= h >> 32
	h *= 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// Get returns the value under k and notes the access, found or not. A value
// past its expiry is returned until it is freed. Get allocates nothing and
// takes one shard's lock.
func (m *Memory[K, V]) Get(k K) (v V, ok bool) {
	h := m.spread(k)
	s := m.shards[h&m.mask]
	s.mu.Lock()
	v, ok = s.get(k, h)
	s.mu.Unlock()
	return v, ok
}

// Hit is Get for who asks for k once more where it is absent: that is not noted.
func (m *Memory[K, V]) Hit(k K) (v V, ok bool) {
	h := m.spread(k)
	s := m.shards[h&m.mask]
	s.mu.Lock()
	v, ok = s.hit(k, h)
	s.mu.Unlock()
	return v, ok
}

// Peek returns the value under k without noting the access.
func (m *Memory[K, V]) Peek(k K) (v V, ok bool) {
	s := m.shardOf(k)
	s.mu.Lock()
	v, ok = s.peek(k)
	s.mu.Unlock()
	return v, ok
}

// Update replaces the value under k by what f returns, or deletes it (or does
// not insert it) where f returns false. No other call sees or changes k
// between f's argument and its result. f runs under the shard's lock: it must
// be quick and must not call the Memory.
//
// The new value can be found until others push it out, unless its cost is
// more than the shard's whole budget: then it counts as Rejected, and k holds
// nothing.
func (m *Memory[K, V]) Update(k K, f func(old V, ok bool) (V, bool)) {
	s := m.shardOf(k)
	m.report(s.update(k, f))
}

// Swap puts what f returns in the place of the value under k, where there is
// one and f returns true, and reports whether it did. It notes no access and
// changes no order: the new value must cost what the old one does and expire
// when it does. f runs as it does in Update.
func (m *Memory[K, V]) Swap(k K, f func(old V) (V, bool)) bool {
	return m.shardOf(k).swap(k, f)
}

// MaxCost returns the most that a key and its value may cost to be stored.
func (m *Memory[K, V]) MaxCost() int64 {
	return m.shards[0].budget - m.shards[0].overhead // neither ever changes, and all shards have the same
}

// Delete removes the value under k and reports whether there was one.
func (m *Memory[K, V]) Delete(k K) bool {
	s := m.shardOf(k)
	gone, ok := s.remove(k)
	if ok && m.onRemove != nil {
		m.onRemove(gone.key, gone.value, Deleted)
	}
	return ok
}

// DeleteFunc removes each entry for which f returns true and returns how many
// those were. It locks one shard at a time, for at most 256 entries, with f
// called under the lock. An entry stored meanwhile may or may not be seen.
func (m *Memory[K, V]) DeleteFunc(f func(K, V) bool) int {
	n := 0
	for _, s := range m.shards {
		for page := 0; ; page++ {
			gone, more := s.removeFunc(page, f)
			n += len(gone)
			m.report(gone)
			if !more {
				break
			}
		}
	}
	return n
}

// Range calls f for each entry until f returns false. No lock is held while f
// runs. An entry stored or deleted meanwhile may or may not be seen, and one
// deleted and stored again may be seen twice.
func (m *Memory[K, V]) Range(f func(K, V) bool) {
	var buf []removal[K, V]
	for _, s := range m.shards {
		more := true
		for page := 0; more; page++ {
			buf, more = s.snapshot(page, buf[:0])
			for _, e := range buf {
				if !f(e.key, e.value) {
					return
				}
			}
		}
	}
}

// expiryTick is how often Run looks. A second is as fine as HTTP's lifetimes
// are, and a look at a shard where nothing is due costs a lock.
const expiryTick = time.Second

// Run frees expired values, each at most two ticks of one second after its
// time, until ctx ends, and then returns nil.
func (m *Memory[K, V]) Run(ctx context.Context) error {
	if !m.expires {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(expiryTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			m.expire(ctx, now.Unix())
		}
	}
}

// expire frees what is due at the second now, a bounded batch per lock.
func (m *Memory[K, V]) expire(ctx context.Context, now int64) {
	for _, s := range m.shards {
		for more := true; more && ctx.Err() == nil; {
			var gone []removal[K, V]
			gone, more = s.expire(now)
			m.report(gone)
		}
	}
}

func (m *Memory[K, V]) shardOf(k K) *shard[K, V] {
	return m.shards[m.spread(k)&m.mask]
}

// report tells the owner what left. No lock is held.
func (m *Memory[K, V]) report(gone []removal[K, V]) {
	if m.onRemove == nil {
		return
	}
	for _, r := range gone {
		m.onRemove(r.key, r.value, r.reason)
	}
}
