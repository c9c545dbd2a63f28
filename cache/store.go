package cache

import (
	"slices"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Build makes an entry of parts without storing it, for a response that is to be served as if it came from here.
func (c *Cache) Build(p *Parts) *Entry { return newEntry(c.state, p.whole()) }

// Store stores a complete response, or a part of one, in the place of the same variant. A part that holds everything is stored as
// complete. It reports false where it did not store: a purge overtook the response on its way, the response to a later request is
// there, the response has become useless on its way, a part would have displaced the whole or claims bytes that the whole does not
// have, or it is too large for the memory tier.
// All but a large body is copied; Body must not be changed afterwards.
func (c *Cache) Store(p *Parts) (*Entry, bool) {
	e := c.Build(p)
	return e, c.put(e, nil, nil, p.Meta.ResponseTime, p.Share)
}

// put stores e, or a copy of it, with its encoded forms, in the place of replaced, which may be nil, and of the same variant. What is
// stored goes to the remote tier too, where share is not nil; its forms do not: each instance makes those that it is asked for.
func (c *Cache) put(e *Entry, forms []*Entry, replaced *Entry, now time.Time, share *Share) bool {
	stored := c.keep(e, forms, replaced, now)
	if stored {
		c.share(e, share, now)
	}
	return stored
}

// keep is put for memory alone.
func (c *Cache) keep(e *Entry, forms []*Entry, replaced *Entry, now time.Time) bool {
	if !e.retained(now) || e.overlong() || c.standing(e) == invalidation.Invalid {
		return false
	}
	done := c.place(e, forms, replaced, c.maxVariants, now)
	if !done.stored {
		return false
	}
	if c.holds(e.hash) {
		c.capped.Add(uint64(done.dropped))
		return true
	}
	// All variants of a key lie in one shard of the tier. Together they were too large for it, and it has let go of all. The new one
	// may be small enough alone.
	others := len(done.next.entries()) - 1
	if others == 0 {
		return false
	}
	c.capped.Add(uint64(done.dropped + done.next.responses() - 1))
	return c.place(e, nil, replaced, 1, now).stored && c.holds(e.hash)
}

func (c *Cache) holds(key [16]byte) bool {
	_, ok := c.memory.Peek(key)
	return ok
}

// place puts e and its encoded forms among the variants of its key, of which there may be max.
func (c *Cache) place(e *Entry, forms []*Entry, replaced *Entry, max int, now time.Time) (done change) {
	var others, unused []*Entry
	c.memory.Update(e.hash, func(old Variants, ok bool) (Variants, bool) {
		if !ok || !old.of(e.Key()) {
			old, others = Variants{}, old.entries()
		}
		done = change{next: old}
		if !e.IsPartial() || !old.holdsWhole(e, c.state, now) {
			// Here, so that nobody who moves entries sees it before it can be found.
			kept, keptForms := c.memory.adopt(e), make([]*Entry, len(forms))
			for i, form := range forms {
				keptForms[i] = c.memory.adopt(form)
			}
			if done = old.with(kept, keptForms, replaced, c.state, max, now); !done.stored {
				unused = append(keptForms, kept)
			}
		}
		return done.next, true
	})
	c.memory.discard(others)
	c.memory.discard(done.gone)
	c.memory.discard(unused)
	return done
}

// holdsWhole reports whether a complete and still fresh response of the same variant is stored, which a part of the same
// representation must not displace.
func (v *Variants) holdsWhole(part *Entry, state *invalidation.State, now time.Time) bool {
	piece := part.Facts()
	for _, old := range v.entries() {
		whole := old.Facts()
		if !old.IsPartial() && !old.encoded() && sameVariant(old, part) && whole.TTL(now) > 0 && rfc9111.Combinable(&whole, &piece) &&
			state.Check(&old.Stamp, old) == invalidation.Valid {
			return true
		}
	}
	return false
}

// Remove takes e and its encoded forms out of the cache, where it is still there: its origin said that it must not be kept any longer. What has taken its
// place meanwhile stays.
func (c *Cache) Remove(e *Entry) {
	var gone []*Entry
	c.memory.Update(e.hash, func(old Variants, ok bool) (Variants, bool) {
		if !slices.ContainsFunc(old.entries(), e.is) {
			return old, ok
		}
		next, taken, keep := old.without(e)
		if keep { // or the tier tells of it
			gone = taken
		}
		return next, keep
	})
	c.memory.discard(gone)
}
