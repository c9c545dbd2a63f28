package conformance

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// testInterim asks what becomes of interim responses (RFC 9110, 15.2): they go
// to the client that caused them, and nothing of them is stored.
func testInterim(t *testing.T, w *world) {
	const link = "</styles.css>; rel=preload; as=style"
	final := badorigin.OK("final", "Cache-Control: max-age=60")
	early := func(times int) badorigin.Handler {
		return badorigin.Interim(103, times, final, "Link: "+link, "X-Early: yes")
	}
	tests := []struct {
		name   string
		origin badorigin.Handler
		want   []int
		link   bool
	}{
		{"102", badorigin.Interim(102, 1, final), []int{102}, false},
		{"103", early(1), []int{103}, true},
		{"three times 103", early(3), []int{103, 103, 103}, true},
		{"102, then 103", badorigin.Interim(102, 1, early(1)), []int{102, 103}, false},
		{"a number without a name", badorigin.Interim(199, 1, final), []int{199}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := uniquePath(t)
			w.script(path, tt.origin)

			res, body, interims := w.get(t, "GET", path, nil)
			var statuses []int
			for _, i := range interims {
				statuses = append(statuses, i.status)
				if tt.link && (i.header.Get("Link") != link || i.header.Get("X-Early") != "yes") {
					t.Errorf("the fields of %d: %v, want those of the origin", i.status, i.header)
				}
			}
			if !slices.Equal(statuses, tt.want) {
				t.Errorf("interim responses %v, want %v", statuses, tt.want)
			}
			mustBeFinal(t, res, body)

			res, body, interims = w.get(t, "GET", path, nil)
			if len(interims) > 0 {
				t.Errorf("interim responses with a hit: %v", interims)
			}
			mustBeFinal(t, res, body)
			if n := len(w.received(path)); n != 1 {
				t.Errorf("the origin was asked %d times, want once: what followed the interim response can be stored", n)
			}
		})
	}

	// RFC 9110, 15.2: a 1xx is never sent to a client of HTTP/1.0.
	t.Run("HTTP 1.0", func(t *testing.T) {
		t.Parallel()
		path := uniquePath(t)
		w.script(path, early(1))
		answer := rawGet(t, w, "GET "+path+" HTTP/1.0\r\nHost: "+strings.TrimPrefix(w.proxy.URL, "http://")+"\r\n\r\n")
		if strings.Contains(answer, " 103 ") || !strings.Contains(answer, " 200 OK\r\n") {
			t.Errorf("a client of HTTP/1.0 got:\n%s", answer)
		}
	})
}

func mustBeFinal(t *testing.T, res *http.Response, body string) {
	t.Helper()
	if res.StatusCode != 200 || body != "final" || res.Header.Get("Link") != "" || res.Header.Get("X-Early") != "" {
		t.Errorf("the final response: %d %v %q, want the body \"final\" and no field of the interim ones", res.StatusCode, res.Header, body)
	}
}

// rawGet sends the bytes and returns what comes until the proxy closes.
func rawGet(t *testing.T, w *world, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.proxy.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	return string(answer)
}
