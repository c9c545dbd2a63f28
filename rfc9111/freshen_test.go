package rfc9111

import (
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestFreshenedBy(t *testing.T) {
	modified := func(d time.Duration) string { return "Last-Modified: " + date(d) }
	strong := Validators{`"a"`, date(-time.Hour)}
	weak := Validators{ETag: `W/"a"`}
	dated := Validators{LastModified: date(-time.Hour)}
	justDated := Validators{LastModified: date(0)} // weak: as old as Date
	tests := []struct {
		section  string
		stored   Validators
		update   []string
		selected bool
		want     bool
	}{
		{"4.3.4, strong", strong, []string{`ETag: "a"`}, true, true},
		{"4.3.4, strong, of another variant", strong, []string{`ETag: "a"`}, false, true},
		{"4.3.4, another strong", strong, []string{`ETag: "b"`}, true, false},
		{"4.3.4, another strong with the same date", strong, []string{`ETag: "b"`, modified(-time.Hour)}, true, false},
		{"4.3.4, strong for a weak one", weak, []string{`ETag: "a"`}, true, false},
		{"4.3.4, strong for one without", dated, []string{`ETag: "a"`}, true, false},
		{"4.3.4, strong for one without, the date fits", dated, []string{`ETag: "a"`, modified(-time.Hour)}, true, true},
		{"4.3.4, strong date", dated, []string{modified(-time.Hour)}, true, true},
		{"4.3.4, strong date, of another variant", dated, []string{modified(-time.Hour)}, false, true},
		{"4.3.4, another date", dated, []string{modified(-time.Minute)}, true, false},
		{"4.3.4, the same date written otherwise", dated, []string{"Last-Modified: " + now.Add(-time.Hour).Format(time.ANSIC)}, true, true},
		{"4.3.4, weak", weak, []string{`ETag: W/"a"`}, true, true},
		{"4.3.4, weak, of another variant", weak, []string{`ETag: W/"a"`}, false, false},
		{"4.3.4, another weak", weak, []string{`ETag: W/"b"`}, true, false},
		{"4.3.4, weak for a strong one", strong, []string{`ETag: W/"a"`}, true, true},
		{"4.3.4, weak date", justDated, []string{modified(0)}, true, true},
		{"4.3.4, weak date, of another variant", justDated, []string{modified(0)}, false, false},
		{"4.3.4, none", strong, nil, true, true},
		{"4.3.4, none, of another variant", strong, nil, false, false},
	}
	for _, tt := range tests {
		if got := FreshenedBy(meta(tt.stored), fields(tt.update...), tt.selected); got != tt.want {
			t.Errorf("%s: stored %q, FreshenedBy(%q, %t) = %t, want %t", tt.section, tt.stored, tt.update, tt.selected, got, tt.want)
		}
	}
}

func TestHeadFreshens(t *testing.T) {
	stored := Validators{`"a"`, date(-time.Hour)}
	tests := []struct {
		section string
		stored  Validators
		update  []string
		want    bool
	}{
		{"4.3.5", stored, []string{`ETag: "a"`, "Last-Modified: " + date(-time.Hour), "Content-Length: 5"}, true},
		{"4.3.5, nothing received", stored, nil, true},
		{"4.3.5, another tag", stored, []string{`ETag: "b"`, "Content-Length: 5"}, false},
		{"4.3.5, a tag where none is", Validators{}, []string{`ETag: "b"`}, false},
		{"4.3.5, another date", stored, []string{"Last-Modified: " + date(0)}, false},
		{"4.3.5, another length", stored, []string{`ETag: "a"`, "Content-Length: 6"}, false},
		{"4.3.5, no length", stored, []string{"Content-Length: x"}, false},
	}
	for _, tt := range tests {
		if got := HeadFreshens(meta(tt.stored), fields(tt.update...), 5); got != tt.want {
			t.Errorf("%s: stored %q, HeadFreshens(%q) = %t, want %t", tt.section, tt.stored, tt.update, got, tt.want)
		}
	}
}

func TestFreshen(t *testing.T) {
	tests := []struct {
		section                string
		stored, update, result []string
	}{
		{"3.2, added, replaced, kept", []string{"A: 1", "B: 1", "B: 2"}, []string{"B: 3", "C: 4"}, []string{"A: 1", "B: 3", "C: 4"}},
		{"3.2, Content-* that describe no content", []string{"Content-Foo: 1"}, []string{"Content-Foo: 2"}, []string{"Content-Foo: 2"}},
		{"3.2, what describes the content", []string{"Content-Length: 10", "Content-Encoding: br", "Content-Type: a/b", "Content-Range: x"},
			[]string{"Content-Length: 36", "Content-Encoding: gzip", "Content-Type: c/d", "Content-Range: y"},
			[]string{"Content-Length: 10", "Content-Encoding: br", "Content-Type: a/b", "Content-Range: x"}},
		{"3.1, of one connection", []string{"A: 1"}, []string{"Connection: x", "X: 1", "Keep-Alive: 1", "Transfer-Encoding: chunked"}, []string{"A: 1"}},
		{"Age and Date speak of one response", []string{"Age: 5", at("Date", -time.Hour)}, []string{"A: 1"}, []string{"A: 1"}},
		{"Age and Date, new", []string{"Age: 5", at("Date", -time.Hour)}, []string{"Age: 1", at("Date", 0)}, []string{"Age: 1", at("Date", 0)}},
		{"Set-Cookie where none was permitted", []string{"A: 1"}, []string{"Set-Cookie: a=b"}, []string{"A: 1"}},
		{"Set-Cookie where it was", []string{"Set-Cookie: a=b"}, []string{"Set-Cookie: a=c"}, []string{"Set-Cookie: a=c"}},
	}
	for _, tt := range tests {
		stored, update := http.Header(fields(tt.stored...)), http.Header(fields(tt.update...))
		got := Freshen(stored, update)
		if !maps.EqualFunc(got, http.Header(fields(tt.result...)), slices.Equal) {
			t.Errorf("%s: Freshen(%q, %q) = %q, want %q", tt.section, tt.stored, tt.update, got, tt.result)
		}
		if !maps.EqualFunc(stored, http.Header(fields(tt.stored...)), slices.Equal) || !maps.EqualFunc(update, http.Header(fields(tt.update...)), slices.Equal) {
			t.Errorf("%s: Freshen changed its arguments", tt.section)
		}
	}
	if got := Freshen(nil, http.Header{"A": {"1"}}); got.Get("A") != "1" {
		t.Errorf("Freshen(nil) = %q", got)
	}
}

// TestFreshenExtendsLife: a 304 makes a stale response fresh again, by its own Cache-Control or else by the stored one (4.3.4).
func TestFreshenExtendsLife(t *testing.T) {
	later := now.Add(time.Hour)
	stored := http.Header(fields("Cache-Control: max-age=60", "Age: 30", at("Date", 0), `Etag: "a"`))
	for _, tt := range []struct {
		update []string
		want   time.Duration
	}{{nil, time.Minute}, {[]string{"Cache-Control: max-age=5"}, 5 * time.Second}} {
		m := NewMeta(exchange(nil, 200, Header(Freshen(stored, http.Header(fields(tt.update...))))), originPolicy(), later, later)
		if got := m.TTL(later); got != tt.want {
			t.Errorf("ttl after a 304 with %q = %v, want %v", tt.update, got, tt.want)
		}
	}
}
