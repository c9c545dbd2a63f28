package cache

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Missing returns the range of bytes, for a Range field, that completes the part e holds, and whether one range can: the part must
// begin or end where the representation does, and the representation's length be known. last is -1 for a range that is open at its
// end.
func (e *Entry) Missing() (first, last int64, ok bool) {
	end := e.Part.First + e.body
	switch {
	case !e.IsPartial() || e.Part.Complete < 0:
		return 0, 0, false
	case e.Part.First == 0:
		return end, -1, true
	case end == e.Part.Complete:
		return 0, e.Part.First - 1, true
	default:
		return 0, 0, false
	}
}

// Combine joins the part that e holds with the part p (RFC 9111, 3.4) and returns what is to be stored and served instead: a
// longer part, or the whole. It reports false where the two do not belong together: no strong validator in common, another
// complete length, or a gap between them. Header fields of p, the newer response, win.
//
// The result is born where p is. So who combines must have seen, after p's request left, that no purge has made e invalid.
func (e *Entry) Combine(p *Parts) (*Parts, bool) {
	m := e.Facts()
	if !e.IsPartial() || p.Meta.Flags&rfc9111.Partial == 0 || !rfc9111.Combinable(&m, &p.Meta) {
		return nil, false
	}
	complete := max(e.Part.Complete, p.Part.Complete)
	if e.Part.Complete >= 0 && p.Part.Complete >= 0 && e.Part.Complete != p.Part.Complete {
		return nil, false
	}
	first, body, ok := join(e.Part.First, e.Body(), p.Part.First, p.Body)
	if !ok || complete >= 0 && first+int64(len(body)) > complete {
		return nil, false
	}
	joined := *p
	joined.Body = body
	joined.Part = Part{First: first, Complete: complete}
	joined.Header, joined.Concealed = e.joinHeaders(p)
	joined.Labels = e.joinLabels(p)
	joined.Header["Content-Range"] = []string{joined.Part.contentRange(len(body))}
	if joined.Meta.Validators.LastModified == "" { // a 206 to If-Range need not repeat it (RFC 9110, 15.3.7)
		joined.Meta.Validators.LastModified = m.Validators.LastModified
	}
	return joined.whole(), true
}

// joinHeaders returns the fields of both parts, and which of them are concealed.
func (e *Entry) joinHeaders(p *Parts) (header, concealed http.Header) {
	newer := p.Header.Clone()
	names := slices.Collect(maps.Keys(p.Concealed))
	maps.Copy(newer, p.Concealed)
	for name := range e.Concealed() {
		names = append(names, name)
	}
	header = rfc9111.Freshen(e.Header(), newer)
	return header, Conceal(header, names)
}

// joinLabels returns the labels of both parts: what is made of both goes with either.
func (e *Entry) joinLabels(p *Parts) *Labels {
	all := e.Labels()
	if p.Labels != nil {
		for i, list := range all.lists() {
			*list = unique(append(*list, *p.Labels.lists()[i]...))
		}
	}
	return &all
}

// contentRange is the value of Content-Range (RFC 9110, 14.4) for a part of the given length.
func (p Part) contentRange(length int) string {
	complete := "*"
	if p.Complete >= 0 {
		complete = strconv.FormatInt(p.Complete, 10)
	}
	return fmt.Sprintf("bytes %d-%d/%s", p.First, p.First+int64(length)-1, complete)
}

// whole returns p as a complete response, where it is a part that holds everything (RFC 9110, 15.3.7.3), and else p itself.
func (p *Parts) whole() *Parts {
	if p.Meta.Flags&rfc9111.Partial == 0 || p.Part.First != 0 || p.Part.Complete != int64(len(p.Body)) {
		return p
	}
	w := *p
	w.Part = Part{}
	w.Meta.Flags &^= rfc9111.Partial
	w.Meta.Status = http.StatusOK
	w.Header = p.Header.Clone()
	delete(w.Header, "Content-Range")
	return &w
}

// overlong reports whether e holds a part that claims bytes beyond the end of its representation.
func (e *Entry) overlong() bool {
	return e.IsPartial() && e.Part.Complete >= 0 && e.Part.First+e.body > e.Part.Complete
}

// join lays two pieces of one sequence of bytes together. Where they overlap the newer, b, counts.
func join(aFirst int64, a []byte, bFirst int64, b []byte) (first int64, joined []byte, ok bool) {
	aEnd, bEnd := aFirst+int64(len(a)), bFirst+int64(len(b))
	if bFirst > aEnd || aFirst > bEnd {
		return 0, nil, false
	}
	first, end := min(aFirst, bFirst), max(aEnd, bEnd)
	joined = make([]byte, end-first)
	copy(joined[aFirst-first:], a)
	copy(joined[bFirst-first:], b)
	return first, joined, true
}
