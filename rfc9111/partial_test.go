package rfc9111

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseRange(t *testing.T) {
	many := func(n int) string {
		var specs []string
		for i := range n {
			specs = append(specs, fmt.Sprintf("%d-%d", 2*i, 2*i))
		}
		return "bytes=" + strings.Join(specs, ",")
	}
	tests := []struct {
		section, value string
		size           int64
		want           []Range
		unsatisfiable  bool
	}{
		{"9110 14.1.2", "bytes=0-1", 10, []Range{{0, 2}}, false},
		{"9110 14.1.2, open", "bytes=1-", 10, []Range{{1, 9}}, false},
		{"9110 14.1.2, suffix", "bytes=-3", 10, []Range{{7, 3}}, false},
		{"9110 14.1.2, long suffix", "bytes=-30", 10, []Range{{0, 10}}, false},
		{"9110 14.1.2, cut", "bytes=5-99999999999999999999", 10, []Range{{5, 5}}, false},
		{"9110 14.1, case of the unit", "Bytes=0-0", 10, []Range{{0, 1}}, false},
		{"9110 14.2, in the client's order", "bytes= 5-6 ,, 0-1", 10, []Range{{5, 2}, {0, 2}}, false},
		{"9110 14.2, one is beyond", "bytes=5-6, 10-", 10, []Range{{5, 2}}, false},
		{"9110 15.5.17", "bytes=10-", 10, nil, true},
		{"9110 15.5.17", "bytes=10-20, -0", 10, nil, true},
		{"9110 14.2, adjacent", "bytes=0-1,2-3", 10, []Range{{0, 2}, {2, 2}}, false},
		{"9110 14.2, overlapping", "bytes=0-2,2-3", 10, nil, false},
		{"9110 14.2, overlapping", "bytes=5-6,0-5", 10, nil, false},
		{"9110 14.2, overlapping", "bytes=5-,-1", 10, nil, false},
		{"9110 14.2, another unit", "lines=0-1", 10, nil, false},
		{"9110 14.2, no unit", "0-1", 10, nil, false},
		{"9110 14.1.1, no range", "bytes=", 10, nil, false},
		{"9110 14.1.1, no range", "bytes=-", 10, nil, false},
		{"9110 14.1.1, no range", "bytes=1", 10, nil, false},
		{"9110 14.1.1, backwards", "bytes=2-1", 10, nil, false},
		{"9110 14.1.1, one is no range", "bytes=0-1, x", 10, nil, false},
		{"9110 14.1.1, signs", "bytes=+0-1", 10, nil, false},
		{"9110 14.1.1, two dashes", "bytes=0--1", 10, nil, false},
		{"nothing to send", "bytes=0-", 0, nil, false},
		{"as many as allowed", many(maxRanges), 100, slices.Collect(func(yield func(Range) bool) {
			for i := range int64(maxRanges) {
				yield(Range{2 * i, 1})
			}
		}), false},
		{"9110 17.15, too many", many(maxRanges + 1), 100, nil, false},
	}
	for _, tt := range tests {
		got, err := ParseRange(tt.value, tt.size)
		if !slices.Equal(got, tt.want) || errors.Is(err, ErrUnsatisfiable) != tt.unsatisfiable || err != nil && !tt.unsatisfiable {
			t.Errorf("%s: ParseRange(%q, %d) = %v, %v, want %v", tt.section, tt.value, tt.size, got, err, tt.want)
		}
	}
}

// FuzzParseRange holds that ranges lie within the representation and apart from each other, and that http.ServeContent answers a single
// one in the same way.
func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-1", "bytes=-3", "bytes=5-,0-1", "bytes=9223372036854775807-", "bytes=1-1,1-1", "bytes=-9999999999999999999", "bytes=,3-"} {
		f.Add(seed, uint8(10))
	}
	f.Fuzz(func(t *testing.T, value string, size uint8) {
		ranges, err := ParseRange(value, int64(size))
		if len(ranges) > maxRanges || err != nil && ranges != nil {
			t.Fatalf("ParseRange(%q, %d) = %v, %v", value, size, ranges, err)
		}
		used := make([]bool, size)
		for _, r := range ranges {
			if r.Start < 0 || r.Length <= 0 || r.Start+r.Length > int64(size) {
				t.Fatalf("ParseRange(%q, %d) has %v", value, size, r)
			}
			for i := r.Start; i < r.Start+r.Length; i++ {
				if used[i] {
					t.Fatalf("ParseRange(%q, %d) = %v: byte %d twice", value, size, ranges, i)
				}
				used[i] = true
			}
		}
		// net/http takes numbers beyond 63 bits for errors and a suffix of 0 bytes for a range; what else is left out is grammar that
		// it reads otherwise.
		if len(value) > 20 || strings.HasPrefix(value, "bytes=-") && err != nil || !strings.HasPrefix(value, "bytes=") || strings.Contains(value, ",") || ranges == nil && err == nil || strings.ContainsAny(value, "\r\n") {
			return
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Range", value)
		http.ServeContent(w, r, "x.bin", time.Time{}, bytes.NewReader(make([]byte, size)))
		if err != nil {
			if w.Code != http.StatusRequestedRangeNotSatisfiable {
				t.Errorf("ParseRange(%q, %d): %v, http.ServeContent answers %d", value, size, err, w.Code)
			}
			return
		}
		want := fmt.Sprintf("bytes %d-%d/%d", ranges[0].Start, ranges[0].Start+ranges[0].Length-1, size)
		if got := w.Header().Get("Content-Range"); got != want {
			t.Errorf("ParseRange(%q, %d) = %v, http.ServeContent answers %d %q", value, size, ranges, w.Code, got)
		}
	})
}

func TestParseContentRange(t *testing.T) {
	tests := []struct {
		section, value        string
		first, last, complete int64
		ok                    bool
	}{
		{"9110 14.4", "bytes 0-4/10", 0, 4, 10, true},
		{"9110 14.4, the last byte", "bytes 9-9/10", 9, 9, 10, true},
		{"9110 14.4, unknown length", "bytes 0-4/*", 0, 4, -1, true},
		{"9110 14.4, case of the unit", "BYTES 0-4/10", 0, 4, 10, true},
		{"9110 14.4, unsatisfied", "bytes */10", 0, 0, 0, false},
		{"9110 14.4, beyond", "bytes 0-10/10", 0, 0, 0, false},
		{"9110 14.4, backwards", "bytes 5-4/10", 0, 0, 0, false},
		{"9110 14.4, another unit", "lines 0-4/10", 0, 0, 0, false},
		{"9110 14.4, no unit", "0-4/10", 0, 0, 0, false},
		{"9110 14.4, as in Range", "bytes=0-4/10", 0, 0, 0, false},
		{"9110 14.4, no length", "bytes 0-4", 0, 0, 0, false},
		{"9110 14.4, no end", "bytes 0-/10", 0, 0, 0, false},
		{"9110 14.4, signs", "bytes 0-+4/10", 0, 0, 0, false},
		{"9110 14.4, too large", "bytes 0-99999999999999999999/*", 0, 0, 0, false},
	}
	for _, tt := range tests {
		first, last, complete, ok := ParseContentRange(tt.value)
		if first != tt.first || last != tt.last || complete != tt.complete || ok != tt.ok {
			t.Errorf("%s: ParseContentRange(%q) = %d, %d, %d, %t", tt.section, tt.value, first, last, complete, ok)
		}
	}
}

// FuzzParseContentRange holds that a range is possible, and reads the same when written out.
func FuzzParseContentRange(f *testing.F) {
	for _, seed := range []string{"bytes 0-4/10", "bytes 0-4/*", "bytes */10", "bytes 9223372036854775807-9223372036854775807/*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		first, last, complete, ok := ParseContentRange(value)
		if !ok {
			return
		}
		if first < 0 || last < first || complete >= 0 && complete <= last || complete < -1 {
			t.Errorf("ParseContentRange(%q) = %d, %d, %d", value, first, last, complete)
		}
		size := fmt.Sprint(complete)
		if complete < 0 {
			size = "*"
		}
		text := fmt.Sprintf("bytes %d-%d/%s", first, last, size)
		if f2, l2, c2, ok := ParseContentRange(text); !ok || f2 != first || l2 != last || c2 != complete {
			t.Errorf("ParseContentRange(%q) is not that of %q", text, value)
		}
	})
}

func TestCombinable(t *testing.T) {
	tests := []struct {
		section string
		a, b    Validators
		want    bool
	}{
		{"3.4", Validators{ETag: `"a"`}, Validators{ETag: `"a"`}, true},
		{"3.4, another", Validators{ETag: `"a"`}, Validators{ETag: `"b"`}, false},
		{"3.4, weak", Validators{ETag: `W/"a"`}, Validators{ETag: `W/"a"`}, false},
		{"3.4, not well formed", Validators{ETag: "a"}, Validators{ETag: "a"}, false},
		{"3.4, one without", Validators{`"a"`, date(-time.Hour)}, Validators{LastModified: date(-time.Hour)}, false},
		{"3.4, strong dates", Validators{LastModified: date(-time.Hour)}, Validators{LastModified: date(-time.Hour)}, true},
		{"3.4, weak dates", Validators{LastModified: date(0)}, Validators{LastModified: date(0)}, false},
		{"3.4, other dates", Validators{LastModified: date(-time.Hour)}, Validators{LastModified: date(-time.Minute)}, false},
		{"3.4, nothing", Validators{}, Validators{}, false},
	}
	for _, tt := range tests {
		if got := Combinable(meta(tt.a), meta(tt.b)); got != tt.want {
			t.Errorf("%s: Combinable(%q, %q) = %t", tt.section, tt.a, tt.b, got)
		}
	}
}
