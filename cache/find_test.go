package cache

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

const uri = "http://h/a"

func date(offset time.Duration) string { return "Date: " + start.Add(offset).Format(http.TimeFormat) }

func TestSelection(t *testing.T) {
	fresh := "Cache-Control: max-age=600"
	type stored struct {
		request, header []string
		body            string
	}
	tests := []struct {
		name    string
		stored  []stored // each a second after the one before
		request []string
		want    string
		forward rfc9111.Forward
	}{
		{"nothing", nil, nil, "", rfc9111.ForwardURIMiss},
		{"no Vary: every request (4.1)", []stored{{nil, []string{fresh}, "a"}}, []string{"X: 1"}, "a", 0},
		{"the fields that Vary names are equal (4.1)",
			[]stored{{[]string{"X: 1"}, []string{fresh, "Vary: X"}, "1"}, {[]string{"X: 2"}, []string{fresh, "Vary: X"}, "2"}}, []string{"X: 1"}, "1", 0},
		{"none is equal (4.1)",
			[]stored{{[]string{"X: 1"}, []string{fresh, "Vary: X"}, "1"}}, []string{"X: 2"}, "", rfc9111.ForwardVaryMiss},
		{"absent then, absent now (4.1)",
			[]stored{{nil, []string{fresh, "Vary: X"}, "none"}}, nil, "none", 0},
		{"absent then, present now (4.1)",
			[]stored{{nil, []string{fresh, "Vary: X"}, "none"}}, []string{"X: "}, "", rfc9111.ForwardVaryMiss},
		{"of several, that with the latest Date (4.1)",
			[]stored{{nil, []string{fresh, date(0)}, "late"}, {[]string{"X: 1"}, []string{fresh, "Vary: X", date(-time.Minute)}, "early"}},
			[]string{"X: 1"}, "late", 0},
		{"equal Dates: that which came last",
			[]stored{{nil, []string{fresh, date(0)}, "first"}, {[]string{"X: 1"}, []string{fresh, "Vary: X", date(0)}, "second"}},
			[]string{"X: 1"}, "second", 0},
		{"the same variant again takes the place of the old",
			[]stored{{[]string{"X: 1"}, []string{fresh, "Vary: X"}, "old"}, {[]string{"X: 1"}, []string{fresh, "Vary: X"}, "new"}}, []string{"X: 1"}, "new", 0},
		{"Vary is a list, in any order (4.1)",
			[]stored{{[]string{"X: 1", "Y: 2"}, []string{fresh, "Vary: y, X"}, "xy"}}, []string{"X: 1", "Y: 2"}, "xy", 0},
		{"one of two fields differs (4.1)",
			[]stored{{[]string{"X: 1", "Y: 2"}, []string{fresh, "Vary: y, X"}, "xy"}}, []string{"X: 1", "Y: 3"}, "", rfc9111.ForwardVaryMiss},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			for i, s := range test.stored {
				w.keep(response{
					uri: uri, request: fields(s.request...), header: fields(s.header...), body: s.body, sent: start.Add(time.Duration(i) * time.Second),
				})
			}
			o := w.find(uri, start.Add(time.Minute), test.request...)
			w.wantBody(o, test.want)
			if o.Decision.Forward != test.forward {
				t.Errorf("Forward = %d, want %d", o.Decision.Forward, test.forward)
			}
		})
	}
}

// TestReasonOfMiss: the reason says what would have to be different.
func TestReasonOfMiss(t *testing.T) {
	varied := fields("Cache-Control: max-age=60", "Vary: X")
	tests := []struct {
		name    string
		before  func(w *world)
		request []string
		rule    uint64
		after   time.Duration
		action  rfc9111.Action
		forward rfc9111.Forward
		reason  rfc9111.Reason
	}{
		{name: "nothing", forward: rfc9111.ForwardURIMiss, reason: rfc9111.ReasonURIMiss},
		{name: "another variant", request: []string{"X: 2"}, before: func(w *world) {
			w.keep(response{uri: uri, request: fields("X: 1"), sent: start, header: varied})
		}, forward: rfc9111.ForwardVaryMiss, reason: rfc9111.ReasonVaryMiss},
		{name: "purged", before: func(w *world) {
			w.keep(response{uri: uri, sent: start, header: fields("Cache-Control: max-age=60")})
			w.purge(uri)
		}, forward: rfc9111.ForwardURIMiss, reason: rfc9111.ReasonPurged},
		{name: "stored under other rules", rule: 8, before: func(w *world) {
			w.keep(response{uri: uri, sent: start, header: fields("Cache-Control: max-age=60")})
		}, forward: rfc9111.ForwardURIMiss, reason: rfc9111.ReasonRuleChanged},
		{name: "of no use any more", after: time.Hour, before: func(w *world) {
			w.keep(response{uri: uri, sent: start, header: fields("Cache-Control: max-age=60")})
		}, forward: rfc9111.ForwardURIMiss, reason: rfc9111.ReasonURIMiss},
		{name: "could not be stored", before: func(w *world) {
			w.MarkUncacheable(keyOf(uri), start.Add(time.Minute), rfc9111.ReasonSetCookie)
		}, forward: rfc9111.ForwardURIMiss, reason: rfc9111.ReasonSetCookie},
		{name: "could not be stored, long ago", after: time.Minute, before: func(w *world) {
			w.MarkUncacheable(keyOf(uri), start.Add(time.Minute), rfc9111.ReasonSetCookie)
		}, forward: rfc9111.ForwardURIMiss, reason: rfc9111.ReasonURIMiss},
		{name: "the request's no-store is the better reason", request: []string{"Cache-Control: no-store"},
			forward: rfc9111.ForwardURIMiss, reason: rfc9111.ReasonRequestNoStore},
		{name: "only-if-cached (5.2.1.7)", request: []string{"Cache-Control: only-if-cached"},
			action: rfc9111.Unsatisfiable, reason: rfc9111.ReasonOnlyIfCached},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			if test.before != nil {
				test.before(w)
			}
			q := w.query(uri, start.Add(test.after), test.request...)
			if test.rule != 0 {
				q.Rule = test.rule
			}
			o := w.Find(q)
			if o.Entry != nil {
				t.Fatalf("found %+v", o.Entry)
			}
			want := rfc9111.Decision{Action: test.action, Forward: test.forward, Reason: test.reason}
			if o.Decision != want {
				t.Errorf("Decision = %+v, want %+v", o.Decision, want)
			}
		})
	}
}

func TestCollisionIsAMiss(t *testing.T) {
	w := newWorld(t)
	w.keep(response{uri: uri, sent: start, header: fields("Cache-Control: max-age=60", "Vary: X"), body: "a"})
	w.MarkUncacheable(keyOf(uri), start.Add(time.Minute), rfc9111.ReasonNoStore)
	other := w.query("http://h/b", start)
	other.Key.Hash = keyOf(uri).Hash
	o := w.Find(other)
	if o.Entry != nil || o.Uncacheable || len(o.Others) > 0 || o.Decision.Reason != rfc9111.ReasonURIMiss {
		t.Errorf("a key with the same hash found %+v", o)
	}

	// Whoever stores last has the place; the other is a miss, too, and nothing is mixed.
	p := w.parts(response{uri: "http://h/b", sent: start, header: fields("Cache-Control: max-age=60"), body: "b"})
	p.Key.Hash = keyOf(uri).Hash
	if _, stored := w.Store(p); !stored {
		t.Fatal("not stored")
	}
	w.wantBody(w.Find(other), "b")
	w.wantBody(w.find(uri, start), "")
	w.Remove(w.Build(w.parts(response{uri: uri, sent: start})))
	w.wantBody(w.Find(other), "b")
	w.MarkUncacheable(keyOf(uri), start.Add(time.Minute), rfc9111.ReasonNoStore)
	w.wantBody(w.find(uri, start), "")
	w.wantBody(w.Find(other), "")
}

func TestMarkHidesNothing(t *testing.T) {
	w := newWorld(t)
	h := fields("Cache-Control: max-age=60", "Vary: X")
	w.keep(response{uri: uri, request: fields("X: 1"), sent: start, header: h, body: "1"})
	w.MarkUncacheable(keyOf(uri), start.Add(30*time.Second), rfc9111.ReasonSetCookie)

	o := w.find(uri, start, "X: 1")
	w.wantBody(o, "1")
	if o.Decision.Action != rfc9111.Serve || !o.Uncacheable || o.Because != rfc9111.ReasonSetCookie {
		t.Errorf("beside a mark: %+v", o)
	}
	if o := w.find(uri, start.Add(30*time.Second), "X: 1"); o.Uncacheable {
		t.Error("the mark outlived its time")
	}
	w.keep(response{uri: uri, request: fields("X: 2"), sent: start, header: h, body: "2"})
	if o := w.find(uri, start, "X: 2"); o.Uncacheable {
		t.Error("the mark outlived a response that could be stored")
	}
	w.wantBody(w.find(uri, start, "X: 1"), "1")
}

// TestOthers: only those are named to the origin that an entity tag can name, and that may be used.
func TestOthers(t *testing.T) {
	w := newWorld(t)
	h := func(more ...string) http.Header {
		return fields(append(more, "Cache-Control: max-age=60", "Vary: X")...)
	}
	tagged := w.keep(response{uri: uri, request: fields("X: tagged"), sent: start, header: h(`Etag: "1"`)})
	w.keep(response{uri: uri, request: fields("X: dated"), sent: start, header: h("Last-Modified: Tue, 24 Nov 2026 10:00:00 GMT")})
	w.keep(response{
		uri: uri, request: fields("X: part"), sent: start, header: h(`Etag: "3"`, "Content-Range: bytes 0-0/5"),
		status: 206, body: "x", part: Part{0, 5},
	})
	w.keep(response{uri: uri, request: fields("X: short"), sent: start.Add(-time.Hour), header: h(`Etag: "4"`)})
	o := w.find(uri, start, "X: none")
	if len(o.Others) != 1 || !o.Others[0].is(tagged) {
		t.Errorf("%d others, want the one with an entity tag", len(o.Others))
	}
	if o := w.find(uri, start, "X: tagged"); o.Others != nil {
		t.Error("others beside a hit")
	}
	w.purge(uri)
	if o := w.find(uri, start, "X: none"); o.Others != nil {
		t.Error("a purged response would be validated")
	}
}

func TestUnsureIsValidated(t *testing.T) {
	w := newWorld(t)
	w.keep(response{uri: uri, sent: start, header: fields("Cache-Control: max-age=60", `Etag: "1"`), body: "a"})
	w.purge("http://h/other")
	w.State().Prune(time.Now().Add(time.Hour)) // all records are forgotten
	o := w.find(uri, start)
	if o.Standing != invalidation.Unsure || o.Decision.Action != rfc9111.Validate || o.Decision.Reason != rfc9111.ReasonUnsure {
		t.Errorf("standing %v, decision %+v", o.Standing, o.Decision)
	}
}

func TestPartIsFound(t *testing.T) {
	tests := []struct {
		name    string
		rng     string
		request []string
		action  rfc9111.Action
		forward rfc9111.Forward
		reason  rfc9111.Reason
	}{
		{"the range is in it", "bytes=3-5", nil, rfc9111.Serve, 0, 0},
		{"all of it", "bytes=2-6", nil, rfc9111.Serve, 0, 0},
		{"begins before it", "bytes=1-3", nil, rfc9111.Fetch, rfc9111.ForwardPartial, rfc9111.ReasonPartial},
		{"ends behind it", "bytes=3-7", nil, rfc9111.Fetch, rfc9111.ForwardPartial, rfc9111.ReasonPartial},
		{"open", "bytes=3-", nil, rfc9111.Fetch, rfc9111.ForwardPartial, rfc9111.ReasonPartial},
		{"several", "bytes=2-3,5-6", nil, rfc9111.Fetch, rfc9111.ForwardPartial, rfc9111.ReasonPartial},
		{"none", "", nil, rfc9111.Fetch, rfc9111.ForwardPartial, rfc9111.ReasonPartial},
		{"If-Range names it (RFC 9110, 13.1.5)", "bytes=3-5", []string{`If-Range: "1"`}, rfc9111.Serve, 0, 0},
		{"If-Range asks for the whole of another", "bytes=3-5", []string{`If-Range: "2"`}, rfc9111.Fetch, rfc9111.ForwardPartial, rfc9111.ReasonPartial},
		{"no-store", "", []string{"Cache-Control: no-store"}, rfc9111.Fetch, rfc9111.ForwardPartial, rfc9111.ReasonRequestNoStore},
		{"only-if-cached (5.2.1.7)", "", []string{"Cache-Control: only-if-cached"}, rfc9111.Unsatisfiable, 0, rfc9111.ReasonOnlyIfCached},
		{"only-if-cached, and it is there", "bytes=3-5", []string{"Cache-Control: only-if-cached"}, rfc9111.Serve, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.keep(response{
				uri: uri, sent: start, status: 206, body: "23456", part: Part{2, 10},
				header: fields("Cache-Control: max-age=60", `Etag: "1"`, "Content-Range: bytes 2-6/10"),
			})
			q := w.query(uri, start, test.request...)
			q.Range = test.rng
			d := w.Find(q).Decision
			if d.Action != test.action || d.Forward != test.forward || d.Reason != test.reason {
				t.Errorf("Decision = %+v, want action %d, forward %d, reason %v", d, test.action, test.forward, test.reason)
			}
		})
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	w := newWorld(t)
	for v := range 8 {
		w.keep(response{
			uri: uri, request: fields(fmt.Sprintf("X: %d", v)), sent: start, body: strings.Repeat("x", 100),
			header: fields("Cache-Control: max-age=60", "Vary: X", fmt.Sprintf(`Etag: "%d"`, v)),
		})
	}
	w.keep(response{uri: "http://h/one", sent: start, header: fields("Cache-Control: max-age=60")})
	w.keep(response{uri: "http://h/purged", sent: start, header: fields("Cache-Control: max-age=60")})
	w.purge("http://h/purged")
	w.MarkUncacheable(keyOf("http://h/marked"), start.Add(time.Minute), rfc9111.ReasonNoStore)
	for name, q := range map[string]*Query{
		"hit":              w.query("http://h/one", start),
		"hit of 8":         w.query(uri, start, "X: 7"),
		"stale":            w.query("http://h/one", start.Add(2*time.Minute)),
		"URI miss":         w.query("http://h/none", start),
		"purged":           w.query("http://h/purged", start),
		"not to be stored": w.query("http://h/marked", start),
	} {
		if n := testing.AllocsPerRun(100, func() { w.Find(q) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
