package cache

import (
	"encoding/binary"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Parts is what an entry is made of. Header is the stored header section (rfc9111.StoredHeader); Body must not be changed afterwards.
// Policy says whether encoded forms are to be made; nil: none.
type Parts struct {
	Key    rfc9111.Key
	URI    []byte
	Meta   rfc9111.Meta
	Rule   uint64
	Policy *rfc9111.Policy
	Header http.Header
	// Concealed are the fields that only trusted proxies are sent; see Conceal.
	Concealed http.Header
	Labels    *Labels // nil: none
	Body      []byte
	Part      Part
	Born      invalidation.Birth
	// Share says how the response goes to the remote tier; nil: it stays in memory.
	Share *Share
}

const (
	entrySize = unsafe.Sizeof(Entry{})
	// linkedSize is what a linked takes in the allocator's size classes, which are 32 bytes apart there.
	linkedSize = (int64(unsafe.Sizeof(linked{})) + 31) &^ 31
	wordSize   = int(unsafe.Sizeof(uint64(0)))
)

// inlineBody is up to which size a body is copied behind the head, so that the whole entry is one block. Larger bodies keep the
// buffer they arrived in: copying them would cost more than a pointer.
const inlineBody = 64 << 10

// ids are the numbers of responses that were packed.
var ids atomic.Uint64

// newEntry packs parts into an entry. All but a large body is copied.
func newEntry(state *invalidation.State, p *Parts) *Entry {
	var layout Entry // on the stack, for the places of the texts alone
	encodes, added := encodes(p)
	vary := ""
	if added {
		vary = acceptEncoding
	}
	texts := layout.render(p, vary)
	e := allocate(hashesOf(state, p.Labels), texts, p.Body)
	e.Stamp = state.Stamp(p.Born, p.Key.Hash, p.URI)
	e.id = ids.Add(1)
	e.Rule, e.Part, e.hash = p.Rule, p.Part, p.Key.Hash
	e.key, e.uri, e.vary, e.head = layout.key, layout.uri, layout.vary, layout.head
	e.labels, e.concealed = layout.labels, layout.concealed
	e.etag, e.modified, e.varies = layout.etag, layout.modified, layout.varies
	m := &p.Meta
	e.request, e.response, e.date, e.retain = instant(m.RequestTime), instant(m.ResponseTime), instant(m.Date), instant(m.Retain)
	e.initialAge, e.lifetime, e.swr, e.staleIfError = m.InitialAge, m.Lifetime, m.StaleWhileRevalidate, m.StaleIfError
	e.status, e.flags = uint16(m.Status), m.Flags&^rfc9111.Encodes
	if encodes {
		e.flags |= rfc9111.Encodes
		e.varyAdded = added
	}
	return e
}

// encodes reports whether encoded forms are to be made of p, and whether Vary has to be told so.
func encodes(p *Parts) (ok, vary bool) {
	if p.Meta.Flags&rfc9111.Partial != 0 {
		return false, false
	}
	ok = p.Meta.Flags&rfc9111.Encodes != 0 // as it was found when it was stored by the same rule
	if p.Policy != nil {
		ok, _ = rfc9111.Encodable(p.Policy, p.Meta.Status, rfc9111.Header(p.Header), int64(len(p.Body)))
	}
	if !ok {
		return false, false
	}
	names, _ := rfc9111.VaryNames(rfc9111.Header(p.Header))
	return true, !slices.Contains(names, acceptEncoding)
}

const acceptEncoding = "Accept-Encoding"

// render returns the texts one behind the other, and notes in e where each is. vary is a line of Vary more than the header has; "": none.
func (e *Entry) render(p *Parts, vary string) []byte {
	b := make([]byte, 0, len(p.Key.Text)+len(p.URI)+varySize(p.Meta.Vary)+renderedSize(p.Header)+len("Vary: \r\n")+len(vary)+labelsSize(p.Labels)+renderedSize(p.Concealed))
	b = append(b, p.Key.Text...)
	b = append(b, p.URI...)
	e.key, e.uri = uint32(len(p.Key.Text)), uint32(len(p.URI))
	b = appendVary(b, p.Meta.Vary)
	e.varies, e.vary = uint16(len(p.Meta.Vary)), uint32(len(b))-e.key-e.uri
	start := len(b)
	b = appendHeader(b, p.Header, vary)
	e.head = uint32(len(b) - start)
	b = appendLabels(b, p.Labels)
	e.labels = uint32(len(b)-start) - e.head
	b = appendHeader(b, p.Concealed, "")
	e.concealed = uint32(len(b)-start) - e.head - e.labels
	v := p.Meta.Validators
	e.etag, b = locate(b, start, "Etag", v.ETag)
	e.modified, b = locate(b, start, "Last-Modified", v.LastModified)
	return b
}

// locate finds a validator in the head, which begins at start, or adds it behind all where the head does not have it: the origin may
// have asked to keep the field out of the cache.
func locate(b []byte, start int, name, value string) (span, []byte) {
	if value == "" {
		return span{}, b
	}
	size := uint32(len(value))
	if i := strings.Index(text(b[start:]), name+": "+value+"\r\n"); i >= 0 {
		return span{at: uint32(start + i + len(name) + len(": ")), size: size}, b
	}
	return span{at: uint32(len(b)), size: size}, append(b, value...)
}

// allocate returns an entry with the hashes, the texts and the body in their places.
func allocate(hashes []uint64, texts, body []byte) *Entry {
	size := len(hashes)*wordSize + len(texts)
	if len(body) > inlineBody {
		words := slices.Grow([]uint64(nil), (size+wordSize-1)/wordSize) // for the alignment of the hashes
		l := &linked{texts: unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), size), body: body}
		l.Entry.body, l.size, l.hashes, l.linked = int64(len(body)), uint32(size), uint32(len(hashes)), true
		l.cost = linkedSize + int64(cap(words)*wordSize) + pages(cap(body))
		l.Entry.fill(hashes, texts)
		return &l.Entry
	}
	size += len(body)
	// Words, for the alignment of the entry. Grow gives the capacity that the allocator has in that size class: that is what it costs.
	block := slices.Grow([]uint64(nil), (int(entrySize)+size+wordSize-1)/wordSize)
	e := (*Entry)(unsafe.Pointer(unsafe.SliceData(block)))
	e.body, e.size, e.hashes = int64(len(body)), uint32(size), uint32(len(hashes))
	e.cost = int64(cap(block)) * int64(wordSize)
	copy(e.all()[e.fill(hashes, texts):], body)
	return e
}

// fill writes the hashes and the texts, and returns where they end.
func (e *Entry) fill(hashes []uint64, texts []byte) int {
	copy(e.Tags(), hashes)
	at := len(hashes) * wordSize
	return at + copy(e.all()[at:], texts)
}

// clone returns a copy of e that lies outside of the arena, for the caller to change before anybody else sees it.
func (e *Entry) clone() *Entry {
	body := e.Body()
	texts := e.all()
	if !e.linked {
		texts = texts[:len(texts)-len(body)]
	}
	c := allocate(e.Tags(), texts[len(e.Tags())*wordSize:], body)
	cost := c.cost
	c.Stamp = e.Stamp.Copy()
	c.record = e.record
	c.home, c.cost = 0, cost
	return c
}

// pages rounds the size of a large block up to whole pages, as the allocator does.
func pages(n int) int64 {
	const page = 8 << 10
	return (int64(n) + page - 1) &^ (page - 1)
}

// What an entry varies by is packed field after field: the length of the name and of the value, one more where the field was present
// (0 is an absent field), then name and value.

func varySize(fields []rfc9111.VaryField) int {
	n := 0
	for _, v := range fields {
		n += 2*binary.MaxVarintLen32 + len(v.Name) + len(v.Value)
	}
	return n
}

func appendVary(b []byte, fields []rfc9111.VaryField) []byte {
	for _, v := range fields {
		b = binary.AppendUvarint(b, uint64(len(v.Name)))
		size := uint64(0)
		if v.Present {
			size = uint64(len(v.Value)) + 1
		}
		b = binary.AppendUvarint(b, size)
		b = append(b, v.Name...)
		b = append(b, v.Value...)
	}
	return b
}

// VariesBy yields the request fields by which the entry was chosen. The strings may be kept: they point into the entry.
func (e *Entry) VariesBy() func(yield func(rfc9111.VaryField) bool) {
	return func(yield func(rfc9111.VaryField) bool) {
		rest := e.cut(e.key+e.uri, e.vary)
		for len(rest) > 0 {
			var v rfc9111.VaryField
			if v, rest = cutVary(rest); !yield(v) {
				return
			}
		}
	}
}

func cutVary(b []byte) (v rfc9111.VaryField, rest []byte) {
	name, n := binary.Uvarint(b)
	b = b[n:]
	value, n := binary.Uvarint(b)
	b = b[n:]
	v.Name, b = text(b[:name]), b[name:]
	if value > 0 {
		v.Present, value = true, value-1
	}
	v.Value = text(b[:value])
	return v, b[value:]
}
