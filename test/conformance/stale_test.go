package conformance

import (
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// stale are the field lines of a response that is stale on arrival.
func stale(directives string) []string {
	return []string{"Cache-Control: max-age=10" + directives, "Age: 20"}
}

// testStale asks when a stale response is used (RFC 9111, 4.2.4; RFC 5861).
func testStale(t *testing.T, w *world) {
	reset := func(c *badorigin.Conn, _ *badorigin.Request) { c.Reset() }
	half := func(c *badorigin.Conn, _ *badorigin.Request) {
		c.Send("HTTP/1.1 200 OK\r\nContent-Le")
		c.Close()
	}
	gone := step{origin: badorigin.Hangup(), want: confirmed, wantStatus: 200}
	forbidden := step{origin: badorigin.Hangup(), want: refused, wantStatus: 502}
	busy := func(want outcome) step {
		return step{status: 503, want: want, wantStatus: map[outcome]int{fetched: 503, confirmed: 200}[want]}
	}
	first := func(lines []string) step { return step{lines: lines, want: fetched} }
	etag := "ETag: \"a\""
	w.ask(t, []question{
		// Disconnected: allowed, but for what forbids it.
		{"the origin hangs up", []step{first(stale("")), gone}},
		{"it hangs up, and an ETag was sent", []step{first(append(stale(""), etag)), gone}},
		{"it resets the connection", []step{first(stale("")), {origin: reset, want: confirmed}}},
		{"it sends half a head", []step{first(stale("")), {origin: half, want: confirmed}}},
		{"it hangs up, Expires", []step{first([]string{"Expires: " + at(10*time.Second), "Age: 20"}), gone}},
		{"it hangs up, but must-revalidate", []step{first(append(stale(", must-revalidate"), etag)), forbidden}},
		{"it hangs up, but proxy-revalidate", []step{first(append(stale(", proxy-revalidate"), etag)), forbidden}},
		{"it hangs up, but s-maxage", []step{first(append(stale(", s-maxage=10"), etag)), forbidden}},
		{"it hangs up, but no-cache", []step{first(append(stale(", no-cache"), etag)), forbidden}},
		{"it hangs up, but the request says no-cache", []step{first(append(stale(""), etag)),
			{send: []string{"Cache-Control: no-cache"}, origin: badorigin.Hangup(), want: refused, wantStatus: 502}}},
		{"it hangs up, must-revalidate outweighs stale-if-error", []step{first(append(stale(", must-revalidate, stale-if-error=60"), etag)), forbidden}},
		{"it hangs up where nothing is stored", []step{forbidden}},
		{"and nothing is said of a Warning", []step{first(stale("")), // RFC 9111, 5.5: obsolete
			{origin: badorigin.Hangup(), want: confirmed, wantFields: map[string]string{"Warning": "", "Age": "20"}}}},

		// An error of the origin is its word, but for stale-if-error.
		{"503", []step{first(stale("")), busy(fetched)}},
		{"503, stale-if-error", []step{first(stale(", stale-if-error=60")), busy(confirmed)}},
		{"500, stale-if-error", []step{first(stale(", stale-if-error=60")), {status: 500, want: confirmed, wantStatus: 200}}},
		{"404, stale-if-error", []step{first(stale(", stale-if-error=60")), {status: 404, want: fetched}}},
		{"503, stale-if-error of the request", []step{first(stale("")),
			{send: []string{"Cache-Control: stale-if-error=60"}, status: 503, want: confirmed, wantStatus: 200}}},
		{"503, stale-if-error is over", []step{first(stale(", stale-if-error=5")), busy(fetched)}},
		{"503, must-revalidate outweighs stale-if-error", []step{first(append(stale(", must-revalidate, stale-if-error=60"), etag)), busy(fetched)}},
		{"503 does not displace what can be used", []step{first(stale(", stale-if-error=60")),
			{status: 503, lines: []string{"Cache-Control: max-age=60"}, want: confirmed, wantStatus: 200},
			{status: 503, want: confirmed, wantStatus: 200}}},

		{"stale-while-revalidate is over", []step{first(stale(", stale-while-revalidate=5")), {want: fetched}}},
		{"must-revalidate outweighs stale-while-revalidate", []step{first(append(stale(", must-revalidate, stale-while-revalidate=60"), etag)), {want: fetched}}},
		{"proxy-revalidate outweighs stale-while-revalidate", []step{first(append(stale(", proxy-revalidate, stale-while-revalidate=60"), etag)), {want: fetched}}},
		{"s-maxage does so after the window of stale-while-revalidate", []step{first(append(stale(", s-maxage=10, stale-while-revalidate=5"), etag)), {want: fetched}}},
	})

	t.Run("stale-while-revalidate", func(t *testing.T) {
		t.Parallel()
		path := uniquePath(t)
		w.step(t, path, 1, step{lines: stale(", stale-while-revalidate=60"), want: fetched})
		res, body, _ := w.get(t, "GET", path, nil) // answered by the script of step 1, behind
		if body != "body 1" || res.StatusCode != 200 {
			t.Errorf("stale: %d %q, want the stored response", res.StatusCode, body)
		}
		w.origin.Await(path, 2)
	})
}
