package fastlane_test

import (
	"io"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// repeat is a connection on which one request comes again and again, and whose answers are dropped.
type repeat struct {
	request string
	peer    string
	left    int
	closed  chan struct{}
}

func (c *repeat) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	c.left--
	return copy(p, c.request), nil
}

func (c *repeat) Write(p []byte) (int, error)      { return len(p), nil }
func (c *repeat) Close() error                     { close(c.closed); return nil }
func (c *repeat) LocalAddr() net.Addr              { return c.RemoteAddr() }
func (c *repeat) SetDeadline(time.Time) error      { return nil }
func (c *repeat) SetReadDeadline(time.Time) error  { return nil }
func (c *repeat) SetWriteDeadline(time.Time) error { return nil }
func (c *repeat) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.peer))
}

// browser is what a browser sends.
var browser = get("/fresh", "Connection: keep-alive", "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Accept-Language: en-US,en;q=0.5",
	"Accept-Encoding: gzip, deflate, br, zstd", "Referer: https://a/products/", "Cookie: consent=1; theme=dark",
	"Upgrade-Insecure-Requests: 1", "Sec-Fetch-Dest: document", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin")

var hits = map[string]string{
	"least":   get("/fresh"),
	"browser": browser,
	"304":     get("/fresh", `If-None-Match: "a"`),
	"encoded": get("/encoded/page", "Accept-Encoding: gzip, deflate, br, zstd"),
	"keyed":   get("/keyed/fresh?q=1", "Accept-Encoding: gzip"),
	"rules":   get("/rules/fresh"),
	"proxied": get("/fresh", "X-Forwarded-For: 192.0.2.1, 10.0.0.2", "X-Forwarded-Proto: http", "X-Forwarded-Host: a"),
}

// openWarm opens a house with a lane, in which all that hits ask for is stored.
func openWarm(t testing.TB) *pipes {
	p := newPipes("192.0.2.1:1234")
	h := open(t, p, routes, origin, true)
	h.quiet = true
	h.warm(stored...)
	h.encode("/encoded/page")
	for deadline := time.Now().Add(10 * time.Second); h.proxy.Stats().Encoding.Counts[rfc9111.Brotli][proxy.Encoded] == 0; {
		if time.Now().After(deadline) {
			t.Fatal("br was not made")
		}
		time.Sleep(time.Millisecond)
	}
	return p
}

// hit sends one of hits n times over p.
func hit(p *pipes, name string, n int) {
	c := &repeat{request: hits[name], peer: anybody, left: n, closed: make(chan struct{})}
	if name == "proxied" {
		c.peer = proxied
	}
	p.conns <- c
	<-c.closed
}

// What does a hit cost beside the kernel and the Go scheduler: from the bytes of the request to those of the answer, metrics not
// included?
func BenchmarkHit(b *testing.B) {
	for _, name := range []string{"least", "browser", "304", "encoded", "keyed", "rules", "proxied"} {
		b.Run(name, func(b *testing.B) {
			p := openWarm(b)
			b.ReportAllocs()
			b.ResetTimer()
			hit(p, name, b.N)
		})
	}
}

func TestAHitAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector sync.Pool drops at random; make test runs this test without it too")
	}
	p := openWarm(t)
	for name := range hits {
		hit(p, name, 100)
		var before, after runtime.MemStats
		const n = 10_000
		runtime.ReadMemStats(&before)
		hit(p, name, n)
		runtime.ReadMemStats(&after)
		if allocs := after.Mallocs - before.Mallocs; allocs > n/100 { // those of a connection, and of what else runs
			t.Errorf("%s: %d allocations for %d hits", name, allocs, n)
		}
	}
}
