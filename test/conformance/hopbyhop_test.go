package conformance

import (
	"testing"
)

// testHopByHop asks about fields that speak of one connection (RFC 9110, 7.6.1;
// RFC 9111, 3.1): they are neither sent on nor stored.
func testHopByHop(t *testing.T, w *world) {
	const fresh = "Cache-Control: max-age=60"
	var questions []question
	for name, value := range map[string]string{
		"Keep-Alive":                "timeout=5",
		"Proxy-Authenticate":        "Basic realm=\"a\"",
		"Proxy-Authentication-Info": "nextnonce=\"a\"",
		"Proxy-Authorization":       "Basic YTpi",
		"Proxy-Connection":          "keep-alive",
		"TE":                        "trailers",
		"Upgrade":                   "h2c",
	} {
		questions = append(questions, question{name + " of a response", []step{
			{lines: []string{fresh, name + ": " + value}, want: fetched},
			{want: hit, wantFields: map[string]string{name: ""}},
		}})
	}
	questions = append(questions,
		question{"fields that Connection names", []step{
			{lines: []string{fresh, "Connection: a-one, B-Two", "Connection: C-Three", "A-One: 1", "B-Two: 2", "C-Three: 3", "D-Four: 4"}, want: fetched},
			{want: hit, wantFields: map[string]string{"A-One": "", "B-Two": "", "C-Three": "", "D-Four": "4", "Connection": ""}},
		}},
		question{"Connection names Cache-Control", []step{ // it still rules what is stored
			{lines: []string{"Cache-Control: no-store", "Connection: Cache-Control"}, want: fetched},
			{want: fetched},
		}},
		question{"Connection names Authorization in a request", []step{
			{send: []string{"Authorization: Basic YTpi", "Connection: Authorization"}, lines: []string{fresh}, want: fetched},
			{want: fetched},
		}},
		question{"fields of a request", []step{
			{send: []string{"Connection: X-Mine, close", "X-Mine: 1", "Keep-Alive: 5", "Proxy-Connection: a", "TE: gzip", "Upgrade: foo", "Other: 1"}, want: fetched,
				wantAsked: map[string]string{"X-Mine": "", "Keep-Alive": "", "Proxy-Connection": "", "Te": "", "Upgrade": "", "Other": "1"}},
		}},

		// Fields that a directive names are used after validation only, or for one
		// user only; so they are not stored (RFC 9111, 5.2.2.4 and 5.2.2.7).
		question{"fields that no-cache names", []step{
			{lines: []string{"Cache-Control: max-age=60, no-cache=\"A, b\"", "A: 1", "B: 2", "C: 3"}, want: fetched, wantFields: map[string]string{"A": "1", "B": "2", "C": "3"}},
			{want: hit, wantFields: map[string]string{"A": "", "B": "", "C": "3"}},
		}},
		question{"fields that private names", []step{
			{lines: []string{"Cache-Control: max-age=60, private=\"a\"", "A: 1", "B: 2"}, want: fetched},
			{want: hit, wantFields: map[string]string{"A": "", "B": "2"}},
		}},
		question{"Set-Cookie that no-cache names", []step{
			{lines: []string{"Cache-Control: max-age=60, no-cache=\"set-cookie\"", "Set-Cookie: a=b"}, want: fetched, wantFields: map[string]string{"Set-Cookie": "a=b"}},
			{want: hit, wantFields: map[string]string{"Set-Cookie": ""}},
		}},
		question{"nothing is made up", []step{
			{lines: []string{fresh}, want: fetched, wantFields: map[string]string{"Content-Type": "", "Server": "", "Last-Modified": "", "Etag": "", "Expires": ""}},
			{want: hit, wantFields: map[string]string{"Content-Type": "", "Server": "", "Last-Modified": "", "Etag": "", "Expires": ""}},
		}},
	)
	w.ask(t, questions)
}
