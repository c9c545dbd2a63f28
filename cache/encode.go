package cache

import (
	"slices"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// An encoded form is an entry of its own among the variants of its key, so that it costs, moves and goes as any other does. It has
// the number of the response that it was made from, and goes with that; it is never selected by itself, but in the place of that.

// Forms are the encoded forms of a stored response, by their codings; nil where there is none.
type Forms [rfc9111.CodingCount]*Entry

// Form names an encoded form of a stored response, be it stored or not. It keeps nothing alive.
type Form struct {
	key    [16]byte
	id     uint64 // of the response
	Coding rfc9111.Coding
}

// Form names the encoded form of e in the given coding.
func (e *Entry) Form(c rfc9111.Coding) Form { return Form{key: e.hash, id: e.id, Coding: c} }

// formOf reports whether e is an encoded form of the response that old is.
func (e *Entry) formOf(of *Entry) bool { return e.encoded() && e.id == of.id }

// Coding returns the coding of an encoded form, and Identity for a response as its origin sent it.
func (e *Entry) Coding() rfc9111.Coding { return e.coding }

func (e *Entry) encoded() bool { return e.coding != rfc9111.Identity }

// formsOf returns the encoded forms of e among the variants.
func (v *Variants) formsOf(e *Entry) (f Forms) {
	if v.more == nil {
		return f
	}
	for _, other := range v.more.entries {
		if other.formOf(e) {
			f[other.coding] = other
		}
	}
	return f
}

// responses counts the entries that are no encoded forms.
func (v *Variants) responses() int {
	n := 0
	for _, e := range v.entries() {
		if !e.encoded() {
			n++
		}
	}
	return n
}

// Forms returns the encoded forms of e that are stored now, for an entry that does not come from Find.
func (c *Cache) Forms(e *Entry) Forms {
	v, ok := c.memory.Peek(e.hash)
	if !ok {
		return Forms{}
	}
	return v.formsOf(e)
}

// Source returns the stored response that the form is to be made from; nil where that is not stored any more, or was purged, or where
// the form is there, or not worth making.
func (c *Cache) Source(f Form) *Entry {
	v, ok := c.memory.Peek(f.key)
	if !ok {
		return nil
	}
	at := v.source(f)
	if at < 0 || v.formsOf(v.entries()[at])[f.Coding] != nil {
		return nil
	}
	e := v.entries()[at]
	if e.rejected.Has(f.Coding) || c.standing(e) == invalidation.Invalid {
		return nil
	}
	return e
}

// Settled reports whether nothing is left to be done for the form: it is there, or not worth making.
func (c *Cache) Settled(f Form) bool {
	v, ok := c.memory.Peek(f.key)
	if !ok {
		return false
	}
	at := v.source(f)
	return at >= 0 && (v.formsOf(v.entries()[at])[f.Coding] != nil || v.entries()[at].rejected.Has(f.Coding))
}

// source returns the place of the response that the form belongs to; -1: it is not among the variants.
func (v *Variants) source(f Form) int {
	return slices.IndexFunc(v.entries(), func(e *Entry) bool { return e.id == f.id && !e.encoded() })
}

// AddForm stores body as the form of its response and reports whether it did: not where the response has gone meanwhile, or where
// there is no room for both. Body must not be changed afterwards.
func (c *Cache) AddForm(f Form, body []byte) bool {
	of := c.Source(f)
	if of == nil {
		return false
	}
	e := c.newForm(of, f.Coding, body)
	added := false
	var unused []*Entry
	c.change(f, func(old Variants, at int) Variants {
		if old.formsOf(old.entries()[at])[f.Coding] != nil {
			return old
		}
		kept := c.memory.adopt(e)
		next := variantsOf(old.key(), append(slices.Clone(old.entries()), kept), old.mark())
		if added = c.memory.fits(&next); !added { // or the tier would let go of the response as well
			unused = append(unused, kept)
			return old
		}
		return next
	})
	c.memory.discard(unused)
	return added
}

// RejectForm remembers that the form is not worth making.
func (c *Cache) RejectForm(f Form) {
	var gone []*Entry
	c.change(f, func(old Variants, at int) Variants {
		e := old.entries()[at]
		if e.rejected.Has(f.Coding) {
			return old
		}
		marked := e.clone()
		marked.rejected = e.rejected.With(f.Coding)
		gone = append(gone, e)
		return old.moved(at, c.memory.adopt(marked))
	})
	c.memory.discard(gone)
}

// change replaces the variants among which the form's response is, at the given place. It does nothing where that has gone.
func (c *Cache) change(f Form, next func(old Variants, at int) Variants) {
	c.memory.Update(f.key, func(old Variants, ok bool) (Variants, bool) {
		at := old.source(f)
		if at < 0 {
			return old, ok
		}
		return next(old, at), true
	})
}

// newForm makes the encoded form of a response.
func (c *Cache) newForm(of *Entry, coding rfc9111.Coding, body []byte) *Entry {
	meta, header := of.Meta(), of.Header()
	meta.Flags &^= rfc9111.Encodes
	meta.Validators.ETag = rfc9111.EncodedTag(meta.Validators.ETag, coding)
	if len(header["Etag"]) > 0 {
		header["Etag"] = []string{meta.Validators.ETag}
	}
	header["Content-Encoding"] = []string{coding.String()}
	for name := range of.Concealed() { // it is told with the response that was selected
		delete(header, name)
	}
	delete(header, "Accept-Ranges") // ranges are of the response as it is
	if of.varyAdded {
		header["Vary"] = append(header["Vary"], acceptEncoding) // the map is a copy
	}
	e := newEntry(c.state, &Parts{
		Key: of.Key(), URI: of.URI(), Meta: meta, Rule: of.Rule, Header: header, Body: body, Born: of.Stamp.Birth(),
	})
	e.id, e.coding = of.id, coding
	return e
}

// renewedForms are the forms of old, as far as they are stored, made those of fresh, which has the same content.
func (c *Cache) renewedForms(old, fresh *Entry) []*Entry {
	if fresh.flags&rfc9111.Encodes == 0 {
		return nil
	}
	var renewed []*Entry
	for coding, form := range c.Forms(old) {
		if form != nil {
			renewed = append(renewed, c.newForm(fresh, rfc9111.Coding(coding), form.Body()))
		}
	}
	return renewed
}
