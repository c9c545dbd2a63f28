package conformance

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
	"github.com/cacheproxy/cacheproxy/test/process"
)

// TestProtocol asks two proxies that follow their origins, one of them without
// the fast lane.
func TestProtocol(t *testing.T) {
	for name, serve := range map[string]server{"fast lane": serve, "without it": serveSlowly} {
		t.Run(name, func(t *testing.T) { testProtocol(t, newWorld(t, serve)) })
	}
}

// testProtocol asks what stands in files by groups. They run side by side: most
// of the time they wait for whole seconds to go by.
func testProtocol(t *testing.T, w *world) {
	groups := map[string]func(*testing.T, *world){
		"age":         testAge,
		"cdn":         testTargetedFields,
		"checks":      testChecks,
		"conditional": testConditionalRequests,
		"expires":     testExpires,
		"hop-by-hop":  testHopByHop,
		"interim":     testInterim,
		"request":     testRequestDirectives,
		"stale":       testStale,
		"status":      testStatus,
		"update":      testUpdates,
		"vary":        testVary,
	}
	for name, group := range groups {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			group(t, w)
		})
	}
}

// TestLiberal asks a proxy with the settings of liberal.yaml.
func TestLiberal(t *testing.T) {
	t.Parallel()
	testLiberal(t, newWorld(t, serve, "--config", mustAbs(t, "liberal.yaml")))
}

// A world is a running proxy and the origin behind it. Each case has a path of
// its own.
type world struct {
	proxy  *process.Process
	origin *badorigin.Origin
	client *http.Transport

	mu      sync.Mutex // guards what follows
	scripts map[string]badorigin.Handler
}

func newWorld(t *testing.T, serve server, args ...string) *world {
	w := &world{scripts: make(map[string]badorigin.Handler), client: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}}
	w.origin = badorigin.New(t, w.answer)
	w.proxy = serve(t, append([]string{"--upstream", w.origin.URL, "--log-level", "error"}, args...)...)
	t.Cleanup(w.client.CloseIdleConnections)
	return w
}

func (w *world) answer(c *badorigin.Conn, r *badorigin.Request) {
	w.mu.Lock()
	script := w.scripts[r.Path]
	w.mu.Unlock()
	if script == nil {
		c.Respond(404, "no script for "+r.Path)
		return
	}
	script(c, r)
}

// script lets the origin answer what comes for the path.
func (w *world) script(path string, h badorigin.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.scripts[path] = h
}

// received returns what the origin got for the path.
func (w *world) received(path string) (requests []*badorigin.Request) {
	for _, r := range w.origin.Requests() {
		if r.Path == path {
			requests = append(requests, r)
		}
	}
	return requests
}

// An outcome says where the answer to a step is to come from.
type outcome string

const (
	fetched   outcome = "fetched"   // from the origin, which was asked for it
	hit       outcome = "hit"       // from the cache; the origin was not asked
	confirmed outcome = "confirmed" // from the cache; the origin was asked first
	refused   outcome = "refused"   // from neither; the proxy says so itself
)

// A step is one request of a client, what the origin says if it is asked, and
// the answer that is wanted.
type step struct {
	method string   // default: GET
	path   string   // what is added to the case's path, such as a query
	send   []string // field lines of the request

	status int               // of the origin; default: 200
	lines  []string          // field lines of the origin
	origin badorigin.Handler // instead of a correct response with status and lines

	want       outcome
	wantStatus int               // default: status
	wantBody   string            // default: "body N", where N is the step that the answer was made in
	wantFields map[string]string // in the response; "" means that it is not there
	wantAsked  map[string]string // in the request that the origin got, likewise
}

// A question is a story of steps.
type question struct {
	name  string
	steps []step
}

// ask runs the questions side by side.
func (w *world) ask(t *testing.T, questions []question) {
	for _, q := range questions {
		t.Run(q.name, func(t *testing.T) {
			t.Parallel()
			path := uniquePath(t)
			for i, s := range q.steps {
				if !w.step(t, path, i+1, s) {
					return
				}
			}
		})
	}
}

// uniquePath makes a path of the test's name.
func uniquePath(t *testing.T) string {
	clean := func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '/' {
			return r
		}
		return '-'
	}
	return fmt.Sprintf("/%s/%x", strings.Map(clean, t.Name()), t.Name())
}

// step takes the step with the number n. The origin writes that number into the
// field Step, so that the answer tells when it was made; not into a 304, which
// would change what is stored.
func (w *world) step(t *testing.T, path string, n int, s step) (ok bool) {
	t.Helper()
	if s.status == 0 {
		s.status = 200
	}
	w.script(path, func(c *badorigin.Conn, r *badorigin.Request) {
		if s.origin != nil {
			s.origin(c, r)
			return
		}
		lines := s.lines
		if s.status != http.StatusNotModified {
			lines = append([]string{"Step: " + strconv.Itoa(n)}, lines...)
		}
		c.Respond(s.status, originBody(s.status, r.Method, n), lines...)
	})
	before := len(w.received(path))
	res, body, _ := w.get(t, s.method, path+s.path, s.send)
	asked := w.received(path)[before:]

	got := refused
	switch made, _ := strconv.Atoi(res.Header.Get("Step")); {
	case made == n:
		got = fetched
	case made > 0 && len(asked) > 0:
		got = confirmed
	case made > 0:
		got = hit
	}
	fail := func(format string, args ...any) {
		t.Errorf("step %d: %s\nanswer: %d %v %q\nthe origin was asked %d times: %s", n, fmt.Sprintf(format, args...), res.StatusCode, res.Header, body, len(asked), heads(asked))
	}
	if got != s.want {
		fail("%s, want %s", got, s.want)
		return false
	}
	wantStatus := s.wantStatus
	if wantStatus == 0 {
		wantStatus = s.status
	}
	if res.StatusCode != wantStatus {
		fail("status %d, want %d", res.StatusCode, wantStatus)
		return false
	}
	wantBody := s.wantBody
	if wantBody == "" {
		wantBody = "body " + res.Header.Get("Step")
	}
	if res.StatusCode == 200 && s.method != http.MethodHead && body != wantBody {
		fail("body %q, want %q", body, wantBody)
		return false
	}
	for name, want := range s.wantFields {
		if value, present := joined(res.Header, name); value != want || present != (want != "") {
			fail("field %s is %q (present: %v), want %q", name, value, present, want)
			return false
		}
	}
	for name, want := range s.wantAsked {
		if len(asked) == 0 {
			fail("the origin was not asked")
			return false
		}
		if value, present := joined(asked[0].Header, name); value != want || present != (want != "") {
			fail("the origin's request has %s: %q (present: %v), want %q", name, value, present, want)
			return false
		}
	}
	return true
}

func originBody(status int, method string, n int) string {
	if method == http.MethodHead || status == 204 || status == 304 {
		return ""
	}
	return "body " + strconv.Itoa(n)
}

func joined(h http.Header, name string) (value string, present bool) {
	lines := h[http.CanonicalHeaderKey(name)]
	return strings.Join(lines, ", "), len(lines) > 0
}

func heads(requests []*badorigin.Request) string {
	var b strings.Builder
	for _, r := range requests {
		b.Write(r.Raw)
	}
	return b.String()
}

// An interim is a 1xx response.
type interim struct {
	status int
	header http.Header
}

// get asks the proxy and reads the whole answer.
func (w *world) get(t *testing.T, method, path string, lines []string) (*http.Response, string, []interim) {
	t.Helper()
	if method == "" {
		method = http.MethodGet
	}
	var interims []interim
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		interims = append(interims, interim{code, http.Header(h).Clone()})
		return nil
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), method, w.proxy.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		req.Header.Add(name, strings.TrimSpace(value))
	}
	res, err := w.client.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: the body: %v", method, path, err)
	}
	return res, string(body), interims
}

// at writes the time that is d away in the form of HTTP (RFC 9110, 5.6.7).
func at(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }

// stored is the story that most questions tell: the origin's answer with these
// field lines is asked for twice.
func stored(name string, want outcome, lines ...string) question {
	return question{name, []step{
		{lines: lines, want: fetched},
		{lines: []string{"Cache-Control: no-store"}, want: want},
	}}
}
