package cache

import (
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Build makes an entry of parts without storing it, for a response that is to be served as if it came from here.
func (c *Cache) Build(p *Parts) *Entry { return newEntry(c.state, p) }

// Store stores a complete response, or a part of one, in the place of the same variant. It reports false where it did not: a purge
// overtook the response on its way, an entry that was born later is there, or a part would have displaced the whole.
// Key.Text, URI and Header of p are copied, Body is kept.
func (c *Cache) Store(p *Parts) (*Entry, bool) {
	e := newEntry(c.state, p)
	return e, c.put(e, p.Meta.ResponseTime)
}

func (c *Cache) put(e *Entry, now time.Time) bool {
	if c.state.Check(&e.Stamp) == invalidation.Invalid {
		return false
	}
	var done change
	c.memory.Update(e.Key.Hash, func(old *Variants, ok bool) (*Variants, bool) {
		if !ok || !old.of(e.Key) {
			old = &Variants{}
		}
		if e.IsPartial() && old.holdsWhole(e, now) {
			done = change{next: old}
			return old, len(old.Entries) > 0
		}
		done = old.with(e, c.state, c.maxVariants, now)
		return done.next, true
	})
	c.capped.Add(uint64(done.dropped))
	return done.stored
}

// holdsWhole reports whether a complete and still fresh response of the same variant is stored, which a part must not displace.
func (v *Variants) holdsWhole(part *Entry, now time.Time) bool {
	for _, old := range v.Entries {
		if !old.IsPartial() && sameVariant(old, part) && old.Meta.TTL(now) > 0 && rfc9111.Combinable(&old.Meta, &part.Meta) {
			return true
		}
	}
	return false
}

// Remove takes e out of the cache, where it is still there: its origin said that it must not be kept any longer.
func (c *Cache) Remove(e *Entry) {
	c.memory.Update(e.Key.Hash, func(old *Variants, ok bool) (*Variants, bool) {
		if !ok || !old.of(e.Key) {
			return old, ok
		}
		next := &Variants{Key: old.Key, Uncacheable: old.Uncacheable, Because: old.Because}
		for _, other := range old.Entries {
			if other != e {
				next.Entries = append(next.Entries, other)
			}
		}
		return next, len(next.Entries) > 0 || !next.Uncacheable.IsZero()
	})
}
