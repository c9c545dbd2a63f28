package rfc9111

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestParseDate(t *testing.T) {
	want := time.Date(2050, 8, 18, 2, 1, 18, 0, time.UTC)
	tests := []struct {
		name, in string
		ok       bool
	}{
		{"IMF-fixdate", "Thu, 18 Aug 2050 02:01:18 GMT", true},
		{"whitespace round it", " Thu, 18 Aug 2050 02:01:18 GMT\t", true},
		{"RFC 850", "Thursday, 18-Aug-50 02:01:18 GMT", true},
		{"asctime", "Thu Aug 18 02:01:18 2050", true},
		{"case of the day", "THU, 18 Aug 2050 02:01:18 GMT", true},
		{"case of the month", "Thu, 18 AUG 2050 02:01:18 GMT", true},
		{"case of the zone", "Thu, 18 Aug 2050 02:01:18 gMT", true},
		{"another day", "Mon, 18 Aug 2050 02:01:18 GMT", true},
		{"UTC", "Thu, 18 Aug 2050 02:01:18 UTC", false},
		{"AEST", "Thu, 18 Aug 2050 02:01:18 AEST", false},
		{"no zone", "Thu, 18 Aug 2050 02:01:18", false},
		{"offset", "Thu, 18 Aug 2050 02:01:18 +0000", false},
		{"two-digit year", "Thu, 18 Aug 50 02:01:18 GMT", false},
		{"no comma", "Thu 18 Aug 2050 02:01:18 GMT", false},
		{"several spaces", "Thu, 18  Aug  2050 02:01:18 GMT", false},
		{"dashes and four digits", "Thu, 18-Aug-2050 02:01:18 GMT", false},
		{"dashes and a short day", "Thu, 18-Aug-50 02:01:18 GMT", false},
		{"periods", "Thu, 18 Aug 2050 02.01.18 GMT", false},
		{"one-digit hour", "Thu, 18 Aug 2050 2:01:18 GMT", false},
		{"one-digit hour, padded", "Thu, 18 Aug 2050  2:01:18 GMT", false},
		{"no day", "Xxx, 18 Aug 2050 02:01:18 GMT", false},
		{"no month", "Thu, 18 Xxx 2050 02:01:18 GMT", false},
		{"day 32", "Thu, 32 Aug 2050 02:01:18 GMT", false},
		{"day 0", "Thu, 00 Aug 2050 02:01:18 GMT", false},
		{"hour 24", "Thu, 18 Aug 2050 24:01:18 GMT", false},
		{"minute 60", "Thu, 18 Aug 2050 02:60:18 GMT", false},
		{"second 61", "Thu, 18 Aug 2050 02:01:61 GMT", false},
		{"sign", "Thu, +8 Aug 2050 02:01:18 GMT", false},
		{"zero", "0", false},
		{"minus one", "-1", false},
		{"empty", "", false},
		{"two dates", "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT", false},
		{"RFC 850, no year", "Thursday, 18-Aug-5x 02:01:18 GMT", false},
		{"RFC 850, half a day", "Thurs, 18-Aug-50 02:01:18 GMT", false},
		{"RFC 850, long day", "Donnerstag, 18-Aug-50 02:01:18 GMT", false},
		{"asctime, no padding", "Thu Aug 8 02:01:18 2050 ", false},
	}
	for _, tt := range tests {
		got, ok := parseDate(tt.in, now)
		if ok != tt.ok || ok && !got.Equal(want) {
			t.Errorf("%s: parseDate(%q) = %v, %t, want ok = %t", tt.name, tt.in, got, ok, tt.ok)
		}
	}
	for in, want := range map[string]time.Time{
		"Thu Aug  8 02:01:18 2050":        time.Date(2050, 8, 8, 2, 1, 18, 0, time.UTC),
		"Tue, 19 Jan 2038 14:14:08 GMT":   time.Date(2038, 1, 19, 14, 14, 8, 0, time.UTC),
		"Sun, 21 Nov 2286 04:46:39 GMT":   time.Date(2286, 11, 21, 4, 46, 39, 0, time.UTC),
		"Sat, 31 Dec 2016 23:59:60 GMT":   time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC),
		"Thu, 29 Feb 2024 00:00:00 GMT":   time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
		"Friday, 31-Dec-99 23:59:59 GMT":  time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC), // 2099 is more than 50 years ahead
		"Tuesday, 24-Nov-76 11:59:59 GMT": time.Date(2076, 11, 24, 11, 59, 59, 0, time.UTC),
		"Tuesday, 24-Nov-76 12:00:01 GMT": time.Date(1976, 11, 24, 12, 0, 1, 0, time.UTC),
	} {
		if got, ok := parseDate(in, now); !ok || !got.Equal(want) {
			t.Errorf("parseDate(%q) = %v, %t, want %v", in, got, ok, want)
		}
	}
	if got, ok := parseDate("Wed, 29 Feb 2023 00:00:00 GMT", now); ok {
		t.Errorf("February 29, 2023 is %v", got)
	}
}

// FuzzParseDate holds that whatever is accepted is a date to net/http too, and the same one.
func FuzzParseDate(f *testing.F) {
	for _, seed := range []string{
		"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sat, 31 Dec 2016 23:59:60 gmt",
		"sUN, 06 nOV 0000 08:49:37 GMT", "Thu, 18 Aug 2050 2:01:18 GMT",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseDate(s, now)
		if !ok {
			return
		}
		if again, ok := parseDate(got.Format(http.TimeFormat), now); got.Year() <= 9999 && (!ok || !again.Equal(got)) {
			t.Errorf("parseDate(%q) = %v, and of that %v, %t", s, got, again, ok)
		}
		standard := strings.ToUpper(trim(s))
		if leap := strings.Replace(standard, ":60 ", ":59 ", 1); leap != standard {
			standard, got = leap, got.Add(-time.Second)
		}
		want, err := http.ParseTime(standard)
		if err != nil {
			t.Errorf("parseDate(%q) = %v, http.ParseTime: %v", s, got, err)
		}
		if strings.Contains(s, "-") { // RFC 850: the century is another rule's
			want = want.AddDate(got.Year()-want.Year(), 0, 0)
		}
		if !got.Equal(want) {
			t.Errorf("parseDate(%q) = %v, http.ParseTime = %v", s, got, want)
		}
	})
}
