package proxy_test

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"testing"

	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
)

// discard is a response writer that keeps its header map between requests, as net/http would give each request one of its own: what
// is left of allocations is ours.
type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

func storedPage(t testing.TB) (*proxy.Proxy, *http.Request) {
	body := make([]byte, 1024)
	p, _ := inProcess(t, &rules.CacheSpec{}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("ETag", `"abc"`)
		w.Header().Set("Vary", "Accept-Encoding")
		w.Write(body)
	})
	r := request(context.Background(), "/products/42?page=2")
	r.Header.Set("Accept-Encoding", "gzip, br")
	r.Header.Set("User-Agent", "test")
	p.ServeHTTP(&discard{h: make(http.Header)}, r)
	return p, r
}

func TestAHitAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool drops at random; make test runs this test without it too")
	}
	p, r := storedPage(t)
	w := &discard{h: make(http.Header)}
	if n := testing.AllocsPerRun(1000, func() { p.ServeHTTP(w, r) }); n != 0 {
		t.Errorf("a hit allocates %.1f times", n)
	}
	r.Header.Set("If-None-Match", `"abc"`)
	if n := testing.AllocsPerRun(1000, func() { p.ServeHTTP(w, r) }); n != 0 {
		t.Errorf("a 304 from the cache allocates %.1f times", n)
	}
}

// encodedPage is a stored page whose forms have been made, and a request that gets one of them.
func encodedPage(t testing.TB) (*proxy.Proxy, *http.Request) {
	spec := &rules.CacheSpec{Encode: rules.EncodeSpec{Algorithms: []string{"br", "zstd", "gzip"}, Types: []string{"text/*"}}}
	p, _ := inProcess(t, spec, func(w http.ResponseWriter, r *http.Request) {
		page("Cache-Control: max-age=3600", `ETag: "abc"`, "Vary: Accept-Encoding")(w, r, 1)
	})
	r := request(context.Background(), "/products/42?page=2")
	for range 2 {
		for _, accept := range []string{"gzip, deflate", "gzip, deflate, br, zstd"} {
			r.Header.Set("Accept-Encoding", accept)
			p.ServeHTTP(&discard{h: make(http.Header)}, r)
			eventually(t, "the encoders are at rest", func() bool { return p.Stats().Encoding.Running == 0 })
		}
	}
	return p, r
}

func TestAnEncodedHitAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("as above")
	}
	p, r := encodedPage(t)
	w := &discard{h: make(http.Header)}
	for name, fields := range map[string]map[string]string{
		"the preferred form":      {"Accept-Encoding": "gzip, deflate, br, zstd"},
		"another form":            {"Accept-Encoding": "gzip;q=1.0, *;q=0"},
		"the response as it is":   {"Accept-Encoding": "identity"},
		"nothing accepted":        {},
		"a form that is not made": {"Accept-Encoding": "zstd;q=0.5, br;q=0.1", "Cache-Control": "no-transform"},
		"304 by the form's tag":   {"Accept-Encoding": "br", "If-None-Match": `"abc-br"`},
		"304 by the origin's tag": {"Accept-Encoding": "br", "If-None-Match": `"abc"`},
	} {
		clear(r.Header)
		for field, value := range fields {
			r.Header.Set(field, value)
		}
		if n := testing.AllocsPerRun(1000, func() { p.ServeHTTP(w, r) }); n != 0 {
			t.Errorf("%s: a hit allocates %.1f times", name, n)
		}
	}
	if n := p.Stats().Encoding.Counts[rfc9111.Brotli][proxy.Encoded]; n != 1 {
		t.Errorf("br was made %d times", n)
	}
}

// What does a hit of an encoded form cost?
func BenchmarkEncodedHit(b *testing.B) {
	p, r := encodedPage(b)
	w := &discard{h: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		p.ServeHTTP(w, r)
	}
}

// What does a hit cost in the handler, from request to response, without net/http?
func BenchmarkHit(b *testing.B) {
	p, r := storedPage(b)
	w := &discard{h: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		p.ServeHTTP(w, r)
	}
}

// What does a miss cost beside the request to the origin: the fetch, its reader, and the entry that is stored?
func BenchmarkMiss(b *testing.B) {
	p, r := storedPage(b)
	w := &discard{h: make(http.Header)}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		path := "/products/" + strconv.Itoa(i)
		r.URL = &url.URL{Path: path}
		r.RequestURI = path
		clear(w.h)
		p.ServeHTTP(w, r)
	}
}
