package invalidation

import (
	"bytes"
	"hash/maphash"
	"sync/atomic"
)

// Birth is where a State stood at some moment: the position in the log that it
// had applied, and how much it had applied in all. What is purged here while the
// log cannot be reached has no position yet, and counts in the second alone.
//
// The zero tick stands for a birth elsewhere: in another instance, or in this
// one before it was started. Then the position alone is known.
type Birth struct {
	Position
	tick uint64
}

// Follows reports whether b is the next birth behind a: whether a single record
// was applied between them.
func (b Birth) Follows(a Birth) bool { return b.Epoch == a.Epoch && b.tick == a.tick+1 }

// Stamp travels inside whatever can be purged: a stored response, a fetch under
// way. It is made by [State.Stamp] and understood by that State only; the zero
// Stamp is never Valid. It must not be copied once it has been checked.
type Stamp struct {
	// Born is what the state had applied when the request left for the origin.
	Born Position

	key, uri, bare uint64 // hashes of the key, and of the URI with and without its scheme

	// checked is one more than the tick up to which this was found valid, and 0
	// where that is not known of any. Each Check may move it; it only ever grows.
	checked atomic.Uint64
}

// Subject is what carries a Stamp and can tell more about itself, which is asked
// for only where something was purged since the last Check. Its methods must
// not block, and nobody changes what they return.
type Subject interface {
	// URI returns the absolute URI with which the Stamp was made.
	URI() []byte
	// Tags returns the hashes, by [State.Hash], of the tags and groups that it
	// carries, and of whatever else ends it.
	Tags() []uint64
	// TagNames returns the names of its tags, a line end behind each.
	TagNames() []byte
}

// Composed is a Subject that is made of other things, and ends with them. By Tags
// it tells so for what is purged by its name; patterns and bans ask by this.
type Composed interface {
	Subject
	// DependsOn returns what it is made of, as nodes of [Dependencies], a line end
	// behind each.
	DependsOn() []byte
}

// Stamp makes the stamp of what was born at born, is stored under key and stands
// for uri, an absolute URI in normal form. Born must have been read, with
// [State.Birth], before the request was sent: read later, it would hide the
// purges in between. The bytes of uri are not kept.
func (s *State) Stamp(born Birth, key [16]byte, uri []byte) (st Stamp) {
	st.Born = born.Position
	st.key = maphash.Bytes(s.seeds[KindKey], key[:])
	st.uri, st.bare = s.hashURI(uri), s.hashURI(withoutScheme(uri))
	if born.tick > 0 {
		st.checked.Store(born.tick + 1)
	}
	return // a Stamp holds an atomic: nothing but its name may be returned
}

// Birth returns the birth of what is made out of the stamp's bearer and nothing
// else, such as another form of it.
func (st *Stamp) Birth() Birth {
	if checked := st.checked.Load(); checked > 0 {
		return Birth{st.Born, checked - 1}
	}
	return Birth{Position: st.Born}
}

// Copy returns a stamp of the same birth, as far checked as this one is. The
// state may check this one meanwhile.
func (st *Stamp) Copy() (c Stamp) {
	c.Born, c.key, c.uri, c.bare = st.Born, st.key, st.uri, st.bare
	c.checked.Store(st.checked.Load())
	return // see State.Stamp
}

// withoutScheme returns uri from its two slashes on, where they follow a scheme.
func withoutScheme(uri []byte) []byte {
	if i := bytes.IndexByte(uri, ':'); i > 0 && bytes.HasPrefix(uri[i+1:], []byte("//")) {
		return uri[i+1:]
	}
	return uri
}

func (s *State) hashURI(uri []byte) uint64 { return maphash.Bytes(s.seeds[KindURL], uri) }

// Hash returns the hash of what a selector of kind url, key, tag or group names,
// for the Tags of a [Subject]. It is of this State only.
func (s *State) Hash(sel Selector) uint64 {
	if sel.Kind == KindKey {
		key, _ := keyOf(sel.Value) // what is no key is the key of nothing
		return maphash.Bytes(s.seeds[KindKey], key[:])
	}
	return maphash.String(s.seeds[sel.Kind], sel.Value)
}
