// Package purge_test purges through every door of the built binary, as the
// clients of other caches do, and looks at what is left.
package purge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }

// site is the binary in front of an origin whose answers carry tags.
type site struct {
	t *testing.T
	*process.Process
	asked atomic.Int64
}

// config has tags by rule, a write that invalidates, and a route whose responses
// are made of others.
const config = `
upstreams: { shop: { targets: [{ url: "%s" }] } }
purge: { allow: [%s] }
admin: { tokens: [{ name: ops, token: purge-token-of-16, scopes: [purge] }, { name: eye, token: read-token-of-16, scopes: [read] }] }
routes:
  - name: catalog
    match: { paths: [/catalog] }
    cache: { depends_on: ["tag:product:7"] }
  - name: shop
    cache: { tags: ["product:{path.1}"], key: { query: { mode: ignore, names: ["utm_*"] } } }
    write: { wait: all, invalidate: { tags: ["product:{path.1}"] } }
`

func newSite(t *testing.T, allow string) *site {
	t.Helper()
	s := &site{t: t}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := s.asked.Add(1)
		if r.Method != http.MethodGet {
			w.Header().Set("X-Invalidate-Tags", "home")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Cache-Control", "max-age=600")
		switch {
		case strings.HasPrefix(r.URL.Path, "/soft"):
			w.Header().Set("Cache-Control", "max-age=600, stale-while-revalidate=600")
			w.Header().Set("Surrogate-Key", "soft")
		case r.URL.Path == "/":
			w.Header().Set("Xkey", "home")
			w.Header().Set("X-Cache-Depends-On", "url:/catalog")
		case strings.HasPrefix(r.URL.Path, "/news"):
			w.Header().Set("Cache-Tag", "news,all")
			w.Header().Set("Cache-Groups", `"news"`)
		}
		fmt.Fprintf(w, "%d", n)
	}))
	t.Cleanup(origin.Close)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "cacheproxy.yaml"), fmt.Appendf(nil, config, origin.URL, allow), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Process = process.Serve(t, process.Options{Dir: dir}, "--config", "cacheproxy.yaml")
	return s
}

// ask sends a request and returns status, header and body.
func (s *site) ask(method, url, body string, fields ...string) (int, http.Header, string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		if name == "Host" {
			r.Host = value
		}
		r.Header.Add(name, value)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

var pages = []string{"/", "/catalog", "/products/7", "/products/8", "/news/1", "/soft"}

func (s *site) fill() {
	for _, p := range pages {
		s.ask("GET", s.URL+p, "")
	}
}

// left returns the pages that are answered from memory as they are.
func (s *site) left() string {
	var left []string
	for _, p := range pages {
		if status, header, _ := s.ask("GET", s.URL+p, "", "Cache-Control: only-if-cached"); status == 200 && strings.HasSuffix(header.Get("Cache-Status"), "; detail=l1") {
			left = append(left, p)
		}
	}
	return strings.Join(left, " ")
}

// TestDoors: what each door names is gone when it answers, and what depends on
// that; the rest stays.
func TestDoors(t *testing.T) {
	s := newSite(t, `"127.0.0.0/8"`)
	const all = "/ /catalog /products/7 /products/8 /news/1 /soft"
	for _, tt := range []struct {
		name, method, url, body string
		fields                  []string
		status                  int
		want                    string // in the answer
		left                    string
	}{
		{"PURGE", "PURGE", "/products/8?utm_source=x", "", nil, 200, `"freed":1`, "/ /catalog /products/7 /news/1 /soft"},
		{"PURGE by xkey", "PURGE", "/", "", []string{"xkey: product:7 home"}, 200, `"complete":true`, "/products/8 /news/1 /soft"},
		{"PURGE by Surrogate-Key", "PURGE", "/", "", []string{"Surrogate-Key: product:8"}, 200, `"freed":1`, "/ /catalog /products/7 /news/1 /soft"},
		{"PURGE by Cache-Tag", "PURGE", "/", "", []string{"Cache-Tag: news, none"}, 200, `"freed":1`, "/ /catalog /products/7 /products/8 /soft"},
		{"PURGE by pattern", "PURGE", "/", "", []string{"X-Purge-Pattern: /products/*"}, 200, `"freed":2`, "/ /catalog /news/1 /soft"},
		{"PURGEKEYS", "PURGEKEYS", "/", "", []string{"xkey-purge: product:7 home"}, 200, `"complete":true`, "/products/8 /news/1 /soft"},
		{"PURGETAGS", "PURGETAGS", "/", "", []string{"X-Cache-Tags: news,none"}, 200, `"freed":1`, "/ /catalog /products/7 /products/8 /soft"},
		{"clear", "PURGE", "/", "", []string{"Clear-Cache: true"}, 200, `"complete":true`, ""},
		{"WordPress", "PURGE", "/products/.*", "", []string{"X-Purge-Method: regex"}, 200, `"freed":2`, "/ /catalog /news/1 /soft"},
		{"softly", "PURGE", "/", "", []string{"xkey-softpurge: soft"}, 200, `"freed":0`, "/ /catalog /products/7 /products/8 /news/1"},
		{"BAN", "BAN", "/", "", []string{"X-Url: ^/products", "X-Cache-Tags: (^|,)product:8(,|$)"}, 200, `"freed":1`, "/ /catalog /products/7 /news/1 /soft"},
		{"admin", "POST", "/v1/invalidate", `{"tags":["product:7"],"strategy":"lazy","wait":"all","timeout":"5s"}`, nil, 200, `"freed": 0`, "/products/8 /news/1 /soft"},
		{"admin, group", "POST", "/v1/invalidate", `{"groups":["news"]}`, nil, 200, `"freed": 1`, "/ /catalog /products/7 /products/8 /soft"},
		{"admin, all", "POST", "/v1/invalidate", `{"all":true}`, nil, 200, `"complete": true`, ""},
		{"a write", "POST", "/products/7", "", nil, 204, "", "/products/8 /news/1 /soft"},

		{"unknown strategy", "PURGE", "/", "", []string{"X-Purge-Strategy: hard"}, 400, "not a strategy", all},
		{"unknown wait", "PURGE", "/", "", []string{"X-Purge-Wait: some"}, 400, "not a way to wait", all},
		{"no tag", "PURGE", "/", "", []string{"xkey: ,"}, 400, "names no tag", all},
		{"BAN of nothing", "BAN", "/", "", nil, 400, "a BAN needs", all},
		{"admin, nothing", "POST", "/v1/invalidate", `{}`, nil, 400, "nothing is selected", all},
		{"admin, unknown field", "POST", "/v1/invalidate", `{"tag":"a"}`, nil, 400, "unknown field", all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &site{t: t, Process: s.Process}
			s.ask("PURGE", s.URL+"/", "", "X-Purge-Pattern: **") // what the last case has softened
			s.fill()
			base, fields := s.URL, tt.fields
			if strings.HasPrefix(tt.url, "/v1/") {
				base, fields = s.Admin, append(fields, "Authorization: Bearer purge-token-of-16", "Content-Type: application/json")
			}
			status, _, body := s.ask(tt.method, base+tt.url, tt.body, fields...)
			if status != tt.status || !strings.Contains(body, tt.want) {
				t.Errorf("answered %d %s, want %d with %q", status, body, tt.status, tt.want)
			}
			if left := s.left(); left != tt.left {
				t.Errorf("left %q, want %q", left, tt.left)
			}
		})
	}
}

// TestWhoMay: without the network or the right token nothing is purged, and the
// origin never hears of it.
func TestWhoMay(t *testing.T) {
	s := newSite(t, "")
	s.fill()
	before := s.asked.Load()
	for _, method := range []string{"PURGE", "BAN", "REFRESH", "PURGEKEYS", "PURGETAGS"} {
		for _, token := range []string{"", "wrong-token-of-16", "read-token-of-16"} {
			fields := []string{"X-Url: .*"}
			if token != "" {
				fields = append(fields, "Authorization: Bearer "+token)
			}
			if status, _, body := s.ask(method, s.URL+"/", "", fields...); status != 403 {
				t.Errorf("%s with the token %q: %d %s", method, token, status, body)
			}
		}
	}
	if status, _, _ := s.ask("POST", s.Admin+"/v1/invalidate", `{"all":true}`, "Authorization: Bearer read-token-of-16", "Content-Type: application/json"); status != 403 {
		t.Errorf("POST /v1/invalidate with a token that may only read: %d", status)
	}
	if s.asked.Load() != before {
		t.Error("the origin was asked")
	}
	_, _, metrics := s.ask("GET", s.Admin+"/metrics", "", "Authorization: Bearer read-token-of-16")
	if !strings.Contains(metrics, `cacheproxy_uncached_total{reason="purge-denied",route="shop"}`) || !strings.Contains(s.Output(), "purge refused") {
		t.Error("the refusals are not counted, or not logged")
	}
	if status, _, body := s.ask("PURGE", s.URL+"/news/1", "", "Authorization: Bearer purge-token-of-16"); status != 200 {
		t.Errorf("with the right token: %d %s", status, body)
	}
}

// TestRefresh: REFRESH and --refresh fetch anew at once, without a client.
func TestRefresh(t *testing.T) {
	s := newSite(t, `"127.0.0.0/8"`)
	s.fill()
	before := s.asked.Load()
	if status, _, body := s.ask("REFRESH", s.URL+"/products/7", ""); status != 200 || !strings.Contains(body, `"refreshing":1`) {
		t.Fatalf("REFRESH: %d %s", status, body)
	}
	s.eventually("the origin is asked", func() bool { return s.asked.Load() == before+1 })
	s.eventually("the answer is stored", func() bool { return strings.Contains(s.left(), "/products/7") })
	if out, err := s.cli("purge", "--url", s.URL+"/products/8", "--refresh", "--token", "purge-token-of-16"); err != nil || !strings.Contains(out, "1 are fetched anew") {
		t.Errorf("purge --refresh: %v %s", err, out)
	}
	s.eventually("the origin is asked again", func() bool { return s.asked.Load() == before+2 })
}

// TestLooking: entries and the graph of dependencies show what a purge would hit.
func TestLooking(t *testing.T) {
	s := newSite(t, `"127.0.0.0/8"`)
	s.fill()
	read := "Authorization: Bearer read-token-of-16"
	var page struct {
		Items []struct {
			Key, URL, Standing string
			TTL                float64
			Tags               []string
			Hits               int
		}
		Next string
	}
	look := func(query string) {
		t.Helper()
		page.Items = nil
		status, _, body := s.ask("GET", s.Admin+"/v1/entries"+query, "", read)
		if err := json.Unmarshal([]byte(body), &page); err != nil || status != 200 {
			t.Fatalf("%s: %d %s", query, status, body)
		}
	}
	if look("?tag=product:7"); len(page.Items) != 1 || !strings.HasSuffix(page.Items[0].URL, "/products/7") || page.Items[0].Standing != "valid" {
		t.Errorf("by tag: %+v", page.Items)
	}
	key := page.Items[0].Key
	if look("?pattern=/products/*"); len(page.Items) != 2 {
		t.Errorf("by pattern: %+v", page.Items)
	}
	seen := 0
	for next := "?limit=2"; ; next = "?limit=2&after=" + page.Next {
		look(next)
		if seen += len(page.Items); page.Next == "" {
			break
		}
	}
	if seen != len(pages) {
		t.Errorf("%d entries in all, want %d", seen, len(pages))
	}
	if status, _, body := s.ask("GET", s.Admin+"/v1/entries/"+key, "", read); status != 200 || !strings.Contains(body, `"product:7"`) {
		t.Errorf("one entry: %d %s", status, body)
	}
	s.ask("PURGE", s.URL+"/products/7", "")
	if status, _, _ := s.ask("GET", s.Admin+"/v1/entries/"+key, "", read); status != 404 {
		t.Errorf("a purged entry: %d", status)
	}
	_, _, graph := s.ask("GET", s.Admin+"/v1/dependencies?of=tag:product:7", "", read)
	for _, want := range []string{`"node": "route:catalog"`, `"source": "rule"`, `"node": "url://`, `"source": "response"`} {
		if !strings.Contains(graph, want) {
			t.Errorf("the graph has no %s: %s", want, graph)
		}
	}
}

func (s *site) eventually(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// cli runs a verb of the binary against the site.
func (s *site) cli(args ...string) (string, error) {
	s.t.Helper()
	c := exec.Command(process.Binary(s.t), append(args, "--admin-url", s.Admin)...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}
