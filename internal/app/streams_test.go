package app_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// off passes everything under /off through: what is not under it goes by the cache's way, stored or not.
const off = "routes: [{ name: off, match: { paths: ['/off/**'] }, cache: { pattern: off } }, { name: on, cache: {} }]\n"

// Each event of a stream reaches the client before the origin sends the next, and so does the head.
func TestEventsAreFlushedAtOnce(t *testing.T) {
	seen := make(chan string)
	f := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", r.URL.Query().Get("cc"))
		flush := http.NewResponseController(w).Flush
		flush()
		for _, want := range []string{"head", "data: 1", "data: 2"} {
			select {
			case got := <-seen:
				if got != want {
					t.Errorf("%s: the client saw %q, want %q", r.URL, got, want)
				}
			case <-time.After(10 * time.Second):
				t.Errorf("%s: the client has not seen %q", r.URL, want)
				return
			}
			fmt.Fprintf(w, "data: %c\n\n", map[string]rune{"head": '1', "data: 1": '2', "data: 2": '3'}[want])
			flush()
		}
	}), off)
	for _, path := range []string{"/off/events?cc=no-store", "/events?cc=no-store", "/events?cc=max-age=0"} {
		eachProtocol(t, f, func(t *testing.T, p protocol, c *http.Client) {
			res, err := c.Get(f.url(p, path))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			seen <- "head"
			lines := bufio.NewScanner(res.Body)
			for lines.Scan() {
				if lines.Text() == "data: 3" {
					return
				}
				if lines.Text() != "" {
					seen <- lines.Text()
				}
			}
			t.Errorf("%s: the stream ended early: %v", path, lines.Err())
		})
	}
}

// Trailers of responses pass, announced or not, and are not stored (RFC 9111, 3.1: a cache may discard them, and must not put them
// into the header).
func TestResponseTrailers(t *testing.T) {
	f := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=100")
		if r.URL.Query().Has("announced") {
			w.Header().Set("Trailer", "X-Sum")
		}
		io.WriteString(w, "body")
		http.NewResponseController(w).Flush()
		if r.URL.Query().Has("announced") {
			w.Header().Set("X-Sum", "announced")
		} else {
			w.Header().Set(http.TrailerPrefix+"X-Sum", "unannounced")
		}
	}), off)
	n := 0
	eachProtocol(t, f, func(t *testing.T, p protocol, c *http.Client) {
		for _, way := range []string{"/off/", "/"} {
			for _, kind := range []string{"announced", "unannounced"} {
				n++
				path := fmt.Sprintf("%s%d?%s", way, n, kind)
				res, body := do(t, c, "GET", f.url(p, path), nil, "TE", "trailers")
				if got := res.Trailer.Get("X-Sum"); got != kind || body != "body" || res.Header.Get("X-Sum") != "" {
					t.Errorf("%s: trailer %q, header %q, body %q", path, got, res.Header.Get("X-Sum"), body)
				}
				if way == "/off/" {
					continue
				}
				res, body = do(t, c, "GET", f.url(p, path), nil)
				if !strings.Contains(res.Header.Get("Cache-Status"), "hit") || body != "body" {
					t.Errorf("%s: not stored: %q", path, res.Header.Get("Cache-Status"))
				}
				if len(res.Trailer) != 0 || res.Header.Get("Trailer") != "" || res.Header.Get("X-Sum") != "" {
					t.Errorf("%s: a hit has the trailer: %v %v", path, res.Trailer, res.Header)
				}
			}
		}
	})
}

// Trailers of requests reach the origin, but not those by which a client could pass for somebody else.
func TestRequestTrailers(t *testing.T) {
	f := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %v sum=%q forged=%q header=%q", body, err, r.Trailer.Get("X-Sum"), r.Trailer.Get("X-Forwarded-For"), r.Header.Get("X-Sum"))
	}), "")
	eachProtocol(t, f, func(t *testing.T, p protocol, c *http.Client) {
		r, err := http.NewRequest("POST", f.url(p, "/"), io.MultiReader(strings.NewReader("body"))) // of unknown length
		if err != nil {
			t.Fatal(err)
		}
		r.Trailer = http.Header{"X-Sum": {"4"}, "X-Forwarded-For": {"192.0.2.1"}}
		res, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if got, err := io.ReadAll(res.Body); string(got) != `body <nil> sum="4" forged="" header=""` {
			t.Errorf("the origin saw %s (%v)", got, err)
		}
	})
	// HTTP/1.1 may send what it has not announced.
	got := f.raw("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 5\r\n\r\n")
	if !strings.Contains(got, `body <nil> sum="5" forged="" header=""`) {
		t.Errorf("the origin saw %s", got)
	}
}

// raw sends bytes to the plain listener and returns all that comes back.
func (f *front) raw(request string) string {
	f.t.Helper()
	return exchange(f.t, f.plain, request)
}

// 103 reaches the client before the origin has answered, with its own fields only.
func TestEarlyHints(t *testing.T) {
	for _, way := range []string{"/off/", "/"} {
		hinted := make(chan struct{})
		f := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			<-hinted
			w.Header().Del("Link")
			w.Header().Set("Cache-Control", "no-store")
			io.WriteString(w, "page")
		}), off)
		eachProtocol(t, f, func(t *testing.T, p protocol, c *http.Client) {
			var link string
			ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{
				Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
					if status == http.StatusEarlyHints {
						link = h.Get("Link")
						hinted <- struct{}{}
					}
					return nil
				},
			})
			r, err := http.NewRequestWithContext(ctx, "GET", f.url(p, way+"page"), nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if link != "</a.css>; rel=preload" || string(body) != "page" || err != nil || res.Header.Get("Link") != "" {
				t.Errorf("%s: hint %q, body %q, %v, Link of the answer %q", way, link, body, err, res.Header.Get("Link"))
			}
		})
	}
}

// A client that waits for 100 gets it before it has sent anything of the body.
func TestContinue(t *testing.T) { // RFC 9110, 10.1.1
	f := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "read %q", body)
	}), "")
	for _, p := range protocols[:4] { // the client of HTTP/3 does not wait
		c := p.client(f)
		c.Transport.(*http.Transport).ExpectContinueTimeout = time.Minute // longer than the client's patience
		body, waited := &counter{left: 4}, int64(-1)
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { waited = body.taken.Load() }})
		r, err := http.NewRequestWithContext(ctx, "POST", f.url(p, "/"), body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Expect", "100-continue")
		res, err := c.Do(r)
		if err != nil {
			t.Errorf("%s: %v", p.name, err)
			continue
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if waited != 0 || string(got) != `read "\x00\x00\x00\x00"` || err != nil {
			t.Errorf("%s: %d bytes were sent before 100; %s, %v", p.name, waited, got, err)
		}
	}
}

// counter is a body of zeros that counts how much of it has been taken.
type counter struct {
	left  int64
	taken atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), c.left)
	clear(p[:n])
	c.left -= n
	c.taken.Add(n)
	return int(n), nil
}

// An upload flows no faster than the origin reads, so that it takes the same memory however large it is. Between them are the
// buffers of two connections.
func TestUploadsHaveBackPressure(t *testing.T) {
	const size, buffers = 16 << 20, 12 << 20
	read := make(chan struct{})
	f := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-read
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "%d %v", n, err)
	}), "")
	eachProtocol(t, f, func(t *testing.T, p protocol, c *http.Client) {
		body := &counter{left: size}
		answer := make(chan string, 1)
		go func() {
			res, err := c.Post(f.url(p, "/"), "application/octet-stream", body)
			if err != nil {
				answer <- err.Error()
				return
			}
			defer res.Body.Close()
			text, _ := io.ReadAll(res.Body)
			answer <- string(text)
		}()
		var last int64
		eventually(t, 10*time.Second, "the upload stands still", func() bool {
			before := last
			last = body.taken.Load()
			if last > 0 && before == last {
				time.Sleep(50 * time.Millisecond)
				return body.taken.Load() == last
			}
			return false
		})
		if last > buffers {
			t.Errorf("%d bytes were taken though the origin reads nothing", last)
		}
		read <- struct{}{}
		if got, want := <-answer, fmt.Sprintf("%d <nil>", size); got != want {
			t.Errorf("the origin read %s, want %s", got, want)
		}
	})
}

// Request and response may flow at once, over HTTP/1.1 too.
func TestBothWaysAtOnce(t *testing.T) {
	f := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if err := c.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		c.Flush()
		buf := make([]byte, 1<<20)
		for {
			n, err := r.Body.Read(buf)
			w.Write(buf[:n])
			c.Flush()
			if err != nil {
				return
			}
		}
	}), "")
	eachProtocol(t, f, func(t *testing.T, p protocol, c *http.Client) {
		body, in := io.Pipe()
		res, err := c.Post(f.url(p, "/"), "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer := bufio.NewReader(res.Body)
		for i := range 5 {
			line := strings.Repeat(fmt.Sprint(i), 100_000) + "\n"
			go io.WriteString(in, line)
			if got, err := answer.ReadString('\n'); got != line || err != nil {
				t.Fatalf("line %d: %d bytes, %v", i, len(got), err)
			}
		}
		in.Close()
		if rest, err := io.ReadAll(answer); len(rest) != 0 || err != nil {
			t.Errorf("at the end: %q, %v", rest, err)
		}
	})
}

// A WebSocket works through both listeners, and ends with the instance at the latest.
func TestWebSocket(t *testing.T) {
	f := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, append([]byte("echo "), message...)) != nil {
				return
			}
		}
	}), "shutdown_timeout: 200ms\n")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	talk := func(p protocol) *websocket.Conn {
		c, _, err := websocket.Dial(ctx, f.url(p, "/socket"), &websocket.DialOptions{HTTPClient: p.client(f)})
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		for i := range 3 {
			if err := c.Write(ctx, websocket.MessageText, fmt.Append(nil, i)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.Read(ctx); string(got) != fmt.Sprint("echo ", i) {
				t.Fatalf("%s: %q, %v", p.name, got, err)
			}
		}
		return c
	}
	for _, p := range []protocol{protocols[0], protocols[2]} {
		c := talk(p)
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Errorf("%s: close: %v", p.name, err)
		}
	}
	left := talk(protocols[0])
	defer left.CloseNow()
	f.stop()
	if _, _, err := left.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("after the stop: %v", err)
	}
	if err := <-f.ended; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run: %v, want that it names the time-out", err)
	}
	f.ended <- nil
}

// Nobody gets a tunnel.
func TestConnectIsRefused(t *testing.T) {
	f := startFront(t, http.NotFoundHandler(), "")
	if got := f.raw("CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 405 ") {
		t.Errorf("HTTP/1.1: %q", got)
	}
	for _, p := range protocols {
		if strings.HasPrefix(p.name, "HTTP/1.1") {
			continue
		}
		r, err := http.NewRequest("CONNECT", f.url(p, ""), strings.NewReader(""))
		if err != nil {
			t.Fatal(err)
		}
		res, err := p.client(f).Do(r)
		if err != nil {
			t.Errorf("%s: %v", p.name, err)
			continue
		}
		res.Body.Close()
		if res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: status %d", p.name, res.StatusCode)
		}
	}
}

// Extended CONNECT (RFC 8441) is not offered, and refused from who asks for it all the same.
func TestExtendedConnectIsRefused(t *testing.T) {
	f := startFront(t, http.NotFoundHandler(), "")
	c, answer := dialRaw(t, f.plain)
	io.WriteString(c, http2.ClientPreface)
	framer := http2.NewFramer(c, answer)
	var block bytes.Buffer
	fields := hpack.NewEncoder(&block)
	for _, field := range []string{":method CONNECT", ":protocol websocket", ":scheme http", ":authority a", ":path /socket"} {
		name, value, _ := strings.Cut(field, " ")
		if err := fields.WriteField(hpack.HeaderField{Name: name, Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(framer.WriteSettings(), framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true,
	})); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if v, ok := frame.Value(http2.SettingEnableConnectProtocol); ok && v != 0 {
				t.Error("it is offered")
			}
		case *http2.RSTStreamFrame:
			return
		case *http2.HeadersFrame:
			t.Fatal("it is answered")
		}
	}
}
