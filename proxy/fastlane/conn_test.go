package fastlane_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// client is the other end of a connection.
type client struct {
	net.Conn
	t  testing.TB
	in *bufio.Reader
}

func newClient(t testing.TB, c net.Conn) *client { return &client{c, t, bufio.NewReader(c)} }

// ask sends a request and returns the answer.
func (c *client) ask(text string) *http.Response {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
	return c.answer()
}

// answer returns the next answer, whole.
func (c *client) answer() *http.Response {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	res.Body = io.NopCloser(strings.NewReader(string(body)))
	return res
}

// ends waits until the connection is closed, and returns how long that took. It must be without a further byte.
func (c *client) ends() time.Duration {
	c.t.Helper()
	begin := time.Now()
	if b, err := c.in.ReadByte(); !errors.Is(err, io.EOF) {
		c.t.Errorf("%q came, %v, and not the end", b, err)
	}
	return time.Since(begin)
}

// inBubble opens a house with a lane whose time is a fake.
func inBubble(t *testing.T, test func(t *testing.T, h *house, p *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPipes("192.0.2.1:1234")
		h := open(t, p, routes, origin, true)
		h.warm(stored...)
		test(t, h, p)
	})
}

// between reports whether d is a time limit that a policy may have made a little longer, but not shorter.
func between(d, limit time.Duration) bool { return d >= limit && d <= limit+2*time.Second }

func TestIdleTimeout(t *testing.T) {
	for name, last := range map[string]string{"a hit": get("/fresh"), "net/http's answer": get("/private")} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, h *house, p *pipes) {
				c := newClient(t, p.dial())
				for range 5 {
					c.ask(get("/fresh"))
					time.Sleep(idleTimeout - time.Millisecond) // not yet
				}
				c.ask(get("/fresh"))
				c.ask(last) // at once, so that the lane's deadline is still good enough
				if d := c.ends(); !between(d, idleTimeout) {
					t.Errorf("closed after %v", d)
				}
			})
		})
	}
}

func TestHeaderTimeout(t *testing.T) {
	for name, test := range map[string]struct{ before, begin string }{
		"nothing":                {"", ""},
		"the first request":      {"", "GET /fr"},
		"after a hit":            {get("/fresh"), "G"},
		"after net/http's turn":  {get("/private"), "GET /fresh HTTP/1.1\r\nHost: a\r\n"},
		"what goes to net/http":  {get("/fresh"), "POST / HTTP/1.1\r\n"},
		"behind a whole request": {"", get("/fresh") + "GET"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, h *house, p *pipes) {
				c := newClient(t, p.dial())
				if test.before != "" {
					c.ask(test.before)
					time.Sleep(time.Minute)
				}
				_, _ = io.WriteString(c, test.begin) // what comes back tells
				if strings.HasPrefix(test.begin, get("/fresh")) {
					c.answer()
				}
				if d := c.ends(); !between(d, headerTimeout) {
					t.Errorf("closed after %v", d)
				}
			})
		})
	}
}

// Who sends a byte now and then does not get more time for it.
func TestSlowHead(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house, p *pipes) {
		c := newClient(t, p.dial())
		c.ask(get("/fresh"))
		begin := time.Now()
		for text := get("/fresh", "X: "+strings.Repeat("y", 100)); text != ""; text = text[1:] {
			if _, err := io.WriteString(c, text[:1]); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if d := time.Since(begin); !between(d, headerTimeout) {
			t.Errorf("closed after %v", d)
		}
	})
}

// A client that does not read its answers does not hold the connection for ever. It may take over a large one what it may without the
// lane, whatever was asked for before: each leaves a deadline behind, or takes one away.
func TestSlowReader(t *testing.T) {
	for _, tt := range []struct {
		before, path string
		lane         bool
		limit        time.Duration
	}{
		{"/fresh", "/fresh", true, writeTimeout},
		{"/private", "/fresh", true, writeTimeout},
		{"/large", "/fresh", true, writeTimeout},
		{"/fresh", "/large", true, proxy.PieceTimeout},
		{"/private", "/large", true, proxy.PieceTimeout},
		{"/large", "/large", true, proxy.PieceTimeout},
		{"/fresh", "/large", false, proxy.PieceTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPipes(anybody)
			h := open(t, p, routes, origin, tt.lane)
			h.warm(stored...)
			c := newClient(t, p.dial())
			c.ask(get(tt.before))
			begin := time.Now()
			_, _ = io.WriteString(c, get(tt.path)) // what comes back tells
			for all := 0; all < 2; all, _ = h.counts() {
				if time.Sleep(time.Second); time.Since(begin) > 2*writeTimeout {
					t.Fatalf("%+v: not given up", tt)
				}
			}
			if d := time.Since(begin); !between(d, tt.limit) {
				t.Errorf("%+v: given up after %v", tt, d)
			}
			if r := h.reports[1]; r.Result != cache.ResultError || r.Reason != rfc9111.ReasonClientGone || r.Bytes != 0 && tt.lane {
				t.Errorf("%+v: %+v", tt, r)
			}
		})
	}
}

// One that reads a large answer slowly is given time for each piece of it.
func TestLargeAnswerToASlowReader(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house, p *pipes) {
		c := p.dial()
		_, _ = io.WriteString(c, get("/large")) // what comes back tells
		got, buf := 0, make([]byte, 32<<10)
		for got < len(large) {
			time.Sleep(proxy.PieceTimeout / 3)
			n, err := c.Read(buf)
			if got += n; err != nil {
				t.Fatalf("after %d bytes: %v", got, err)
			}
		}
	})
}

// Stopping closes what waits, and finishes what is being answered.
func TestShutdown(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house, p *pipes) {
		fresh, hit, passed, half := newClient(t, p.dial()), newClient(t, p.dial()), newClient(t, p.dial()), newClient(t, p.dial())
		hit.ask(get("/fresh"))
		passed.ask(get("/private"))
		passed.ask(get("/fresh"))
		half.ask(get("/fresh"))
		_, _ = io.WriteString(half, "GET /fr") // what comes back tells
		reading, slow := newClient(t, p.dial()), newClient(t, p.dial())
		_, _ = io.WriteString(reading, get("/large")) // as above
		reading.in.Peek(1)
		_, _ = io.WriteString(slow, get("/slow")) // as above
		synctest.Wait()

		begin, stopped := time.Now(), make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			stopped <- errors.Join(h.server.Shutdown(ctx), h.front.Shutdown(ctx))
		}()
		for _, c := range []*client{hit, passed, half} {
			if d := c.ends(); d > 0 {
				t.Errorf("an idle connection is closed after %v", d)
			}
		}
		fresh.ends()
		if res := slow.answer(); !res.Close {
			t.Error("the client is not told that the connection ends")
		}
		slow.ends()
		select {
		case err := <-stopped:
			t.Fatalf("stopped before all is answered: %v", err)
		default:
		}
		if res := reading.answer(); res.ContentLength != int64(len(large)) {
			t.Errorf("the answer under way has %d bytes", res.ContentLength)
		}
		reading.ends()
		if err := <-stopped; err != nil || time.Since(begin) > 3*time.Second {
			t.Errorf("%v, after %v", err, time.Since(begin))
		}
	})
}

// A connection whose answer had begun when the server stopped is closed after it, though its client was not told so.
func TestShutdownDuringAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes("192.0.2.1:1234")
		h := open(t, p, routes, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush() // what comes tells
			time.Sleep(slowness)
			_, _ = io.WriteString(w, "the end")
		}, true)
		c := newClient(t, p.dial())
		_, _ = io.WriteString(c, get("/off/x")) // what comes back tells
		c.in.Peek(1)
		synctest.Wait()
		stopped := make(chan error)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			stopped <- errors.Join(h.server.Shutdown(ctx), h.front.Shutdown(ctx))
		}()
		if res := c.answer(); res.Close {
			t.Error("the client was told that the connection ends: the test is of no use")
		}
		if d := c.ends(); d > 0 {
			t.Errorf("closed %v after the answer", d)
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

// When the time is up, what is left is broken off.
func TestShutdownInTime(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house, p *pipes) {
		c := p.dial()
		_, _ = io.WriteString(c, get("/large")) // nobody reads the answer
		synctest.Wait()
		begin := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := h.server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := h.front.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if d := time.Since(begin); d != 5*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

// A client that goes away while net/http fetches for it is noticed, as without the lane.
func TestClientGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan struct{})
		p := newPipes("192.0.2.1:1234")
		h := open(t, p, routes, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/off/wait" {
				<-r.Context().Done()
				close(gone)
				return
			}
			origin(w, r)
		}, true)
		h.warm("/fresh")
		c := newClient(t, p.dial())
		c.ask(get("/fresh"))
		_, _ = io.WriteString(c, get("/off/wait")) // nobody waits for the answer
		synctest.Wait()
		c.Close()
		<-gone
	})
}

// A panic ends the connection, and nothing else.
func TestPanic(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house, p *pipes) {
		c, other := newClient(t, p.dial()), newClient(t, p.dial())
		other.ask(get("/private")) // net/http has a part in this one
		for _, c := range []*client{c, other} {
			h.broken.Store(true)
			c.ask(get("/fresh"))
			c.ends()
			h.broken.Store(false)
		}
		newClient(t, p.dial()).ask(get("/fresh"))
		if n := h.lane.Panics(); n != 2 {
			t.Errorf("%d panics counted", n)
		}
	})
}

// A plan that comes later counts for the next request of a connection that is open.
func TestReload(t *testing.T) {
	inBubble(t, func(t *testing.T, h *house, p *pipes) {
		c := newClient(t, p.dial())
		for i, name := range []string{"cacheproxy", "other"} {
			h.use(t, routes, origin, name)
			if status := c.ask(get("/fresh")).Header.Get("Cache-Status"); !strings.HasPrefix(status, name+"; hit") {
				t.Errorf("request %d: %q", i, status)
			}
		}
		if _, passed := h.counts(); passed > 0 {
			t.Error("net/http has answered")
		}
	})
}

// The connections beneath are closed once, whoever has them.
func TestConnectionsAreClosed(t *testing.T) {
	for _, text := range []string{get("/fresh"), get("/private"), ask("POST", "/private"), "nonsense\r\n\r\n"} {
		closed := make(chan struct{}) // closing it twice panics
		p := newPipes("192.0.2.1:1234")
		h := open(t, p, routes, origin, true)
		h.warm("/fresh")
		p.conns <- &repeat{request: text, peer: anybody, left: 1, closed: closed}
		<-closed
	}
}
