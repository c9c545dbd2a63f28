package conformance

import (
	"testing"
	"time"
)

// testAge asks how Age is read and made (RFC 9111, 4.2.3 and 5.1): of several
// values the first counts, and what is no number of seconds counts as absent.
func testAge(t *testing.T, w *world) {
	day := "Cache-Control: max-age=86400"
	past := at(-100 * time.Second)
	hour := "Cache-Control: max-age=3600"
	w.ask(t, []question{
		stored("none", hit, hour),
		stored("zero", hit, hour, "Age: 0"),
		stored("younger", hit, hour, "Age: 3500"),
		stored("as old as allowed", fetched, hour, "Age: 3600"),
		stored("older", fetched, hour, "Age: 7200"),
		stored("31 bits", fetched, hour, "Age: 2147483647"),
		stored("32 bits", fetched, hour, "Age: 2147483648"),
		stored("more than 32 bits", fetched, hour, "Age: 2147483649"),
		stored("more than 64 bits", fetched, hour, "Age: 99999999999999999999"),
		stored("letters", hit, hour, "Age: abc"),
		stored("empty", hit, hour, "Age:"),
		stored("negative", hit, hour, "Age: -7200"),
		stored("with a plus", hit, hour, "Age: +7200"),
		stored("fraction", hit, hour, "Age: 7200.0"),
		stored("quoted", hit, hour, `Age: "7200"`),
		stored("hexadecimal", hit, hour, "Age: 0x1c20"),
		stored("parameter", hit, hour, "Age: 7200;foo=bar"),
		stored("numeric parameter", hit, hour, "Age: 7200;foo=111"),
		stored("old first", fetched, hour, "Age: 7200, 0"),
		stored("old last", hit, hour, "Age: 0, 7200"),
		stored("old first in two lines", fetched, hour, "Age: 7200", "Age: 0"),
		stored("old last in two lines", hit, hour, "Age: 0", "Age: 7200"),
		stored("twice zero", hit, hour, "Age: 0, 0"),
		stored("twice zero in two lines", hit, hour, "Age: 0", "Age: 0"),
		stored("twice the same", hit, day, "Age: 3600", "Age: 3600"),

		// A Date in the past is as good as an Age; one in the future is not an
		// Age below zero.
		stored("a date long ago", fetched, hour, "Date: "+at(-2*time.Hour)),
		stored("a date to come", hit, hour, "Date: "+at(2*time.Hour)),
		stored("a date that is none", hit, hour, "Date: yesterday"),
	})

	t.Run("is sent", func(t *testing.T) {
		w.ask(t, []question{
			{"on a hit, counted on from the one received", []step{
				{lines: []string{day, "Age: 100"}, want: fetched, wantFields: map[string]string{"Age": "100"}},
				{want: hit, wantFields: map[string]string{"Age": "100"}},
			}},
			{"not on a fetch that had none", []step{
				{lines: []string{day}, want: fetched, wantFields: map[string]string{"Age": ""}},
			}},
			{"and Date and Expires stay as they are", []step{
				{lines: []string{"Expires: Thu, 18 Aug 2050 02:01:18 GMT", "Date: " + past}, want: fetched},
				{want: hit, wantFields: map[string]string{"Expires": "Thu, 18 Aug 2050 02:01:18 GMT", "Date": past}},
			}},
		})
	})
}
