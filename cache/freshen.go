package cache

import (
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
	Born                      invalidation.Position
}

// Freshen updates all stored responses that the 304 freshens (RFC 9111, 4.3.4) and returns the one that answers the request, or nil
// where none does: the 304 names something that is not stored, or a purge has come since. stored is false where the origin's new
// fields forbid to keep it.
func (c *Cache) Freshen(f *Freshening) (answer *Entry, stored bool) {
	for _, old := range c.candidates(f) {
		if c.state.Check(&old.Stamp) == invalidation.Invalid || !rfc9111.FreshenedBy(&old.Meta, rfc9111.Header(f.Header), old == f.Selected) {
			continue
		}
		request := rfc9111.Fields(chosenBy(old.Meta.Vary))
		answers := old == f.Selected || f.Selected == nil && slices.Contains(f.Validated, old)
		if answers {
			request = f.Request
		}
		fresh, keep := c.freshened(old, request, f)
		if keep {
			keep = c.put(fresh, f.ResponseTime)
		} else {
			c.Remove(old)
		}
		if answers {
			answer, stored = fresh, keep
		}
	}
	return answer, stored
}

// candidates are the responses that are stored now and those that were validated, which may have been evicted meanwhile.
func (c *Cache) candidates(f *Freshening) []*Entry {
	candidates := slices.Clone(f.Validated)
	if v, ok := c.memory.Peek(f.Query.Key.Hash); ok && v.of(f.Query.Key) {
		for _, e := range v.Entries {
			if e.Rule == f.Query.Rule && !slices.Contains(candidates, e) {
				candidates = append(candidates, e)
			}
		}
	}
	return candidates
}

// freshened returns the entry that takes old's place: the same body, the updated fields, born when the validation was sent.
func (c *Cache) freshened(old *Entry, request rfc9111.Fields, f *Freshening) (fresh *Entry, keep bool) {
	header := rfc9111.Freshen(old.Header(), f.Header)
	x := &rfc9111.Exchange{Method: http.MethodGet, Target: f.Target, Request: request, Status: old.Meta.Status, Response: rfc9111.Header(header)}
	keep, _ = rfc9111.Storable(x, f.Query.Policy)
	meta := rfc9111.NewMeta(x, f.Query.Policy, f.RequestTime, f.ResponseTime)
	return newEntry(c.state, &Parts{
		Key: old.Key, URI: old.URI, Meta: meta, Rule: old.Rule, Header: header, Body: old.Body, Part: old.Part, Born: f.Born,
	}), keep
}

// FreshenByHead updates the stored responses to GET by the fields of a 200 response to HEAD, or drops those that it shows to be
// another representation (RFC 9111, 4.3.5). Only the responses that the request selects are concerned.
func (c *Cache) FreshenByHead(f *Freshening) {
	v, ok := c.memory.Peek(f.Query.Key.Hash)
	if !ok || !v.of(f.Query.Key) {
		return
	}
	for _, old := range v.Entries {
		if old.Rule != f.Query.Rule || old.IsPartial() || !rfc9111.Matches(f.Query.Fields, &old.Meta) ||
			c.state.Check(&old.Stamp) == invalidation.Invalid {
			continue
		}
		if !rfc9111.HeadFreshens(&old.Meta, rfc9111.Header(f.Header), int64(len(old.Body))) {
			c.Remove(old)
			continue
		}
		if fresh, keep := c.freshened(old, f.Request, f); !keep || !c.put(fresh, f.ResponseTime) {
			c.Remove(old)
		}
	}
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
