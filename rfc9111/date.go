package rfc9111

import (
	"strings"
	"time"
)

// parseDate parses an HTTP-date in one of its three forms (RFC 9110, 5.6.7). Letters may have the wrong case, everything else must be
// as the grammar says: what http.ParseTime would accept beside (another zone, a four-digit year between dashes) is invalid, so that
// such an Expires is stale. The name of the day must be one, but need not be the right one. reference decides the century of the
// obsolete two-digit year. It does not allocate.
func parseDate(s string, reference time.Time) (t time.Time, ok bool) {
	s = trim(s)
	comma := strings.IndexByte(s, ',')
	switch {
	case comma == 3 && len(s) == len("Sun, 06 Nov 1994 08:49:37 GMT"):
		return parseFixdate(s)
	case comma > 3 && len(s) == comma+len(", 06-Nov-94 08:49:37 GMT"):
		return parseRFC850(s, comma, reference)
	case comma < 0 && len(s) == len("Sun Nov  6 08:49:37 1994"):
		return parseAsctime(s)
	}
	return time.Time{}, false
}

func parseFixdate(s string) (time.Time, bool) {
	d := dateParts{
		day: number(s[5:7]), month: monthNumber(s[8:11]), year: number(s[12:16]), clock: s[17:25],
		ok: isDay(s[:3], 3) && s[4] == ' ' && s[7] == ' ' && s[11] == ' ' && s[16] == ' ' && isGMT(s[25:]),
	}
	return d.time()
}

func parseRFC850(s string, comma int, reference time.Time) (time.Time, bool) {
	day := s[:comma]
	s = s[comma:]
	d := dateParts{
		day: number(s[2:4]), month: monthNumber(s[5:8]), year: number(s[9:11]), clock: s[12:20],
		ok: isDay(day, len("Wednesday")) && s[1] == ' ' && s[4] == '-' && s[8] == '-' && s[11] == ' ' && isGMT(s[20:]),
	}
	if d.year < 0 {
		return time.Time{}, false
	}
	// More than 50 years ahead means the century before (RFC 9110, 5.6.7).
	d.year += reference.UTC().Year() / 100 * 100
	t, ok := d.time()
	if ok && t.After(reference.AddDate(50, 0, 0)) {
		d.year -= 100
		return d.time()
	}
	return t, ok
}

func parseAsctime(s string) (time.Time, bool) {
	day := s[8:10]
	if day[0] == ' ' {
		day = day[1:]
	}
	d := dateParts{
		day: number(day), month: monthNumber(s[4:7]), year: number(s[20:24]), clock: s[11:19],
		ok: isDay(s[:3], 3) && s[3] == ' ' && s[7] == ' ' && s[10] == ' ' && s[19] == ' ',
	}
	return d.time()
}

// dateParts is a date before it is known to be one. Numbers that do not parse are below 0.
type dateParts struct {
	day, month, year int
	clock            string // "08:49:37"
	ok               bool   // the rest of the grammar fits
}

func (d *dateParts) time() (time.Time, bool) {
	hour, minute, second := number(d.clock[:2]), number(d.clock[3:5]), number(d.clock[6:8])
	if !d.ok || d.clock[2] != ':' || d.clock[5] != ':' || d.month < 1 || d.day < 1 || d.year < 0 ||
		hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 {
		return time.Time{}, false
	}
	t := time.Date(d.year, time.Month(d.month), d.day, hour, minute, second, 0, time.UTC)
	// time.Date turns February 30 into March 1 or 2; a leap second may move the day, so that it is looked at without.
	valid := time.Date(d.year, time.Month(d.month), d.day, 0, 0, 0, 0, time.UTC).Day() == d.day
	return t, valid
}

// number parses digits alone; -1 for anything else.
func number(s string) int {
	n := 0
	for i := range len(s) {
		if !isDigit(s[i]) {
			return -1
		}
		n = n*10 + int(s[i]-'0')
	}
	return n
}

const months = "janfebmaraprmayjunjulaugsepoctnovdec"

func monthNumber(s string) int {
	for m := range 12 {
		if EqualFold(s, months[3*m:3*m+3]) {
			return m + 1
		}
	}
	return 0
}

var days = [...]string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}

// isDay reports whether s is the name of a day, of whose letters at most n count.
func isDay(s string, n int) bool {
	for _, day := range days {
		if EqualFold(s, day[:min(n, len(day))]) {
			return true
		}
	}
	return false
}

func isGMT(s string) bool { return s[0] == ' ' && EqualFold(s[1:], "GMT") }

// dateField parses a field that holds one HTTP-date. Several lines are invalid.
func dateField(f Fields, name string, reference time.Time) (t time.Time, ok bool) {
	value, lines := f.Field(name)
	if lines != 1 {
		return time.Time{}, false
	}
	return parseDate(value, reference)
}
