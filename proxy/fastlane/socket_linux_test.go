package fastlane_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// openTCP opens a house on a real socket.
func openTCP(t testing.TB, withLane bool) (h *house, addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h = open(t, l, routes, origin, withLane)
	h.warm(stored...)
	return h, l.Addr().String()
}

const patience = 10 * time.Second

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// Over sockets, too, it does not matter in which pieces a request comes.
func TestLanesAgreeOverTCP(t *testing.T) {
	text := get("/fresh", `If-None-Match: "x"`) + get("/large") + get("/private") + ask("HEAD", "/page") + "XGET /fresh?x HTTP/1.1\r\nHost: a\r\n\r\n" +
		get("/vary") + get("/fresh") + get("/missing", "Connection: close")
	var want []string
	for _, withLane := range []bool{false, true} {
		h, addr := openTCP(t, withLane)
		for at := range text {
			c := dial(t, addr)
			if _, err := io.WriteString(c, text[:at]); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, text[at:]); err != nil {
				t.Fatal(err)
			}
			sent, err := io.ReadAll(c)
			if err != nil {
				t.Fatal(err)
			}
			got := split(string(sent))
			for i := range got { // what has grown a second older meanwhile
				got[i] = maskTTL(got[i])
			}
			if want == nil {
				want = got
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Fatalf("lane %v, cut at %d: %q, want %q", withLane, at, got, want)
			}
		}
		if all, passed := h.counts(); withLane && passed > all/2 {
			t.Errorf("%d answers, %d by net/http", all, passed)
		}
	}
}

func maskTTL(answer string) string {
	before, after, ok := strings.Cut(answer, "; ttl=")
	if !ok {
		return answer
	}
	return before + after[strings.IndexByte(after, ';'):]
}

// The end of the input that comes with the last bytes of a request is noticed, although nothing comes after it.
func TestEndWithARequest(t *testing.T) {
	_, addr := openTCP(t, true)
	for _, text := range []string{get("/fresh"), get("/fresh") + get("/fresh"), get("/fresh") + "GET", "GET /fre"} {
		c := dial(t, addr)
		if res := newClient(t, c).ask(get("/fresh")); res.StatusCode != http.StatusOK {
			t.Fatal(res.Status)
		}
		time.Sleep(10 * time.Millisecond) // by then the poller waits for the next
		if err := control(c, func(fd int) error { return syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_CORK, 1) }); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		if err := c.CloseWrite(); err != nil { // in one segment with the text
			t.Fatal(err)
		}
		sent, err := io.ReadAll(c)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if n := strings.Count(text, "\r\n\r\n"); len(split(string(sent))) != n {
			t.Errorf("%q: %q", text, sent)
		}
	}
}

func control(c *net.TCPConn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// An answer that the client's and our buffers do not hold leaves in parts, as the client reads.
func TestPartialWrites(t *testing.T) {
	for _, tt := range []struct {
		path, body string
		n          int
	}{
		{"/large", large, 200},
		{"/vast", vast, 8},
	} {
		t.Run(tt.path, func(t *testing.T) {
			h, addr := openTCP(t, true)
			h.warm(tt.path)
			c := dial(t, addr)
			if _, err := io.WriteString(c, strings.Repeat(get(tt.path), tt.n)); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(c)
			for i := range tt.n {
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				if body, err := io.ReadAll(res.Body); err != nil || string(body) != tt.body {
					t.Fatalf("answer %d: %d bytes, %v", i, len(body), err)
				}
				if i == 0 {
					time.Sleep(50 * time.Millisecond) // by then the buffers are full
				}
			}
			if _, passed := h.counts(); passed > 0 {
				t.Errorf("%d by net/http", passed)
			}
			h.mu.Lock()
			reports := slices.Clone(h.reports) // the last may come later
			h.mu.Unlock()
			if len(reports) < tt.n-1 {
				t.Errorf("%d answers are reported, want %d", len(reports), tt.n)
			}
			for _, r := range reports {
				if r.Bytes != int64(len(tt.body)) {
					t.Errorf("%d bytes are reported, want %d", r.Bytes, len(tt.body))
				}
			}
		})
	}
}

// Many clients at once, each of which takes turns with both lanes, get what they ask for.
func TestManyClients(t *testing.T) {
	_, addr := openTCP(t, true)
	var clients sync.WaitGroup
	for i := range 20 {
		clients.Go(func() {
			c := dial(t, addr)
			in := bufio.NewReader(c)
			for k := range 100 {
				path, want := "/fresh", "fresh"
				switch {
				case k%7 == i%7:
					path, want = "/private", "private"
				case k%5 == 0:
					path, want = fmt.Sprintf("/new/%d/fresh", k), "fresh"
				case k%11 == 0:
					path, want = "/large", large
				}
				_, _ = io.WriteString(c, get(path)) // what comes back tells
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if body, err := io.ReadAll(res.Body); err != nil || string(body) != want {
					t.Errorf("%s: %d bytes, %v", path, len(body), err)
					return
				}
			}
		})
	}
	clients.Wait()
}
