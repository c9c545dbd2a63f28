package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rules"
)

// guarded is a handler with the cache before it, on a real socket.
type guarded struct {
	t   testing.TB
	m   *proxy.Middleware
	URL string
	log *syncBuffer
}

// syncBuffer is a log that a test reads.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// checked are the tests at whose end no goroutine may be left.
var checked sync.Map

// noLeaks looks at the end of the test whether a goroutine is left.
func noLeaks(t testing.TB) {
	if _, again := checked.LoadOrStore(t, true); again {
		return
	}
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
	})
}

// newMiddleware returns a middleware that is closed at the end of the test.
func newMiddleware(t testing.TB, o proxy.MiddlewareOptions) *proxy.Middleware {
	t.Helper()
	noLeaks(t)
	m, err := proxy.NewMiddleware(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := m.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return m
}

// guard serves next behind a middleware. wrap puts more around it.
func guard(t testing.TB, next http.Handler, o proxy.MiddlewareOptions, wrap ...func(http.Handler) http.Handler) *guarded {
	t.Helper()
	g := &guarded{t: t, log: &syncBuffer{}}
	o.Log = slog.New(slog.NewTextHandler(g.log, nil))
	g.m = newMiddleware(t, o)
	h := g.m.Handler(next)
	for _, around := range wrap {
		h = around(h)
	}
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.Start()
	t.Cleanup(server.Close)
	g.URL = server.URL
	return g
}

// do sends a request; fields are "Name: value" lines.
func (g *guarded) do(method, path string, fields ...string) *answer {
	g.t.Helper()
	a, err := askURL(g.t.Context(), method, g.URL+path, fields...)
	if err != nil {
		g.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func askURL(ctx context.Context, method, url string, fields ...string) (*answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header.Add(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	h := resp.Header
	for name, values := range resp.Trailer {
		h["Trailer:"+name] = values
	}
	return &answer{resp.StatusCode, h, string(body), err}, nil
}

// cacheable answers with a body that counts its calls.
func cacheable(calls *atomic.Int32, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprintf(w, "%s %d", body, calls.Add(1))
	}
}

func (g *guarded) want(a *answer, status int, body, cacheStatus string) {
	g.t.Helper()
	if a.status != status || a.body != body || !strings.Contains(a.cacheStatus(), cacheStatus) || a.err != nil {
		g.t.Errorf("%d %q, Cache-Status %q, %v; want %d %q, %q", a.status, a.body, a.cacheStatus(), a.err, status, body, cacheStatus)
	}
}

func TestMiddleware(t *testing.T) {
	var calls atomic.Int32
	mux := http.NewServeMux()
	mux.Handle("GET /a", cacheable(&calls, "a"))
	mux.HandleFunc("GET /private", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "private")
		fmt.Fprint(w, "mine ", calls.Add(1))
	})
	mux.HandleFunc("POST /a", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "changed by %s%s", body, r.URL.RequestURI())
	})
	g := guard(t, mux, proxy.MiddlewareOptions{})
	g.want(g.do("GET", "/a"), 200, "a 1", "cacheproxy; fwd=uri-miss")
	g.want(g.do("GET", "/a"), 200, "a 1", "cacheproxy; hit")
	g.want(g.do("GET", "/a?q=1"), 200, "a 2", "fwd=uri-miss")
	g.want(g.do("HEAD", "/a"), 200, "", "hit")
	g.want(g.do("POST", "/a"), 200, "changed by /a", "fwd=method")
	g.want(g.do("GET", "/a"), 200, "a 3", "fwd=uri-miss")
	g.want(g.do("GET", "/private"), 200, "mine 4", "fwd=uri-miss")
	g.want(g.do("GET", "/private"), 200, "mine 5", "fwd=uri-miss")
	g.want(g.do("GET", "/none"), 404, "404 page not found\n", "fwd=uri-miss")
	g.want(g.do("PURGE", "/a"), 403, g.do("PURGE", "/a").body, "") // nobody may, by default
	if err := g.m.Purge(t.Context(), g.URL+"/a"); err != nil {
		t.Fatal(err)
	}
	g.want(g.do("GET", "/a"), 200, "a 6", "fwd=uri-miss")
	if err := g.m.Purge(t.Context(), "/a"); err == nil {
		t.Error("a purge of a path has no error")
	}
	if s := g.m.Stats(); s.Memory.Entries == 0 {
		t.Errorf("Stats = %+v", s)
	}
	if e, err := g.m.Explain(t.Context(), proxy.Question{Method: "GET", URL: g.URL + "/a"}); err != nil || e.Result != "hit" {
		t.Errorf("Explain = %+v, %v", e, err)
	}
}

func TestMiddlewareOptionsAreChecked(t *testing.T) {
	_, err := proxy.NewMiddleware(proxy.MiddlewareOptions{
		Routes:     []rules.Spec{{Name: "a", Upstream: "shop"}, {Name: "a"}},
		HitForMiss: -1,
	})
	for _, part := range []string{"routes[0].upstream", "routes[1].name", "negative"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v: nothing about %s", err, part)
		}
	}
	if _, err := proxy.NewMiddleware(proxy.MiddlewareOptions{Encode: rules.EncodeSpec{Algorithms: []string{"lzma"}}}); err == nil {
		t.Error("an unknown coding has no error")
	}
}

// TestMiddlewareRules: the same rules as in the configuration.
func TestMiddlewareRules(t *testing.T) {
	var calls atomic.Int32
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.RawQuery, " ", calls.Add(1)) })
	g := guard(t, h, proxy.MiddlewareOptions{
		Routes: []rules.Spec{
			{Name: "admin", Match: rules.MatchSpec{Paths: []string{"/admin/**"}}, Cache: &rules.CacheSpec{Pattern: "off"}},
			{Name: "all", Cache: &rules.CacheSpec{TTL: new(time.Minute), Key: rules.KeySpec{Query: rules.QuerySpec{Mode: "ignore", Names: []string{"utm_*"}}}}},
		},
		PurgeAllow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	g.want(g.do("GET", "/?a=1&utm_x=2"), 200, "a=1 1", "fwd=uri-miss") // what is not in the key is not seen
	g.want(g.do("GET", "/?a=1&utm_x=3"), 200, "a=1 1", "hit")
	g.want(g.do("GET", "/admin/"), 200, " 2", "fwd=bypass")
	g.want(g.do("GET", "/admin/"), 200, " 3", "fwd=bypass")
	if a := g.do("PURGE", "/?a=1"); a.status != 200 {
		t.Errorf("PURGE: %d %s", a.status, a.body)
	}
	g.want(g.do("GET", "/?a=1"), 200, "a=1 4", "fwd=uri-miss")
}

// TestMiddlewareCollapses: the handler sees one request for all who ask at once, though the first client goes away.
func TestMiddlewareCollapses(t *testing.T) {
	var calls atomic.Int32
	entered, release := make(chan struct{}), make(chan struct{})
	g := guard(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		close(entered)
		<-release
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, r.Context().Err())
	}), proxy.MiddlewareOptions{})
	ctx, leave := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	clients.Go(func() {
		if _, err := askURL(ctx, "GET", g.URL+"/"); !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
		close(release)
	})
	<-entered
	for range 20 {
		clients.Go(func() { g.want(g.do("GET", "/"), 200, "<nil>", "") })
	}
	leave()
	clients.Wait()
	if calls.Load() != 1 {
		t.Errorf("%d calls, want 1", calls.Load())
	}
}

// TestMiddlewarePanics: a handler that panics breaks neither the process nor the cache, and nothing of it is stored.
func TestMiddlewarePanics(t *testing.T) {
	var calls atomic.Int32
	mux := http.NewServeMux()
	for path, h := range map[string]http.HandlerFunc{
		"/early": func(w http.ResponseWriter, r *http.Request) { panic("out of cheese") },
		"/late": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, strings.Repeat("x", 1<<20))
			panic("out of cheese")
		},
		"/abort":   func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
		"/waiting": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(201); panic("out of cheese") },
		"/short": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			fmt.Fprint(w, "x")
		},
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			calls.Add(1)
			w.Header().Set("Cache-Control", "max-age=60")
			h(w, r)
		})
	}
	g := guard(t, mux, proxy.MiddlewareOptions{})
	for _, tt := range []struct {
		method, path string
		status       int // 0: the connection breaks off
	}{
		{"GET", "/early", 500}, {"GET", "/waiting", 500}, {"GET", "/late", 0}, {"GET", "/abort", 502}, {"GET", "/short", 0},
		{"POST", "/early", 500}, {"POST", "/late", 0}, {"POST", "/abort", 0},
	} {
		before := calls.Load()
		for range 2 {
			a, err := askURL(t.Context(), tt.method, g.URL+tt.path)
			switch {
			case tt.status == 0 && err == nil && a.err == nil && a.status < 500:
				t.Errorf("%s %s = %d with %d bytes, want none that is whole", tt.method, tt.path, a.status, len(a.body))
			case tt.status > 0 && (err != nil || a.status != tt.status):
				t.Errorf("%s %s = %+v, %v, want %d", tt.method, tt.path, a, err, tt.status)
			}
		}
		if n := calls.Load() - before; n < 2 {
			t.Errorf("%s %s: %d calls for two requests: it was stored", tt.method, tt.path, n)
		}
	}
	if log := g.log.String(); !strings.Contains(log, "out of cheese") || !strings.Contains(log, "middleware_test.go") {
		t.Errorf("the log tells nothing of the panic: %.200s", log)
	}
}

// TestMiddlewareRefreshes: a stale response is served, and the handler asked behind it.
func TestMiddlewareRefreshes(t *testing.T) {
	var calls atomic.Int32
	var reports atomic.Int32
	g := guard(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=1, stale-while-revalidate=60")
		fmt.Fprint(w, calls.Add(1))
	}), proxy.MiddlewareOptions{Observers: []cache.Observer{func(*cache.Report) { reports.Add(1) }}})
	g.want(g.do("GET", "/"), 200, "1", "fwd=uri-miss")
	deadline := time.Now().Add(10 * time.Second)
	for a := g.do("GET", "/"); a.body == "1"; a = g.do("GET", "/") {
		if time.Now().After(deadline) {
			t.Fatal("it is never refreshed")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if calls.Load() != 2 || reports.Load() < 2 {
		t.Errorf("%d calls, %d reports", calls.Load(), reports.Load())
	}
}
