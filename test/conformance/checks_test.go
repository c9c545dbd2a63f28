package conformance

import (
	"testing"
	"time"
)

// testChecks asks what the public suite asks without wanting an answer, as far
// as no other group does: what the specifications leave open, and we decided.
// docs/conformance.md gives the reasons.
func testChecks(t *testing.T, w *world) {
	const fresh = "Cache-Control: max-age=60"
	cc := func(value string) string { return "Cache-Control: " + value }
	guess := "Last-Modified: " + at(-time.Hour)
	w.ask(t, []question{
		// Cache-Control that is not well formed (RFC 9111, 4.2.1 and 5.2).
		stored("a quoted number", hit, cc(`max-age="60"`)),
		stored("a number in single quotes", fetched, cc(`max-age='60'`)),
		stored("letters after the number", fetched, cc("max-age=60a")),
		stored("letters before the number", fetched, cc("max-age=a60")),
		stored("a fraction", fetched, cc("max-age=60.5")),
		stored("below zero", fetched, cc("max-age=-60")),
		stored("a zero before the number", hit, cc("max-age=060")),
		stored("of two the first counts, fresh", hit, cc("max-age=60, max-age=0")),
		stored("of two the first counts, stale", fetched, cc("max-age=0, max-age=60")),
		stored("of two lines the first counts", fetched, cc("max-age=0"), cc("max-age=60")),
		stored("a directive inside a quoted string", fetched, cc(`extension="max-age=60"`)),
		stored("a comma inside a quoted string", hit, cc(`extension="a, no-store", max-age=60`)),
		stored("no-store in capitals", fetched, cc("NO-STORE, max-age=60")),
		stored("a prefix of no-store", hit, cc("no-stor, max-age=60")),
		stored("an argument of no-store", fetched, cc("no-store=1, max-age=60")),
		stored("semicolons instead of commas", fetched, cc("max-age=60; no-store")),

		// What is said of caching beside Cache-Control.
		stored("Content-Disposition: attachment", hit, fresh, "Content-Disposition: attachment; filename=foo"),
		stored("Content-Disposition: attachment, by a guess", hit, guess, "Content-Disposition: attachment; filename=foo"),
		stored("Set-Cookie", fetched, fresh, "Set-Cookie: a=b"),
		stored("immutable alone gives no lifetime", fetched, cc("immutable")),
		stored("public alone gives no lifetime", fetched, cc("public")),
		stored("private with names", hit, cc(`max-age=60, private="foo"`)),
		stored("private", fetched, cc("max-age=60, private")),

		{"a cookie in the request", []step{
			{send: []string{"Cookie: a=b"}, lines: []string{fresh}, want: fetched},
			{send: []string{"Cookie: c=d"}, want: hit},
		}},
		{"Authorization", []step{ // RFC 9111, 3.5
			{send: []string{"Authorization: Basic YTpi"}, lines: []string{fresh}, want: fetched},
			{want: fetched},
		}},
		{"Authorization and public", []step{
			{send: []string{"Authorization: Basic YTpi"}, lines: []string{cc("max-age=60, public")}, want: fetched},
			{want: hit},
		}},
		{"Authorization and must-revalidate", []step{
			{send: []string{"Authorization: Basic YTpi"}, lines: []string{cc("max-age=60, must-revalidate")}, want: fetched},
			{want: hit},
		}},
		{"Authorization and s-maxage", []step{
			{send: []string{"Authorization: Basic YTpi"}, lines: []string{cc("s-maxage=60")}, want: fetched},
			{want: hit},
		}},
		{"an unsafe method invalidates", []step{ // RFC 9111, 4.4
			{lines: []string{fresh}, want: fetched},
			{method: "DELETE", want: fetched},
			{want: fetched},
		}},
		{"one that failed does not", []step{
			{lines: []string{fresh}, want: fetched},
			{method: "DELETE", status: 500, want: fetched},
			{want: hit},
		}},
		{"one that nobody knows does", []step{
			{lines: []string{fresh}, want: fetched},
			{method: "FOO", want: fetched},
			{want: fetched},
		}},
		{"a stale response and HEAD", []step{ // the answer to a GET serves both
			{lines: append(stale(""), `ETag: "a"`), want: fetched},
			{method: "HEAD", status: 304, lines: []string{fresh, `ETag: "a"`}, want: confirmed, wantStatus: 200, wantAsked: map[string]string{"If-None-Match": `"a"`}},
			{want: hit},
		}},
	})
	t.Run("a POST that says what a GET would get", func(t *testing.T) { // stored only with store.post
		t.Parallel()
		path := uniquePath(t)
		w.step(t, path, 1, step{method: "POST", lines: []string{fresh, "Content-Location: " + path}, want: fetched})
		w.step(t, path, 2, step{want: fetched})
	})
}
