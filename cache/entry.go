package cache

import (
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unsafe"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Entry is one stored response. It is immutable but for the atomic in its stamp, and may be read by any number of goroutines at once. Key, URI and head lie in one block of memory, so that a million entries are few pointers for
// the garbage collector; a small body lies in the same block.
type Entry struct {
	Key   rfc9111.Key
	Meta  rfc9111.Meta
	Stamp invalidation.Stamp
	// Rule is the fingerprint of the storing rules under which it was stored. A reload that changed them makes it unusable.
	Rule uint64
	// URI is the address by which a purge finds the entry.
	URI []byte
	// Head holds the field lines to send, "Name: value\r\n" each, sorted by name, lines of one name together. Age, Cache-Status and
	// Content-Length are not in it: they are made for each response.
	Head []byte
	// Body is the whole content, or the part that Part describes.
	Body []byte
	// Part says which bytes of the whole representation Body is; zero for a complete response.
	Part Part
}

// Part is the place of a partial response within its representation (RFC 9110, 14.4). Complete is -1 where it is not known.
type Part struct{ First, Complete int64 }

// IsPartial reports whether the entry holds only a part of the representation.
func (e *Entry) IsPartial() bool { return e.Meta.Flags&rfc9111.Partial != 0 }

// entryOverhead is what an entry takes beside its bytes: the structs Entry and Variants with their slices, in the allocator's size
// classes. The memory tier adds what it keeps itself.
const entryOverhead = int64(unsafe.Sizeof(Entry{})+unsafe.Sizeof(Variants{})) + 64

// Cost returns how many bytes of memory the entry takes.
func (e *Entry) Cost() int64 {
	cost := entryOverhead + int64(len(e.Key.Text)+len(e.URI)+len(e.Head)+cap(e.Body))
	for _, v := range e.Meta.Vary {
		cost += int64(unsafe.Sizeof(v)) + int64(len(v.Name)+len(v.Value))
	}
	return cost + int64(len(e.Meta.Validators.ETag)+len(e.Meta.Validators.LastModified))
}

// inlineBody is up to which size a body is copied beside the head, so that the whole entry is one block. Larger bodies keep the
// buffer they arrived in: copying them would cost more than a pointer.
const inlineBody = 64 << 10

// Parts is what an entry is made of. Header is the stored header section (rfc9111.StoredHeader); Body must not be changed afterwards.
type Parts struct {
	Key    rfc9111.Key
	URI    []byte
	Meta   rfc9111.Meta
	Rule   uint64
	Header http.Header
	Body   []byte
	Part   Part
	Born   invalidation.Position
}

// newEntry packs parts into an entry. Key.Text, URI and Header are copied.
func newEntry(state *invalidation.State, p *Parts) *Entry {
	head := renderedSize(p.Header)
	size := len(p.Key.Text) + len(p.URI) + head
	inline := len(p.Body) <= inlineBody
	if inline {
		size += len(p.Body)
	}
	block := make([]byte, 0, size)
	cut := func(grow func(b []byte) []byte) []byte {
		start := len(block)
		block = grow(block)
		return block[start:len(block):len(block)]
	}
	e := &Entry{
		Key:   rfc9111.Key{Hash: p.Key.Hash, Text: cut(func(b []byte) []byte { return append(b, p.Key.Text...) })},
		URI:   cut(func(b []byte) []byte { return append(b, p.URI...) }),
		Head:  cut(func(b []byte) []byte { return appendHeader(b, p.Header) }),
		Meta:  p.Meta,
		Stamp: state.Stamp(p.Born, p.URI),
		Rule:  p.Rule,
		Body:  p.Body,
		Part:  p.Part,
	}
	if inline {
		e.Body = cut(func(b []byte) []byte { return append(b, p.Body...) })
	}
	e.Meta.Validators = compact(e.Meta.Validators, e.Head)
	return e
}

// compact makes the validators point into the head where they stand there anyway, instead of keeping the strings of the
// origin's response alive.
func compact(v rfc9111.Validators, head []byte) rfc9111.Validators {
	for name, value := range lines(head) {
		switch {
		case name == "Etag" && value == v.ETag:
			v.ETag = value
		case name == "Last-Modified" && value == v.LastModified:
			v.LastModified = value
		}
	}
	return v
}

// made lists the fields that are made for each response and therefore not part of Head.
var made = []string{"Age", "Content-Length"}

func renderedSize(h http.Header) int {
	n := 0
	for name, values := range h {
		if slices.Contains(made, name) {
			continue
		}
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

func appendHeader(b []byte, h http.Header) []byte {
	names := make([]string, 0, len(h))
	for name := range h {
		if !slices.Contains(made, name) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		for _, v := range h[name] {
			b = append(b, name...)
			b = append(b, ": "...)
			b = appendValue(b, v)
			b = append(b, '\r', '\n')
		}
	}
	return b
}

// appendValue appends a field value; a CR, LF or NUL inside it becomes a space (RFC 9110, 5.5).
func appendValue(b []byte, v string) []byte {
	start := len(b)
	b = append(b, v...)
	for i := start; i < len(b); i++ {
		switch b[i] {
		case '\r', '\n', 0:
			b[i] = ' '
		}
	}
	return b
}

// lines yields the field lines of a rendered head. The strings alias head, which never changes, so they may be kept.
func lines(head []byte) func(yield func(name, value string) bool) {
	return func(yield func(name, value string) bool) {
		text := unsafe.String(unsafe.SliceData(head), len(head))
		for len(text) > 0 {
			end := strings.IndexByte(text, '\r')
			colon := strings.IndexByte(text[:end], ':')
			if !yield(text[:colon], text[colon+2:end]) {
				return
			}
			text = text[end+2:]
		}
	}
}

// Fields yields the stored field lines in order. The strings may be kept: they point into the entry, which never changes.
func (e *Entry) Fields() func(yield func(name, value string) bool) { return lines(e.Head) }

// Header makes an http.Header of the stored fields, with Content-Length where the entry is complete. It allocates: it is for
// freshening, not for hits.
func (e *Entry) Header() http.Header {
	h := make(http.Header)
	for name, value := range e.Fields() {
		h[name] = append(h[name], value)
	}
	if !e.IsPartial() && e.Meta.Status != http.StatusNoContent {
		h["Content-Length"] = []string{strconv.Itoa(len(e.Body))}
	}
	return h
}
