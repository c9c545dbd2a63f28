package cache

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// encodes makes the policy of w one that has all texts encoded.
func (w *world) encodes() *world {
	w.policy.Encode = &rfc9111.Encoding{Codings: []rfc9111.Coding{rfc9111.Brotli, rfc9111.Zstd, rfc9111.Gzip}, Types: []string{"text/*"}}
	return w
}

var texty = fields("Cache-Control: max-age=3600", `Etag: "abc"`, "Content-Type: text/plain")

// formBody is what tests take for an encoded body.
func formBody(c rfc9111.Coding, body string) []byte { return []byte(c.String() + " of " + body) }

func (w *world) wantForms(o Outcome, want ...rfc9111.Coding) {
	w.t.Helper()
	var set, got rfc9111.Codings
	for _, c := range want {
		set = set.With(c)
	}
	for c, form := range o.Forms {
		if form == nil {
			continue
		}
		coding := rfc9111.Coding(c)
		got = got.With(coding)
		if string(form.Body()) != string(formBody(coding, string(o.Entry.Body()))) || form.Coding() != coding {
			w.t.Errorf("the form %s is %q (%s), the response %q", coding, form.Body(), form.Coding(), o.Entry.Body())
		}
	}
	if got != set {
		w.t.Errorf("there are the forms %04b, want %04b", got, set)
	}
}

func TestFormsHead(t *testing.T) {
	w := newWorld(t).encodes()
	h := texty.Clone()
	h["Accept-Ranges"], h["Vary"] = []string{"bytes"}, []string{"X"}
	e := w.keep(response{uri: "http://h/", header: h, body: "the body", sent: start, request: fields("X: 1")})
	if got, want := string(e.Head()), "Accept-Ranges: bytes\r\nCache-Control: max-age=3600\r\nContent-Type: text/plain\r\nEtag: \"abc\"\r\nVary: X\r\nVary: Accept-Encoding\r\n"; got != want {
		t.Errorf("head %q, want %q", got, want)
	}
	if got := e.Header()["Vary"]; len(got) != 1 || got[0] != "X" {
		t.Errorf("the origin's Vary is %q", got)
	}
	if !w.AddForm(e.Form(rfc9111.Gzip), formBody(rfc9111.Gzip, "the body")) {
		t.Fatal("the form was not stored")
	}
	o := w.find("http://h/", start, "X: 1")
	w.wantForms(o, rfc9111.Gzip)
	form := o.Forms[rfc9111.Gzip]
	if got, want := string(form.Head()), "Cache-Control: max-age=3600\r\nContent-Encoding: gzip\r\nContent-Type: text/plain\r\nEtag: \"abc-gzip\"\r\nVary: X\r\nVary: Accept-Encoding\r\n"; got != want {
		t.Errorf("head %q, want %q", got, want)
	}
	if form.Validators().ETag != `"abc-gzip"` || form.Status() != http.StatusOK || form.Stamp.Born != e.Stamp.Born {
		t.Errorf("form: %+v", form.Meta())
	}
	plain := w.keep(response{uri: "http://h/plain", header: texty, body: "the body", sent: start})
	if _, ok := plain.Header()["Vary"]; ok || plain.Varies() || !strings.Contains(string(plain.Head()), "\r\nVary: Accept-Encoding\r\n") {
		t.Errorf("the origin's Vary is %q, the head %q", plain.Header()["Vary"], plain.Head())
	}
	if o := w.find("http://h/", start, "X: 2"); o.Entry != nil || len(o.Others) != 1 {
		t.Errorf("a form was selected, or is to be validated: %+v", o)
	}
}

func TestFormIsStoredOnce(t *testing.T) {
	w := newWorld(t).encodes()
	e := w.keep(response{uri: "http://h/", header: texty, body: "b", sent: start})
	f := e.Form(rfc9111.Brotli)
	if w.Source(f) == nil || !w.AddForm(f, formBody(rfc9111.Brotli, "b")) {
		t.Fatal("the first is not stored")
	}
	if w.Source(f) != nil || w.AddForm(f, []byte("again")) {
		t.Error("the second is")
	}
	w.wantForms(w.find("http://h/", start), rfc9111.Brotli)
}

// A response that is replaced, purged, removed or freed takes its forms along, and none can be added to it any more.
func TestFormsEnd(t *testing.T) {
	for name, end := range map[string]func(w *world, e *Entry){
		"replaced": func(w *world, _ *Entry) {
			w.keep(response{uri: "http://h/", header: texty, body: "new", sent: start.Add(time.Second)})
		},
		"purged":  func(w *world, _ *Entry) { w.purge("http://h/") },
		"removed": func(w *world, e *Entry) { w.Remove(e) },
		"freed":   func(w *world, e *Entry) { w.Free(e.hash) },
		"dropped": func(w *world, _ *Entry) {
			w.Drop(w.apply(invalidation.Immediate, invalidation.Selector{Kind: invalidation.KindAll}))
		},
	} {
		w := newWorldOf(t, Options{MaxBytes: arenaLeast, MaxVariants: 4}).encodes()
		e := w.keep(response{uri: "http://h/", header: texty, body: "old", sent: start})
		w.AddForm(e.Form(rfc9111.Brotli), formBody(rfc9111.Brotli, "old"))
		w.RejectForm(e.Form(rfc9111.Gzip))
		end(w, e)
		w.wantForms(w.find("http://h/", start))
		if w.Source(e.Form(rfc9111.Zstd)) != nil || w.AddForm(e.Form(rfc9111.Zstd), []byte("late")) {
			t.Errorf("%s: a form was added to what has gone", name)
		}
		w.RejectForm(e.Form(rfc9111.Zstd)) // nothing to remember it in
		w.wantAccounts(t)
		if n := w.stored("http://h/"); n > 1 || n == 1 && name != "replaced" && name != "purged" {
			t.Errorf("%s: %d entries are left", name, n)
		}
	}
}

// Forms are no variants: they do not count towards the limit, and go with the variant that it costs.
func TestFormsAndMaxVariants(t *testing.T) {
	w := newWorldOf(t, Options{MaxBytes: 64 << 20, MaxVariants: 2}).encodes()
	h := texty.Clone()
	h["Vary"] = []string{"X"}
	for i := range 3 {
		at := start.Add(time.Duration(i) * time.Second)
		body := fmt.Sprint("body ", i)
		e := w.keep(response{uri: "http://h/", header: h, body: body, sent: at, request: fields(fmt.Sprint("X: ", i))})
		for _, c := range w.policy.Encode.Codings {
			w.AddForm(e.Form(c), formBody(c, body))
		}
	}
	for i := range 3 {
		o := w.find("http://h/", start.Add(3*time.Second), fmt.Sprint("X: ", i))
		if i == 0 {
			w.wantBody(o, "")
			continue
		}
		w.wantBody(o, fmt.Sprint("body ", i))
		w.wantForms(o, w.policy.Encode.Codings...)
	}
	if n := w.Stats().VariantsDropped; n != 1 {
		t.Errorf("%d variants were dropped", n)
	}
	if n := w.Free(keyOf("http://h/").Hash); n != 2 {
		t.Errorf("%d responses were freed", n)
	}
}

// A form for which there is no room is not stored, and the response stays.
func TestFormWithoutRoom(t *testing.T) {
	w := newWorldOf(t, Options{MaxBytes: 1 << 20, MaxVariants: 2}).encodes()
	body := strings.Repeat("x", 700<<10)
	e := w.keep(response{uri: "http://h/", header: texty, body: body, sent: start})
	if w.AddForm(e.Form(rfc9111.Gzip), make([]byte, 600<<10)) {
		t.Error("a form was stored beyond the budget")
	}
	w.wantBody(w.find("http://h/", start), body)
	if !w.AddForm(e.Form(rfc9111.Gzip), formBody(rfc9111.Gzip, body)[:100]) {
		t.Error("a small form was not stored")
	}
}

// What a form says of its coding holds for a response that a 304 renews, too.
func TestFreshenedForms(t *testing.T) {
	for _, size := range []int{10, 2 * inlineBody} {
		w := newWorldOf(t, Options{MaxBytes: arenaLeast, MaxVariants: 4}).encodes()
		body := strings.Repeat("x", size)
		e := w.keep(response{uri: "http://h/", header: texty, body: body, sent: start})
		w.AddForm(e.Form(rfc9111.Brotli), formBody(rfc9111.Brotli, body))
		w.RejectForm(e.Form(rfc9111.Zstd))
		q := w.query("http://h/", start.Add(time.Minute))
		freshen := func(header http.Header) {
			t.Helper()
			selected := w.Find(q).Entry
			if _, stored := w.Freshen(&Freshening{
				Query: q, Validated: []*Entry{selected}, Selected: selected, Target: targetOf("http://h/"), Request: q.Fields,
				Header: header, RequestTime: q.Now, ResponseTime: q.Now, Born: w.born(),
			}); !stored {
				t.Fatal("the freshened response is not stored")
			}
		}
		freshen(fields(`Etag: "abc"`, "X-New: 1", "Cache-Control: max-age=60"))
		o := w.Find(q)
		w.wantForms(o, rfc9111.Brotli)
		if form := o.Forms[rfc9111.Brotli]; form == nil || !strings.Contains(string(form.Head()), "X-New: 1\r\n") || form.Validators().ETag != `"abc-br"` {
			t.Errorf("%d bytes: the form was not renewed", size)
		}
		if !o.Entry.rejected.Has(rfc9111.Zstd) {
			t.Errorf("%d bytes: that zstd is not worth it was forgotten", size)
		}
		w.wantAccounts(t)
		freshen(fields(`Etag: "abc"`, "Cache-Control: max-age=60, no-transform"))
		if o = w.Find(q); o.Forms != (Forms{}) || o.Entry.flags&rfc9111.Encodes != 0 {
			t.Errorf("%d bytes: encoded forms in spite of no-transform", size)
		}
		w.wantAccounts(t)
	}
}

// Forms move within the arena as all entries do, and stay with their response.
func TestFormsMove(t *testing.T) {
	w := newWorldOf(t, Options{MaxBytes: arenaLeast, MaxVariants: 4}).encodes()
	e := w.keep(response{uri: "http://h/", header: texty, body: "b", sent: start})
	w.AddForm(e.Form(rfc9111.Brotli), formBody(rfc9111.Brotli, "b"))
	w.RejectForm(e.Form(rfc9111.Gzip))
	w.moveAll()
	w.AddForm(e.Form(rfc9111.Zstd), formBody(rfc9111.Zstd, "b"))
	o := w.find("http://h/", start)
	w.wantForms(o, rfc9111.Brotli, rfc9111.Zstd)
	if !o.Entry.rejected.Has(rfc9111.Gzip) {
		t.Error("the move has lost what was rejected")
	}
	w.wantAccounts(t)
}

// TestFormsUnderChurn stores more than fits, with forms. What is found must be whole, and the reckoning right.
func TestFormsUnderChurn(t *testing.T) {
	const keys = 4_000
	w := newWorldOf(t, Options{MaxBytes: arenaLeast, MaxVariants: 4}).encodes()
	random := rand.New(rand.NewPCG(1, 1))
	for range 3 * keys {
		r := page(random.IntN(keys))
		r.header = texty
		coding := w.policy.Encode.Codings[random.IntN(3)]
		switch e := w.find(r.uri, start).Entry; {
		case e == nil || random.IntN(3) == 0:
			w.keep(r)
		case random.IntN(8) == 0:
			w.RejectForm(e.Form(coding))
		case random.IntN(20) == 0:
			w.Remove(e)
		default:
			w.AddForm(e.Form(coding), formBody(coding, r.body))
		}
	}
	w.wantAccounts(t)
	found, forms := 0, 0
	for n := range keys {
		r := page(n)
		o := w.find(r.uri, start)
		if o.Entry == nil {
			continue
		}
		found++
		w.wantBody(o, r.body)
		for c, form := range o.Forms {
			if form != nil {
				forms++
				if string(form.Body()) != string(formBody(rfc9111.Coding(c), r.body)) {
					t.Errorf("%s: the form is %.40q", r.uri, form.Body())
				}
			}
		}
	}
	if found < keys/8 || forms < found/4 {
		t.Errorf("%d responses with %d forms are left", found, forms)
	}
}

func TestAnswer(t *testing.T) {
	w := newWorld(t).encodes()
	e := w.keep(response{uri: "http://h/", header: texty, body: "b", sent: start})
	w.AddForm(e.Form(rfc9111.Gzip), formBody(rfc9111.Gzip, "b"))
	w.RejectForm(e.Form(rfc9111.Zstd))
	o := w.find("http://h/", start)
	for _, test := range []struct {
		request       string
		sent, missing rfc9111.Coding
	}{
		{"Accept-Encoding: gzip", rfc9111.Gzip, rfc9111.Identity},
		{"Accept-Encoding: br", rfc9111.Identity, rfc9111.Brotli},
		{"Accept-Encoding: br, gzip", rfc9111.Gzip, rfc9111.Brotli},
		{"Accept-Encoding: br;q=0.5, gzip", rfc9111.Gzip, rfc9111.Identity},
		{"Accept-Encoding: br, gzip;q=0.1, identity;q=0.5", rfc9111.Identity, rfc9111.Brotli},
		{"Accept-Encoding: zstd", rfc9111.Identity, rfc9111.Identity},
		{"Accept-Encoding: zstd, gzip;q=0.1", rfc9111.Gzip, rfc9111.Identity},
		{"Accept-Encoding: identity", rfc9111.Identity, rfc9111.Identity},
		{"Accept: */*", rfc9111.Identity, rfc9111.Identity},
	} {
		send, missing := o.Entry.Answer(&o.Forms, rfc9111.Header(fields(test.request)), w.policy)
		if send.Coding() != test.sent || missing != test.missing {
			t.Errorf("%s: sent %s, missing %s; want %s, %s", test.request, send.Coding(), missing, test.sent, test.missing)
		}
	}
	if send, missing := o.Entry.Answer(&o.Forms, rfc9111.Header(fields("Accept-Encoding: gzip")), &rfc9111.Policy{}); send != o.Entry || missing != rfc9111.Identity {
		t.Error("a route that does not encode sent a form")
	}
}
