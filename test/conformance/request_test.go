package conformance

import (
	"testing"
	"time"
)

// testRequestDirectives asks whether a client's Cache-Control is heard (RFC
// 9111, 5.2.1), and its Pragma (5.4).
func testRequestDirectives(t *testing.T, w *world) {
	const tag = `ETag: "a"`
	// aged asks for a response that is 100 seconds old and stays fresh for 900.
	aged := []string{"Cache-Control: max-age=1000", "Age: 100"}
	again := func(name, directives string, want outcome, lines ...string) question {
		return question{name, []step{
			{lines: lines, want: fetched},
			{send: []string{"Cache-Control: " + directives}, want: want},
		}}
	}
	plus := func(lines []string, more ...string) []string { return append(append([]string{}, lines...), more...) }
	questions := []question{
		again("max-age that is kept", "max-age=200", hit, aged...),
		again("max-age that is not", "max-age=99", fetched, aged...),
		again("max-age=0", "max-age=0", fetched, aged...),
		again("max-age=0 of what is immutable", "max-age=0", hit, "Cache-Control: max-age=1000, immutable", "Age: 100"),
		again("no-cache of what is immutable", "no-cache", fetched, "Cache-Control: max-age=1000, immutable", "Age: 100"),
		again("max-age that is no number", "max-age=abc", hit, aged...),
		again("min-fresh that is kept", "min-fresh=800", hit, aged...),
		again("min-fresh that is not", "min-fresh=950", fetched, aged...),
		again("max-stale", "max-stale=100", hit, stale("")...),
		again("max-stale of any number", "max-stale", hit, stale("")...),
		again("max-stale that is less", "max-stale=5", fetched, stale("")...),
		again("max-stale, but must-revalidate", "max-stale", fetched, plus(stale(", must-revalidate"), tag)...),
		again("max-stale, but proxy-revalidate", "max-stale", fetched, plus(stale(", proxy-revalidate"), tag)...),
		again("max-stale, but s-maxage", "max-stale", fetched, plus(stale(", s-maxage=10"), tag)...),
		again("max-stale, but no-cache", "max-stale", fetched, plus(stale(", no-cache"), tag)...),
		again("no-cache", "no-cache", fetched, aged...),
		again("no-store", "no-store", fetched, aged...),
		again("only-if-cached", "only-if-cached", hit, aged...),
		again("what nobody knows", "foo, bar=\"baz\"", hit, aged...),
		again("in capitals", "NO-CACHE", fetched, aged...),
		again("a quoted number", `max-age="99"`, fetched, aged...),

		{"no-cache validates", []step{
			{lines: plus(aged, tag), want: fetched},
			{send: []string{"Cache-Control: no-cache"}, status: 304, lines: []string{tag}, want: confirmed, wantStatus: 200, wantAsked: map[string]string{"If-None-Match": `"a"`}},
		}},
		{"no-cache validates by a date", []step{
			{lines: plus(aged, "Last-Modified: Wed, 01 Jan 2020 00:00:00 GMT"), want: fetched},
			{send: []string{"Cache-Control: no-cache"}, status: 304, want: confirmed, wantStatus: 200, wantAsked: map[string]string{"If-Modified-Since": "Wed, 01 Jan 2020 00:00:00 GMT"}},
		}},
		{"no-cache stores what it gets", []step{
			{send: []string{"Cache-Control: no-cache"}, lines: aged, want: fetched},
			{want: hit},
		}},
		{"no-store does not store what it gets", []step{
			{send: []string{"Cache-Control: no-store"}, lines: aged, want: fetched},
			{want: fetched},
		}},
		{"no-store leaves what is stored", []step{
			{lines: aged, want: fetched},
			{send: []string{"Cache-Control: no-store"}, want: fetched},
			{want: hit},
		}},
		{"only-if-cached where nothing is", []step{
			{send: []string{"Cache-Control: only-if-cached"}, want: refused, wantStatus: 504},
		}},
		{"only-if-cached where it would have to be validated", []step{
			{lines: plus(stale(""), tag), want: fetched},
			{send: []string{"Cache-Control: only-if-cached"}, want: refused, wantStatus: 504},
		}},
		{"only-if-cached and max-stale", []step{
			{lines: stale(""), want: fetched},
			{send: []string{"Cache-Control: only-if-cached, max-stale"}, want: hit},
		}},

		{"Pragma: no-cache", []step{
			{lines: aged, want: fetched},
			{send: []string{"Pragma: no-cache"}, want: fetched},
		}},
		{"Pragma beside Cache-Control is not heard", []step{
			{lines: aged, want: fetched},
			{send: []string{"Pragma: no-cache", "Cache-Control: max-age=200"}, want: hit},
		}},
		{"Pragma that nobody knows", []step{
			{lines: aged, want: fetched},
			{send: []string{"Pragma: foo"}, want: hit},
		}},
		{"Pragma of a response means nothing", []step{
			{lines: plus(aged, "Pragma: no-cache"), want: fetched},
			{want: hit},
		}},
	}
	w.ask(t, questions)

	// A lifetime that is a guess is a tenth of the time since the last change.
	for name, tt := range map[string]struct {
		changed time.Duration
		want    outcome
	}{
		"a minute ago": {time.Minute, fetched},
		"an hour ago":  {time.Hour, hit},
	} {
		t.Run("last changed "+name, func(t *testing.T) {
			w.ask(t, []question{stored("guess", tt.want, "Last-Modified: "+at(-tt.changed), "Age: 30")})
		})
	}
}
