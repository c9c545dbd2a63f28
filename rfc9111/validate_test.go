package rfc9111

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func meta(v Validators) *Meta {
	return &Meta{Status: 200, Date: now, ResponseTime: now, Validators: v}
}

func date(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }

func TestConditions(t *testing.T) {
	a, b, c := meta(Validators{`"a"`, date(-1)}), meta(Validators{`W/"b"`, date(-2)}), meta(Validators{"", date(-3)})
	odd := meta(Validators{`abc, "x`, ""})
	tests := []struct {
		section         string
		metas           []*Meta
		match, modified string
	}{
		{"4.3.1", []*Meta{a}, `"a"`, date(-1)},
		{"4.3.1, a date alone", []*Meta{c}, "", date(-3)},
		{"4.3.1, nothing", []*Meta{meta(Validators{})}, "", ""},
		{"4.3.1, several", []*Meta{a, b, c}, `"a", W/"b"`, ""},
		{"4.3.1, equal ones once", []*Meta{a, b, a}, `"a", W/"b"`, ""},
		{"4.3.1, as received", []*Meta{odd}, `abc, "x`, ""},
		{"4.3.1, what would break the list", []*Meta{a, odd, b}, `"a", W/"b"`, ""},
		{"4.3.1, none at all", nil, "", ""},
	}
	for _, tt := range tests {
		if match, modified := Conditions(tt.metas...); match != tt.match || modified != tt.modified {
			t.Errorf("%s: %q, %q, want %q, %q", tt.section, match, modified, tt.match, tt.modified)
		}
	}
}

func TestWellFormed(t *testing.T) {
	for tag, want := range map[string]bool{
		`"a"`: true, `W/"a"`: true, `""`: true, "\"\xfc!\"": true, `"a\"`: true,
		``: false, `"`: false, `a`: false, `"a`: false, `a"`: false, `w/"a"`: false, `W/`: false, `"a"b"`: false, `"a b"`: false, "\"\x7f\"": false,
	} {
		if wellFormed(tag) != want {
			t.Errorf("wellFormed(%q) = %t", tag, !want)
		}
	}
}

func TestPreconditions(t *testing.T) {
	strong := meta(Validators{`"a"`, date(-time.Hour)})
	weak := meta(Validators{ETag: `W/"a"`})
	dated := meta(Validators{LastModified: date(-time.Hour)})
	bare := meta(Validators{})
	failed := meta(Validators{`"a"`, date(-time.Hour)})
	failed.Status = 404
	last2xx := meta(Validators{ETag: `"a"`})
	last2xx.Status = 299
	const inm, ims = "If-None-Match: ", "If-Modified-Since: "
	tests := []struct {
		section string
		stored  *Meta
		lines   []string
		want    int
	}{
		{"4.3.2, no condition", strong, nil, 0},
		{"9110 13.1.2", strong, []string{inm + `"a"`}, 304},
		{"9110 13.1.2", strong, []string{inm + `"b"`}, 0},
		{"9110 13.1.2, weak comparison", strong, []string{inm + `W/"a"`}, 304},
		{"9110 13.1.2, weak comparison", weak, []string{inm + `"a"`}, 304},
		{"9110 13.1.2, weak comparison", weak, []string{inm + `W/"a"`}, 304},
		{"9110 13.1.2, first of a list", strong, []string{inm + `"a", "1", "2"`}, 304},
		{"9110 13.1.2, middle of a list", strong, []string{inm + `"1","a", "2"`}, 304},
		{"9110 13.1.2, last of a list", strong, []string{inm + `"1"`, inm + `"2", "a"`}, 304},
		{"9110 13.1.2, within another tag", strong, []string{inm + `"1,"a",2"`}, 0},
		{"9110 13.1.2, *", strong, []string{inm + "*"}, 304},
		{"9110 13.1.2, * without a tag", bare, []string{inm + " * "}, 304},
		{"9110 13.1.2, empty", bare, []string{inm}, 0},
		{"9110 13.1.2, no tag stored", dated, []string{inm + `"a"`}, 0},
		{"9110 13.2.2, the tag wins", strong, []string{inm + `"b"`, ims + date(0)}, 0},
		{"9110 13.2.2, the tag wins", strong, []string{inm + `"a"`, ims + date(-2*time.Hour)}, 304},
		{"odd tag, unquoted", meta(Validators{ETag: "abc"}), []string{inm + "abc"}, 304},
		{"odd tag, unquoted against quoted", meta(Validators{ETag: `"abc"`}), []string{inm + "abc"}, 0},
		{"odd tag, lower-case w", meta(Validators{ETag: `w/"a"`}), []string{inm + `w/"a"`}, 304},
		{"odd tag, backslash", meta(Validators{ETag: `W\"a"`}), []string{inm + `W\"a"`}, 304},
		{"odd tag, no slash", meta(Validators{ETag: `W"a"`}), []string{inm + `W"a"`}, 304},
		{"9110 8.8.3, obs-text", meta(Validators{ETag: "\"\xfc\""}), []string{inm + "\"\xfc\""}, 304},
		{"9110 8.8.3, bytes", meta(Validators{ETag: "\"\xfc\""}), []string{inm + "\"\u00fc\""}, 0},

		{"9110 13.1.3", dated, []string{ims + date(-time.Hour)}, 304},
		{"9110 13.1.3, later", dated, []string{ims + date(-time.Minute)}, 304},
		{"9110 13.1.3, earlier", dated, []string{ims + date(-2*time.Hour)}, 0},
		{"9110 13.1.3, RFC 850", dated, []string{ims + now.Add(-time.Hour).Format("Monday, 02-Jan-06 15:04:05 GMT")}, 304},
		{"9110 13.1.3, no date", dated, []string{ims + "yesterday"}, 0},
		{"9110 13.1.3, no date, and the same", meta(Validators{LastModified: "yesterday"}), []string{ims + "yesterday"}, 0},
		{"9110 13.1.3, two lines", dated, []string{ims + date(0), ims + date(0)}, 0},
		{"4.3.2, Date instead", bare, []string{ims + date(0)}, 304},
		{"4.3.2, Date instead", bare, []string{ims + date(-time.Second)}, 0},
		{"9110 13.2.1, any success", last2xx, []string{inm + `"a"`}, 304},
		{"9110 13.2.1, an error", failed, []string{inm + `"a"`}, 0},
		{"9110 13.2.1, an error", failed, []string{ims + date(0)}, 0},
		{"4.3.2, If-Match is for the origin", strong, []string{`If-Match: "b"`, "If-Unmodified-Since: " + date(-2*time.Hour)}, 0},
	}
	for _, tt := range tests {
		if got := Preconditions(fields(tt.lines...), tt.stored); got != tt.want {
			t.Errorf("%s: stored %q, Preconditions(%q) = %d, want %d", tt.section, tt.stored.Validators, tt.lines, got, tt.want)
		}
	}
}

func TestRangeApplies(t *testing.T) {
	strong := meta(Validators{`"a"`, date(-time.Hour)})
	weak := meta(Validators{`W/"a"`, date(0)})
	tests := []struct {
		section string
		stored  *Meta
		lines   []string
		want    bool
	}{
		{"9110 13.1.5, absent", strong, nil, true},
		{"9110 13.1.5", strong, []string{`If-Range: "a"`}, true},
		{"9110 13.1.5, other", strong, []string{`If-Range: "b"`}, false},
		{"9110 13.1.5, weak", weak, []string{`If-Range: W/"a"`}, false},
		{"9110 13.1.5, weak", weak, []string{`If-Range: "a"`}, false},
		{"9110 13.1.5, weak", strong, []string{`If-Range: W/"a"`}, false},
		{"9110 13.1.5, date", strong, []string{"If-Range: " + date(-time.Hour)}, true},
		{"9110 13.1.5, later date", strong, []string{"If-Range: " + date(0)}, false},
		{"9110 8.8.2.2, weak date", weak, []string{"If-Range: " + date(0)}, false},
		{"9110 13.1.5, nonsense", strong, []string{"If-Range: x"}, false},
		{"9110 13.1.5, empty", meta(Validators{}), []string{"If-Range: "}, false},
	}
	for _, tt := range tests {
		if got := RangeApplies(fields(tt.lines...), tt.stored); got != tt.want {
			t.Errorf("%s: stored %q, RangeApplies(%q) = %t, want %t", tt.section, tt.stored.Validators, tt.lines, got, tt.want)
		}
	}
}

// FuzzIfNoneMatch holds that a tag is found wherever it stands in a list of tags, and "*" always, and that a 304 has a reason.
func FuzzIfNoneMatch(f *testing.F) {
	f.Add(`"a"`, `"b", W/"c"`)
	f.Add(`W/"x,y"`, `"1","2"`)
	f.Add("abc", `"open`)
	f.Fuzz(func(t *testing.T, tag, list string) {
		m := meta(Validators{ETag: tag})
		ask := func(value string) bool { return Preconditions(Header{"If-None-Match": {value}}, m) == 304 }
		if wellFormed(tag) {
			if !ask(tag + ", " + list) {
				t.Errorf("tag %q is not found before %q", tag, list)
			}
			if strings.Count(list, `"`)%2 == 0 && !ask(list+", "+tag) {
				t.Errorf("tag %q is not found behind %q", tag, list)
			}
		}
		if ask(list) && trim(list) != "*" && !strings.Contains(list, strings.TrimPrefix(tag, "W/")) {
			t.Errorf("tag %q is found in %q", tag, list)
		}
	})
}
