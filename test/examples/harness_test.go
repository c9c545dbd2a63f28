// Package examples starts the built binary with each configuration of examples/
// and sees that it does what its comments say.
package examples

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/process"
)

// folder holds the configurations.
const folder = "../../examples"

// patience bounds the wait for what happens behind a client's back.
const patience = 20 * time.Second

func TestMain(m *testing.M) { process.Main(m) }

// What a user is told to type works, on the files as they are.
func TestExamplesAreFine(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) != 4 {
		t.Fatalf("%s has %q, %v; want four configurations, each with a test here", folder, files, err)
	}
	for _, file := range files {
		out, err := exec.Command(process.Binary(t), "check", "--config", file).CombinedOutput()
		if err != nil || strings.Contains(string(out), "warning") {
			t.Errorf("check of %s: %v, want exit code 0 and no warning\n%s", file, err, out)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if start := "#   cacheproxy serve --config examples/" + filepath.Base(file) + "\n"; !strings.Contains(string(text), start) {
			t.Errorf("%s does not say how it is started: %q", file, start)
		}
	}
}

// serve runs the binary with an example in which each server of targets stands
// for an address of the file.
func serve(t *testing.T, example string, targets map[string]*httptest.Server) *client {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, example))
	if err != nil {
		t.Fatal(err)
	}
	config := string(text)
	for address, target := range targets {
		if n := strings.Count(config, "url: "+address+"\n"); n != 1 {
			t.Fatalf("%s names %s %d times, want once", example, address, n)
		}
		config = strings.Replace(config, "url: "+address+"\n", "url: "+target.URL+"\n", 1)
	}
	file := filepath.Join(t.TempDir(), example)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return &client{t: t, p: process.Serve(t, process.Options{}, "--config", file)}
}

// An origin hands over what it is asked for.
type origin struct {
	t    *testing.T
	seen chan *http.Request
}

func newOrigin(t *testing.T) *origin { return &origin{t: t, seen: make(chan *http.Request, 256)} }

// start returns a server that answers with h, after it has noted the request.
func (o *origin) start(h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.seen <- r
		h(w, r)
	}))
	o.t.Cleanup(s.Close)
	return s
}

// saw checks that the next request was of that method and URL, and returns it.
func (o *origin) saw(method, url string) *http.Request {
	o.t.Helper()
	select {
	case r := <-o.seen:
		if r.Method != method || r.URL.String() != url {
			o.t.Errorf("the origin saw %s %s, want %s %s", r.Method, r.URL, method, url)
		}
		return r
	case <-time.After(patience):
		o.t.Fatalf("the origin saw nothing, want %s %s", method, url)
		return nil
	}
}

// sawNothing checks that no request was made since the last one that was seen.
func (o *origin) sawNothing() {
	o.t.Helper()
	select {
	case r := <-o.seen:
		o.t.Errorf("the origin saw %s %s, want nothing", r.Method, r.URL)
	default:
	}
}

// A client asks the proxy.
type client struct {
	t *testing.T
	p *process.Process
}

// An answer is a response with its body.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   string
}

func (c *client) get(path string, fields ...string) answer {
	c.t.Helper()
	return c.do(http.MethodGet, path, fields...)
}

// do sends a request with the fields, each "Name: value".
func (c *client) do(method, path string, fields ...string) answer {
	c.t.Helper()
	req, err := http.NewRequest(method, c.p.URL+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		req.Header.Add(name, value)
	}
	what := strings.Join(append([]string{method + " " + path}, fields...), ", ")
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", what, err, c.p.Output())
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("%s: %v\n%s", what, err, c.p.Output())
	}
	return answer{c.t, what, res.StatusCode, res.Header, string(body)}
}

// is checks the status code, and that Cache-Status has all the words: "hit",
// "stored", "detail=bypass".
func (a answer) is(status int, words ...string) answer {
	a.t.Helper()
	got := a.header.Get("Cache-Status")
	members := strings.Split(got, "; ")
	for _, word := range words {
		found := false
		for _, m := range members {
			found = found || m == word
		}
		if !found {
			a.t.Errorf("%s: Cache-Status %q, want %q in it", a.what, got, word)
		}
	}
	if a.status != status {
		a.t.Errorf("%s: status %d, want %d", a.what, a.status, status)
	}
	return a
}

// says checks the body.
func (a answer) says(body string) {
	a.t.Helper()
	if a.body != body {
		a.t.Errorf("%s: body %.80q, want %.80q", a.what, a.body, body)
	}
}
