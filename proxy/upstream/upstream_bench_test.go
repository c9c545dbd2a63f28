package upstream

import (
	"io"
	"net/http"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// What does a round trip cost above that of a bare http.Transport?
func BenchmarkRoundTrip(b *testing.B) {
	origin := badorigin.New(b, func(c *badorigin.Conn, _ *badorigin.Request) {
		c.Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
	})
	u, err := New("shop", DefaultOptions(origin.URL))
	if err != nil {
		b.Fatal(err)
	}
	defer u.Close()
	bare := &http.Transport{DisableCompression: true}
	defer bare.CloseIdleConnections()
	for _, bm := range []struct {
		name string
		rt   http.RoundTripper
	}{{"upstream", u}, {"bare", bare}} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				req, err := http.NewRequestWithContext(b.Context(), "GET", origin.URL, nil)
				if err != nil {
					b.Fatal(err)
				}
				response, err := bm.rt.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, response.Body); err != nil {
					b.Fatal(err)
				}
				response.Body.Close()
			}
		})
	}
}
