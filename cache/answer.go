package cache

import (
	"net/http"
	"time"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Which form of a stored response a request is answered with. Both front doors ask here, for each hit: nothing in this file
// allocates, save for a 304 that names a form which is not stored any more.

// Reply is how a stored response answers a GET or HEAD without Range.
type Reply struct {
	Status  int
	Head    *Entry         // whose fields are sent; for a 304 without those that describe the content
	ETag    string         // what the field ETag has to be instead; "": what Head has
	Content *Entry         // whose body is sent, or would be for a GET; nil: none
	Missing rfc9111.Coding // the coding of a form that would suit better and may be made; Identity: none
}

// Reply says how the entry answers the request: whole in the form that suits it best, or with 304 (RFC 9110, 13.2.2). req is the
// request as it came.
func (e *Entry) Reply(forms *Forms, req rfc9111.Fields, p *rfc9111.Policy) Reply {
	send, missing := e.Answer(forms, req, p)
	m := e.Facts()
	if rfc9111.Preconditions(req, &m) != http.StatusNotModified {
		return Reply{Status: send.Status(), Head: send, Content: send, Missing: missing}
	}
	head, etag := e.NotModified(forms, send, req)
	return Reply{Status: http.StatusNotModified, Head: head, ETag: etag}
}

// DescribesContent reports whether the field describes the content, so that a 304 does not have it (RFC 9110, 15.4.5).
func DescribesContent(name string) bool {
	switch name {
	case "Content-Encoding", "Content-Language", "Content-Range", "Content-Type", "Content-Length", "Content-Disposition":
		return true
	}
	return false
}

// HitStatus is what Cache-Status says of an answer from the stored response.
func (o *Outcome) HitStatus() rfc9111.Status {
	s := PlainHit(o.Decision.TTL)
	if o.Tier == L2 {
		s.Detail = rfc9111.ReasonL2.String()
	}
	if o.Decision.Reason != rfc9111.ReasonNone {
		s.Detail = o.Decision.Reason.String()
	}
	return s
}

// PlainHit is HitStatus of a fresh response in memory, of which there is nothing else to say.
func PlainHit(ttl time.Duration) rfc9111.Status {
	return rfc9111.Status{Hit: true, HasTTL: true, TTL: ttl, Detail: L1.String()}
}

// Answer returns the form of e that suits the request best of those that are there: e itself, or one of its forms. missing is the
// coding that would suit better and may be made; Identity where there is none. req is the request as it came.
func (e *Entry) Answer(forms *Forms, req rfc9111.Fields, p *rfc9111.Policy) (send *Entry, missing rfc9111.Coding) {
	if e.flags&rfc9111.Encodes == 0 || p.Encode == nil || rfc9111.NoTransform(req) {
		return e, rfc9111.Identity
	}
	order, offered := p.Encode.Codings, p.Encode.Offers()&^e.rejected
	best := rfc9111.PreferredCoding(req, order, offered)
	if best == rfc9111.Identity {
		return e, rfc9111.Identity
	}
	if form := forms[best]; form != nil {
		return form, rfc9111.Identity
	}
	if next := rfc9111.PreferredCoding(req, order, offered&forms.stored()); next != rfc9111.Identity {
		return forms[next], best
	}
	return e, best
}

// stored returns the codings of the forms that are there.
func (f *Forms) stored() (s rfc9111.Codings) {
	for coding, e := range f {
		if e != nil {
			s = s.With(rfc9111.Coding(coding))
		}
	}
	return s
}

// NotModified returns the form of e whose head a 304 has: that which would have been sent, where the request's If-None-Match names
// it, and else one that it names, so that the client finds the entity tag that it asked about. Where that form is not stored (any
// more), head is e, and etag what its ETag has to be; else etag is "".
func (e *Entry) NotModified(forms *Forms, send *Entry, req rfc9111.Fields) (head *Entry, etag string) {
	m := e.Facts()
	named := rfc9111.NamedForms(req, &m)
	if named.Has(send.coding) {
		return send, ""
	}
	switch coding := named.First(); {
	case coding == rfc9111.Identity:
		return e, ""
	case forms[coding] != nil:
		return forms[coding], ""
	default:
		return e, rfc9111.EncodedTag(m.Validators.ETag, coding)
	}
}
