package cache

import "github.com/cacheproxy/cacheproxy/rfc9111"

// Which form of a stored response a request is answered with. Both front doors ask here, for each hit: nothing in this file
// allocates, save for a 304 that names a form which is not stored any more.

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
