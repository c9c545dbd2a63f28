package app_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cacheproxy/cacheproxy/internal/admin"
	"github.com/cacheproxy/cacheproxy/internal/app"
	"github.com/cacheproxy/cacheproxy/internal/config"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// They outlive the ACME servers and clients that began them, and cannot be stopped.
		goleak.IgnoreAnyFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*RingBufferRateLimiter).loop"),
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		// The subscription to the sentinels, which go-redis does not end with a client that reads from replicas. The product has one
		// client, until it ends itself; that our own subscriptions end is tested in package tiers.
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9.(*sentinelFailover).listen"),
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9.(*channel).initMsgChan.func1"),
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9.(*channel).initHealthCheck.func1"),
	)
}

// instance is a running instance.
type instance struct {
	*app.App
	t     testing.TB
	log   *buffer
	file  string // of the configuration, or ""
	url   string
	admin *admin.Client
	stop  context.CancelFunc
	ended chan error
}

// start runs an instance with the configuration on free ports until the test ends, and fails the test where it does not end well.
func start(t testing.TB, text string, change ...func(*app.Options)) *instance {
	t.Helper()
	i := &instance{t: t, log: &buffer{}, ended: make(chan error, 1)}
	o := app.Options{Version: "v1", Stderr: i.log, Config: config.Options{
		Flags: config.Flags{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0"},
		Env:   func(string) (string, bool) { return "", false },
	}}
	if text != "" {
		i.file = filepath.Join(t.TempDir(), "cacheproxy.yaml")
		if strings.Contains(text, "redis:") && !strings.Contains(text, "data_dir:") {
			text += "\ndata_dir: " + filepath.Join(filepath.Dir(i.file), "data") + "\n" // where purges wait
		}
		i.write(text)
		o.Config.File = i.file
	}
	for _, c := range change {
		c(&o)
	}
	a, err := app.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	i.App, i.stop = a, cancel
	i.url = "http://" + a.Addr().String()
	i.admin = &admin.Client{URL: "http://" + a.AdminAddr().String(), HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
	go func() { i.ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-i.ended; err != nil {
			t.Errorf("Run: %v\n%s", err, i.log)
		}
		i.ended <- nil
	})
	return i
}

// wait waits for the end of an instance that was stopped.
func (i *instance) wait() error {
	err := <-i.ended
	i.ended <- nil // for the clean-up
	return err
}

func (i *instance) write(text string) {
	i.t.Helper()
	if err := os.WriteFile(i.file, []byte(text), 0o600); err != nil {
		i.t.Fatal(err)
	}
}

// replace puts another file in the place of the configuration, as editors do.
func (i *instance) replace(text string) {
	i.t.Helper()
	next := i.file + ".next"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		i.t.Fatal(err)
	}
	if err := os.Rename(next, i.file); err != nil {
		i.t.Fatal(err)
	}
}

// client makes a connection for each request, so that no idle one is left when a test ends.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// get returns the response with its body read.
func (i *instance) get(path string, fields ...string) (*http.Response, string) {
	i.t.Helper()
	r, err := http.NewRequest("GET", i.url+path, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	for f := 0; f < len(fields); f += 2 {
		r.Header.Set(fields[f], fields[f+1])
	}
	res, err := client.Do(r)
	if err != nil {
		i.t.Fatalf("%v\n%s", err, i.log)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	return res, string(body)
}

// mustSay fails unless Cache-Status has want in it.
func (i *instance) mustSay(path, want string) {
	i.t.Helper()
	if res, _ := i.get(path); !strings.Contains(res.Header.Get("Cache-Status"), want) {
		i.t.Errorf("GET %s: %s with Cache-Status %q, want %q in it", path, res.Status, res.Header.Get("Cache-Status"), want)
	}
}

func (i *instance) eventually(what string, ok func() bool) {
	i.t.Helper()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-deadline:
			i.t.Fatalf("not within 20 s: %s\n%s", what, i.log.withoutAccess())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// withoutAccess returns the log without the lines of requests.
func (b *buffer) withoutAccess() string {
	var kept strings.Builder
	for line := range strings.Lines(b.String()) {
		if !strings.Contains(line, `"msg":"access"`) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// origin answers with its name and what may be stored for a minute, and counts requests and connections.
type origin struct {
	*httptest.Server
	requests, connections atomic.Int64
}

func newOrigin(t *testing.T, name string) *origin {
	o := &origin{}
	o.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		o.requests.Add(1)
		w.Header().Set("Cache-Control", "max-age=60")
		io.WriteString(w, name)
	}))
	o.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			o.connections.Add(1)
		}
	}
	o.Start()
	t.Cleanup(o.Close)
	return o
}

func upstreams(o *origin, more string) string {
	return fmt.Sprintf("upstreams: { shop: { targets: [{ url: %q }] } }\n%s", o.URL, more)
}

func TestServes(t *testing.T) {
	o := newOrigin(t, "hello")
	i := start(t, "", func(a *app.Options) { a.Config.Flags.Upstream = o.URL })
	if res, body := i.get("/x"); res.StatusCode != 200 || body != "hello" {
		t.Errorf("%s %q", res.Status, body)
	}
	i.mustSay("/x", "; hit")
	if n := o.requests.Load(); n != 1 {
		t.Errorf("%d requests to the origin, want 1", n)
	}
	if h, err := i.admin.Ready(t.Context()); err != nil || h.Status != admin.StatusOK {
		t.Errorf("Ready = %+v, %v", h, err)
	}
	if e, err := i.admin.Explain(t.Context(), admin.Question{Method: "GET", URL: i.url + "/x"}); err != nil || e.Result != "hit" {
		t.Errorf("Explain = %+v, %v; want a hit", e, err)
	}
	i.eventually("two lines of the access log", func() bool { return strings.Count(i.log.String(), `"msg":"access"`) == 2 })
	for _, want := range []string{`"msg":"serving"`, `"path":"/x","status":200,"cache_status":"hit"`} {
		if !strings.Contains(i.log.String(), want) {
			t.Errorf("log without %s:\n%s", want, i.log)
		}
	}
}

func TestMetricsAreThere(t *testing.T) {
	o := newOrigin(t, "hello")
	i := start(t, upstreams(o, "admin: { tokens: [{ name: ops, token: 0123456789abcdef, scopes: [read] }] }"))
	i.get("/x")
	i.get("/x")
	res, err := client.Get(i.admin.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`cacheproxy_requests_total{result="hit",route="default"} 1`,
		`cacheproxy_requests_total{result="miss",route="default"} 1`,
		`cacheproxy_upstream_requests_total{code="200",upstream="shop"} 1`,
		`cacheproxy_l1_entries 1`,
	} {
		if !strings.Contains(string(text), want+"\n") {
			t.Errorf("/metrics without %s", want)
		}
	}
}

// TestHTTP2WithoutTLS: the main listener speaks it with clients that begin with it (RFC 9113, 3.3).
func TestHTTP2WithoutTLS(t *testing.T) {
	i := start(t, "", func(a *app.Options) { a.Config.Flags.Upstream = newOrigin(t, "hello").URL })
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	for _, want := range []string{"fwd=uri-miss", "hit"} {
		res, err := (&http.Client{Transport: transport}).Get(i.url + "/x")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.ProtoMajor != 2 || string(body) != "hello" || !strings.Contains(res.Header.Get("Cache-Status"), want) {
			t.Errorf("%s %s %q %v %v, want %s over HTTP/2", res.Proto, res.Status, body, res.Header, err, want)
		}
	}
}

func TestDemo(t *testing.T) {
	i := start(t, "", func(a *app.Options) { a.Demo = true })
	for _, path := range []string{"/", "/products/1", "/api/prices"} {
		if res, _ := i.get(path); res.StatusCode != 200 {
			t.Errorf("GET %s: %s", path, res.Status)
		}
	}
	i.eventually("the tour", func() bool { return strings.Contains(i.log.String(), "curl -i "+i.url+"/products/1") })
	if strings.Contains(i.log.String(), `"msg"`) {
		t.Errorf("the log is not text:\n%s", i.log)
	}
}

// TestStopFinishesWhatIsUnderWay: a request that has begun is answered whole; meanwhile the instance says that it is draining, and
// lets nobody new in.
func TestStopFinishesWhatIsUnderWay(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		io.WriteString(w, "first ")
		w.(http.Flusher).Flush()
		<-finish
		io.WriteString(w, "second")
	}))
	defer slow.Close()
	release := sync.OnceFunc(func() { close(finish) })
	defer release() // where the test fails before
	i := start(t, "", func(a *app.Options) { a.Config.Flags.Upstream = slow.URL })
	answer := make(chan string, 1)
	go func() {
		res, err := client.Get(i.url + "/slow")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		answer <- fmt.Sprint(string(body), err)
	}()
	<-begun
	i.stop()
	i.eventually("draining", func() bool {
		h, err := i.admin.Ready(t.Context())
		return err == nil && h.Status == admin.StatusDraining
	})
	i.eventually("closed listener", func() bool {
		c, err := net.Dial("tcp", i.Addr().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	release()
	if got := <-answer; got != "first second<nil>" {
		t.Errorf("the request under way got %q", got)
	}
	if err := i.wait(); err != nil {
		t.Errorf("Run = %v", err)
	}
}

// TestStopIsBounded: what does not end in shutdown_timeout is ended.
func TestStopIsBounded(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(ended)
	}))
	defer hangs.Close()
	i := start(t, fmt.Sprintf("upstreams: { shop: { targets: [{ url: %q }] } }\nshutdown_timeout: 50ms\n", hangs.URL))
	go func() {
		if res, err := client.Get(i.url + "/"); err == nil {
			res.Body.Close()
		}
	}()
	<-begun
	i.stop()
	if err := i.wait(); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("Run = %v, want that the time was up", err)
	}
	<-ended
}

func TestNewTellsWhatIsWrong(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, tt := range []struct {
		name   string
		change func(*app.Options)
		want   string
	}{
		{"a busy port", func(o *app.Options) { o.Config.Flags.Listen = busy.Addr().String() }, "listen on " + busy.Addr().String()},
		{"a busy port for the API", func(o *app.Options) { o.Config.Flags.Admin = busy.Addr().String() }, "administration API"},
		{"a bad configuration", func(o *app.Options) { o.Config.Flags.LogLevel = "loud" }, "--log-level"},
		{"no upstream", func(o *app.Options) { o.Config.Flags.Upstream = "" }, "no upstream"},
		{"a bad flag with the demo", func(o *app.Options) { o.Demo, o.Config.Flags.LogLevel = true, "loud" }, "--log-level"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := app.Options{Stderr: io.Discard, Config: config.Options{
				Flags: config.Flags{Upstream: "http://127.0.0.1:1", Listen: "127.0.0.1:0", Admin: "127.0.0.1:0"},
				Env:   func(string) (string, bool) { return "", false },
			}}
			tt.change(&o)
			a, err := app.New(o)
			if err == nil {
				a.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New = %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestTooManyConnections(t *testing.T) {
	o := newOrigin(t, "hello")
	i := start(t, upstreams(o, "limits: { connections: 2 }"))
	first, second := dial(t, i), dial(t, i)
	if got := request(t, first); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("the first connection gets %q", got)
	}
	third := dial(t, i)
	got := request(t, third)
	for _, want := range []string{"HTTP/1.1 503 Service Unavailable\r\n", "Retry-After: 1\r\n", "Connection: close\r\n", "\r\n\r\nToo many connections.\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("one too many gets %q, want %q in it", got, want)
		}
	}
	second.Close()
	i.eventually("room again", func() bool { return strings.HasPrefix(request(t, dial(t, i)), "HTTP/1.1 200") })
}

func dial(t *testing.T, i *instance) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", i.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// request sends one and returns the bytes of the answer, up to its end or the end of the connection.
func request(t *testing.T, c net.Conn) string {
	t.Helper()
	fmt.Fprint(c, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n") // to one that is turned away it may fail
	r := bufio.NewReader(c)
	var raw bytes.Buffer
	res, err := http.ReadResponse(bufio.NewReader(io.TeeReader(r, &raw)), nil)
	if err != nil {
		t.Errorf("%v after %q", err, raw.String())
		return raw.String()
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Errorf("%v after %q", err, raw.String())
	}
	return raw.String()
}

// TestHeaderLimit: a header section that is too large gets 431, one within the limit is served.
func TestHeaderLimit(t *testing.T) {
	o := newOrigin(t, "hello")
	i := start(t, upstreams(o, "limits: { header_bytes: 8KiB }"))
	if res, _ := i.get("/x", "X-Large", strings.Repeat("x", 7<<10)); res.StatusCode != 200 {
		t.Errorf("7 KiB: %s, want 200", res.Status)
	}
	if res, _ := i.get("/x", "X-Large", strings.Repeat("x", 16<<10)); res.StatusCode != 431 {
		t.Errorf("16 KiB: %s, want 431", res.Status)
	}
}

// TestSlowHeader: a client that does not send its request in time is let go, and so is one that gets no further than its TLS handshake
// or its header of the PROXY protocol.
func TestSlowHeader(t *testing.T) {
	dir := t.TempDir()
	newCA(t).write(dir, "a")
	i := start(t, fmt.Sprintf(`
listen:
  - address: '127.0.0.1:0'
  - { address: '127.0.0.1:0', tls: { cert_file: %[1]s/a.crt, key_file: %[1]s/a.key } }
  - { address: '127.0.0.1:0', proxy_protocol: true }
limits: { header_timeout: 50ms, idle_timeout: 1h }
trusted_proxies: [127.0.0.0/8]
`, dir)+upstreamOf("http://127.0.0.1:1"), withoutListenFlag)
	for n, sent := range []string{"GET /x HTTP/1.1\r\nHost: x\r\nX-Slow: ", "\x16\x03\x01\x02\x00", "PROXY TCP4 203.0.113.9"} {
		for _, sent := range []string{sent, ""} {
			c, answer := dialRaw(t, i.Addrs()[n].String())
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			fmt.Fprint(c, sent)
			if _, err := io.ReadAll(answer); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("after %q on listener %d the connection stays", sent, n)
			}
		}
	}
}
