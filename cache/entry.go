package cache

import (
	"net/http"
	"strconv"
	"time"
	"unsafe"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Entry is one stored response. It is immutable but for the atomic in its stamp, and may be read by any number of goroutines at
// once. Nothing of the origin's response is kept alive beside it.
//
// An Entry holds no pointer: its texts (key, URI, what it varies by, head, labels, validators) and, up to a limit, its body follow it in one
// block of memory, and it knows their places. A million entries are then a million blocks that the garbage collector marks and does
// not look into, and the allocator rounds up once. An entry whose body lies elsewhere is the beginning of a [linked] instead. So an
// Entry is never copied and never made but by newEntry.
type Entry struct {
	Stamp invalidation.Stamp
	record
}

// record is all of an entry that never changes.
type record struct {
	// Rule is the fingerprint of the storing rules under which it was stored. A reload that changed them makes it unusable.
	Rule uint64
	// Part says which bytes of the whole representation Body is; zero for a complete response.
	Part Part

	hash [16]byte
	home ref    // 0: not in the arena
	id   uint64 // of the response: an entry that moves within the arena keeps it, and its encoded forms have it too
	cost int64  // bytes of memory of its own
	body int64  // length of the body

	// What rfc9111.Meta says, in nanoseconds; the instants count from birth.
	request, response, date, retain         int64
	initialAge, lifetime, swr, staleIfError time.Duration
	status                                  uint16
	flags                                   rfc9111.Flags

	varies         uint16 // number of fields that the response varies by
	linked         bool
	varyAdded      bool            // the head's last line of Vary is ours, and not the origin's
	coding         rfc9111.Coding  // of an encoded form; see encode.go
	rejected       rfc9111.Codings // those in which encoded forms are not worth making
	key, uri, vary uint32          // length of each text; they follow each other, then the head, the labels, and what is concealed
	hashes         uint32          // number of the hashes by which it can be purged, see labels.go; they stand before the texts
	labels         uint32          // likewise
	concealed      uint32          // likewise
	head, size     uint32          // size is that of the hashes and texts, and of the body where it is not linked
	etag, modified span            // within the texts
}

// span is a place within the texts of an entry.
type span struct{ at, size uint32 }

// linked is an entry whose body lies elsewhere, because copying it would cost more than a pointer.
type linked struct {
	Entry
	texts []byte
	body  []byte
}

// is reports whether e and other are one response in one form, wherever they lie.
func (e *Entry) is(other *Entry) bool {
	return other != nil && e.id == other.id && e.coding == other.coding
}

// Part is the place of a partial response within its representation (RFC 9110, 14.4). Complete is -1 where it is not known.
type Part struct{ First, Complete int64 }

// Key returns the key under which the entry is stored. Its text is the entry's own: it must not be changed.
func (e *Entry) Key() rfc9111.Key { return rfc9111.Key{Hash: e.hash, Text: e.cut(0, e.key)} }

// URI is the address by which a purge finds the entry. It must not be changed.
func (e *Entry) URI() []byte { return e.cut(e.key, e.uri) }

// Head holds the field lines to send, "Name: value\r\n" each, sorted by name, lines of one name together. Age and Content-Length
// are not in it: they are made for each response. It must not be changed.
func (e *Entry) Head() []byte { return e.cut(e.key+e.uri+e.vary, e.head) }

// Body is the whole content, or the part that Part describes. It must not be changed.
func (e *Entry) Body() []byte {
	if e.linked {
		return e.link().body
	}
	all := e.all()
	return all[int64(len(all))-e.body:]
}

// Size returns the length of the body.
func (e *Entry) Size() int64 { return e.body }

// Status returns the status code to send.
func (e *Entry) Status() int { return int(e.status) }

// IsPartial reports whether the entry holds only a part of the representation.
func (e *Entry) IsPartial() bool { return e.flags&rfc9111.Partial != 0 }

// Varies reports whether the response was chosen by fields of the request (RFC 9111, 4.1).
func (e *Entry) Varies() bool { return e.varies > 0 }

// Cost returns how many bytes of memory the entry takes, all that it refers to included.
func (e *Entry) Cost() int64 { return e.cost + int64(e.hashes)*rowCost }

// all returns the block of texts, which the body ends where it is not linked.
func (e *Entry) all() []byte {
	if e.linked {
		return e.link().texts
	}
	// Only newEntry makes entries, and it leaves this room behind each.
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(e), entrySize)), e.size)
}

// link returns the whole of which a linked entry is the beginning.
func (e *Entry) link() *linked { return (*linked)(unsafe.Pointer(e)) }

// cut returns a text by its place among the texts.
func (e *Entry) cut(at, size uint32) []byte {
	at += e.hashes * uint32(wordSize)
	return e.all()[at : at+size : at+size]
}

func (e *Entry) text(s span) string { return text(e.cut(s.at, s.size)) }

// Validators returns what the entry can be validated with. The strings point into the entry, which never changes.
func (e *Entry) Validators() rfc9111.Validators {
	return rfc9111.Validators{ETag: e.text(e.etag), LastModified: e.text(e.modified)}
}

// birth is what the instants of entries count from: differences to it hold the monotonic clock, so that a step of the wall clock
// makes no entry older or younger.
var birth = time.Now()

func instant(t time.Time) int64 { return int64(t.Sub(birth)) }

func instantOf(n int64) time.Time { return birth.Add(time.Duration(n)) }

// Facts returns what the rules need to know of the entry, but not what it varies by, which would have to be allocated: it is for
// [rfc9111.Decide] and all that comes after the selection.
func (e *Entry) Facts() rfc9111.Meta {
	return rfc9111.Meta{
		RequestTime: instantOf(e.request), ResponseTime: instantOf(e.response), Date: instantOf(e.date), Retain: instantOf(e.retain),
		InitialAge: e.initialAge, Lifetime: e.lifetime, StaleWhileRevalidate: e.swr, StaleIfError: e.staleIfError,
		Validators: e.Validators(), Status: int(e.status), Flags: e.flags,
	}
}

// Meta returns all that the rules need to know of the entry. It allocates where the entry varies by something.
func (e *Entry) Meta() rfc9111.Meta {
	m := e.Facts()
	if e.varies > 0 {
		m.Vary = make([]rfc9111.VaryField, 0, e.varies)
		for v := range e.VariesBy() {
			m.Vary = append(m.Vary, v)
		}
	}
	return m
}

// retained reports whether the entry is of any use at now.
func (e *Entry) retained(now time.Time) bool { return instant(now) < e.retain }

// Fields yields the stored field lines in order. The strings may be kept: they point into the entry, which never changes.
func (e *Entry) Fields() func(yield func(name, value string) bool) { return lines(e.Head()) }

// Header makes an http.Header of the stored fields as the origin sent them, those that are concealed among them, with Content-Length
// where the entry is complete. It
// allocates: it is for freshening, not for hits.
func (e *Entry) Header() http.Header {
	h := make(http.Header)
	for name, value := range e.Fields() {
		h[name] = append(h[name], value)
	}
	for name, value := range e.Concealed() {
		h[name] = append(h[name], value)
	}
	if vary := h["Vary"]; e.varyAdded && len(vary) > 1 {
		h["Vary"] = vary[:len(vary)-1]
	} else if e.varyAdded {
		delete(h, "Vary")
	}
	if !e.IsPartial() && e.status != http.StatusNoContent {
		h["Content-Length"] = []string{strconv.FormatInt(e.body, 10)}
	}
	return h
}
