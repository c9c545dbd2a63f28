package conformance

import (
	"strconv"
	"testing"
	"time"
)

// testStatus asks which responses are stored by their status code (RFC 9111, 3
// and 5.2.2.3; RFC 9110, 15.1).
func testStatus(t *testing.T, w *world) {
	again := func(name string, status int, want outcome, lines ...string) question {
		return question{name, []step{
			{status: status, lines: lines, want: fetched},
			{status: status, lines: []string{"Cache-Control: no-store"}, want: want},
		}}
	}
	questions := []question{
		again("599 must-understand", 599, fetched, "Cache-Control: max-age=60, no-store, must-understand"),
		again("200 must-understand", 200, hit, "Cache-Control: max-age=60, no-store, must-understand"),
		again("404 must-understand", 404, hit, "Cache-Control: max-age=60, no-store, must-understand"),
		again("206 that nobody asked for", 206, fetched, "Cache-Control: max-age=60"),
		again("503 without a lifetime", 503, fetched),
		again("299 that is public", 299, hit, "Cache-Control: public", "Last-Modified: "+at(-1000*time.Hour)),
	}
	// With a lifetime of its own any final response can be stored, whether its
	// number has a name or not.
	for _, status := range []int{
		200, 201, 202, 203, 204, 205, 299, 300, 301, 302, 303, 307, 308, 399, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411,
		412, 413, 414, 415, 416, 417, 421, 422, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 511, 599,
	} {
		name := strconv.Itoa(status)
		questions = append(questions,
			again(name+" with max-age", status, hit, "Cache-Control: max-age=60"),
			again(name+" with Expires", status, hit, "Expires: "+at(time.Minute)),
			again(name+" with max-age=0", status, fetched, "Cache-Control: max-age=0"),
			again(name+" with no-store", status, fetched, "Cache-Control: no-store"))
	}
	// Without one, only those that RFC 9110 names are kept on a guess.
	guess := "Last-Modified: " + at(-1000*time.Hour)
	for _, status := range []int{200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501} {
		questions = append(questions, again(strconv.Itoa(status)+" by a guess", status, hit, guess))
	}
	for _, status := range []int{
		201, 202, 205, 299, 302, 303, 307, 400, 401, 402, 403, 406, 407, 408, 409, 411, 412, 413, 415, 416, 417, 422, 429, 431, 499, 500,
		502, 503, 504, 505, 599,
	} {
		questions = append(questions, again(strconv.Itoa(status)+" by a guess", status, fetched, guess))
	}
	w.ask(t, questions)
}
