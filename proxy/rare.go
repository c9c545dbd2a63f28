package proxy

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// plenty is how many variants of a key are stored as they come. Compressed or not, and a few languages: most pages have no more.
const plenty = 4

// rare reports whether the response is one of many variants of its key, and nobody else asks for this one, or has done so before. It
// is not stored then: by a field that pages vary by, with a value that is another each time, a client could fill each page's place
// with variants that nobody will ask for again, and so drive out the other pages.
func (f *fill) rare(h *head) bool {
	if len(h.meta.Vary) == 0 || f.wanted.selected != nil || f.p.cache.Count(f.key) < plenty {
		return false
	}
	text := append([]byte(nil), f.key.Text...)
	for _, v := range h.meta.Vary {
		text = rfc9111.AppendPart(text, v.Name)
		text = rfc9111.AppendPart(text, v.Value)
	}
	hash := rfc9111.NewKey(text).Hash
	return !f.p.asked.again(binary.LittleEndian.Uint64(hash[:])) && !f.awaited()
}

// awaited reports whether others wait for the response with the client that began the fetch: they have asked for it too, as far as
// anybody can tell before they have seen what it varies by. Each of them would fetch for itself what is not stored.
func (f *fill) awaited() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.stream.readers) > 1
}

// askedSlots is how many hashes an asked remembers: 256 KiB of them.
const askedSlots = 1 << 15

// asked remembers hashes, each until another one takes its slot. It is safe for concurrent use.
type asked struct{ slots [askedSlots]atomic.Uint64 }

// again reports whether it was called with the hash before, as far as it remembers.
func (a *asked) again(hash uint64) bool { return a.slots[hash%askedSlots].Swap(hash) == hash }
