package proxy_test

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"testing"

	"github.com/cacheproxy/cacheproxy/proxy"
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
