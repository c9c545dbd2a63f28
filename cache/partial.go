package cache

import (
	"net/http"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Missing returns the range of bytes, for a Range field, that completes the part e holds, and whether one range can: the part must
// begin or end where the representation does.
func (e *Entry) Missing() (first, last int64, ok bool) {
	end := e.Part.First + int64(len(e.Body))
	switch {
	case !e.IsPartial():
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
func (e *Entry) Combine(p *Parts) (*Parts, bool) {
	if !e.IsPartial() || !rfc9111.Combinable(&e.Meta, &p.Meta) {
		return nil, false
	}
	complete := max(e.Part.Complete, p.Part.Complete)
	if e.Part.Complete >= 0 && p.Part.Complete >= 0 && e.Part.Complete != p.Part.Complete {
		return nil, false
	}
	first, body, ok := join(e.Part.First, e.Body, p.Part.First, p.Body)
	if !ok {
		return nil, false
	}
	joined := *p
	joined.Header = rfc9111.Freshen(e.Header(), p.Header)
	joined.Body = body
	joined.Part = Part{First: first, Complete: complete}
	if first == 0 && int64(len(body)) == complete {
		joined.Part = Part{}
		joined.Header.Del("Content-Range")
		joined.Meta.Flags &^= rfc9111.Partial
		joined.Meta.Status = http.StatusOK
	}
	return &joined, true
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
