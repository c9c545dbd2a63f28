package fastlane_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/proxy/fastlane"
	"github.com/cacheproxy/cacheproxy/rules"
)

// house is a proxy that serves a listener, with a lane before it or without.
type house struct {
	t      testing.TB
	proxy  *proxy.Proxy
	cache  *cache.Cache
	lane   *fastlane.Lane
	front  *fastlane.Listener // nil without a lane
	server *http.Server
	served chan struct{}
	quiet  bool        // nothing is noted
	broken atomic.Bool // noting panics

	mu      sync.Mutex // guards the following
	since   time.Time  // the following count from
	reports []cache.Report
	passed  int // requests that net/http served
}

// limits of the houses.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	writeTimeout  = time.Minute
	headerBytes   = 16 << 10
)

// open serves l. Everything has ended when the test ends.
func open(t testing.TB, l net.Listener, specs []rules.Spec, origin http.HandlerFunc, withLane bool) *house {
	t.Helper()
	h := &house{t: t, served: make(chan struct{})}
	state := invalidation.NewState(1000)
	h.cache = cache.New(cache.Options{MaxBytes: 16 << 20, MaxVariants: 32}, state)
	plan, lanePlan := plansOf(t, specs, origin, "cacheproxy")
	quiet := slog.New(slog.DiscardHandler)
	h.proxy = proxy.New(plan, h.cache, invalidation.NewPurger(invalidation.NewMemLog(), state, func(r invalidation.Record) int { return h.cache.Drop(r).Freed }), quiet, h.note)
	h.server = &http.Server{
		Handler: http.HandlerFunc(h.pass), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, WriteTimeout: writeTimeout,
		MaxHeaderBytes: headerBytes, ErrorLog: log.New(io.Discard, "", 0),
	}
	if withLane {
		h.lane = fastlane.New(fastlane.Options{
			Cache: h.cache, Observers: []cache.Observer{h.note}, Log: quiet,
			HeaderBytes: headerBytes, HeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, WriteTimeout: writeTimeout, PieceTimeout: proxy.PieceTimeout,
		})
		h.lane.Use(lanePlan)
		h.front = h.lane.Listen(l, fastlane.ListenerOptions{})
		l = h.front
		h.server.ConnState = func(c net.Conn, state http.ConnState) {
			if state == http.StateIdle {
				c.(*fastlane.Conn).Idle()
			}
		}
	}
	go func() {
		defer close(h.served)
		_ = h.server.Serve(l) // it ends with ErrServerClosed
	}()
	t.Cleanup(h.close)
	return h
}

// plansOf returns what both lanes are to do.
func plansOf(t testing.TB, specs []rules.Spec, origin http.HandlerFunc, name string) (*proxy.Plan, *fastlane.Plan) {
	t.Helper()
	table, _, errs := rules.Compile(specs, rules.Options{
		DefaultUpstream: "origin", Upstreams: []string{"origin"}, MaxLifetime: 24 * time.Hour, MaxObjectBytes: 8 << 20,
		TagHeaders: []string{"Surrogate-Key"},
	})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	plan := &proxy.Plan{
		Table: table, CacheName: name, HitForMiss: 30 * time.Second, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Limits: proxy.Limits{URLBytes: 1000, QueryParams: 10},
	}
	for _, r := range table.Routes() {
		plan.Sites = append(plan.Sites, proxy.Site{Route: r, Origin: origin})
	}
	return plan, fastlane.NewPlan(fastlane.PlanOptions{
		Table: table, CacheName: plan.CacheName, TrustedProxies: plan.TrustedProxies,
		URLBytes: plan.Limits.URLBytes, QueryParams: plan.Limits.QueryParams,
	})
}

// use makes other plans the ones in force.
func (h *house) use(t testing.TB, specs []rules.Spec, origin http.HandlerFunc, name string) {
	plan, lanePlan := plansOf(t, specs, origin, name)
	h.proxy.Use(plan)
	h.lane.Use(lanePlan)
}

func (h *house) pass(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.passed++
	h.mu.Unlock()
	h.proxy.ServeHTTP(w, r)
}

func (h *house) note(r *cache.Report) {
	if h.quiet {
		return
	}
	if h.broken.Load() {
		panic("broken")
	}
	kept := *r
	kept.Host, kept.Path, kept.Method = strings.Clone(r.Host), strings.Clone(r.Path), strings.Clone(r.Method)
	kept.Key.Text = bytes.Clone(r.Key.Text)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reports = append(h.reports, kept)
}

// counts returns how many requests were answered, and how many of them by net/http.
func (h *house) counts() (all, passed int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.reports), h.passed
}

func (h *house) close() {
	_ = h.server.Close() // what is left is not of interest any more
	if h.front != nil {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = h.front.Shutdown(ctx) // as above
	}
	<-h.served
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = h.proxy.Shutdown(ctx) // as above
}

// warm stores what GETs of the paths get, and forgets all reports.
func (h *house) warm(paths ...string) {
	for _, path := range paths {
		h.proxy.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "http://a"+path, nil))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.since, h.reports, h.passed = time.Now(), nil, 0
}

// encode asks for the encoded forms of what is stored under the paths.
func (h *house) encode(paths ...string) {
	for _, path := range paths {
		for _, accept := range []string{"br", "gzip"} {
			r := httptest.NewRequest(http.MethodGet, "http://a"+path, nil)
			r.Header.Set("Accept-Encoding", accept)
			h.proxy.ServeHTTP(httptest.NewRecorder(), r)
		}
	}
}

// page is an origin's handler for one response. fields are "Name: value".
func page(status int, body string, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			w.Header().Add(name, value)
		}
		if status != http.StatusNoContent { // or it would depend on how quickly the content comes whether the client is told
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		w.WriteHeader(status)
		if status != http.StatusNoContent {
			_, _ = io.WriteString(w, body) // a client that is gone is not of interest
		}
	}
}

// get is a request for a path of host a. fields are lines.
func get(path string, fields ...string) string { return ask("GET", path, fields...) }

func ask(method, path string, fields ...string) string {
	return method + " " + path + " HTTP/1.1\r\n" + strings.Join(append([]string{"Host: a"}, fields...), "\r\n") + "\r\n\r\n"
}

var statusLine = regexp.MustCompile(`HTTP/1\.[01] \d\d\d `)

// split cuts what a connection has sent into its answers, each with its fields sorted, and without those that depend on the time. No
// body of a test's origin looks like the beginning of an answer.
func split(sent string) (answers []string) {
	starts := statusLine.FindAllStringIndex(sent, -1)
	for i, start := range starts {
		end := len(sent)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		head, body, _ := strings.Cut(sent[start[0]:end], "\r\n\r\n")
		lines := strings.Split(head, "\r\n")
		fields := slices.DeleteFunc(lines[1:], func(l string) bool { return strings.HasPrefix(l, "Date: ") || strings.HasPrefix(l, "Age: ") })
		slices.SortStableFunc(fields, func(a, b string) int { // lines of one name keep their order
			a, _, _ = strings.Cut(a, ":")
			b, _, _ = strings.Cut(b, ":")
			return strings.Compare(a, b)
		})
		answers = append(answers, lines[0]+"\n"+strings.Join(fields, "\n")+"\n\n"+body)
	}
	return answers
}

// pipes is a listener whose connections are made in memory. They seem to come from a machine.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	peer   net.Addr
}

func newPipes(peer string) *pipes {
	return &pipes{conns: make(chan net.Conn), closed: make(chan struct{}), peer: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(peer))}
}

type pipeEnd struct {
	net.Conn
	peer net.Addr
}

func (p pipeEnd) RemoteAddr() net.Addr { return p.peer }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- pipeEnd{theirs, p.peer}
	return ours
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return p.peer }

func equal(a, b *cache.Report) bool {
	x, y := *a, *b
	x.Key, y.Key = cache.Report{}.Key, cache.Report{}.Key
	return a.Key.Hash == b.Key.Hash && fmt.Sprintf("%+v", x) == fmt.Sprintf("%+v", y)
}
