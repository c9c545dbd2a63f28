package conformance

import (
	"testing"
	"time"
)

// testExpires asks how Expires is read (RFC 9111, 5.3; RFC 9110, 5.6.7): the
// three forms of a date, letter case aside, and nothing else. What is no date
// lies in the past.
func testExpires(t *testing.T, w *world) {
	w.ask(t, []question{
		stored("future", hit, "Expires: "+at(time.Hour)),
		stored("now", fetched, "Expires: "+at(0)),
		stored("past", fetched, "Expires: "+at(-time.Hour)),
		stored("past 31 bits", hit, "Expires: Tue, 19 Jan 2038 14:14:08 GMT"),
		stored("far future", hit, "Expires: Sun, 21 Nov 2286 04:46:39 GMT"),
		stored("RFC 850", hit, "Expires: Thursday, 18-Aug-50 02:01:18 GMT"),
		stored("asctime", hit, "Expires: Thu Aug  8 02:01:18 2050"),
		stored("weekday in capitals", hit, "Expires: THU, 18 Aug 2050 02:01:18 GMT"),
		stored("month in capitals", hit, "Expires: Thu, 18 AUG 2050 02:01:18 GMT"),
		stored("zone in mixed case", hit, "Expires: Thu, 18 Aug 2050 02:01:18 gMT"),

		stored("zero", fetched, "Expires: 0"),
		stored("minus one", fetched, "Expires: -1"),
		stored("empty", fetched, "Expires:"),
		stored("UTC", fetched, "Expires: Thu, 18 Aug 2050 02:01:18 UTC"),
		stored("another zone", fetched, "Expires: Thu, 18 Aug 2050 02:01:18 AEST"),
		stored("zone as an offset", fetched, "Expires: Thu, 18 Aug 2050 02:01:18 +0000"),
		stored("no zone", fetched, "Expires: Thu, 18 Aug 2050 02:01:18"),
		stored("year of two digits", fetched, "Expires: Thu, 18 Aug 50 02:01:18 GMT"),
		stored("no comma", fetched, "Expires: Thu 18 Aug 2050 02:01:18 GMT"),
		stored("two spaces", fetched, "Expires: Thu, 18  Aug  2050 02:01:18 GMT"),
		stored("dashes", fetched, "Expires: Thu, 18-Aug-2050 02:01:18 GMT"),
		stored("periods in the time", fetched, "Expires: Thu, 18 Aug 2050 02.01.18 GMT"),
		stored("hour of one digit", fetched, "Expires: Thu, 18 Aug 2050 2:01:18 GMT"),
		stored("day of one digit", fetched, "Expires: Mon, 8 Aug 2050 02:01:18 GMT"),
		stored("a day that is not", fetched, "Expires: Thu, 31 Feb 2050 02:01:18 GMT"),
		stored("two lines", fetched, "Expires: Thu, 18 Aug 2050 02:01:18 GMT", "Expires: Thu, 18 Aug 2050 02:01:19 GMT"),
		stored("two lines, both wrong", fetched, "Expires: Thu, 18 Aug 2050 2:01:18 GMT", "Expires: Thu, 18 Aug 2050 2:01:19 GMT"),

		// What counts more than Expires (RFC 9111, 4.2.1).
		stored("max-age outweighs the past", hit, "Cache-Control: max-age=60", "Expires: 0"),
		stored("max-age=0 outweighs the future", fetched, "Cache-Control: max-age=0", "Expires: "+at(time.Hour)),
		stored("s-maxage outweighs max-age", hit, "Cache-Control: max-age=0, s-maxage=60", "Expires: 0"),
		stored("s-maxage=0 outweighs max-age", fetched, "Cache-Control: max-age=60, s-maxage=0"),

		// The lifetime counts from Date, not from our clock.
		stored("after a date to come", fetched, "Date: "+at(2*time.Hour), "Expires: "+at(time.Hour)),
	})
}
