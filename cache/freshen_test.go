package cache

import (
	"net/http"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

const modified = "Last-Modified: Tue, 24 Nov 2026 09:00:00 GMT"

// validation sends the validators of what o found and returns what a 304 with the given fields, a minute later, is to Freshen.
func (w *world) validation(q *Query, o Outcome, notModified ...string) *Freshening {
	f := &Freshening{
		Query: q, Selected: o.Entry, Validated: o.Others, Target: targetOf(uri), Request: q.Fields, Header: fields(notModified...),
		RequestTime: q.Now, ResponseTime: q.Now.Add(time.Second), Born: w.born(),
	}
	if o.Entry != nil {
		f.Validated = []*Entry{o.Entry}
	}
	return f
}

// TestFreshenAll: which of three variants, stale by now, a 304 makes fresh (RFC 9111, 4.3.4). Variant 1 is the one that the request
// selects.
func TestFreshenAll(t *testing.T) {
	tests := []struct {
		name   string
		stored [3][]string // fields of each
		update []string
		fresh  [3]bool
	}{
		{"a strong entity tag: all that have it",
			[3][]string{{`Etag: "a"`}, {`Etag: "a"`}, {`Etag: "b"`}}, []string{`Etag: "a"`}, [3]bool{true, true, false}},
		{"one that the selected does not have",
			[3][]string{{`Etag: "a"`}, {`Etag: "a"`}, {`Etag: "b"`}}, []string{`Etag: "b"`}, [3]bool{false, false, true}},
		{"a weak one: the selected",
			[3][]string{{`Etag: W/"a"`}, {`Etag: W/"a"`}, {`Etag: W/"b"`}}, []string{`Etag: W/"a"`}, [3]bool{true, false, false}},
		{"a strong Last-Modified: all that have it",
			[3][]string{{modified}, {modified}, {"Last-Modified: Tue, 24 Nov 2026 08:00:00 GMT"}}, []string{modified}, [3]bool{true, true, false}},
		{"no validator: the selected",
			[3][]string{{`Etag: "a"`}, {`Etag: "a"`}, {modified}}, nil, [3]bool{true, false, false}},
		{"one that nothing has", [3][]string{{`Etag: "a"`}, {modified}, nil}, []string{`Etag: "z"`}, [3]bool{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			names := [3]string{"X: 1", "X: 2", "X: 3"}
			for i, h := range test.stored {
				w.keep(response{
					uri: uri, request: fields(names[i]), sent: start, body: names[i],
					header: fields(append(h, "Cache-Control: max-age=60", "Vary: X", "Foo: old")...),
				})
			}
			later := start.Add(2 * time.Minute)
			q := w.query(uri, later, names[0])
			f := w.validation(q, w.Find(q), append(test.update, "Cache-Control: max-age=600", "Foo: new", "Vary: X")...)
			answer, stored := w.Freshen(f)
			if (answer != nil) != test.fresh[0] || stored != test.fresh[0] {
				t.Errorf("Freshen = %v, %v, want %v", answer, stored, test.fresh[0])
			}
			if answer != nil && (string(answer.Body()) != "X: 1" || answer.Header().Get("Foo") != "new") {
				t.Errorf("the answer is %q with %q", answer.Body(), answer.Head())
			}
			for i, name := range names {
				o := w.find(uri, later.Add(time.Minute), name)
				w.wantBody(o, name)
				if fresh := o.Decision.Action == rfc9111.Serve; fresh != test.fresh[i] {
					t.Errorf("%s: fresh = %v, want %v", name, fresh, test.fresh[i])
				}
			}
			if n := w.stored(uri); n != 3 {
				t.Errorf("%d are stored, want 3", n)
			}
		})
	}
}

// TestFreshenWithoutSelection: the request selects nothing, and the entity tags of the other variants were sent (RFC 9111, 4.3.1).
func TestFreshenWithoutSelection(t *testing.T) {
	tests := []struct {
		name   string
		update []string
		want   string
		fresh  [2]bool // the variants that were there
	}{
		{"a strong entity tag names one", []string{`Etag: "a"`}, "a", [2]bool{true, false}},
		{"a weak one, too (4.3.4)", []string{`Etag: W/"b"`}, "b", [2]bool{false, true}},
		{"one that was not sent", []string{`Etag: "z"`}, "", [2]bool{}},
		{"none: it may mean the date of a variant that is not here", nil, "", [2]bool{}},
		// All that have the date are confirmed, as 4.3.4 says, but whether one is what this request would get it does not say.
		{"a date only", []string{modified}, "", [2]bool{true, false}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			cc := "Cache-Control: max-age=60"
			w.keep(response{uri: uri, request: fields("X: 1"), sent: start, body: "a", header: fields(cc, "Vary: X", `Etag: "a"`, modified)})
			w.keep(response{uri: uri, request: fields("X: 2"), sent: start, body: "b", header: fields(cc, "Vary: X", `Etag: W/"b"`)})
			later := start.Add(2 * time.Minute)
			q := w.query(uri, later, "X: 3")
			answer, stored := w.Freshen(w.validation(q, w.Find(q), append(test.update, "Cache-Control: max-age=600", "Vary: X")...))
			got := ""
			if answer != nil {
				got = string(answer.Body())
			}
			if got != test.want || stored != (test.want != "") {
				t.Errorf("Freshen = %q, %v, want %q", got, stored, test.want)
			}
			w.wantBody(w.find(uri, later, "X: 3"), test.want)
			for i, name := range []string{"X: 1", "X: 2"} {
				if fresh := w.find(uri, later, name).Decision.Action == rfc9111.Serve; fresh != test.fresh[i] {
					t.Errorf("%s: fresh = %v, want %v", name, fresh, test.fresh[i])
				}
			}
		})
	}
}

func TestFreshen(t *testing.T) {
	stale := response{
		uri: uri, request: fields("X: 1"), sent: start, body: "body",
		header: fields("Cache-Control: max-age=60", "Vary: X", `Etag: "a"`, "Content-Type: text/plain", "Foo: old"),
	}
	later := start.Add(2 * time.Minute)
	type outcome struct{ answer, stored, found bool }
	tests := []struct {
		name   string
		update []string
		during func(w *world, e *Entry) // while the validation is under way
		want   outcome
		number int // of responses stored at the end
	}{
		{"it is fresh again", nil, nil, outcome{true, true, true}, 1},
		{"it was evicted meanwhile", nil, func(w *world, _ *Entry) { w.Free(keyOf(uri).Hash) }, outcome{true, true, true}, 1},
		{"it was purged meanwhile", nil, func(w *world, _ *Entry) { w.purge(uri) }, outcome{}, 1},
		{"something else was purged meanwhile", nil, func(w *world, _ *Entry) { w.purge("http://h/b") }, outcome{true, true, true}, 1},
		{"it must not be stored any more", []string{"Cache-Control: no-store"}, nil, outcome{true, false, false}, 0},
		{"it varies by more now: the old must not answer for others", []string{"Vary: X, Y"}, nil, outcome{true, true, true}, 1},
		{"it does not vary any more", []string{"Vary: "}, nil, outcome{true, true, true}, 1},
		{"another was fetched meanwhile", nil, func(w *world, e *Entry) {
			newer := stale
			newer.sent, newer.body = later.Add(time.Millisecond), "newer"
			w.keep(newer)
		}, outcome{true, false, true}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			e := w.keep(stale)
			q := w.query(uri, later, "X: 1")
			f := w.validation(q, w.Find(q), append([]string{`Etag: "a"`, "Content-Type: text/html", "Foo: new", "Content-Length: 0"}, test.update...)...)
			if len(f.Header["Cache-Control"]) == 0 {
				f.Header["Cache-Control"] = []string{"max-age=600"}
			}
			if test.during != nil {
				test.during(w, e)
			}
			answer, stored := w.Freshen(f)
			o := w.find(uri, later.Add(time.Minute), "X: 1")
			if got := (outcome{answer != nil, stored, o.Entry != nil}); got != test.want {
				t.Fatalf("%+v, want %+v", got, test.want)
			}
			if n := w.stored(uri); n != test.number {
				t.Errorf("%d are stored, want %d", n, test.number)
			}
			if answer == nil {
				return
			}
			h := answer.Header()
			if string(answer.Body()) != "body" || h.Get("Foo") != "new" || h.Get("Content-Type") != "text/plain" || h.Get("Content-Length") != "4" {
				t.Errorf("answer %q with %v: the fields of the content must stay (3.2), others be new", answer.Body(), h)
			}
			if answer.Stamp.Born != f.Born.Position || !answer.Meta().RequestTime.Equal(f.RequestTime) {
				t.Error("the freshened response is not born with its validation")
			}
			if stored && o.Decision.Action != rfc9111.Serve {
				t.Errorf("decision %+v", o.Decision)
			}
		})
	}
	t.Run("the newer stays", func(t *testing.T) {
		w := newWorld(t)
		w.keep(stale)
		q := w.query(uri, later, "X: 1")
		f := w.validation(q, w.Find(q), `Etag: "a"`, "Cache-Control: max-age=600")
		newer := stale
		newer.sent, newer.body, newer.header = later.Add(time.Millisecond), "newer", fields("Cache-Control: max-age=60", "Vary: X", `Etag: "b"`)
		w.keep(newer)
		w.Freshen(f)
		w.wantBody(w.find(uri, later.Add(time.Second), "X: 1"), "newer")
	})
	t.Run("what others vary by is not known", func(t *testing.T) {
		w := newWorld(t)
		w.keep(stale)
		second := stale
		second.request = fields("X: 2", "Y: 2")
		w.keep(second)
		q := w.query(uri, later, "X: 1")
		w.Freshen(w.validation(q, w.Find(q), `Etag: "a"`, "Cache-Control: max-age=600", "Vary: X, Y"))
		if d := w.find(uri, later, "X: 2").Decision; d.Action != rfc9111.Validate {
			t.Errorf("a request without Y: %+v, but the stored response was for one with Y", d)
		}
	})
	t.Run("under other rules", func(t *testing.T) {
		w := newWorld(t)
		p := w.parts(stale)
		p.Rule = 8
		p.Meta.Vary[0].Value = "2"
		if _, stored := w.Store(p); !stored {
			t.Fatal("not stored")
		}
		q := w.query(uri, later, "X: 1")
		if answer, _ := w.Freshen(w.validation(q, w.Find(q), `Etag: "a"`)); answer != nil {
			t.Error("a response that was stored under other rules answers")
		}
		if v, _ := w.memory.Peek(keyOf(uri).Hash); !v.entries()[0].Meta().ResponseTime.Equal(start) {
			t.Error("a response that was stored under other rules was freshened by these")
		}
	})
}

func TestFreshenByHead(t *testing.T) {
	tests := []struct {
		name   string
		status int // of the stored response
		head   []string
		sent   time.Duration // when the HEAD was sent, after the GET
		want   string        // the body then found, if any
		fresh  bool
	}{
		{"the same (4.3.5)", 200, []string{`Etag: "a"`, "Content-Length: 4"}, time.Minute, "body", true},
		{"nothing that speaks against it", 200, nil, time.Minute, "body", true},
		{"another entity tag", 200, []string{`Etag: "b"`}, time.Minute, "", false},
		{"another date", 200, []string{"Last-Modified: Tue, 24 Nov 2026 09:00:01 GMT"}, time.Minute, "", false},
		{"another length", 200, []string{"Content-Length: 5"}, time.Minute, "", false},
		{"the resource is there again", 404, nil, time.Minute, "", false},
		{"the GET was sent after the HEAD", 200, []string{`Etag: "b"`}, -time.Minute, "body", false},
		{"it must not be stored any more", 200, []string{"Cache-Control: no-store"}, time.Minute, "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			h := func() http.Header {
				return fields("Cache-Control: max-age=60", "Vary: X", `Etag: "a"`, modified, "Foo: old")
			}
			w.keep(response{uri: uri, request: fields("X: 1"), sent: start, status: test.status, body: "body", header: h()})
			w.keep(response{uri: uri, request: fields("X: 2"), sent: start, body: "other", header: h()})
			now := start.Add(test.sent)
			q := w.query(uri, now, "X: 1")
			f := w.validation(q, Outcome{}, append(test.head, "Foo: new", "Vary: X")...)
			if len(f.Header["Cache-Control"]) == 0 {
				f.Header["Cache-Control"] = []string{"max-age=600"}
			}
			w.FreshenByHead(f)
			at := start.Add(5 * time.Minute)
			o := w.find(uri, at, "X: 1")
			w.wantBody(o, test.want)
			if fresh := o.Entry != nil && o.Decision.Action == rfc9111.Serve && o.Entry.Header().Get("Foo") == "new"; fresh != test.fresh {
				t.Errorf("fresh = %v, want %v", fresh, test.fresh)
			}
			o = w.find(uri, at, "X: 2")
			w.wantBody(o, "other")
			if o.Decision.Action == rfc9111.Serve {
				t.Error("a response that the HEAD does not select was freshened")
			}
		})
	}
	t.Run("of nothing, and of what was purged", func(t *testing.T) {
		w := newWorld(t)
		q := w.query(uri, start)
		w.FreshenByHead(w.validation(q, Outcome{}, "Cache-Control: max-age=60"))
		w.keep(response{uri: uri, sent: start, header: fields("Cache-Control: max-age=60"), body: "old"})
		w.purge(uri)
		w.FreshenByHead(w.validation(q, Outcome{}, "Cache-Control: max-age=60"))
		w.wantBody(w.find(uri, start), "")
	})
}
