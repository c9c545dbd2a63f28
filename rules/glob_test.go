package rules

import (
	"regexp"
	"strings"
	"testing"
)

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		sep     byte
		match   []string
		differ  []string
	}{
		{"/x", '/', []string{"/x"}, []string{"/x/", "/xy", "/", ""}},
		{"/x/*", '/', []string{"/x/", "/x/a"}, []string{"/x", "/x/a/", "/x/a/b"}},
		{"/x/**", '/', []string{"/x", "/x/", "/x/a", "/x/a/b"}, []string{"/xy", "/y", "/"}},
		{"/**", '/', []string{"/", "/a", "/a/b"}, []string{"*"}},
		{"/*/x", '/', []string{"/a/x", "//x"}, []string{"/x", "/a/b/x"}},
		{"/**/x", '/', []string{"/a/x", "/a/b/x", "//x"}, []string{"/x", "/a/xy"}},
		{"/*/**", '/', []string{"/a", "/a/b/c", "/"}, []string{""}},
		{"/**.jpg", '/', []string{"/a.jpg", "/a/b.jpg", "/.jpg"}, []string{"/a.jpeg"}},
		{"/a*b*c", '/', []string{"/abc", "/axbxbxc"}, []string{"/ab/c", "/acb"}},
		{"/**a*b", '/', []string{"/ab", "/x/a/aab"}, []string{"/a/b", "/x/a/b/"}},
		{"/a***b", '/', []string{"/ab", "/a/x/b"}, []string{"/a"}},
		{"*.example.com", '.', []string{"a.example.com", ".example.com"}, []string{"a.b.example.com", "example.com"}},
		{"**.example.com", '.', []string{"a.example.com", "a.b.example.com"}, []string{"example.com", "xexample.com"}},
		{"shop-*.example.*", '.', []string{"shop-1.example.org"}, []string{"shop-1.example.co.uk", "shop.example.org"}},
		{"", '/', []string{""}, []string{"a"}},
		{"*", '/', []string{"", "a"}, []string{"a/b"}},
		{"**", '/', []string{"", "a", "a/b"}, nil},
	} {
		g := newGlob(tt.pattern, tt.sep)
		for _, s := range tt.match {
			if !matches(g, s) || !matches(g, []byte(s)) {
				t.Errorf("glob %q does not match %q", tt.pattern, s)
			}
		}
		for _, s := range tt.differ {
			if matches(g, s) || matches(g, []byte(s)) {
				t.Errorf("glob %q matches %q", tt.pattern, s)
			}
		}
	}
}

// regexpOf is the oracle: the glob as a regular expression.
func regexpOf(pattern string, sep byte) *regexp.Regexp {
	var b strings.Builder
	body, tail := pattern, ""
	if rest, ok := strings.CutSuffix(pattern, "/**"); ok && sep == '/' {
		body, tail = rest, "(?:/.*)?"
	}
	for i := 0; i < len(body); i++ {
		if body[i] != '*' {
			b.WriteString(regexp.QuoteMeta(body[i : i+1]))
			continue
		}
		stars := i
		for i+1 < len(body) && body[i+1] == '*' {
			i++
		}
		if i == stars {
			b.WriteString("[^" + regexp.QuoteMeta(string(sep)) + "]*")
		} else {
			b.WriteString(".*")
		}
	}
	return regexp.MustCompile("(?s)^" + b.String() + tail + "$")
}

// FuzzGlob holds the matcher against regular expressions, and the literal ends that the index uses against the matcher.
func FuzzGlob(f *testing.F) {
	for _, pattern := range []string{"/x/**", "/a*b*c/**", "**.example.com", "/**a*/b*c", "/*/**", "*a**b*c"} {
		for _, s := range []string{"/x", "/x/y", "/abc", "a.b.example.com", "/aba/bc/", "/q/aab/b"} {
			f.Add(pattern, s, true)
			f.Add(pattern, s, false)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, s string, path bool) {
		if strings.ContainsFunc(pattern+s, func(r rune) bool { return r > 0x7e }) || len(pattern)+len(s) > 200 {
			t.Skip("the oracle counts characters, the matcher bytes")
		}
		sep := byte('.')
		if path {
			sep = '/'
		}
		g := newGlob(pattern, sep)
		got, want := matches(g, s), regexpOf(pattern, sep).MatchString(s)
		if got != want {
			t.Fatalf("glob %q on %q: %v, want %v", pattern, s, got, want)
		}
		if got != matches(g, []byte(s)) {
			t.Fatalf("glob %q on %q: bytes and string differ", pattern, s)
		}
		if got && !strings.HasPrefix(s, g.prefix()) {
			t.Fatalf("glob %q matches %q, which does not begin with %q", pattern, s, g.prefix())
		}
		if got && !path && !strings.HasSuffix(s, g.suffix()) {
			t.Fatalf("glob %q matches %q, which does not end with %q", pattern, s, g.suffix())
		}
	})
}
