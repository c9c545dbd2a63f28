package invalidation

import "testing"

func TestPatterns(t *testing.T) {
	tests := []struct {
		pattern, uri string
		want         bool
	}{
		{"/x", "http://a/x", true},
		{"/x", "https://b:8080/x?q", true}, // the query counts only where the pattern has one
		{"/x", "http://a/x/", false},
		{"/x?q", "http://a/x?q", true},
		{"/x?q", "http://a/x", false},
		{"/x?*", "http://a/x?a=1&b=2", true},
		{"/*", "http://a/x", true},
		{"/*", "http://a/x/y", false},
		{"/**", "http://a/x/y", true},
		{"/**", "http://a/", true},
		{"/x/**", "http://a/x", true},
		{"/x/**", "http://a/x/", true},
		{"/x/**", "http://a/x/y/z", true},
		{"/x/**", "http://a/xy", false},
		{"/x/*.css", "http://a/x/a.css", true},
		{"/x/*.css", "http://a/x/y/a.css", false},
		{"/x/**.css", "http://a/x/y/a.css", true},
		{"/a.c", "http://a/abc", false},
		{"/*\n", "http://a/x", false},
		{"**", "http://a/x/y", true},
		{"a.example/*", "http://a.example/x", true},
		{"A.Example/*", "http://a.example/x", true},
		{"a.example/*", "http://b.example/x", false},
		{"a.example/*", "http://a.example:8080/x", true},
		{"*.example/**", "http://a.example/x", true},
		{"*.example/**", "http://a.b.example/x", false},
		{"**.example/**", "http://a.b.example/x", true},
		{"*/x", "http://a/x", true},
		{"[::1]/x", "http://[::1]:8080/x", true},
		{"[::1]/x", "http://[::1]/x", true},
		{"re:^a/x", "http://a/xyz", true},
		{"re:^a/x", "https://a:8443/xyz", true},
		{"re:x$", "http://a/xyz", false},
		{`re:\?q=1`, "http://a/x?q=1", true},
		{"re:http", "http://a/x", false},
		{"user:*", "user:42", true},
		{"user:*", "user:42/43", false},
		{"user:**", "user:42/43", true},
		{"user:*", "other:42", false},
		{"user:*", "http://user/42", false},
		{"/**", "user:42", false},
		{"**", "user:42", false},
		{"re:user", "user:42", false},
		{"**:42", "user:42", true},
		{"**:42", "http://a/user:42", false},
	}
	for _, tt := range tests {
		m, err := compile(Selector{KindPattern, tt.pattern})
		if err != nil {
			t.Errorf("%q: %v", tt.pattern, err)
			continue
		}
		if got := m.matches([]byte(tt.uri), nil); got != tt.want {
			t.Errorf("%q and %s: %v, want %v", tt.pattern, tt.uri, got, tt.want)
		}
	}
}

func TestBans(t *testing.T) {
	tests := []struct {
		ban       Ban
		uri, tags string
		want      bool
	}{
		{Ban{URL: "^/x"}, "http://a/x/y", "", true},
		{Ban{URL: "^/x$"}, "http://a/x?q", "", false},
		{Ban{Host: "^a$"}, "http://a:80/x", "", true},
		{Ban{Host: "^a$", URL: "y"}, "http://a/x", "", false},
		{Ban{Tags: "^cat_[0-9]+$"}, "http://a/x", "page\ncat_7\n", true},
		{Ban{Tags: "^cat_7$"}, "http://a/x", "cat_77\n", false},
		{Ban{Tags: "((^|,)cat_7(,|$))"}, "http://a/x", "cat_7\n", true},
		{Ban{Tags: ".*"}, "http://a/x", "", false},
		{Ban{Tags: "t", Host: "b"}, "http://a/x", "t\n", false},
		{Ban{Tags: "a\nb"}, "http://a/x", "a\nb\n", false},
	}
	for _, tt := range tests {
		m, err := compile(tt.ban.Selector())
		if err != nil {
			t.Errorf("%+v: %v", tt.ban, err)
			continue
		}
		if got := m.matches([]byte(tt.uri), []byte(tt.tags)); got != tt.want {
			t.Errorf("%+v, %s and %q: %v, want %v", tt.ban, tt.uri, tt.tags, got, tt.want)
		}
	}
}

// A pattern never fails to compile where it was accepted, and matching never
// panics.
func FuzzPatterns(f *testing.F) {
	f.Add("/x/**", "http://a/x")
	f.Add("re:^a", "a")
	f.Add("user:*", "user:1")
	f.Add("[::1]/*", "//[::1]:80/x?y")
	f.Fuzz(func(t *testing.T, pattern, uri string) {
		sel := Selector{KindPattern, pattern}
		m, err := compile(sel)
		if (err == nil) != (sel.validate() == nil) && pattern != "" && len(pattern) <= MaxValue {
			t.Fatalf("%q: %v and %v", pattern, err, sel.validate())
		}
		if err == nil {
			m.matches([]byte(uri), []byte(uri))
		}
	})
}
