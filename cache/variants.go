package cache

import (
	"bytes"
	"slices"
	"time"
	"unsafe"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Variants is all that is stored under one key. It is never changed: every method that would change it returns a new value. Nearly
// always it is a single entry and nothing else, which then costs no memory of its own.
type Variants struct {
	one  [1]*Entry // the only entry; nil where more says everything
	more *several
}

// several is what a key holds that is more, or less, than one entry.
type several struct {
	name ref // on the shelf
	// key is that of one of the entries, or a copy: it must not keep the memory of an entry alive that has gone.
	key     rfc9111.Key
	entries []*Entry
	mark    mark
}

func (s *several) called() *ref { return &s.name }

// mark remembers that the response of a key could not be stored (hit-for-miss): until when, and why. Zero: nothing is known against it.
type mark struct {
	until   time.Time
	because rfc9111.Reason
}

// variantsOf returns the variants of a key. Where there is no entry, text must be a copy of the key's own.
func variantsOf(key rfc9111.Key, entries []*Entry, m mark) Variants {
	if len(entries) == 1 && m == (mark{}) {
		return Variants{one: [1]*Entry{entries[0]}}
	}
	if len(entries) > 0 {
		key = entries[0].Key()
	}
	return Variants{more: &several{key: key, entries: entries, mark: m}}
}

// entries returns the stored responses. The slice must not be changed.
func (v *Variants) entries() []*Entry {
	switch {
	case v.more != nil:
		return v.more.entries
	case v.one[0] != nil:
		return v.one[:]
	}
	return nil
}

func (v *Variants) mark() mark {
	if v.more == nil {
		return mark{}
	}
	return v.more.mark
}

// key returns the key whose text belongs to the variants.
func (v *Variants) key() rfc9111.Key {
	switch {
	case v.more != nil:
		return v.more.key
	case v.one[0] != nil:
		return v.one[0].Key()
	}
	return rfc9111.Key{}
}

// of reports whether the variants are those of key. Two keys may share a hash; that is a miss, never a wrong answer.
func (v *Variants) of(key rfc9111.Key) bool { return bytes.Equal(v.key().Text, key.Text) }

// severalSize is what several takes beside its entries, and entryPlace what each entry takes in it.
const (
	severalSize = int64(unsafe.Sizeof(several{}))
	entryPlace  = 2 * int64(unsafe.Sizeof((*Entry)(nil))) // the pointer, and as much again for the allocator's size classes
)

// cost returns the bytes of memory that the variants take. The memory tier adds what it keeps itself.
func (v *Variants) cost() int64 {
	if v.more == nil {
		return v.one[0].Cost()
	}
	cost := severalSize
	for _, e := range v.more.entries {
		cost += e.Cost() + entryPlace
	}
	if len(v.more.entries) == 0 {
		cost += int64(cap(v.more.key.Text))
	}
	return cost
}

// expires returns when nothing in the variants is of use any more.
func (v *Variants) expires() time.Time {
	last := v.mark().until
	for _, e := range v.entries() {
		if retain := instantOf(e.retain); retain.After(last) {
			last = retain
		}
	}
	return last
}

// sameVariant reports whether a and b answer the same requests: they vary by the same fields and were chosen by the same values.
func sameVariant(a, b *Entry) bool {
	return a.Rule == b.Rule && bytes.Equal(a.cut(a.key+a.uri, a.vary), b.cut(b.key+b.uri, b.vary))
}

// change is what a store does to the variants of a key.
type change struct {
	next    Variants
	stored  bool
	gone    []*Entry // not in next any more
	dropped int      // how many of them went for being beyond the limit
}

// later reports whether e is of a later request than other: the higher Born wins, and among those born at the same place of the log
// the one whose request left later.
func (e *Entry) later(other *Entry) bool {
	a, b := e.Stamp.Born, other.Stamp.Born
	if a.Epoch == b.Epoch && a.Seq != b.Seq {
		return a.Seq > b.Seq
	}
	return e.request > other.request
}

// with returns the variants with e and its encoded forms in them, in the place of the same variant and of replaced, which may be nil.
// An entry of the same variant that is of a later request stays, and e is not stored: whoever comes last does not win for that.
// Entries that a purge or a reload has made useless go, and so do those that have expired; beyond max, the oldest go, but never e.
// The encoded forms of what goes go with it.
func (v Variants) with(e *Entry, forms []*Entry, replaced *Entry, state *invalidation.State, max int, now time.Time) change {
	entries := make([]*Entry, 0, len(v.entries())+1+len(forms))
	var gone []*Entry
	for _, old := range v.entries() {
		switch {
		case old.encoded():
		case old.is(replaced), old.Rule != e.Rule, !old.retained(now), state.Check(&old.Stamp, old) == invalidation.Invalid:
			gone = append(gone, old)
		case sameVariant(old, e):
			if old.later(e) {
				return change{next: v}
			}
			gone = append(gone, old)
		default:
			entries = append(entries, old)
		}
	}
	dropped := 0
	for len(entries) > max-1 {
		at := oldest(entries)
		gone = append(gone, entries[at])
		entries = slices.Delete(entries, at, at+1)
		dropped++
	}
	for _, form := range v.entries() {
		switch {
		case !form.encoded():
		case slices.ContainsFunc(entries, form.formOf):
			entries = append(entries, form)
		default:
			gone = append(gone, form)
		}
	}
	entries = append(append(entries, e), forms...)
	return change{next: variantsOf(e.Key(), entries, mark{}), stored: true, gone: gone, dropped: dropped}
}

// without returns the variants without e and its encoded forms, which are gone, and whether anything worth keeping is left.
func (v Variants) without(e *Entry) (next Variants, gone []*Entry, keep bool) {
	key := v.key()
	var rest []*Entry
	for _, other := range v.entries() {
		if other.is(e) || other.formOf(e) {
			gone = append(gone, other)
		} else {
			rest = append(rest, other)
		}
	}
	if len(rest) == 0 {
		key.Text = bytes.Clone(key.Text)
	}
	return variantsOf(key, rest, v.mark()), gone, len(rest) > 0 || v.mark() != mark{}
}

// moved returns the variants with e in the place of the same response.
func (v Variants) moved(at int, e *Entry) Variants {
	if v.more == nil {
		return Variants{one: [1]*Entry{e}}
	}
	entries := slices.Clone(v.more.entries)
	entries[at] = e
	return variantsOf(e.Key(), entries, v.more.mark)
}

func oldest(entries []*Entry) int {
	at := 0
	for i, e := range entries {
		if e.response < entries[at].response {
			at = i
		}
	}
	return at
}
