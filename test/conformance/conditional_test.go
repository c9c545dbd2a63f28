package conformance

import (
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// testConditionalRequests asks how a client's conditions are answered from what
// is stored, and how a stored response is validated (RFC 9110, 8.8 and 13; RFC
// 9111, 4.3).
func testConditionalRequests(t *testing.T, w *world) {
	const fresh = "Cache-Control: max-age=60"
	// known asks for a fresh response with the field lines once more, under a
	// condition.
	known := func(name, condition string, wantStatus int, lines ...string) question {
		return question{name, []step{
			{lines: append([]string{fresh}, lines...), want: fetched},
			{send: []string{condition}, want: hit, wantStatus: wantStatus},
		}}
	}
	modified := at(-time.Hour)
	w.ask(t, []question{
		known("the tag", `If-None-Match: "a"`, 304, `ETag: "a"`),
		known("another tag", `If-None-Match: "b"`, 200, `ETag: "a"`),
		known("any tag", `If-None-Match: *`, 304, `ETag: "a"`),
		known("the first of several", `If-None-Match: "a", "b", "c"`, 304, `ETag: "a"`),
		known("the second of several", `If-None-Match: "b", "a", "c"`, 304, `ETag: "a"`),
		known("the last of several, without spaces", `If-None-Match: "b","c","a"`, 304, `ETag: "a"`),
		known("a tag with a comma", `If-None-Match: "x,a"`, 200, `ETag: "a"`),
		known("a tag with a comma that is meant", `If-None-Match: "x,a"`, 304, `ETag: "x,a"`),
		known("obs-text in the tag", "If-None-Match: \"a\xfc\"", 304, "ETag: \"a\xfc\""),
		known("other obs-text in the tag", "If-None-Match: \"a\xc3\xbc\"", 200, "ETag: \"a\xfc\""),
		known("the comparison is weak", `If-None-Match: W/"a"`, 304, `ETag: "a"`),
		known("the comparison is weak the other way", `If-None-Match: "a"`, 304, `ETag: W/"a"`),
		known("a lower-case w is no weak tag", `If-None-Match: w/"a"`, 200, `ETag: "a"`),
		known("letter case counts", `If-None-Match: "A"`, 200, `ETag: "a"`),
		known("quotes belong to the tag", `If-None-Match: a`, 200, `ETag: "a"`),
		known("quotes are not added to the tag", `If-None-Match: "a"`, 200, `ETag: a`),
		known("what is no tag still matches itself", `If-None-Match: a`, 304, `ETag: a`),
		known("a tag goes before a date", "If-None-Match: \"b\"", 200, `ETag: "a"`, "Last-Modified: "+modified),

		known("the date", "If-Modified-Since: "+modified, 304, "Last-Modified: "+modified),
		known("a later date", "If-Modified-Since: "+at(-time.Minute), 304, "Last-Modified: "+modified),
		known("an earlier date", "If-Modified-Since: "+at(-2*time.Hour), 200, "Last-Modified: "+modified),
		known("the date in another form", "If-Modified-Since: "+time.Now().Add(-time.Minute).UTC().Format("Monday, 02-Jan-06 15:04:05 GMT"), 304, "Last-Modified: "+modified),
		known("what is no date", "If-Modified-Since: yesterday", 200, "Last-Modified: "+modified),
		// Where there is no Last-Modified, Date stands for it (RFC 9111, 4.3.2).
		known("a date before that of the response", "If-Modified-Since: "+at(-time.Minute), 200),
		known("a date after that of the response", "If-Modified-Since: "+at(time.Minute), 304),

		{"the 304 carries what selects and freshens", []step{ // RFC 9110, 15.4.5
			{lines: []string{fresh, `ETag: "a"`, "Vary: Foo", "Content-Location: /x", "Expires: " + at(time.Hour)}, want: fetched},
			{send: []string{`If-None-Match: "a"`}, want: hit, wantStatus: 304,
				wantFields: map[string]string{"Etag": `"a"`, "Vary": "Foo", "Content-Location": "/x", "Cache-Control": "max-age=60", "Content-Length": ""}},
		}},

		// A fill is for everybody, so the conditions of one client stay here.
		{"on a miss", []step{
			{send: []string{`If-None-Match: "a"`}, lines: []string{fresh, `ETag: "a"`}, want: fetched, wantStatus: 304, wantAsked: map[string]string{"If-None-Match": ""}},
			{want: hit},
		}},

		// Validation.
		{"a tag validates", []step{
			{lines: append(stale(""), `ETag: "a"`), want: fetched},
			{status: 304, lines: []string{`ETag: "a"`}, want: confirmed, wantStatus: 200, wantAsked: map[string]string{"If-None-Match": `"a"`}},
		}},
		{"a weak tag validates", []step{
			{lines: append(stale(""), `ETag: W/"a"`), want: fetched},
			{status: 304, lines: []string{`ETag: W/"a"`}, want: confirmed, wantStatus: 200, wantAsked: map[string]string{"If-None-Match": `W/"a"`}},
		}},
		{"a tag is sent back as it came", []step{
			{lines: append(stale(""), "ETag: abc"), want: fetched},
			{want: fetched, wantAsked: map[string]string{"If-None-Match": "abc"}},
		}},
		{"a date validates", []step{
			{lines: append(stale(""), "Last-Modified: "+modified), want: fetched},
			{status: 304, want: confirmed, wantStatus: 200, wantAsked: map[string]string{"If-Modified-Since": modified}},
		}},
		{"the client's tag is not sent instead", []step{
			{lines: append(stale(""), `ETag: "a"`), want: fetched},
			{send: []string{`If-None-Match: "b"`}, status: 304, lines: []string{`ETag: "a"`}, want: confirmed, wantStatus: 200, wantAsked: map[string]string{"If-None-Match": `"a"`}},
		}},
		{"a client that knows the response gets 304 after validation", []step{
			{lines: append(stale(""), "Last-Modified: "+modified), want: fetched},
			{send: []string{"If-Modified-Since: " + modified}, status: 304, want: confirmed, wantStatus: 304, wantAsked: map[string]string{"If-Modified-Since": modified}},
		}},
		{"the fields that Vary names are sent with a validation", []step{
			{send: []string{"Abc: 123"}, lines: append(stale(""), `ETag: "a"`, "Vary: Abc"), want: fetched},
			{send: []string{"Abc: 123"}, status: 304, lines: []string{`ETag: "a"`}, want: confirmed, wantStatus: 200, wantAsked: map[string]string{"Abc": "123", "If-None-Match": `"a"`}},
		}},
		{"tags of other variants are offered", []step{ // RFC 9111, 4.3.1
			{send: []string{"Abc: 1"}, lines: []string{fresh, `ETag: "a"`, "Vary: Abc"}, want: fetched},
			{send: []string{"Abc: 2"}, lines: []string{fresh, `ETag: "b"`, "Vary: Abc"}, want: fetched, wantAsked: map[string]string{"If-None-Match": `"a"`}},
			{send: []string{"Abc: 2"}, want: hit},
			{send: []string{"Abc: 1"}, want: hit},
		}},
		{"the tag of another variant is confirmed", []step{ // RFC 9111, 4.3.3
			{send: []string{"Abc: 1"}, lines: []string{fresh, `ETag: "a"`, "Vary: Abc"}, want: fetched},
			{send: []string{"Abc: 2"}, status: 304, lines: []string{fresh, `ETag: "a"`, "Vary: Abc"}, want: confirmed, wantStatus: 200, wantAsked: map[string]string{"If-None-Match": `"a"`}},
			{send: []string{"Abc: 2"}, want: hit},
			{send: []string{"Abc: 1"}, want: hit},
		}},
		{"a 304 without a tag confirms no other variant", []step{ // RFC 9111, 4.3.4
			{send: []string{"Abc: 1"}, lines: []string{fresh, `ETag: "a"`, "Vary: Abc"}, want: fetched},
			{send: []string{"Abc: 2"}, origin: func(c *badorigin.Conn, r *badorigin.Request) {
				if r.Header.Get("If-None-Match") != "" {
					c.Respond(304, "")
					return
				}
				c.Respond(200, "body 2", "Step: 2", fresh, "Vary: Abc")
			}, want: fetched, wantStatus: 200},
		}},
		{"with no-cache every use is validated", []step{
			{lines: []string{"Cache-Control: max-age=60, no-cache", `ETag: "a"`}, want: fetched},
			{status: 304, lines: []string{"Cache-Control: max-age=60, no-cache", `ETag: "a"`}, want: confirmed, wantStatus: 200},
			{status: 304, lines: []string{`ETag: "a"`}, want: confirmed, wantStatus: 200},
		}},
	})
}
