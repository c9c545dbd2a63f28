package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
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

// newMiddleware returns a middleware that is closed at the end of the test, when no goroutine may be left.
func newMiddleware(t testing.TB, o proxy.MiddlewareOptions) *proxy.Middleware {
	t.Helper()
	before := goleak.IgnoreCurrent()
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
		http.DefaultClient.CloseIdleConnections()
		goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
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

// TestMiddlewareShowsRequestsAsAServerDoes: what a handler sees of a request, through a miss, a pass and a write.
func TestMiddlewareShowsRequestsAsAServerDoes(t *testing.T) {
	type key struct{}
	mux := http.NewServeMux()
	mux.HandleFunc("/{id}/x", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, server := r.Context().Value(http.ServerContextKey).(*http.Server)
		fmt.Fprintf(w, "%s %s path=%q raw=%q abs=%v uri=%q host=%v id=%q value=%v server=%v peer=%v conn=%q te=%q",
			r.Method, r.Proto, r.URL.Path, r.URL.RawPath, r.URL.IsAbs(), r.RequestURI, r.Host != "", r.PathValue("id"),
			r.Context().Value(key{}), server, r.RemoteAddr != "", r.Header["Connection"], r.Header["Te"])
	})
	g := guard(t, mux, proxy.MiddlewareOptions{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, "kept")))
		})
	})
	const form = `%s HTTP/1.1 path=%q raw=%q abs=false uri=%q host=true id=%q value=kept server=true peer=true conn=[] te=[]`
	g.want(g.do("GET", "/a%20b/x?q=%2F", "Connection: te", "Te: trailers"), 200, fmt.Sprintf(form, "GET", "/a b/x", "", "/a%20b/x?q=%2F", "a b"), "fwd=uri-miss")
	g.want(g.do("GET", "/a%2Fb/x"), 200, fmt.Sprintf(form, "GET", "/a/b/x", "/a%2Fb/x", "/a%2Fb/x", "a/b"), "fwd=uri-miss")
	g.want(g.do("POST", "/p/x?q"), 200, fmt.Sprintf(form, "POST", "/p/x", "", "/p/x?q", "p"), "fwd=method")
	// A request for the head of what is not stored fetches the whole (RFC 9110, 9.3.2).
	g.want(g.do("HEAD", "/h/x"), 200, "", "fwd=uri-miss; fwd-status=200; stored")
	g.want(g.do("GET", "/h/x"), 200, fmt.Sprintf(form, "GET", "/h/x", "", "/h/x", "h"), "cacheproxy; ")
}

// TestMiddlewareHidesHopByHopFields: what Connection names (RFC 9110, 7.6.1) is neither in a key nor in Vary, so a handler that chose its
// answer by it would poison the cache.
func TestMiddlewareHidesHopByHopFields(t *testing.T) {
	g := guard(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "Accept-Language")
		fmt.Fprintf(w, "in %q", r.Header.Get("Accept-Language"))
	}), proxy.MiddlewareOptions{})
	g.want(g.do("GET", "/", "Accept-Language: de", "Connection: Accept-Language"), 200, `in ""`, "fwd=uri-miss")
	g.want(g.do("GET", "/"), 200, `in ""`, "hit")
	g.want(g.do("GET", "/", "Accept-Language: de"), 200, `in "de"`, "fwd=vary-miss")
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

// TestMiddlewareStreams: what a handler flushes reaches the client before it goes on, stored or not.
func TestMiddlewareStreams(t *testing.T) {
	release := make(chan struct{})
	g := guard(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "stored") {
			w.Header().Set("Cache-Control", "max-age=60")
		} else {
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Cache-Control", "no-store")
		}
		f, ok := w.(http.Flusher)
		if !ok {
			t.Error("the writer is no Flusher")
			return
		}
		fmt.Fprint(w, "<p>one")
		f.Flush()
		<-release
		fmt.Fprint(w, " two")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	}), proxy.MiddlewareOptions{Routes: []rules.Spec{{Name: "off", Match: rules.MatchSpec{Paths: []string{"/off*"}}, Cache: &rules.CacheSpec{Pattern: "off"}}}})
	for _, path := range []string{"/stored", "/events", "/off", "/off-stored"} {
		resp, err := http.Get(g.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 6)
		if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "<p>one" {
			t.Errorf("%s: %q, %v before the handler went on", path, first, err)
		}
		release <- struct{}{}
		rest, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(rest) != " two" || err != nil {
			t.Errorf("%s: then %q, %v", path, rest, err)
		}
		if kind := resp.Header.Get("Content-Type"); strings.HasSuffix(path, "stored") && kind != "text/html; charset=utf-8" {
			t.Errorf("%s: Content-Type %q, want what net/http finds out", path, kind)
		}
	}
}

// TestMiddlewareUpgrades: a handler takes an upgraded connection over, directly or by http.ResponseController.
func TestMiddlewareUpgrades(t *testing.T) {
	g := guard(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hijack := http.NewResponseController(w).Hijack
		if r.URL.Path == "/direct" {
			h, ok := w.(http.Hijacker)
			if !ok {
				t.Error("the writer is no Hijacker")
				return
			}
			hijack = h.Hijack
		}
		c, rw, err := hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		line, _ := rw.ReadString('\n')
		fmt.Fprint(c, "echo "+line)
	}), proxy.MiddlewareOptions{})
	for _, path := range []string{"/direct", "/controller"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(g.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nhello\n", path)
		in := bufio.NewReader(c)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "chat" {
			t.Errorf("%s: %v, %v", path, resp, err)
		}
		if line, err := in.ReadString('\n'); line != "echo hello\n" {
			t.Errorf("%s: %q, %v", path, line, err)
		}
		c.Close()
	}
}

// TestMiddlewareTrailers reach the client of a miss and of a pass, announced or not (RFC 9110, 6.5).
func TestMiddlewareTrailers(t *testing.T) {
	g := guard(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprint(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", "1")
		w.Header().Set(http.TrailerPrefix+"X-Late", "2")
	}), proxy.MiddlewareOptions{})
	for _, method := range []string{"GET", "POST"} {
		a := g.do(method, "/")
		if a.body != "body" || len(a.header["Trailer:X-Sum"]) != 1 || len(a.header["Trailer:X-Late"]) != 1 {
			t.Errorf("%s: %q, %v", method, a.body, a.header)
		}
	}
}

// TestMiddlewareAnswersAsAServerDoes where a handler leaves things to net/http.
func TestMiddlewareAnswersAsAServerDoes(t *testing.T) {
	handlers := map[string]http.HandlerFunc{
		"/nothing": func(w http.ResponseWriter, r *http.Request) {},
		"/status":  func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(202) },
		"/empty":   func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204); _, _ = w.Write([]byte("x")) },
		"/html":    func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404); fmt.Fprint(w, "<html>no") },
		"/twice": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(201)
			w.WriteHeader(500)
			fmt.Fprint(w, "x")
		},
		"/png":     func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "\x89PNG\x0D\x0A\x1A\x0A") },
		"/untyped": func(w http.ResponseWriter, r *http.Request) { w.Header()["Content-Type"] = nil; fmt.Fprint(w, "x") },
		"/encoded": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			fmt.Fprint(w, "x")
		},
		"/typed": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "a/b")
			fmt.Fprint(w, "x")
		},
		"/content": func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "a.css", time.Unix(1e9, 0), strings.NewReader("a{}"))
		},
		"/small": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, strings.Repeat("x", 1000))
			fmt.Fprint(w, strings.Repeat("y", 1048))
		},
		"/large": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "<p>", strings.Repeat("x", 1000))
			fmt.Fprint(w, strings.Repeat("y", 1<<20))
		},
		"/redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", 302) },
	}
	mux := http.NewServeMux()
	for path, h := range handlers {
		mux.HandleFunc(path, h)
	}
	g, bare := guard(t, mux, proxy.MiddlewareOptions{}), httptest.NewServer(mux)
	defer bare.Close()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for path := range handlers {
		for _, method := range []string{"GET", "POST", "HEAD"} {
			var got [2]string
			for i, url := range []string{bare.URL, g.URL} {
				r, _ := http.NewRequest(method, url+path, nil)
				resp, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				h := resp.Header
				for _, name := range []string{"Date", "Cache-Status", "Age"} {
					h.Del(name)
				}
				length := resp.ContentLength
				if method == "HEAD" {
					length = 0 // what a handler does not say of it, net/http says only of some
					h.Del("Content-Length")
				}
				got[i] = fmt.Sprint(resp.Status, " ", h, " ", length, " ", string(body), err)
			}
			if got[0] != got[1] {
				t.Errorf("%s %s\nwithout: %s\nwith:    %s", method, path, got[0], got[1])
			}
		}
	}
	client.CloseIdleConnections()
}

// TestMiddlewareBehindStripPrefix: what moves a request before the cache moves it for the handler too, and no two spellings of a URL that
// are moved to different places share a response.
func TestMiddlewareBehindStripPrefix(t *testing.T) {
	g := guard(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprintf(w, "%s?%s", r.URL.Path, r.URL.RawQuery)
	}), proxy.MiddlewareOptions{}, func(next http.Handler) http.Handler { return http.StripPrefix("/api", next) })
	g.want(g.do("GET", "/api/x?q=1"), 200, "/x?q=1", "fwd=uri-miss")
	g.want(g.do("GET", "/api/x?q=1"), 200, "/x?q=1", "hit")
	for _, target := range []string{"/api/../api/y", "/api/%79", "/api/./y"} {
		if a := raw(t, g.URL, target); a.cacheStatus() != "" {
			t.Errorf("%s goes through the cache: %q, %q", target, a.body, a.cacheStatus())
		}
	}
	if a := raw(t, g.URL, g.URL+"/api/y"); a.body != "/y?" {
		t.Errorf("the absolute form leads to %q", a.body)
	}
	g.want(g.do("GET", "/api/y"), 200, "/y?", "hit")
}

// raw sends a request target as it is.
func raw(t *testing.T, server, target string) *answer {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, strings.TrimPrefix(server, "http://"))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return &answer{resp.StatusCode, resp.Header, string(body), err}
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
