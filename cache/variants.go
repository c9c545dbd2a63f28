package cache

import (
	"bytes"
	"slices"
	"time"
	"unsafe"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Variants is all that is stored under one key. It is never changed: every method that would change it returns a new value.
type Variants struct {
	// Key is that of one of the entries, or a copy: it must not keep the memory of an entry alive that has gone.
	Key     rfc9111.Key
	Entries []*Entry
	// Uncacheable is until when the response of this key is remembered as one that could not be stored (hit-for-miss), and
	// Because is why. Zero: nothing is known against it.
	Uncacheable time.Time
	Because     rfc9111.Reason
}

// of reports whether the variants are those of key. Two keys may share a hash; that is a miss, never a wrong answer.
func (v *Variants) of(key rfc9111.Key) bool { return bytes.Equal(v.Key.Text, key.Text) }

// variantsSize is what Variants take beside their entries, and entryPlace what each entry takes in them.
const (
	variantsSize = int64(unsafe.Sizeof(Variants{}))
	entryPlace   = 2 * int64(unsafe.Sizeof((*Entry)(nil))) // the pointer, and as much again for the allocator's size classes
)

// cost returns the bytes of memory that the variants take. The memory tier adds what it keeps itself.
func (v *Variants) cost() int64 {
	cost := variantsSize
	for _, e := range v.Entries {
		cost += e.cost + entryPlace
	}
	if len(v.Entries) == 0 {
		cost += int64(cap(v.Key.Text))
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

// later reports whether e is of a later request than other: the higher Born wins, and among those born at the same place of the log
// the one whose request left later.
func (e *Entry) later(other *Entry) bool {
	a, b := e.Stamp.Born, other.Stamp.Born
	if a.Epoch == b.Epoch && a.Seq != b.Seq {
		return a.Seq > b.Seq
	}
	return e.Meta.RequestTime.After(other.Meta.RequestTime)
}

// with returns the variants with e in them, in the place of the same variant and of replaced, which may be nil. An entry of the same
// variant that is of a later request stays, and e is not stored: whoever comes last does not win for that. Entries that a purge or a
// reload has made useless go, and so do those that have expired; beyond max, the oldest go, but never e.
func (v *Variants) with(e, replaced *Entry, state *invalidation.State, max int, now time.Time) change {
	entries := make([]*Entry, 0, len(v.Entries)+1)
	for _, old := range v.Entries {
		switch {
		case old == replaced, old.Rule != e.Rule, !now.Before(old.Meta.Retain), state.Check(&old.Stamp) == invalidation.Invalid:
		case sameVariant(old, e):
			if old.later(e) {
				return change{next: v}
			}
		default:
			entries = append(entries, old)
		}
	}
	dropped := 0
	for len(entries) > max-1 {
		at := oldest(entries)
		entries = slices.Delete(entries, at, at+1)
		dropped++
	}
	return change{next: &Variants{Key: e.Key, Entries: append(entries, e)}, stored: true, dropped: dropped}
}

// without returns the variants without e, and whether anything worth keeping is left.
func (v *Variants) without(e *Entry) (next *Variants, keep bool) {
	at := slices.Index(v.Entries, e)
	if at < 0 {
		return v, true
	}
	next = &Variants{Key: v.Key, Uncacheable: v.Uncacheable, Because: v.Because}
	if len(v.Entries) > 1 {
		next.Entries = slices.Concat(v.Entries[:at], v.Entries[at+1:])
		next.Key = next.Entries[0].Key
		return next, true
	}
	next.Key.Text = bytes.Clone(v.Key.Text)
	return next, !v.Uncacheable.IsZero()
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
