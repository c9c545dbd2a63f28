package framing_test

import (
	"testing"

	"github.com/cacheproxy/cacheproxy/proxy/framing"
)

// browser is what a browser sends, some 500 bytes.
var browser = []byte(lines("GET /products/1234?color=red HTTP/1.1", "Host: shop.example.com", "Connection: keep-alive",
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Accept-Language: en-US,en;q=0.5",
	"Accept-Encoding: gzip, deflate, br, zstd", "Referer: https://shop.example.com/products/", "Cookie: consent=1; theme=dark",
	"Upgrade-Insecure-Requests: 1", "Sec-Fetch-Dest: document", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: same-origin"))

// What does the check add to a plain request, and to one that comes in two reads?
func BenchmarkRequests(b *testing.B) {
	for _, bench := range []struct {
		name  string
		parts [][]byte
	}{
		{"least", [][]byte{[]byte(get)}},
		{"browser", [][]byte{browser}},
		{"split", [][]byte{browser[:300], browser[300:]}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			r := follow()
			for b.Loop() {
				for _, p := range bench.parts {
					if n, err := r.Check(p); err != nil || n != len(p) {
						b.Fatal(n, err)
					}
				}
			}
		})
	}
}

func TestRequestsAllocateNothing(t *testing.T) {
	r := &framing.Requests{MaxLine: 1 << 20}
	body := []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
	if allocs := testing.AllocsPerRun(100, func() {
		r.Check(browser)
		r.Check(body)
		r.Check([]byte(chunked))
		r.Check([]byte("3\r\nabc\r\n0\r\n\r\n"))
	}); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}
