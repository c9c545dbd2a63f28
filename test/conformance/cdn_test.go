package conformance

import (
	"testing"
	"time"
)

// testTargetedFields asks about the fields that speak to a cache like this one
// rather than to all (RFC 9213): CDN-Cache-Control and Surrogate-Control, in
// this order.
func testTargetedFields(t *testing.T, w *world) {
	const no, long = "Cache-Control: no-store", "Cache-Control: max-age=10000"
	later := "Expires: " + at(10000*time.Second)
	past := at(-100 * time.Second)
	cdn := func(value string) string { return "CDN-Cache-Control: " + value }
	w.ask(t, []question{
		stored("max-age", hit, cdn("max-age=3600")),
		stored("max-age as large as is told apart", hit, cdn("max-age=2147483648")),
		stored("max-age larger than that", hit, cdn("max-age=99999999999")),
		stored("s-maxage", hit, cdn("max-age=0, s-maxage=60")),
		stored("the age counts", fetched, cdn("max-age=3600"), "Age: 7200"),
		stored("a directive that nobody knows", hit, cdn("max-age=60, foobar, baz=(a b);c=?0")),
		stored("in two lines", hit, cdn("max-age=60"), cdn("must-revalidate"), no),

		// It is heard instead of Cache-Control and Expires, not beside them (2.2).
		stored("outweighs no-store", hit, cdn("max-age=60"), no),
		stored("outweighs private", hit, cdn("max-age=60"), "Cache-Control: private"),
		stored("max-age=0", fetched, cdn("max-age=0"), long, later),
		stored("max-age below zero", fetched, cdn("max-age=-5"), long, later),
		stored("no-store", fetched, cdn("no-store"), long, later),
		stored("private", fetched, cdn("private"), long, later),
		stored("no-cache", fetched, cdn("no-cache"), long, later),
		stored("no lifetime of its own", fetched, cdn("must-revalidate"), long, later),
		stored("no-store that is false", hit, cdn("max-age=60, no-store=?0"), no),

		// What is no structured field counts as absent (2.1).
		stored("garbage after a directive, none else", fetched, cdn("max-age=10000, &&&&&"), no),
		stored("garbage after a directive", hit, cdn("max-age=0, &&&&&"), long),
		stored("a string for a number, none else", fetched, cdn(`max-age="10000"`), no),
		stored("a string for a number", hit, cdn(`max-age="0"`), long),
		stored("a fraction for a number", fetched, cdn("max-age=60.5"), no),
		stored("a name in capitals", fetched, cdn("MAX-AGE=60"), no),
		stored("a space before =", fetched, cdn("max-age =60"), no),
		stored("a space after =", fetched, cdn("max-age= 60"), no),
		stored("a comma at the end", fetched, cdn("max-age=60,"), no),
		stored("empty", hit, cdn(""), long),
		stored("empty, none else", fetched, cdn(""), no),
		stored("of two values the last counts", hit, cdn("max-age=0, max-age=60"), no),

		stored("Surrogate-Control", hit, "Surrogate-Control: max-age=60", no),
		stored("Surrogate-Control: no-store", fetched, "Surrogate-Control: no-store", long),
		stored("before Surrogate-Control", hit, cdn("max-age=60"), "Surrogate-Control: no-store", no),
		stored("Surrogate-Control where it is invalid", hit, cdn("max-age= 0"), "Surrogate-Control: max-age=60", no),

		{"is sent on, for a cache nearer to the client", []step{
			{lines: []string{cdn("max-age=60, foo"), "Surrogate-Control: max-age=5", "Cache-Control: max-age=1"}, want: fetched,
				wantFields: map[string]string{"Cdn-Cache-Control": "max-age=60, foo", "Surrogate-Control": "max-age=5", "Cache-Control": "max-age=1"}},
			{want: hit,
				wantFields: map[string]string{"Cdn-Cache-Control": "max-age=60, foo", "Surrogate-Control": "max-age=5", "Cache-Control": "max-age=1"}},
		}},
		{"Age and Date are sent though Cache-Control ended before", []step{
			{lines: []string{"Cache-Control: max-age=1", cdn("max-age=10000"), "Date: " + past}, want: fetched},
			{want: hit, wantFields: map[string]string{"Date": past}},
		}},
	})
}
