package cache

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// Freeing memory is housekeeping: a purge holds whether it is done or not. So it is done at once for what takes a moment, and beside
// the requests for the rest.

const (
	// dropTime is how long Drop looks for what a record has ended, before it leaves the rest to Run.
	dropTime = 5 * time.Millisecond
	// dropBatch is how many keys are looked at before the time is: those of the index are taken under one lock.
	dropBatch = 64
	// maxDrops is how many records wait for Run. What does not find room is freed when it is touched, or evicted.
	maxDrops = 1024
	// maxHot bounds the keys that a drop names as hot: so many are refreshed at once, the others when they are next asked for.
	maxHot = 256
)

// Dropped says what a record has done to the memory of this instance.
type Dropped struct {
	Freed int        // responses that were let go
	Hot   [][16]byte // keys that a smart purge has kept, because they are asked for often
	More  bool       // it goes on beside the requests: Freed is not all, and neither is Hot
}

// Drop frees the memory of what the record has made invalid, as far as its strategy asks for that and it can be found without looking
// at the keys of URLs, which only their routes know; see DropKey.
func (c *Cache) Drop(r invalidation.Record) Dropped {
	until := time.Now().Add(dropTime)
	d, whole := c.drop(r, func() bool { return time.Now().After(until) })
	if !whole {
		d.More = true
		c.DropLater(r)
	}
	return d
}

// DropLater is Drop for those who must not be kept: all of it is done by Run.
func (c *Cache) DropLater(r invalidation.Record) {
	if !frees(r.Strategy) {
		return
	}
	select {
	case c.drops <- r:
	default: // see maxDrops
	}
}

// frees reports whether memory is to be freed at once.
func frees(s invalidation.Strategy) bool {
	return s == invalidation.Immediate || s == invalidation.Smart
}

// dropLater does what DropLater has left, until ctx ends.
func (c *Cache) dropLater(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-c.drops:
			c.drop(r, func() bool { return ctx.Err() != nil })
		}
	}
}

// drop goes on until it is done, or stop says so. It reports whether it was done.
func (c *Cache) drop(r invalidation.Record, stop func() bool) (d Dropped, whole bool) {
	if !frees(r.Strategy) {
		return d, true
	}
	for _, s := range r.Selectors {
		whole = true
		switch s.Kind {
		case invalidation.KindURL, invalidation.KindKey, invalidation.KindTag, invalidation.KindGroup:
			if key, ok := keyHash(s.Value); s.Kind == invalidation.KindKey && ok {
				d.add(c.DropKey(key))
			}
			whole = c.dropCarriers(c.state.Hash(s), &d, stop)
		default:
			seen := 0
			c.memory.memory.Range(func(key [16]byte, _ ref) bool {
				d.add(c.dropKey(key, s.Kind == invalidation.KindAll))
				seen++
				whole = seen%dropBatch != 0 || !stop()
				return whole
			})
		}
		if !whole {
			return d, false
		}
	}
	return d, true
}

// dropCarriers drops what carries the hash, as far as it is invalid.
func (c *Cache) dropCarriers(hash uint64, d *Dropped, stop func() bool) (whole bool) {
	var keys [][16]byte
	for left := c.memory.index.carriers(hash); left > 0; left -= len(keys) {
		keys = c.memory.index.next(hash, min(left, dropBatch), keys[:0])
		if len(keys) == 0 {
			return true
		}
		for _, key := range keys {
			d.add(c.dropKey(key, false))
		}
		if stop() {
			return left <= len(keys)
		}
	}
	return true
}

func (d *Dropped) add(other Dropped) {
	d.Freed += other.Freed
	d.Hot = append(d.Hot, other.Hot[:min(len(other.Hot), maxHot-len(d.Hot))]...)
}

// DropKey frees what is stored under key and has been purged; also the memory that its responses could not be stored. What a smart
// purge has left to how often it is asked for is kept where that is often.
func (c *Cache) DropKey(key [16]byte) Dropped { return c.dropKey(key, true) }

// dropKey is DropKey, but forgets that responses could not be stored only where the key is named.
func (c *Cache) dropKey(key [16]byte, named bool) (d Dropped) {
	v, ok := c.memory.Peek(key)
	if !ok {
		return d
	}
	hot := c.hot(key)
	// Most keys that are looked at for a pattern have nothing to do with it; a change would count as a use of them.
	if _, purged, judged := v.unpurged(c.state, hot); !named && len(purged) == 0 && !judged {
		return d
	}
	var gone []*Entry
	c.memory.Update(key, func(old Variants, ok bool) (Variants, bool) {
		rest, purged, judged := old.unpurged(c.state, hot)
		if d.Freed = len(purged); judged {
			d.Hot = [][16]byte{key}
		}
		left := old.mark()
		if named {
			left = mark{}
		}
		switch {
		case len(rest) == 0 && left == (mark{}):
			return Variants{}, false // the tier tells of what was there
		case len(purged) == 0 && left == old.mark():
			return old, ok
		}
		gone = without(old.entries(), rest)
		text := old.key()
		if len(rest) == 0 {
			text.Text = bytes.Clone(text.Text)
		}
		return variantsOf(text, rest, left), true
	})
	c.memory.discard(gone)
	return d
}

// unpurged returns what of the variants holds, with its encoded forms, and the responses that do not; judged reports whether some are
// among the former because the key is hot.
func (v *Variants) unpurged(state *invalidation.State, hot bool) (rest, purged []*Entry, judged bool) {
	for _, e := range v.entries() {
		if e.encoded() {
			if !slices.ContainsFunc(purged, e.formOf) { // forms stand behind what they are of
				rest = append(rest, e)
			}
			continue
		}
		switch standing := state.Check(&e.Stamp, e); {
		case standing == invalidation.Judge && hot:
			judged = true
			rest = append(rest, e)
		case standing == invalidation.Judge, standing == invalidation.Invalid:
			purged = append(purged, e)
		default:
			rest = append(rest, e)
		}
	}
	return rest, purged, judged
}
