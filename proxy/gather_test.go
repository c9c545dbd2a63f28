package proxy_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A small body that follows its head at once is sent with it, to the one who caused the fetch and to those who wait with him; one that
// dawdles holds nobody up.
func TestASmallBodyGoesWithItsHead(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name   string
		length int
		parts  int           // in which the body comes
		gap    time.Duration // before each of them
		flush  bool          // after the head
		want   time.Duration // when clients have the head
	}{
		{"at once", 1000, 1, 0, false, 0},
		{"soon", 1000, 1, ms, false, ms},
		{"in two parts, soon", 1000, 2, ms / 2, false, ms},
		{"in two parts, the second late", 1000, 2, 1500 * time.Microsecond, false, 2 * ms},
		{"late", 1000, 1, time.Minute, false, 2 * ms},
		{"flushed", 1000, 1, ms, true, 0},
		{"large", 1 << 20, 1, ms, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const wait = 100 * ms // until all clients are here
			body := strings.Repeat("x", tt.length)
			origin := func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(wait)
				w.Header().Set("Cache-Control", "max-age=60")
				w.Header().Set("Content-Length", strconv.Itoa(tt.length))
				w.WriteHeader(http.StatusOK)
				if tt.flush {
					_ = http.NewResponseController(w).Flush()
				}
				for i := range tt.parts {
					time.Sleep(tt.gap)
					io.WriteString(w, body[i*tt.length/tt.parts:(i+1)*tt.length/tt.parts])
				}
			}
			inFakeTime(t, (*http.Protocols).SetHTTP1, origin, func(t *testing.T, c *http.Client) {
				var clients sync.WaitGroup
				for range 3 {
					clients.Go(func() {
						begin := time.Now()
						res, err := c.Get("http://shop.example/")
						if err != nil {
							t.Error(err)
							return
						}
						defer res.Body.Close()
						if got := time.Since(begin) - wait; got != tt.want {
							t.Errorf("the head came after %v, want %v", got, tt.want)
						}
						if got, err := io.ReadAll(res.Body); string(got) != body || err != nil {
							t.Errorf("got %d bytes of %d, %v", len(got), len(body), err)
						}
					})
				}
				clients.Wait()
			})
		})
	}
}
