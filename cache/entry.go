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

// Entry is one stored response. It is immutable but for the atomic in its stamp, and may be read by any number of goroutines at
// once. Key, URI, head and what it varies by lie in one block of memory, so that a million entries are few pointers for the garbage
// collector; a small body lies in the same block. Nothing of the origin's response is kept alive beside it.
type Entry struct {
	Key   rfc9111.Key
	Meta  rfc9111.Meta
	Stamp invalidation.Stamp
	// Rule is the fingerprint of the storing rules under which it was stored. A reload that changed them makes it unusable.
	Rule uint64
	// URI is the address by which a purge finds the entry.
	URI []byte
	// Head holds the field lines to send, "Name: value\r\n" each, sorted by name, lines of one name together. Age and Content-Length
	// are not in it: they are made for each response.
	Head []byte
	// Body is the whole content, or the part that Part describes.
	Body []byte
	// Part says which bytes of the whole representation Body is; zero for a complete response.
	Part Part

	cost int64
}

// Part is the place of a partial response within its representation (RFC 9110, 14.4). Complete is -1 where it is not known.
type Part struct{ First, Complete int64 }

// IsPartial reports whether the entry holds only a part of the representation.
func (e *Entry) IsPartial() bool { return e.Meta.Flags&rfc9111.Partial != 0 }

// entrySize is what the struct takes, in the allocator's size classes, which are 32 bytes apart there.
const entrySize = (int64(unsafe.Sizeof(Entry{})) + 31) &^ 31

// Cost returns how many bytes of memory the entry takes, all that it refers to included.
func (e *Entry) Cost() int64 { return e.cost }

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

// newEntry packs parts into an entry. All but a large body is copied.
func newEntry(state *invalidation.State, p *Parts) *Entry {
	inline := len(p.Body) <= inlineBody
	// Grow gives the capacity that the allocator has in that size class: it is what the block costs.
	block := slices.Grow([]byte(nil), packedSize(p, inline))
	cut := func(grow func(b []byte) []byte) []byte {
		start := len(block)
		block = grow(block)
		return block[start:len(block):len(block)]
	}
	pack := func(s string) string { return text(cut(func(b []byte) []byte { return append(b, s...) })) }
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
	e.Meta.Vary = slices.Clone(p.Meta.Vary)
	for i := range e.Meta.Vary {
		v := &e.Meta.Vary[i]
		v.Name, v.Value = pack(v.Name), pack(v.Value)
	}
	if inline {
		e.Body = cut(func(b []byte) []byte { return append(b, p.Body...) })
	} else {
		e.cost += pages(cap(p.Body))
	}
	validators, copied := compact(p.Meta.Validators, e.Head)
	e.Meta.Validators = validators
	e.cost += copied + entrySize + int64(cap(block)) + int64(cap(e.Meta.Vary))*int64(unsafe.Sizeof(rfc9111.VaryField{}))
	return e
}

func packedSize(p *Parts, inline bool) int {
	size := len(p.Key.Text) + len(p.URI) + renderedSize(p.Header)
	for _, v := range p.Meta.Vary {
		size += len(v.Name) + len(v.Value)
	}
	if inline {
		size += len(p.Body)
	}
	return size
}

// pages rounds the size of a large block up to whole pages, as the allocator does.
func pages(n int) int64 {
	const page = 8 << 10
	return (int64(n) + page - 1) &^ (page - 1)
}

// compact makes the validators point into the head where they stand there anyway, and else copies them: they must not keep the
// strings of the origin's response alive, which may be parts of larger ones. copied is what the copies take.
func compact(v rfc9111.Validators, head []byte) (c rfc9111.Validators, copied int64) {
	tag, modified := false, false
	for name, value := range lines(head) {
		switch {
		case name == "Etag" && value == v.ETag:
			c.ETag, tag = value, true
		case name == "Last-Modified" && value == v.LastModified:
			c.LastModified, modified = value, true
		}
	}
	if !tag {
		c.ETag = strings.Clone(v.ETag)
		copied += small(len(v.ETag))
	}
	if !modified {
		c.LastModified = strings.Clone(v.LastModified)
		copied += small(len(v.LastModified))
	}
	return c, copied
}

// small rounds the size of a small block up as the allocator does.
func small(n int) int64 { return (int64(n) + 15) &^ 15 }

// kept reports whether the field is part of Head. Age and Content-Length are made for each response, and a name that would break the
// form of a field line is left out, as net/http does when it writes one: a handler in the same process may have set it.
func kept(name string) bool {
	return name != "" && name != "Age" && name != "Content-Length" && !strings.ContainsAny(name, "\x00\t\n\r :")
}

func renderedSize(h http.Header) int {
	n := 0
	for name, values := range h {
		if !kept(name) {
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
		if kept(name) {
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
		for rest := text(head); len(rest) > 0; {
			end := strings.IndexByte(rest, '\r')
			colon := strings.IndexByte(rest[:end], ':')
			if !yield(rest[:colon], rest[colon+2:end]) {
				return
			}
			rest = rest[end+2:]
		}
	}
}

// text returns b as a string without a copy. Only for bytes of an entry's block, of which each is written once, before it is read.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

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
