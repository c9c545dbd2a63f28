package cache

import (
	"bytes"
	"slices"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Under returns the responses that are stored under key, useful or not, without their encoded forms. It does not count as a use.
func (c *Cache) Under(key [16]byte) (entries []*Entry) {
	v, ok := c.memory.Peek(key)
	if !ok {
		return nil
	}
	for _, e := range v.entries() {
		if !e.encoded() {
			entries = append(entries, e)
		}
	}
	return entries
}

// Asked returns how often the key was asked for lately, up to 16 times; 0 where nobody counts.
func (c *Cache) Asked(key [16]byte) int { return c.memory.memory.Frequency(key) }

// Standing returns what the log says of e, where that depends on how often it is asked for too.
func (c *Cache) Standing(e *Entry) invalidation.Standing { return c.standing(e) }

// Codings returns the codings in which e is stored beside its own form.
func (c *Cache) Codings(e *Entry) (codings []rfc9111.Coding) {
	for coding, form := range c.Forms(e) {
		if form != nil {
			codings = append(codings, rfc9111.Coding(coding))
		}
	}
	return codings
}

// Search says which keys are looked for: those that hold something for which all that is given is true.
type Search struct {
	Tag   string                // that it carries; "": any or none
	Match func(uri []byte) bool // nil: any
	After []byte                // the keys behind this one, in their order; nil: all
	Limit int                   // how many at most
}

// Keys returns the keys in memory that the search is for, in order. What a purge has ended is not there any more. Without a tag it
// looks at everything.
func (c *Cache) Keys(s Search) (keys [][16]byte) {
	add := func(key [16]byte) {
		if bytes.Compare(key[:], s.After) > 0 && slices.ContainsFunc(c.Under(key), func(e *Entry) bool { return c.found(e, &s) }) {
			keys = append(keys, key)
		}
		if len(keys) > 4*s.Limit+dropBatch {
			keys = first(keys, s.Limit)
		}
	}
	if s.Tag != "" {
		hash := c.state.Hash(invalidation.Selector{Kind: invalidation.KindTag, Value: s.Tag})
		for _, key := range c.memory.index.keys(hash) {
			add(key)
		}
	} else {
		c.memory.memory.Range(func(key [16]byte, _ ref) bool {
			add(key)
			return true
		})
	}
	return first(keys, s.Limit)
}

// first returns the first n keys, in order.
func first(keys [][16]byte, n int) [][16]byte {
	slices.SortFunc(keys, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	return keys[:min(n, len(keys))]
}

func (c *Cache) found(e *Entry, s *Search) bool {
	if s.Match != nil && !s.Match(e.URI()) || c.standing(e) == invalidation.Invalid {
		return false
	}
	if s.Tag == "" {
		return true
	}
	labels := e.Labels() // what only depends on the tag has its hash too
	return slices.Contains(labels.Rule, s.Tag) || slices.Contains(labels.Tags, s.Tag)
}
