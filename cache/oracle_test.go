package cache

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// The oracle is a list of all that is stored and a list of all purges. It finds by looking at everything.
type oracle struct {
	entries []known
	purges  []purged
	marked  map[string]time.Time
}

type known struct {
	uri, vary, chosen   string // vary names a field or is ""; chosen is the request's value
	body                string
	born                invalidation.Seq
	sent, came, date    time.Time
	freshUntil, useless time.Time
}

type purged struct {
	uri string // "" is all
	seq invalidation.Seq
}

func (o *oracle) dead(k *known) bool {
	return slices.ContainsFunc(o.purges, func(p purged) bool { return p.seq > k.born && (p.uri == "" || p.uri == k.uri) })
}

func (k *known) variant() string { return k.uri + " " + k.vary + " " + k.chosen }

// store says whether k is to be stored now, and stores it. Where old is not nil it goes in any case.
func (o *oracle) store(k known, old *known) bool {
	now := k.came
	refused := o.dead(&k) || !now.Before(k.useless)
	for i := range o.entries {
		e := &o.entries[i]
		later := e.born > k.born || e.born == k.born && e.sent.After(k.sent)
		if (old == nil || *e != *old) && e.variant() == k.variant() && !o.dead(e) && now.Before(e.useless) && later {
			refused = true
		}
	}
	o.entries = slices.DeleteFunc(o.entries, func(e known) bool {
		return old != nil && e == *old || !refused && e.variant() == k.variant()
	})
	if !refused {
		o.entries = append(o.entries, k)
		delete(o.marked, k.uri)
	}
	return !refused
}

func (o *oracle) newest(uri string, request http.Header, now time.Time) (best *known, varied bool) {
	for i := range o.entries {
		e := &o.entries[i]
		switch {
		case e.uri != uri || o.dead(e) || !now.Before(e.useless):
		case e.vary != "" && request.Get(e.vary) != e.chosen:
			varied = true
		case best == nil || e.date.After(best.date) || e.date.Equal(best.date) && e.came.After(best.came):
			best = e
		}
	}
	return best, varied
}

// underway is a fetch, or a validation of selected, that the origin has not answered yet.
type underway struct {
	uri      string
	request  http.Header
	sent     time.Time
	born     invalidation.Birth
	selected *Entry
	old      known
}

// walker does the same to a cache and to the oracle.
type walker struct {
	*world
	oracle
	random *rand.Rand
	now    time.Time
	flying []underway
	kept   map[uint64]known           // by the response, which may move
	formed map[string]rfc9111.Codings // by the body
	bodies int
}

func (s *walker) uri() string { return fmt.Sprintf("http://h/%d", s.random.IntN(3)) }

func (s *walker) request() http.Header {
	return http.Header{"X": {fmt.Sprint(s.random.IntN(3))}, "Y": {fmt.Sprint(s.random.IntN(2))}}
}

func (s *walker) step() {
	s.now = s.now.Add(time.Duration(1+s.random.IntN(20)) * time.Second)
	switch n := s.random.IntN(22); {
	case n < 6:
		s.flying = append(s.flying, underway{uri: s.uri(), request: s.request(), sent: s.now, born: s.born()})
	case n < 12:
		s.land()
	case n < 15:
		s.check()
	case n < 17:
		s.validate()
	case n == 17:
		s.remove()
	case n == 20, n == 21:
		s.encode()
	case n == 18:
		uri := s.uri()
		s.MarkUncacheable(keyOf(uri), s.now.Add(time.Minute), rfc9111.ReasonNoStore)
		s.marked[uri] = s.now.Add(time.Minute)
	default:
		s.purgeSome()
	}
}

func (s *walker) purgeSome() {
	p := purged{uri: s.uri()}
	s.purge(p.uri)
	p.seq = s.born().Seq
	s.purges = append(s.purges, p)
	if s.random.IntN(2) == 0 { // housekeeping may come or not
		s.Free(keyOf(p.uri).Hash)
		s.entries = slices.DeleteFunc(s.entries, func(e known) bool { return e.uri == p.uri })
		delete(s.marked, p.uri)
	}
}

// land lets one of the requests that are under way be answered.
func (s *walker) land() {
	if len(s.flying) == 0 {
		return
	}
	i := s.random.IntN(len(s.flying))
	u := s.flying[i]
	s.flying = slices.Delete(s.flying, i, i+1)
	date := s.now.Add(-time.Duration(s.random.IntN(60)) * time.Second)
	age := s.random.IntN(300)
	k := known{
		uri: u.uri, born: u.born.Seq, sent: u.sent, came: s.now, date: date, useless: s.now.Add(rfc9111.Keep),
		vary: []string{"", "X", "Y"}[s.random.IntN(3)],
	}
	header := fields(fmt.Sprintf("Cache-Control: max-age=%d", age), "Content-Type: text/plain", "Date: "+date.Format(http.TimeFormat))
	if u.selected != nil {
		k.vary = u.old.vary
	}
	if k.vary != "" {
		header.Set("Vary", k.vary)
		k.chosen = u.request.Get(k.vary)
	}
	initial := max(s.now.Sub(date), s.now.Sub(u.sent))
	k.freshUntil = s.now.Add(time.Duration(age)*time.Second - initial)
	if k.useless.Before(k.freshUntil.Add(rfc9111.Keep)) {
		k.useless = k.freshUntil.Add(rfc9111.Keep)
	}
	if u.selected != nil {
		s.landValidation(u, k, header)
		return
	}
	s.bodies++
	k.body = fmt.Sprint("body ", s.bodies)
	header.Set("Etag", fmt.Sprintf(`"%d"`, s.bodies))
	e, stored := s.Store(s.parts(response{
		uri: u.uri, request: u.request, header: header, body: k.body, sent: u.sent, came: s.now, born: &u.born,
	}))
	if want := s.store(k, nil); stored != want {
		s.t.Fatalf("Store(%+v) = %v, want %v", k, stored, want)
	}
	s.kept[idOf(e)] = k
}

func (s *walker) landValidation(u underway, k known, header http.Header) {
	header.Set("Etag", u.selected.Meta().Validators.ETag)
	q := &Query{Key: keyOf(u.uri), Fields: rfc9111.Header(u.request), Policy: s.policy, Rule: rule, Now: s.now}
	answer, stored := s.Freshen(&Freshening{
		Query: q, Validated: []*Entry{u.selected}, Selected: u.selected, Target: targetOf(u.uri), Request: q.Fields, Header: header,
		RequestTime: u.sent, ResponseTime: s.now, Born: u.born,
	})
	if s.dead(&u.old) {
		if answer != nil {
			s.t.Fatalf("a 304 made something of what was purged: %+v", u.old)
		}
		return
	}
	k.body = u.old.body
	// Copies of it, made by other validations, are freshened, too, each as the variant that it is: see TestFreshenAll. Here there is
	// none, because remembered entries are validated once.
	switch {
	case !slices.Contains(s.entries, u.old): // it went meanwhile, and took its forms along: the 304 brings back the response alone
		delete(s.formed, k.body)
	case !s.now.Before(u.old.useless): // it may have gone
		forms := s.Forms(answer)
		s.formed[k.body] = forms.stored()
	}
	if want := s.store(k, &u.old); answer == nil || stored != want || string(answer.Body()) != k.body {
		s.t.Fatalf("Freshen(%+v) to %+v = %v, %v, want %v", u.old, k, answer != nil, stored, want)
	}
	s.kept[idOf(answer)] = k
}

// validate sends a validation of something that is found, unless one of it is under way.
func (s *walker) validate() {
	uri, request := s.uri(), s.request()
	o := s.look(uri, request)
	if o.Entry == nil || slices.ContainsFunc(s.flying, func(u underway) bool {
		return u.selected != nil && u.old.body == s.kept[idOf(o.Entry)].body
	}) {
		return
	}
	s.flying = append(s.flying, underway{uri: uri, request: request, sent: s.now, born: s.born(), selected: o.Entry, old: s.kept[idOf(o.Entry)]})
}

func (s *walker) remove() {
	o := s.look(s.uri(), s.request())
	if o.Entry == nil {
		return
	}
	k := s.kept[idOf(o.Entry)]
	s.Remove(o.Entry)
	s.entries = slices.DeleteFunc(s.entries, func(e known) bool { return e == k })
}

// idOf names the response; 0 is none.
func idOf(e *Entry) uint64 {
	if e == nil {
		return 0
	}
	return e.id
}

// encode adds a form to something that is found. It stays with the response, whatever becomes of that.
func (s *walker) encode() {
	o := s.look(s.uri(), s.request())
	coding := s.policy.Encode.Codings[s.random.IntN(3)]
	if o.Entry == nil {
		return
	}
	body := s.kept[idOf(o.Entry)].body
	if added := s.AddForm(o.Entry.Form(coding), formBody(coding, body)); added == s.formed[body].Has(coding) {
		s.t.Fatalf("AddForm(%s of %s) = %v", coding, body, added)
	}
	s.formed[body] = s.formed[body].With(coding)
}

func (s *walker) check() { s.look(s.uri(), s.request()) }

// look finds, and compares.
func (s *walker) look(uri string, request http.Header) Outcome {
	q := &Query{Key: keyOf(uri), Fields: rfc9111.Header(request), Policy: s.policy, Rule: rule, Now: s.now}
	o := s.Find(q)
	want, varied := s.newest(uri, request, s.now)
	switch {
	case want == nil && o.Entry != nil, want != nil && o.Entry == nil, want != nil && s.kept[idOf(o.Entry)] != *want:
		s.t.Fatalf("found %+v, want %+v", s.kept[idOf(o.Entry)], want)
	case want == nil && (o.Decision.Forward == rfc9111.ForwardVaryMiss) != varied:
		s.t.Fatalf("vary-miss: decision %+v, want %v", o.Decision, varied)
	case want != nil && (o.Decision.Action == rfc9111.Serve) != s.now.Before(want.freshUntil):
		s.t.Fatalf("decision %+v at %v on %+v", o.Decision, s.now, want)
	}
	if want != nil {
		var there []rfc9111.Coding
		for _, c := range s.policy.Encode.Codings {
			if s.formed[want.body].Has(c) {
				there = append(there, c)
			}
		}
		s.wantForms(o, there...)
	}
	if o.Uncacheable != s.now.Before(s.marked[uri]) {
		s.t.Fatalf("marked: %v, want %v", o.Uncacheable, !o.Uncacheable)
	}
	return o
}

// TestOracle does random things to a cache and to the oracle and looks for a difference.
func TestOracle(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := &walker{
				world: newWorld(t).encodes(), random: rand.New(rand.NewPCG(seed, 0)), now: start, kept: map[uint64]known{}, formed: map[string]rfc9111.Codings{},
				oracle: oracle{marked: map[string]time.Time{}},
			}
			for range 1000 {
				s.step()
			}
			if found := s.bodies; found < 100 || strings.TrimSpace(fmt.Sprint(s.purges)) == "[]" {
				t.Errorf("%d bodies: the walk is no proof", found)
			}
		})
	}
}
