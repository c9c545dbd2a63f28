package cache

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Freshening is a validation that the origin answered with 304 (Not Modified), or a HEAD that it answered with 200.
type Freshening struct {
	Query     *Query
	Validated []*Entry // whose validators were sent
	Selected  *Entry   // the one that the request selects; nil where it selects none
	Target    *rfc9111.Target
	Request   rfc9111.Fields // of the client's request
	Header    http.Header    // of the 304
	// RequestTime and ResponseTime are those of the validation; Born is the log's position when it was sent.
	RequestTime, ResponseTime time.Time
	Born                      invalidation.Birth
	Share                     *Share // see Parts
	// Label returns the labels of a response with these fields, of the entry whose labels are given, and takes out of the fields what is
	// concealed. Where the reason is one it may not be stored. nil: nothing has labels.
	Label func(h http.Header, old *Labels) (*Labels, http.Header, rfc9111.Reason)
}

// Freshen updates all stored responses that the 304 freshens (RFC 9111, 4.3.4) and returns the one that answers the request, or nil
// where none does: the 304 names something that is not stored, or a purge has come since. stored is false where the origin's new
// fields forbid to keep it. A request that selected nothing is answered by the validated response whose entity tag the 304 names,
// which from then on is stored for such requests too.
func (c *Cache) Freshen(f *Freshening) (answer *Entry, stored bool) {
	named := c.named(f)
	for _, old := range c.candidates(f) {
		m := old.Meta()
		if c.standing(old) == invalidation.Invalid || !rfc9111.FreshenedBy(&m, rfc9111.Header(f.Header), old.is(named)) {
			continue
		}
		if old.is(f.Selected) {
			answer, stored = c.renew(old, f.Request, f)
			continue
		}
		if old.is(named) {
			fresh, why := c.freshened(old, f.Request, f)
			answer, stored = fresh, why == rfc9111.ReasonNone && c.put(fresh, nil, nil, f.ResponseTime, f.Share)
		}
		if request := chosenBy(m.Vary); request.knows(f.Header) && !m.RequestTime.After(f.RequestTime) {
			c.renew(old, request, f)
		}
	}
	return answer, stored
}

// named returns the validated response that the 304 is about: the selected one, or else the newest of those that have its entity tag.
// Without an entity tag it would not say which of several it means, nor whether it means any: an origin that looks at dates alone
// says of the request's own variant that it is as old as another.
func (c *Cache) named(f *Freshening) (named *Entry) {
	if f.Selected != nil || len(f.Header["Etag"]) == 0 {
		return f.Selected
	}
	for _, e := range f.Validated {
		m := e.Facts()
		if c.standing(e) != invalidation.Invalid && m.Validators.ETag != "" &&
			rfc9111.FreshenedBy(&m, rfc9111.Header(f.Header), true) && (named == nil || better(e, named)) {
			named = e
		}
	}
	return named
}

// renew puts the freshened response in the place of old, and its encoded forms with it, or takes old away where that cannot be.
func (c *Cache) renew(old *Entry, request rfc9111.Fields, f *Freshening) (fresh *Entry, stored bool) {
	fresh, why := c.freshened(old, request, f)
	switch {
	case why.OfRequest(): // another request's 304 may be stored: what is there stays as it is
		return fresh, false
	case why == rfc9111.ReasonNone && c.put(fresh, c.renewedForms(old, fresh), old, f.ResponseTime, f.Share):
		return fresh, true
	}
	c.remove(old, f)
	return fresh, false
}

// remove takes away what its origin said must not be kept any longer, here and in the remote tier.
func (c *Cache) remove(old *Entry, f *Freshening) {
	c.Remove(old)
	if f.Share != nil {
		c.Unshare(context.Background(), old.hash) // bounded by the tier's own deadline
	}
}

// candidates are the responses that are stored now and those that were validated, which may have been evicted meanwhile.
func (c *Cache) candidates(f *Freshening) []*Entry {
	candidates := slices.Clone(f.Validated)
	if v, ok := c.memory.Peek(f.Query.Key.Hash); ok && v.of(f.Query.Key) {
		for _, e := range v.entries() {
			if e.Rule == f.Query.Rule && !e.encoded() && !slices.ContainsFunc(candidates, e.is) {
				candidates = append(candidates, e)
			}
		}
	}
	return candidates
}

// freshened returns the entry that takes old's place: the same body, the updated fields, born when the validation was sent.
func (c *Cache) freshened(old *Entry, request rfc9111.Fields, f *Freshening) (fresh *Entry, why rfc9111.Reason) {
	header := rfc9111.Freshen(old.Header(), f.Header)
	x := &rfc9111.Exchange{Method: http.MethodGet, Target: f.Target, Request: request, Status: old.Status(), Response: rfc9111.Header(header)}
	_, why = rfc9111.Storable(x, f.Query.Policy)
	meta := rfc9111.NewMeta(x, f.Query.Policy, f.RequestTime, f.ResponseTime)
	labels := old.Labels()
	parts := &Parts{
		Key: old.Key(), URI: old.URI(), Meta: meta, Rule: old.Rule, Policy: f.Query.Policy, Labels: &labels,
		Header: rfc9111.StoredHeader(header, f.Query.Policy), Body: old.Body(), Part: old.Part, Born: f.Born,
	}
	if f.Label != nil {
		var over rfc9111.Reason
		parts.Labels, parts.Concealed, over = f.Label(parts.Header, &labels)
		why = cmp.Or(why, over)
	}
	fresh = newEntry(c.state, parts)
	fresh.rejected = old.rejected // the content is the same
	return fresh, why
}

// FreshenByHead updates the stored responses to GET by the fields of a 200 response to HEAD, or drops those that it shows to be
// another representation (RFC 9111, 4.3.5). Only the responses that the request selects are concerned, and of them those that were
// requested before the HEAD was.
func (c *Cache) FreshenByHead(f *Freshening) {
	v, ok := c.memory.Peek(f.Query.Key.Hash)
	if !ok || !v.of(f.Query.Key) {
		return
	}
	for _, old := range v.entries() {
		m := old.Facts()
		if old.encoded() || old.Rule != f.Query.Rule || m.RequestTime.After(f.RequestTime) || !old.SelectedBy(f.Query.Fields) ||
			c.standing(old) == invalidation.Invalid {
			continue
		}
		if old.of200() && rfc9111.HeadFreshens(&m, rfc9111.Header(f.Header), old.length()) {
			c.renew(old, f.Request, f)
		} else {
			c.remove(old, f)
		}
	}
}

// of200 reports whether e is a 200 or a part of one.
func (e *Entry) of200() bool { return e.status == http.StatusOK || e.IsPartial() }

// length is that of the whole representation; -1: not known.
func (e *Entry) length() int64 {
	if e.IsPartial() {
		return e.Part.Complete
	}
	return e.body
}

// chosenBy are the request fields by which a variant was chosen, which are all that is known of the request that stored it.
type chosenBy []rfc9111.VaryField

// Field implements rfc9111.Fields.
func (c chosenBy) Field(name string) (string, int) {
	for _, v := range c {
		if v.Name == name && v.Present {
			return v.Value, 1
		}
	}
	return "", 0
}

// knows reports whether Vary of an update names no field that the response was not chosen by before: for such a field nobody knows
// the value that the request had.
func (c chosenBy) knows(update http.Header) bool {
	names, _ := rfc9111.VaryNames(rfc9111.Header(update))
	return !slices.ContainsFunc(names, func(name string) bool {
		return !slices.ContainsFunc(c, func(v rfc9111.VaryField) bool { return v.Name == name })
	})
}
