package upstream

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

var discard = log.New(io.Discard, "", 0)

// silence sends the log of net/http to w until the test ends.
func silence(t *testing.T, w io.Writer) {
	log.SetOutput(w)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
}

// An origin that has read a request and closes without an answer may have acted
// on it. It must not see the request again, not even a safe one.
func TestRequestThatWasReadIsNotRepeated(t *testing.T) {
	for _, tt := range []struct {
		method string
		body   string
		field  string
	}{
		{"GET", "", ""}, {"HEAD", "", ""}, {"OPTIONS", "", ""}, {"TRACE", "", ""}, {"DELETE", "", ""}, {"POST", "", ""},
		{"GET", "body", ""}, {"PUT", "body", ""}, {"POST", "body", ""},
		{"POST", "", "Idempotency-Key"}, {"POST", "", "X-Idempotency-Key"}, {"GET", "", "Idempotency-Key"}, {"POST", "body", "Idempotency-Key"},
	} {
		t.Run(strings.TrimSpace(tt.method+" "+tt.body+" "+tt.field), func(t *testing.T) {
			origin := badorigin.New(t, badorigin.Routes(map[string]badorigin.Handler{
				"/first": badorigin.OK("fine"),
				"/gone":  badorigin.Hangup(),
			}))
			u := reach(t, origin.URL)
			ask := func(method, path string) (*http.Response, error) {
				var body io.Reader
				if tt.body != "" {
					body = strings.NewReader(tt.body) // NewRequest makes a GetBody for it
				}
				req := request(t, method, path, body)
				if tt.field != "" {
					req.Header.Set(tt.field, "k1")
				}
				return u.RoundTrip(req)
			}
			first := tt.method
			if first == "HEAD" { // the origin sends a body even then, and no connection is kept that has one
				first = "GET"
			}
			response, err := ask(first, "/first") // so that the connection is a kept one
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, response.Body) // likewise
			response.Body.Close()
			_, err = ask(tt.method, "/gone")
			wantError(t, u, err, Broken, 502)
			if n := origin.Count("/gone"); n != 1 {
				t.Errorf("the origin got the request %d times, want once", n)
			}
			if n := origin.Connections(); n != 1 {
				t.Errorf("%d connections, want 1: the request was not sent on the kept one", n)
			}
		})
	}
}

// onceOrigin is a server whose connections take one request each. It answers it
// in full, keeps the connection as far as anybody can see until it
// is told to close it.
type onceOrigin struct {
	url      string
	listener net.Listener
	wg       sync.WaitGroup

	mu       sync.Mutex // guards the following
	requests int
	open     []*net.TCPConn
}

func newOnceOrigin(t *testing.T) *onceOrigin {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &onceOrigin{url: "http://" + l.Addr().String(), listener: l}
	o.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed at the end of the test
			}
			o.answer(c.(*net.TCPConn))
		}
	})
	t.Cleanup(func() {
		l.Close()
		o.closeAll()
		o.wg.Wait()
	})
	return o
}

func (o *onceOrigin) answer(c *net.TCPConn) {
	buf := make([]byte, 4096)
	if _, err := c.Read(buf); err != nil { // one segment holds the whole request
		c.Close()
		return
	}
	o.mu.Lock()
	o.requests++
	o.open = append(o.open, c)
	o.mu.Unlock()
	io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine") // where it fails the client says so
}

// closeAll closes the connections without reading what has come on them.
func (o *onceOrigin) closeAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range o.open {
		c.Close()
	}
	o.open = nil
}

func (o *onceOrigin) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.requests
}

// A kept connection that the origin closes while the next request is on its way
// to it: the request was not read, and is sent again on another connection.
func TestRequestOnAStaleConnectionIsSentAgain(t *testing.T) {
	const trials = 500
	o := newOnceOrigin(t)
	u := reach(t, o.url)
	for i := range trials {
		var wg sync.WaitGroup
		if i > 0 {
			wg.Go(o.closeAll)
		}
		if status, body, err := get(t, u, "/"); err != nil || status != http.StatusOK || body != "fine" {
			t.Fatalf("trial %d: got %d %q, %v", i, status, body, err)
		}
		wg.Wait()
		if n := o.count(); n != i+1 {
			t.Fatalf("after trial %d the origin has read %d requests, want %d", i, n, i+1)
		}
	}
}

// The same where the request is certain to be under way: the origin's process is
// busy elsewhere while its system takes the request, and closes without having
// read it. Its system then resets the connection.
func TestUnreadRequestIsSentAgain(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
		t.Run(method, func(t *testing.T) {
			silence(t, io.Discard) // the origin sends a body to HEAD too
			o := newOnceOrigin(t)
			u := reach(t, o.url)
			first := "GET"
			if method == "OPTIONS" { // which does not go over the connections of GET and HEAD
				first = method
			}
			kept, err := u.RoundTrip(request(t, first, "/", nil))
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, kept.Body) // so that the connection is kept
			kept.Body.Close()
			var wg sync.WaitGroup
			wg.Go(func() {
				// A byte of the request has come on the kept connection.
				o.mu.Lock()
				c := o.open[0]
				o.mu.Unlock()
				if _, err := c.Read(make([]byte, 1)); err != nil {
					t.Errorf("the kept connection: %v", err)
				}
				o.closeAll()
			})
			response, err := u.RoundTrip(request(t, method, "/", nil))
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			wg.Wait()
			if n := o.count(); n != 2 {
				t.Errorf("the origin has read %d requests, want 2", n)
			}
		})
	}
}

// What is not safe is not sent again even there: whoever reset the connection
// may have read the request before.
func TestUnsafeRequestThatWasResetIsNotRepeated(t *testing.T) {
	origin := badorigin.New(t, badorigin.Routes(map[string]badorigin.Handler{
		"/first": badorigin.OK("fine"),
		"/reset": func(c *badorigin.Conn, _ *badorigin.Request) { c.Reset() },
	}))
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		u := reach(t, origin.URL)
		first, err := u.RoundTrip(request(t, method, "/first", nil))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, first.Body) // so that the connection is kept
		first.Body.Close()
		before := origin.Count("/reset")
		_, err = u.RoundTrip(request(t, method, "/reset", nil))
		wantError(t, u, err, Broken, 502)
		if n := origin.Count("/reset") - before; n != 1 {
			t.Errorf("the origin got a %s %d times, want once", method, n)
		}
	}
}

// What had ended before the request began to be written was not read, whatever
// the connection's end looked like.
func TestMayRepeat(t *testing.T) {
	type state struct{ read, begun, written int64 }
	tests := []struct {
		name string
		at   state // when the request got the connection
		now  state
		lost *loss
		want bool
	}{
		{"nothing was written", state{9, 9, 9}, state{9, 9, 9}, &loss{err: io.EOF, begun: 9}, true},
		{"nothing came to be written", state{9, 9, 9}, state{9, 19, 9}, &loss{err: io.ErrClosedPipe, begun: 19}, true},
		{"closed after it was written", state{9, 9, 9}, state{9, 19, 19}, &loss{err: io.EOF, begun: 19}, false},
		{"closed before it was written", state{9, 9, 9}, state{9, 19, 19}, &loss{err: io.EOF, begun: 9}, true},
		{"closed before it was acknowledged", state{9, 9, 9}, state{9, 19, 19}, &loss{err: io.EOF, begun: 19, unread: true}, true},
		{"reset after an answer had begun", state{9, 9, 9}, state{10, 19, 19}, &loss{err: io.EOF, begun: 19, unread: true}, false},
		{"not lost", state{9, 9, 9}, state{9, 19, 19}, nil, false},
	}
	for _, tt := range tests {
		c := &conn{}
		c.read.Store(tt.now.read)
		c.begun.Store(tt.now.begun)
		c.written.Store(tt.now.written)
		if tt.lost != nil {
			c.lost.Store(tt.lost)
		}
		a := &trip{}
		a.leg.Store(&leg{conn: c, read: tt.at.read, begun: tt.at.begun, written: tt.at.written})
		if got := a.mayRepeat(); got != tt.want {
			t.Errorf("%s: mayRepeat is %v, want %v", tt.name, got, tt.want)
		}
	}
	if !new(trip).mayRepeat() {
		t.Error("a request that never got a connection may be sent again")
	}
}

// Where FIN and request cross, what the peer's system has acknowledged decides.
func TestUnacknowledged(t *testing.T) {
	pair := func(t *testing.T) (client, server *net.TCPConn) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close(); s.Close() })
		return c.(*net.TCPConn), s.(*net.TCPConn)
	}
	write := func(t *testing.T, c net.Conn) {
		if _, err := io.WriteString(c, "request"); err != nil {
			t.Fatal(err)
		}
	}
	atEnd := func(t *testing.T, c net.Conn) {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatal("the connection is not at its end")
		}
	}

	client, server := pair(t)
	write(t, client)
	if _, err := io.ReadFull(server, make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	server.Close()
	atEnd(t, client)
	if unacknowledged(client) {
		t.Error("the peer read and closed: unacknowledged is true, want false")
	}

	if runtime.GOOS != "linux" {
		t.Skip("this system does not tell")
	}
	client, server = pair(t)
	server.Close()
	write(t, client) // into a connection that the peer has closed: the answer is a reset
	atEnd(t, client)
	if !unacknowledged(client) {
		t.Error("the peer had closed before: unacknowledged is false, want true")
	}
	client.Close()
	if unacknowledged(client) {
		t.Error("a closed connection: unacknowledged is true, want false")
	}
	if p, _ := net.Pipe(); unacknowledged(p) {
		t.Error("no socket: unacknowledged is true, want false")
	}
}
