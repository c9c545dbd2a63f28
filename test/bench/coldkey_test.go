// Package bench measures the built binary from outside, as its users' machines would see it.
package bench

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }

const (
	crowdSize = 500
	originLag = 300 * time.Millisecond
	rounds    = 5
)

// goal returns what the best round's 99th percentile may be. `make coldkey` asks for 320 ms, which a machine that does something else
// at the same time does not reach; without it there is room for that.
func goal(t *testing.T) time.Duration {
	text := os.Getenv("COLDKEY_GOAL")
	if text == "" {
		return 400 * time.Millisecond
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("COLDKEY_GOAL: %v", err)
	}
	return d
}

// TestAColdKeyUnder500Clients sends 500 clients to one cold key whose origin takes 300 ms. Each round must make one request to the
// origin; the best round's 99th percentile must be within the goal. (The best, because the machine is shared with whatever else runs.)
func TestAColdKeyUnder500Clients(t *testing.T) {
	var asked atomic.Int64
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		if r.URL.Path != "/warm" {
			asked.Add(1)
			time.Sleep(originLag)
		}
		io.WriteString(w, "the page")
	}))
	defer origin.Close()
	p := process.Serve(t, process.Options{}, "--upstream", origin.URL)
	c := connect(t, strings.TrimPrefix(p.URL, "http://"))
	c.ask(t, "/warm")

	best := time.Hour
	for round := range rounds {
		asked.Store(0)
		took := c.ask(t, fmt.Sprintf("/cold/%d", round))
		slices.Sort(took)
		p50, p99 := took[len(took)/2], took[len(took)*99/100]
		t.Logf("round %d: %d origin requests, p50 %v, p99 %v, last %v", round, asked.Load(), p50, p99, took[len(took)-1])
		if asked.Load() != 1 {
			t.Errorf("round %d: the origin was asked %d times, want 1", round, asked.Load())
		}
		best = min(best, p99)
	}
	if goal := goal(t); best > goal {
		t.Errorf("the best round's p99 is %v, want at most %v", best, goal)
	}
}

// crowd is many clients with a connection each. They cost as little as they can, so that the proxy is measured and not they.
type crowd []net.Conn

func connect(t *testing.T, addr string) crowd {
	t.Helper()
	c := make(crowd, crowdSize)
	for i := range c {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		c[i] = conn
	}
	return c
}

// ask sends the same GET on every connection at once and returns how long each answer took.
func (c crowd) ask(t *testing.T, path string) []time.Duration {
	t.Helper()
	request := []byte("GET " + path + " HTTP/1.1\r\nHost: bench.example\r\n\r\n")
	took := make([]time.Duration, len(c))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, conn := range c {
		wg.Go(func() {
			<-start
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			begin := time.Now()
			if _, err := conn.Write(request); err != nil {
				t.Error(err)
				return
			}
			got, err := readAnswer(conn)
			took[i] = time.Since(begin)
			if err != nil || !strings.HasPrefix(got, "HTTP/1.1 200 ") {
				t.Errorf("client %d got %q, %v", i, got, err)
			}
		})
	}
	close(start)
	wg.Wait()
	return took
}

// readAnswer reads up to the end of the page. It parses nothing: 500 clients share the processors with the proxy they measure.
func readAnswer(conn net.Conn) (string, error) {
	buf := make([]byte, 1024)
	for n := 0; ; {
		more, err := conn.Read(buf[n:])
		if n += more; err != nil || strings.HasSuffix(string(buf[:n]), "\r\n\r\nthe page") {
			return string(buf[:n]), err
		}
	}
}
