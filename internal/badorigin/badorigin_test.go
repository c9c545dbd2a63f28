package badorigin_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client returns an HTTP client that leaves nothing behind.
func client(t *testing.T) *http.Client {
	tr := &http.Transport{MaxResponseHeaderBytes: 64 << 10}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func get(t *testing.T, url string) (body string, err error) {
	t.Helper()
	res, err := client(t).Get(url)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

// Each fault must look to net/http like the fault that it is named after.
func TestFaults(t *testing.T) {
	refused := func(text string) func(string, error) bool {
		return func(_ string, err error) bool { return err != nil && strings.Contains(err.Error(), text) }
	}
	cut := func(body string) func(string, error) bool {
		return func(got string, err error) bool { return got == body && errors.Is(err, io.ErrUnexpectedEOF) }
	}
	tests := []struct {
		name   string
		handle badorigin.Handler
		ok     func(body string, err error) bool
	}{
		{"ok", badorigin.OK("hello"), func(b string, err error) bool { return b == "hello" && err == nil }},
		{"short", badorigin.Short(10, "hello"), cut("hello")},
		{"long", badorigin.Long(3, "hello"), func(b string, err error) bool { return b == "hel" && err == nil }},
		{"bad length", badorigin.BadLength("5x", "hello"), refused("Content-Length")},
		{"no last chunk", badorigin.NoLastChunk([]string{"he", "llo"}), cut("hello")},
		{"endless head", badorigin.EndlessHead(), refused("exceeded")},
		{"endless line", badorigin.EndlessLine(), refused("exceeded")},
		{"interim flood", badorigin.Interim(102, -1, badorigin.OK("never")), refused("")},
		{"garbage", badorigin.Garbage("this is not HTTP\r\n\r\n"), refused("malformed")},
		{"hangup", badorigin.Hangup(), refused("EOF")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := badorigin.New(t, tt.handle)
			body, err := get(t, o.URL+"/x")
			if !tt.ok(body, err) {
				t.Errorf("got body %q, error %v", body, err)
			}
			if n := o.Count("/x"); n < 1 {
				t.Errorf("Count(/x) = %d, want at least 1", n)
			}
		})
	}
}

func TestReset(t *testing.T) {
	gate := make(chan struct{})
	o := badorigin.New(t, badorigin.Reset(gate, 10, "hello"))
	res, err := client(t).Get(o.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	first := make([]byte, 5)
	if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "hello" {
		t.Fatalf("first part: %q, %v", first, err)
	}
	close(gate)
	if _, err := res.Body.Read(first); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after the reset: %v, want %v", err, syscall.ECONNRESET)
	}
}

func TestSlow(t *testing.T) {
	head, body := make(chan struct{}), make(chan struct{})
	o := badorigin.New(t, badorigin.SlowHead(head, badorigin.SlowBody(body, []string{"one", "two"}, "Cache-Control: max-age=1")))
	type answer struct {
		res *http.Response
		err error
	}
	answers := make(chan answer, 1)
	c := client(t)
	go func() {
		res, err := c.Get(o.URL + "/slow?q")
		answers <- answer{res, err}
	}()
	o.Await("/slow", 1)
	select {
	case a := <-answers:
		t.Fatalf("an answer before the gate opened: %+v", a)
	default:
	}
	close(head)
	a := <-answers
	if a.err != nil {
		t.Fatal(a.err)
	}
	defer a.res.Body.Close()
	part := make([]byte, 3)
	for _, want := range []string{"one", "two"} {
		body <- struct{}{}
		if _, err := io.ReadFull(a.res.Body, part); err != nil || string(part) != want {
			t.Errorf("part: %q, %v; want %q", part, err, want)
		}
	}
}

func TestInterim(t *testing.T) {
	o := badorigin.New(t, badorigin.Interim(103, 2, badorigin.OK("final"), "Link: </a.css>; rel=preload"))
	var seen []string
	req, _ := http.NewRequest("GET", o.URL, nil)
	req = req.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			seen = append(seen, h.Get("Link"))
			return nil
		},
	}))
	res, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if len(seen) != 2 || seen[0] != "</a.css>; rel=preload" {
		t.Errorf("interim responses: %q, want 2 with the Link field", seen)
	}
}

func TestRequestIsKeptAsItCame(t *testing.T) {
	o := badorigin.New(t, badorigin.OK(""))
	c, err := net.Dial("tcp", o.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const one = "POST /a?b=c HTTP/1.1\r\nhost: h\r\nX-odd:  v \r\nContent-Length: 3\r\n\r\n"
	const two = "PUT /d HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
	if _, err := io.WriteString(c, one+"xyz"+two+"2;ext\r\nab\r\n1\r\nc\r\n0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	o.Await("", 2)
	rs := o.Requests()
	if !bytes.Equal(rs[0].Raw, []byte(one)) || !bytes.Equal(rs[1].Raw, []byte(two)) {
		t.Errorf("raw heads: %q, %q", rs[0].Raw, rs[1].Raw)
	}
	if r := rs[0]; r.Method != "POST" || r.Target != "/a?b=c" || r.Path != "/a" || r.Header.Get("X-Odd") != "v" || string(r.Body) != "xyz" {
		t.Errorf("first request: %+v, body %q", r, r.Body)
	}
	if r := rs[1]; r.Header.Get("Host") != "h" || string(r.Body) != "abc" || r.Number != 2 || r.Conn != 1 {
		t.Errorf("second request: %+v, body %q", r, r.Body)
	}
	if n := o.Connections(); n != 1 {
		t.Errorf("Connections() = %d, want 1", n)
	}
}

func TestGoneTellsThatTheClientLeft(t *testing.T) {
	left := make(chan bool, 1)
	never := make(chan struct{})
	o := badorigin.New(t, func(c *badorigin.Conn, _ *badorigin.Request) {
		left <- !c.Wait(never)
	})
	c, err := net.Dial("tcp", o.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	o.Await("/", 1)
	c.Close()
	if !<-left {
		t.Error("Wait returned true although the gate never opened")
	}
}

func TestCloseIsAnOriginThatDied(t *testing.T) {
	never := make(chan struct{})
	o := badorigin.New(t, badorigin.SlowHead(never, badorigin.OK("never")))
	result := make(chan error, 1)
	c := client(t)
	go func() {
		_, err := c.Get(o.URL)
		result <- err
	}()
	o.Await("", 1)
	o.Close()
	if err := <-result; err == nil {
		t.Error("a request under way was answered by a closed origin")
	}
	if _, err := net.Dial("tcp", o.Addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial after Close: %v, want %v", err, syscall.ECONNREFUSED)
	}
}
