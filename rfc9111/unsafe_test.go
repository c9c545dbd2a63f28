package rfc9111

import (
	"slices"
	"testing"
)

func TestSafe(t *testing.T) {
	for method, want := range map[string]bool{
		"GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true, "POST": false, "PUT": false, "DELETE": false, "PATCH": false, "M-SEARCH": false, "get": false, "": false,
	} {
		if Safe(method) != want {
			t.Errorf("Safe(%q) = %t", method, !want)
		}
	}
}

func TestInvalidatedBy(t *testing.T) {
	const itself = "http://example.com/a"
	tests := []struct {
		section, method string
		status          int
		lines           []string
		want            []string
	}{
		{"4.4", "POST", 200, nil, []string{itself}},
		{"4.4, a redirect", "POST", 303, nil, []string{itself}},
		{"4.4, an unknown method", "M-SEARCH", 200, nil, []string{itself}},
		{"4.4, the last that is no error", "POST", 399, nil, []string{itself}},
		{"4.4, an error", "POST", 400, nil, nil},
		{"4.4, an error", "POST", 500, nil, nil},
		{"4.4, an error", "DELETE", 404, nil, nil},
		{"4.4, not final", "POST", 103, nil, nil},
		{"4.4, safe", "GET", 200, []string{"Location: /b"}, nil},
		{"4.4, both", "PUT", 201, []string{"Location: /b", "Content-Location: http://EXAMPLE.com:80/x/../c"}, []string{itself, "http://example.com/b", "http://example.com/c"}},
		{"4.4, relative", "PUT", 201, []string{"Location: b?c#d"}, []string{itself, "http://example.com/b?c"}},
		{"4.4, another origin", "PUT", 201, []string{"Location: http://other/b", "Content-Location: https://example.com/c"}, []string{itself}},
		{"4.4, itself", "PUT", 200, []string{"Content-Location: /a"}, []string{itself}},
		{"4.4, no URL", "PUT", 200, []string{"Location: /a%00", "Content-Location: mailto:a"}, []string{itself}},
		{"4.4, two lines", "PUT", 200, []string{"Location: /b", "Location: /c"}, []string{itself}},
	}
	for _, tt := range tests {
		x := exchange(nil, tt.status, fields(tt.lines...))
		x.Method = tt.method
		var got []string
		for _, target := range InvalidatedBy(x) {
			got = append(got, target.String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %s %d %q invalidates %q, want %q", tt.section, tt.method, tt.status, tt.lines, got, tt.want)
		}
	}
}
