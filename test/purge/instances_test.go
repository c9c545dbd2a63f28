package purge_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/process"
	"github.com/cacheproxy/cacheproxy/test/redistest"
)

const sharedConfig = `
upstreams: { shop: { targets: [{ url: "%s" }] } }
redis: { url: "redis://%s", timeout: 2s }
data_dir: data
routes:
  - cache: { tags: ["section:{path.0}"] }
`

// TestInstances: a purge on one instance hits what only another has fetched, by
// tag and by what that one's responses have declared; and of what is hot one
// instance fetches for all.
func TestInstances(t *testing.T) {
	var hot atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=600")
		switch r.URL.Path {
		case "/list":
			w.Header().Set("X-Cache-Depends-On", "url:/price")
		case "/home":
			w.Header().Set("X-Cache-Depends-On", "url:/list")
		case "/hot/1":
			w.Header().Set("Cache-Control", "max-age=600, stale-while-revalidate=600")
			hot.Add(1)
		}
		fmt.Fprint(w, r.URL.Path)
	}))
	t.Cleanup(origin.Close)
	redis := redistest.Start(t)
	var a, b *site
	for _, s := range []**site{&a, &b} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "cacheproxy.yaml"), fmt.Appendf(nil, sharedConfig, origin.URL, redis.Addr), 0o600); err != nil {
			t.Fatal(err)
		}
		*s = &site{t: t, Process: process.Serve(t, process.Options{Dir: dir}, "--config", "cacheproxy.yaml")}
	}
	host := "Host: shop.example" // one site, whichever instance is asked
	fetch := func(s *site, path string) string {
		t.Helper()
		_, header, _ := s.ask("GET", s.URL+path, "", host)
		return header.Get("Cache-Status")
	}
	memory := func(s *site, path string) bool {
		t.Helper()
		return strings.HasSuffix(fetch(s, path), "; detail=l1")
	}
	purge := func(s *site, fields ...string) string {
		t.Helper()
		status, _, body := s.ask("PURGE", s.URL+"/", "", append(fields, host)...)
		if status != 200 || !strings.Contains(body, `"complete":true`) {
			t.Fatalf("%q: %d %s", fields, status, body)
		}
		return body
	}

	fetch(b, "/news/1")
	if !memory(b, "/news/1") {
		t.Fatal("it was not stored")
	}
	purge(a, "xkey: section:news")
	if got := fetch(b, "/news/1"); !strings.Contains(got, "fwd=") {
		t.Errorf("after a purge by tag on the other instance: %s", got)
	}

	fetch(b, "/list")
	fetch(b, "/home")
	a.eventually("the other's responses are known to be made of it", func() bool {
		return strings.Contains(purge(a, "X-Purge-Strategy: soft", "xkey: none"), `"selected":1`) &&
			strings.Contains(purgeURL(t, a, "/price"), `"selected":3`)
	})
	for _, path := range []string{"/list", "/home"} {
		if got := fetch(b, path); !strings.Contains(got, "fwd=") {
			t.Errorf("%s after a purge of what it is made of: %s", path, got)
		}
	}
	a.eventually("they are in the graph", func() bool {
		_, _, graph := a.ask("GET", a.Admin+"/v1/dependencies?of=url:shop.example/price", "")
		return strings.Contains(graph, `"node": "url://shop.example/list"`) && strings.Contains(graph, `"node": "url://shop.example/home"`)
	})
	purge(a, "X-Purge-Pattern: /pri*")
	if got := fetch(b, "/list"); !strings.Contains(got, "fwd=") {
		t.Errorf("after a purge by pattern of what it is made of: %s", got)
	}

	for _, s := range []*site{a, b} {
		for range 8 {
			fetch(s, "/hot/1")
		}
	}
	before := hot.Load()
	purge(a, "xkey: section:hot", "X-Purge-Strategy: smart")
	a.eventually("it is fetched without anybody asking for it", func() bool { return hot.Load() == before+1 })
	for _, s := range []*site{a, b} {
		s.eventually("and fresh here", func() bool { return memory(s, "/hot/1") })
	}
	time.Sleep(100 * time.Millisecond) // a second fetch would come now
	if got := hot.Load() - before; got != 1 {
		t.Errorf("%d fetches for both instances, want 1", got)
	}
}

func purgeURL(t *testing.T, s *site, path string) string {
	t.Helper()
	_, _, body := s.ask("PURGE", s.URL+path, "", "Host: shop.example")
	return body
}
