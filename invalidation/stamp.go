package invalidation

import (
	"bytes"
	"hash/maphash"
	"sync/atomic"
)

// Stamp travels inside whatever can be purged: a stored response, a fetch under
// way. It is made by [State.Stamp] and understood by that State only; the zero
// Stamp is never Valid. It must not be copied once it has been checked.
type Stamp struct {
	// Born is what the state had applied when the request left for the origin.
	Born Position

	uri, any uint64 // hashes of the URI with and without its scheme

	// checked is one more than the sequence number up to which this was found
	// valid, and 0 where that is not known of any. Each Check may move it; it
	// only ever grows.
	checked atomic.Uint64
}

// Stamp makes the stamp of what was born at born and stands for uri, an
// absolute URI in normal form. Born must have been read, with [State.Applied],
// before the request was sent: read later, it would hide the purges in between.
// The bytes of uri are not kept.
func (s *State) Stamp(born Position, uri []byte) (st Stamp) {
	st.Born = born
	st.uri, st.any = s.hash(uri), s.hash(withoutScheme(uri))
	if born.Epoch == s.Applied().Epoch {
		st.checked.Store(uint64(born.Seq) + 1)
	}
	return // a Stamp holds an atomic: nothing but its name may be returned
}

// Copy returns a stamp of the same birth, as far checked as this one is. The
// state may check this one meanwhile.
func (st *Stamp) Copy() (c Stamp) {
	c.Born, c.uri, c.any = st.Born, st.uri, st.any
	c.checked.Store(st.checked.Load())
	return // see State.Stamp
}

// withoutScheme returns uri from its two slashes on.
func withoutScheme(uri []byte) []byte {
	if i := bytes.Index(uri, []byte("//")); i > 0 {
		return uri[i:]
	}
	return uri
}

func (s *State) hash(uri []byte) uint64 { return maphash.Bytes(s.seed, uri) }
