package cache

import (
	"bytes"
	"slices"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Variants is all that is stored under one key. It is never changed: every method that would change it returns a new value.
type Variants struct {
	Key     rfc9111.Key
	Entries []*Entry
	// Uncacheable is until when the response of this key is remembered as one that could not be stored (hit-for-miss), and
	// Because is why. Zero: nothing is known against it.
	Uncacheable time.Time
	Because     rfc9111.Reason
}

// of reports whether the variants are those of key. Two keys may share a hash; that is a miss, never a wrong answer.
func (v *Variants) of(key rfc9111.Key) bool { return bytes.Equal(v.Key.Text, key.Text) }

// cost returns the bytes of memory that the variants take.
func (v *Variants) cost() int64 {
	cost := entryOverhead
	for _, e := range v.Entries {
		cost += e.Cost()
	}
	if len(v.Entries) == 0 {
		cost += int64(len(v.Key.Text))
	}
	return cost
}

// expires returns when nothing in the variants is of use any more.
func (v *Variants) expires() time.Time {
	last := v.Uncacheable
	for _, e := range v.Entries {
		if e.Meta.Retain.After(last) {
			last = e.Meta.Retain
		}
	}
	return last
}

// sameVariant reports whether a and b answer the same requests: they vary by the same fields and were chosen by the same values.
func sameVariant(a, b *Entry) bool {
	return a.Rule == b.Rule && slices.Equal(a.Meta.Vary, b.Meta.Vary)
}

// change is what a store does to the variants of a key.
type change struct {
	next    *Variants
	stored  bool
	dropped int // variants beyond the limit
}

// with returns the variants with e in them. An entry of the same variant that was born later stays, and e is not stored: the higher
// Born wins, whoever comes last. Entries that a purge or a reload has made useless go; beyond max, the oldest go.
func (v *Variants) with(e *Entry, state *invalidation.State, max int, now time.Time) change {
	entries := make([]*Entry, 0, len(v.Entries)+1)
	for _, old := range v.Entries {
		switch {
		case old.Rule != e.Rule, !now.Before(old.Meta.Retain), state.Check(&old.Stamp) == invalidation.Invalid:
		case sameVariant(old, e):
			if old.Stamp.Born.Epoch == e.Stamp.Born.Epoch && old.Stamp.Born.Seq > e.Stamp.Born.Seq {
				return change{next: v}
			}
		default:
			entries = append(entries, old)
		}
	}
	entries = append(entries, e)
	dropped := 0
	for len(entries) > max {
		entries = slices.Delete(entries, oldest(entries), oldest(entries)+1)
		dropped++
	}
	return change{next: &Variants{Key: e.Key, Entries: entries}, stored: true, dropped: dropped}
}

func oldest(entries []*Entry) int {
	at := 0
	for i, e := range entries {
		if e.Meta.ResponseTime.Before(entries[at].Meta.ResponseTime) {
			at = i
		}
	}
	return at
}
