package proxy_test

import (
	"bufio"
	"context"
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
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/proxy/upstream"
	"github.com/cacheproxy/cacheproxy/rules"
)

// rig is a proxy on a real socket in front of an origin.
type rig struct {
	t       testing.TB
	URL     string
	proxy   *proxy.Proxy
	cache   *cache.Cache
	purger  *invalidation.Purger
	client  *http.Client
	origin  string // URL
	handler http.Handler
	up      *upstream.Upstream

	mu      sync.Mutex // guards reports
	reports []cache.Report
}

// setting changes how a rig is built.
type setting func(*proxy.Plan, *rules.Options)

func route(c rules.CacheSpec) rules.Spec {
	return rules.Spec{Name: "all", Match: rules.MatchSpec{Paths: []string{"/**"}}, Cache: &c}
}

// newRig starts a proxy with the given routes in front of the origin at URL. Everything has ended when the test ends, and no
// goroutine is left.
func newRig(t testing.TB, origin string, specs []rules.Spec, settings ...setting) *rig {
	t.Helper()
	r := &rig{t: t, origin: origin}
	state := invalidation.NewState(100_000)
	r.cache = cache.New(cache.Options{MaxBytes: 64 << 20, MaxVariants: 32}, state)
	r.purger = invalidation.NewPurger(invalidation.NewMemLog(), state, func(rec invalidation.Record) int { return r.proxy.Applied(rec) })
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError}))
	up, err := upstream.New("origin", upstream.DefaultOptions(origin))
	if err != nil {
		t.Fatal(err)
	}
	r.up = up
	plan := r.plan(specs, settings...)
	r.proxy = proxy.New(plan, r.cache, r.purger, log, r.note)
	r.handler = r.proxy
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { r.handler.ServeHTTP(w, q) }))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.Start()
	r.URL = server.URL
	r.client = &http.Client{
		Transport:     &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       20 * time.Second,
	}
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		_ = r.proxy.Shutdown(ctx) // a test may leave a fetch that never ends
		up.Close()
		goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
	})
	return r
}

func (r *rig) plan(specs []rules.Spec, settings ...setting) *proxy.Plan {
	r.t.Helper()
	o := rules.Options{
		DefaultUpstream: "origin", Upstreams: []string{"origin"}, MaxLifetime: 24 * time.Hour, MaxObjectBytes: 8 << 20,
		TargetedFields: []string{"Cdn-Cache-Control", "Surrogate-Control"},
	}
	plan := &proxy.Plan{
		CacheName: "cacheproxy", HitForMiss: 30 * time.Second, PurgeAllow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Limits: proxy.Limits{URLBytes: 8 << 10, QueryParams: 1000, ConcurrentFetches: 1024},
	}
	for _, set := range settings {
		set(plan, &o)
	}
	table, _, errs := rules.Compile(specs, o)
	if len(errs) > 0 {
		r.t.Fatalf("routes: %v", errs)
	}
	plan.Table = table
	for _, route := range table.Routes() {
		plan.Sites = append(plan.Sites, proxy.Site{Route: route, Origin: proxy.Forward(r.up, slog.New(slog.DiscardHandler))})
	}
	return plan
}

func (r *rig) note(report *cache.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports = append(r.reports, *report)
}

func (r *rig) lastReport() cache.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.reports) == 0 {
		return cache.Report{}
	}
	return r.reports[len(r.reports)-1]
}

// answer is a response, read to its end.
type answer struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

func (a *answer) cacheStatus() string { return a.header.Get("Cache-Status") }

// do sends a request; fields are "Name: value" lines.
func (r *rig) do(method, path string, fields ...string) *answer {
	r.t.Helper()
	a, err := r.try(context.Background(), method, path, "", fields...)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (r *rig) get(path string, fields ...string) *answer {
	r.t.Helper()
	return r.do(http.MethodGet, path, fields...)
}

func (r *rig) try(ctx context.Context, method, path, body string, fields ...string) (*answer, error) {
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	q, err := http.NewRequestWithContext(ctx, method, r.URL+path, content)
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		if name == "Host" {
			q.Host = value
			continue
		}
		q.Header.Add(name, value)
	}
	res, err := r.client.Do(q)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return &answer{res.StatusCode, res.Header, string(text), err}, nil
}

// raw sends bytes on a connection of its own and returns all that comes back until the proxy closes it.
func (r *rig) raw(request string) string {
	r.t.Helper()
	return r.rawFor(request, 10*time.Second)
}

func (r *rig) rawFor(request string, patience time.Duration) string {
	r.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.URL, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, request); err != nil {
		r.t.Fatal(err)
	}
	all, _ := io.ReadAll(bufio.NewReader(c))
	return string(all)
}

// want fails the test where the answer differs in status, body, or does not have the text in its Cache-Status.
func (r *rig) want(a *answer, status int, body, cacheStatus string) {
	r.t.Helper()
	if a.status != status || body != "*" && a.body != body || !strings.Contains(a.cacheStatus(), cacheStatus) {
		r.t.Errorf("got %d %q (Cache-Status %q), want %d %q (Cache-Status with %q)",
			a.status, clip(a.body), a.cacheStatus(), status, clip(body), cacheStatus)
	}
}

func clip(s string) string {
	if len(s) > 200 {
		return fmt.Sprintf("%s... (%d bytes)", s[:200], len(s))
	}
	return s
}

// shop is an ordinary origin whose answers tell how often it was asked.
type shop struct {
	*httptest.Server
	asked atomic.Int64
	mu    sync.Mutex // guards seen
	seen  []*http.Request
}

// newShop starts an origin that answers by handle, which is given the number of the request, from 1.
func newShop(t testing.TB, handle func(w http.ResponseWriter, r *http.Request, n int64)) *shop {
	t.Helper()
	s := &shop{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := s.asked.Add(1)
		s.mu.Lock()
		s.seen = append(s.seen, r.Clone(context.Background()))
		s.mu.Unlock()
		handle(w, r, n)
	}))
	t.Cleanup(func() { s.Server.CloseClientConnections(); s.Server.Close() })
	return s
}

func (s *shop) last() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == 0 {
		return nil
	}
	return s.seen[len(s.seen)-1]
}

// plain answers with the given fields ("Name: value") and a body that tells the number of the request.
func plain(fields ...string) func(w http.ResponseWriter, r *http.Request, n int64) {
	return func(w http.ResponseWriter, r *http.Request, n int64) {
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			w.Header().Add(name, value)
		}
		fmt.Fprintf(w, "answer %d", n)
	}
}

// eventually waits until ok, at most five seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within 5 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSpace(string(b)))
	return len(b), nil
}
