package proxy_test

import (
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
)

// encoding turns the encoded forms on, which rigs are without.
func encoding(_ *proxy.Plan, o *rules.Options) {
	least := int64(1 << 10)
	o.Encode = rules.EncodeSpec{Algorithms: []string{"br", "zstd", "gzip"}, MinBytes: &least, Types: []string{"text/*", "application/json"}}
}

// page answers with a text of 20 kB that tells the number of the request, and the given fields.
func page(fields ...string) func(w http.ResponseWriter, r *http.Request, n int64) {
	return func(w http.ResponseWriter, r *http.Request, n int64) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			w.Header().Add(name, value)
		}
		io.WriteString(w, pageText(n))
	}
}

func pageText(n int64) string {
	return strings.Repeat(fmt.Sprintf("<p>This is what answer %d says, again and again.</p>\n", n), 400)
}

// made returns how many forms of a coding have been made.
func (r *rig) made(c rfc9111.Coding) uint64 { return r.proxy.Stats().Encoding.Counts[c][proxy.Encoded] }

// settled waits until the encoders have nothing to do.
func (r *rig) settled() {
	r.t.Helper()
	eventually(r.t, "the encoders are at rest", func() bool {
		s := r.proxy.Stats().Encoding
		return s.Waiting == 0 && s.Running == 0
	})
}

// warm stores a page and has it made in a coding.
func (r *rig) warm(path, coding string) {
	r.t.Helper()
	r.get(path)
	r.get(path, "Accept-Encoding: "+coding)
	r.settled()
}

func decode(t testing.TB, coding, body string) string {
	t.Helper()
	var reader io.Reader
	var err error
	switch coding {
	case "":
		return body
	case "br":
		reader = brotli.NewReader(strings.NewReader(body))
	case "gzip":
		reader, err = gzip.NewReader(strings.NewReader(body))
	case "zstd":
		reader, err = zstd.NewReader(strings.NewReader(body))
	default:
		err = fmt.Errorf("unknown coding %q", coding)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(reader)
	if err != nil {
		t.Fatalf("%s: %v", coding, err)
	}
	return string(text)
}

func TestTheSecondHitIsEncoded(t *testing.T) {
	origin := newShop(t, page("Cache-Control: max-age=60", `ETag: "abc"`, "Accept-Ranges: bytes", "Vary: Accept-Encoding"))
	r := newRig(t, origin.URL, nil, encoding)
	for _, test := range []struct{ accept, coding, etag string }{
		{"gzip, deflate, br, zstd", "br", `"abc-br"`},
		{"gzip, deflate", "gzip", `"abc-gzip"`},
		{"zstd, br;q=0.1", "zstd", `"abc-zstd"`},
		{"identity", "", `"abc"`},
		{"deflate", "", `"abc"`},
	} {
		accept := "Accept-Encoding: " + test.accept
		if first := r.get("/", accept); first.body != pageText(1) && test.coding == "br" {
			t.Errorf("%s: the miss or first hit is not the response as it is: %v", test.accept, first.header)
		}
		r.get("/", accept) // br: the first hit, which asks for the form
		r.settled()
		a := r.get("/", accept)
		h := a.header
		if h.Get("Content-Encoding") != test.coding || h.Get("Etag") != test.etag || h.Get("Vary") != "Accept-Encoding" ||
			h.Get("Content-Length") != fmt.Sprint(len(a.body)) || (h.Get("Accept-Ranges") == "bytes") != (test.coding == "") {
			t.Errorf("%s: %v", test.accept, h)
		}
		if !strings.HasPrefix(a.cacheStatus(), "cacheproxy; hit; ttl=") {
			t.Errorf("%s: Cache-Status %q", test.accept, a.cacheStatus())
		}
		if got := decode(t, test.coding, a.body); got != pageText(1) {
			t.Errorf("%s: decoded to %q", test.accept, clip(got))
		}
		if test.coding != "" && len(a.body) > 2000 {
			t.Errorf("%s: %d bytes", test.accept, len(a.body))
		}
		head := r.do(http.MethodHead, "/", accept)
		for _, name := range []string{"Content-Encoding", "Etag", "Vary", "Content-Length", "Content-Type"} {
			if head.header.Get(name) != h.Get(name) {
				t.Errorf("%s: HEAD has %s %q, GET %q", test.accept, name, head.header.Get(name), h.Get(name))
			}
		}
	}
	if n := origin.asked.Load(); n != 1 {
		t.Errorf("the origin was asked %d times", n)
	}
	if got := origin.last().Header.Get("Accept-Encoding"); got != "identity" {
		t.Errorf("the origin was asked for %q", got)
	}
}

func TestVaryIsAddedToTheOrigins(t *testing.T) {
	for _, test := range []struct {
		name   string
		fields []string
		want   []string
	}{
		{"none", nil, []string{"Accept-Encoding"}},
		{"another", []string{"Vary: Accept-Language"}, []string{"Accept-Language", "Accept-Encoding"}},
		{"named in another case", []string{"Vary: accept-encoding, Origin"}, []string{"accept-encoding, Origin"}},
		{"not of what is never encoded", []string{"Content-Type: image/png"}, nil},
	} {
		origin := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
			page(append(test.fields, "Cache-Control: max-age=60")...)(w, q, n)
		})
		if test.want == nil {
			origin.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "image/png")
				w.Header().Set("Cache-Control", "max-age=60")
				io.WriteString(w, pageText(1))
			})
		}
		r := newRig(t, origin.URL, nil, encoding)
		for _, what := range []string{"miss", "first hit", "encoded hit"} {
			a := r.get("/", "Accept-Encoding: br")
			if got := a.header["Vary"]; strings.Join(got, "|") != strings.Join(test.want, "|") {
				t.Errorf("%s, %s: Vary %q, want %q", test.name, what, got, test.want)
			}
			r.settled()
		}
	}
}

// What is not encoded: it is what it was, and nothing was tried.
func TestWhatStaysAsItIs(t *testing.T) {
	small := strings.Repeat("x", 1000)
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"small": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, small) },
		"no-transform": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Cache-Control", "no-transform")
			io.WriteString(w, pageText(1))
		},
		"encoded": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "deflate")
			io.WriteString(w, pageText(1))
		},
		"an image": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "image/jpeg")
			io.WriteString(w, pageText(1))
		},
	} {
		var want string
		origin := newShop(t, func(w http.ResponseWriter, q *http.Request, _ int64) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Cache-Control", "max-age=60")
			answer(w, q)
		})
		r := newRig(t, origin.URL, nil, encoding)
		for range 3 {
			a := r.get("/", "Accept-Encoding: br, gzip")
			if want == "" {
				want = a.body
			}
			if a.body != want || a.header.Get("Vary") != "" || a.header.Get("Content-Encoding") == "br" {
				t.Errorf("%s: %q %v", name, clip(a.body), a.header)
			}
			r.settled()
		}
		if s := r.proxy.Stats().Encoding; s.Counts != (proxy.EncodingCounts{}) {
			t.Errorf("%s: %v", name, s.Counts)
		}
	}
}

func TestARequestsNoTransformIsRespected(t *testing.T) {
	origin := newShop(t, page("Cache-Control: max-age=60"))
	r := newRig(t, origin.URL, nil, encoding)
	r.warm("/", "br")
	if a := r.get("/", "Accept-Encoding: br", "Cache-Control: no-transform"); a.body != pageText(1) {
		t.Errorf("RFC 9111, 5.2.1.6: %v", a.header)
	}
}

// What does not shrink is tried once, in each coding.
func TestWhatDoesNotShrinkIsRemembered(t *testing.T) {
	noise := make([]byte, 50_000)
	rand.NewChaCha8([32]byte{}).Read(noise)
	for name, size := range map[string]int{"in the arena": 3000, "one block": 50_000, "linked": 200_000} {
		body := slices.Repeat(noise, 4)[:size] // of the last, zstd sees the repetition; gzip, with its window of 32 KiB, does not
		origin := newShop(t, func(w http.ResponseWriter, _ *http.Request, _ int64) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Cache-Control", "max-age=60")
			w.Write(body)
		})
		r := newRig(t, origin.URL, nil, encoding)
		for range 5 {
			if a := r.get("/", "Accept-Encoding: gzip"); a.body != string(body) || a.header.Get("Content-Encoding") != "" {
				t.Errorf("%s: %v", name, a.header)
			}
			r.settled()
		}
		if n := r.proxy.Stats().Encoding.Counts[rfc9111.Gzip]; n[proxy.EncodedTooLarge] != 1 || n[proxy.Encoded] != 0 {
			t.Errorf("%s: %v", name, n)
		}
	}
}

// TestNoRequestWaitsForAnEncoder keeps all encoders busy with bodies that take long, and asks for another object meanwhile, whose form
// has to wait behind them.
func TestNoRequestWaitsForAnEncoder(t *testing.T) {
	big := make([]byte, 2<<20) // letters in no order: brotli finds a little everywhere, and goes on looking
	rand.NewChaCha8([32]byte{1}).Read(big)
	for i := range big {
		big[i] = "abcdefghijklmnopqrst \n"[int(big[i])%22]
	}
	origin := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if strings.HasPrefix(q.URL.Path, "/big") {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Cache-Control", "max-age=60")
			w.Write(big)
			return
		}
		page("Cache-Control: max-age=60")(w, q, 1)
	})
	r := newRig(t, origin.URL, nil, encoding)
	r.get("/small")
	bodies := runtime.GOMAXPROCS(0)/2 + 3 // two or three more than there are encoders
	for i := range bodies {
		r.get(fmt.Sprint("/big/", i))
	}
	for i := range bodies {
		r.get(fmt.Sprint("/big/", i), "Accept-Encoding: br")
	}
	served := 0
	for ; served < 50 && r.proxy.Stats().Encoding.Waiting > 1; served++ {
		a := r.get("/small", "Accept-Encoding: br")
		if a.body != pageText(1) || !strings.Contains(a.cacheStatus(), "hit") {
			t.Fatalf("hit %d: %v", served, a.header)
		}
	}
	if served < 20 {
		t.Errorf("only %d hits were served while the encoders were busy", served)
	}
	before := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_ = r.proxy.Shutdown(ctx) // a quick machine may be ready in time
	if took := time.Since(before); took > 2*time.Second {
		t.Errorf("Shutdown took %v: it waited for what it had cancelled", took)
	}
	if n := r.made(rfc9111.Brotli); n > uint64(runtime.GOMAXPROCS(0)/2+2) {
		t.Errorf("%d forms were made: some after the shutdown", n)
	}
}

// A thousand hits of a new object at once make one encoding of each kind, and each client gets the object.
func TestAThousandHitsMakeOneEncodingEach(t *testing.T) {
	origin := newShop(t, page("Cache-Control: max-age=60", `ETag: "abc"`))
	r := newRig(t, origin.URL, nil, encoding)
	r.get("/")
	accepts := []string{"br", "zstd", "gzip", "br, gzip", "gzip;q=0.9, zstd", "identity", "gzip, deflate, br, zstd"}
	var clients sync.WaitGroup
	for i := range 50 {
		clients.Go(func() {
			for j := range 20 {
				a := r.get("/", "Accept-Encoding: "+accepts[(i+j)%len(accepts)])
				if got := decode(t, a.header.Get("Content-Encoding"), a.body); got != pageText(1) {
					t.Errorf("decoded to %q", clip(got))
				}
			}
		})
	}
	clients.Wait()
	r.settled()
	for _, c := range []rfc9111.Coding{rfc9111.Brotli, rfc9111.Zstd, rfc9111.Gzip} {
		if counts := r.proxy.Stats().Encoding.Counts[c]; counts != ([proxy.EncodingResultCount]uint64{proxy.Encoded: 1}) {
			t.Errorf("%s: %v", c, counts)
		}
	}
	if n := origin.asked.Load(); n != 1 {
		t.Errorf("the origin was asked %d times", n)
	}
}

// A client that comes back with the tag of a form, after a restart, gets 304 from the very miss.
// A 304 of the origin renews the forms without making them again; and it is asked by its own tag.
// What replaces a response, or purges it, takes the forms along.
func TestFormsGoWithTheirResponse(t *testing.T) {
	origin := newShop(t, page("Cache-Control: max-age=60", `ETag: "abc"`))
	r := newRig(t, origin.URL, nil, encoding)
	r.warm("/", "br")
	if a := r.get("/", "Accept-Encoding: br"); a.header.Get("Content-Encoding") != "br" {
		t.Fatalf("%v", a.header)
	}
	r.do("PURGE", "/")
	a := r.get("/", "Accept-Encoding: br")
	if a.body != pageText(2) || !strings.Contains(a.cacheStatus(), "fwd") {
		t.Errorf("after the purge: %q %q", a.cacheStatus(), clip(a.body))
	}
	r.get("/", "Accept-Encoding: br")
	r.settled()
	if got := decode(t, "br", r.get("/", "Accept-Encoding: br").body); got != pageText(2) {
		t.Errorf("the form of the new response is %q", clip(got))
	}
	if s := r.cache.Stats(); s.Memory.Entries != 1 {
		t.Errorf("%d keys", s.Memory.Entries)
	}
}

// A purge while the encoder works: what it makes is of what is gone.
func TestAFormOfWhatWasPurgedIsNotStored(t *testing.T) {
	origin := newShop(t, page("Cache-Control: max-age=60"))
	r := newRig(t, origin.URL, nil, encoding)
	r.get("/")
	key := r.lastReport().Key
	e := r.cache.Find(&cache.Query{Key: key, Fields: rfc9111.Header{"Accept-Encoding": {"identity"}}, Policy: &rfc9111.Policy{},
		Rule: r.proxy.Plan().Table.Routes()[0].Rule, Now: time.Now()}).Entry
	if e == nil {
		t.Fatal("nothing is stored")
	}
	form := e.Form(rfc9111.Brotli)
	r.do("PURGE", "/")
	r.get("/")
	if r.cache.AddForm(form, []byte("of the old one")) {
		t.Error("it was stored")
	}
	if a := r.get("/", "Accept-Encoding: br"); a.body != pageText(2) {
		t.Errorf("%v", a.header)
	}
}

// Responses that are not stored are the origin's to encode: from the second on, because nobody can tell before.
func TestWhatIsNotStoredTheOriginEncodes(t *testing.T) {
	origin := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Vary", "Accept-Encoding")
		if strings.Contains(q.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, pageText(n))
			z.Close()
			return
		}
		io.WriteString(w, pageText(n))
	})
	r := newRig(t, origin.URL, nil, encoding)
	for n, coding := range []string{"", "gzip", "gzip"} {
		a := r.get("/", "Accept-Encoding: gzip")
		if a.header.Get("Content-Encoding") != coding || decode(t, coding, a.body) != pageText(int64(n+1)) {
			t.Errorf("answer %d: %v", n+1, a.header)
		}
	}
	if got := r.get("/").header.Get("Content-Encoding"); got != "" {
		t.Errorf("a client that accepts nothing got %q", got)
	}
}

// A write's condition is translated: the client has read a form, and the origin knows its own tag alone (RFC 9110, 13.1.1).
func TestExplainTellsOfEncoding(t *testing.T) {
	origin := newShop(t, page("Cache-Control: max-age=60"))
	r := newRig(t, origin.URL, nil, encoding)
	explain := func(accept string, response ...string) string {
		t.Helper()
		q := proxy.Question{Method: "GET", URL: r.URL + "/", Header: http.Header{"Accept-Encoding": {accept}}}
		if len(response) > 0 {
			q.URL, q.Response = r.URL+"/unknown", http.Header{"Cache-Control": {"max-age=60"}}
		}
		for _, line := range response {
			name, value, _ := strings.Cut(line, ": ")
			q.Response.Add(name, value)
		}
		out, err := r.proxy.Plan().Explain(t.Context(), r.cache, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range out.Steps {
			if s.What == "encoding" {
				return s.Result
			}
		}
		return ""
	}
	r.get("/")
	for _, step := range []struct{ accept, want string }{
		{"br", "sent as it is; br would be made for later requests"},
		{"identity", "sent as it is: the request prefers that"},
	} {
		if got := explain(step.accept); !strings.HasPrefix(got, step.want) {
			t.Errorf("%s: %q", step.accept, got)
		}
	}
	r.warm("/", "br")
	if got := explain("br"); !strings.HasPrefix(got, "sent as br, ") {
		t.Errorf("%q", got)
	}
	for _, step := range []struct{ accept, field, want string }{
		{"zstd", "Content-Type: text/html", "made as zstd at the first hit"},
		{"deflate", "Content-Type: text/html", "sent as it is: the request asks for no other coding"},
		{"br", "Content-Type: image/png", "sent as it is: its media type is not among types"},
	} {
		if got := explain(step.accept, step.field); !strings.HasPrefix(got, step.want) {
			t.Errorf("%s of %s: %q", step.accept, step.field, got)
		}
	}
}
