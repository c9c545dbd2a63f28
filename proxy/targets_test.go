package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/proxy/upstream"
	"github.com/cacheproxy/cacheproxy/rules"
)

// over puts the rig in front of several targets.
func (r *rig) over(urls []string, specs []rules.Spec, change func(*upstream.Options)) {
	r.t.Helper()
	o := upstream.DefaultOptions(urls[0])
	o.Targets = nil
	for _, url := range urls {
		o.Targets = append(o.Targets, upstream.Target{URL: url, Weight: 1})
	}
	change(&o)
	up, err := upstream.New("origin", o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(up.Close)
	r.up = up
	r.proxy.Use(r.plan(specs))
}

// With every target down what is stored is served stale, and other requests are told when to come again.
func TestEveryTargetIsDown(t *testing.T) { // RFC 9111, 4.2.4; RFC 9110, 15.6.4
	var shops []*shop
	var urls []string
	for range 2 {
		o := newShop(t, plain("Cache-Control: max-age=0, stale-if-error=60", `ETag: "v"`))
		shops, urls = append(shops, o), append(urls, o.URL)
	}
	r := newRig(t, urls[0], nil)
	r.over(urls, nil, func(*upstream.Options) {})
	if a := r.get("/a"); a.status != 200 {
		t.Fatalf("got %d", a.status)
	}
	for _, o := range shops {
		o.CloseClientConnections()
		o.Server.Close()
	}
	first := r.get("/b")
	if first.status != http.StatusBadGateway || first.header.Get("Retry-After") == "" {
		t.Errorf("the first request got %d with Retry-After %q, want 502 with one", first.status, first.header.Get("Retry-After"))
	}
	for range 10 {
		r.get("/c") // until the breakers are open
	}
	if n := r.up.Stats().Failures["down"]; n == 0 {
		t.Error("no request failed fast")
	}
	for _, method := range []string{"GET", "POST"} {
		a := r.do(method, "/d")
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("%s got %d with Retry-After %q, want 503 with one", method, a.status, a.header.Get("Retry-After"))
		}
	}
	r.want(r.get("/a"), 200, "answer 1", "detail=stale-if-error")
}

// What a client is told where the upstream is too slow, too busy or away, by a fetch for all and by a request that passes.
func TestFailuresOfTheUpstream(t *testing.T) { // RFC 9110, 15.6
	slow := newShop(t, func(_ http.ResponseWriter, q *http.Request, _ int64) { <-q.Context().Done() })
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it takes connections and never says a word of TLS
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	away := newShop(t, plain())
	away.Server.Close()
	short := 100 * time.Millisecond
	for _, tt := range []struct {
		name, url string
		change    func(*upstream.Options)
		status    int
		detail    string
		again     bool // Retry-After
	}{
		{"no answer", slow.URL, func(o *upstream.Options) { o.Timeout.ResponseHeader = short }, 504, "upstream-timeout", false},
		{"no handshake", "https://" + silent.Addr().String(), func(o *upstream.Options) { o.Timeout.Connect = short }, 504, "upstream-timeout", false},
		{"no connection", away.URL, func(*upstream.Options) {}, 502, "upstream-error", true},
		{"no room", slow.URL, func(o *upstream.Options) { o.MaxConnections, o.Timeout.Connect = 1, short }, 503, "concurrency", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, tt.url, nil)
			r.over([]string{tt.url}, nil, tt.change)
			if tt.name == "no room" {
				ctx, cancel := context.WithCancel(t.Context())
				var holding sync.WaitGroup
				defer holding.Wait()
				defer cancel()
				holding.Go(func() { _, _ = r.try(ctx, "POST", "/holds", "") }) // it is given up at the end
				eventually(t, "the only place is taken", func() bool { return r.up.Stats().InFlight == 1 })
			}
			for _, method := range []string{"GET", "POST"} {
				a := r.do(method, "/x")
				if a.status != tt.status || !strings.Contains(a.cacheStatus(), "detail="+tt.detail) || (a.header.Get("Retry-After") != "") != tt.again {
					t.Errorf("%s: got %d, Cache-Status %q, Retry-After %q; want %d, %s, %t",
						method, a.status, a.cacheStatus(), a.header.Get("Retry-After"), tt.status, tt.detail, tt.again)
				}
			}
		})
	}
}

// The cache key chooses the target: whatever the order of the parameters, and whoever asks.
func TestHashGoesByTheCacheKey(t *testing.T) {
	var urls []string
	for i := range 5 {
		o := newShop(t, func(w http.ResponseWriter, _ *http.Request, _ int64) {
			w.Header().Set("Cache-Control", "no-store")
			fmt.Fprint(w, i)
		})
		urls = append(urls, o.URL)
	}
	specs := []rules.Spec{route(rules.CacheSpec{Key: rules.KeySpec{Query: rules.QuerySpec{Mode: "ignore", Names: []string{"utm_*"}}}})}
	r := newRig(t, urls[0], nil)
	r.over(urls, specs, func(o *upstream.Options) { o.Balance = upstream.Hash })
	at := map[string]bool{}
	for page := range 12 {
		home := r.get(fmt.Sprintf("/p?page=%d&size=1", page)).body
		at[home] = true
		for _, query := range []string{"size=1&page=%d", "utm_source=x&page=%d&size=1", "page=%d&size=1&utm_id=7"} {
			if got := r.get("/p?" + fmt.Sprintf(query, page)); got.body != home {
				t.Errorf("page %d with %s went to %s, want %s as before", page, query, got.body, home)
			}
		}
	}
	if len(at) < 2 {
		t.Error("all pages went to one target")
	}
}

// A target that fails is not seen by clients: a fill is a GET and goes to another.
func TestFillIsRetriedOnAnotherTarget(t *testing.T) {
	bad := newShop(t, func(http.ResponseWriter, *http.Request, int64) { abort(nil) })
	good := newShop(t, func(w http.ResponseWriter, q *http.Request, _ int64) {
		body, err := io.ReadAll(q.Body)
		fmt.Fprintf(w, "%s %s %v", q.Method, body, err)
	})
	r := newRig(t, bad.URL, nil)
	r.over([]string{bad.URL, good.URL}, nil, func(*upstream.Options) {})
	for i := range 4 {
		r.want(r.get(fmt.Sprint("/", i)), 200, "GET  <nil>", "fwd-status=200")
	}
	for _, tt := range []struct {
		method, body string
		status       int
	}{{"PUT", "content", 200}, {"DELETE", "", 200}, {"POST", "content", 502}} {
		before := bad.asked.Load()
		for range 4 { // every other goes to the failing one first
			a, err := r.try(t.Context(), tt.method, "/x", tt.body)
			if err != nil {
				t.Fatal(err)
			}
			if a.status != 200 && a.status != tt.status {
				t.Errorf("%s got %d %q, want %d", tt.method, a.status, a.body, tt.status)
			}
		}
		if bad.asked.Load() == before && r.up.Stats().Targets[0].State == upstream.Healthy {
			t.Errorf("no %s went to the failing target", tt.method)
		}
	}
}

func TestTheReportTellsHowManyTargetsWereAsked(t *testing.T) {
	down := newShop(t, plain())
	down.Server.Close()
	well := newShop(t, plain("Cache-Control: max-age=60"))
	r := newRig(t, well.URL, nil)
	r.over([]string{down.URL, well.URL}, nil, func(*upstream.Options) {})
	asked := map[int]bool{}
	for i := range 4 {
		r.want(r.get(fmt.Sprint("/", i)), 200, "*", "stored")
		asked[r.lastReport().Attempt] = true
	}
	if !asked[1] || !asked[2] || len(asked) != 2 {
		t.Errorf("attempts in the reports: %v, want requests that asked one target and some that asked two", asked)
	}
	r.want(r.get("/0"), 200, "*", "hit")
	if n := r.lastReport().Attempt; n != 0 {
		t.Errorf("a hit reports %d attempts", n)
	}
	r.do("POST", "/x")
	if n := r.lastReport().Attempt; n == 0 {
		t.Error("a request that passes reports no attempt")
	}
}
