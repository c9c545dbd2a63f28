package rfc9111

import (
	"errors"
	"net/url"
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	tests := []struct {
		name, scheme, host, target string
		want                       string // Target.String
	}{
		{"origin form", "http", "example.com", "/a/b?x=1", "http://example.com/a/b?x=1"},
		{"host case (3986 6.2.2.1)", "http", "EXAMPLE.com", "/A", "http://example.com/A"},
		{"default port (9110 4.2.3)", "http", "example.com:80", "/", "http://example.com/"},
		{"default port of https", "https", "example.com:443", "/", "https://example.com/"},
		{"another scheme's port stays", "https", "example.com:80", "/", "https://example.com:80/"},
		{"empty port (3986 6.2.3)", "http", "example.com:", "/", "http://example.com/"},
		{"leading zeros of a port", "http", "example.com:0080", "/", "http://example.com/"},
		{"leading zeros of another port", "http", "example.com:08080", "/", "http://example.com:8080/"},
		{"dot at the end of the host", "http", "example.com.:81", "/", "http://example.com:81/"},
		{"underscore in the host", "http", "my_app:8080", "/", "http://my_app:8080/"},
		{"upper case with port", "http", "A.B:8080", "/", "http://a.b:8080/"},
		{"IPv6", "http", "[2001:DB8::0:1]:8080", "/", "http://[2001:db8::1]:8080/"},
		{"IPv6 without port", "http", "[::1]", "/", "http://[::1]/"},
		{"IPv6 with default port", "http", "[::1]:80", "/", "http://[::1]/"},
		{"dot segments (3986 5.2.4)", "http", "h", "/a/./b/../c", "http://h/a/c"},
		{"dot segments at the end", "http", "h", "/a/b/..", "http://h/a/"},
		{"dot at the end", "http", "h", "/a/.", "http://h/a/"},
		{"above the root", "http", "h", "/../../a", "http://h/a"},
		{"only dots", "http", "h", "/..", "http://h/"},
		{"three dots are a name", "http", "h", "/.../a", "http://h/.../a"},
		{"empty segments stay", "http", "h", "/a//b//", "http://h/a//b//"},
		{"up from an empty segment", "http", "h", "/a//../b", "http://h/a/b"},
		{"escaped dots (3986 6.2.2.2)", "http", "h", "/a/%2e%2E/b", "http://h/b"},
		{"unreserved are decoded", "http", "h", "/%61%2D%7e", "http://h/a-~"},
		{"others in upper case (3986 6.2.2.1)", "http", "h", "/%c3%a9%2f", "http://h/%C3%A9%2F"},
		{"raw bytes above 0x7F", "http", "h", "/é?é", "http://h/%C3%A9?%C3%A9"},
		{"bytes that may not stand", "http", "h", "/a b<>\"`{}|^[]", "http://h/a%20b%3C%3E%22%60%7B%7D%7C%5E%5B%5D"},
		{"plus and semicolon stay", "http", "h", "/a+b;v=1,2?a+b;c", "http://h/a+b;v=1,2?a+b;c"},
		{"dots after a semicolon", "http", "h", "/a;..", "http://h/a;.."},
		{"empty query", "http", "h", "/a?", "http://h/a"},
		{"question mark in the query", "http", "h", "/a??b", "http://h/a??b"},
		{"lone percent in the query", "http", "h", "/a?q=100%&r=%zz&s=%2", "http://h/a?q=100%25&r=%25zz&s=%252"},
		{"backslash in the query", "http", "h", "/a?f=C:\\x", "http://h/a?f=C:%5Cx"},
		{"dots in the query", "http", "h", "/a?../b", "http://h/a?../b"},
		{"absolute form (9112 3.2.2)", "http", "other", "http://Example.com:80/a", "http://example.com/a"},
		{"absolute form without path", "http", "other", "HTTP://example.com", "http://example.com/"},
		{"absolute form, query alone", "http", "other", "http://example.com?x", "http://example.com/?x"},
		{"asterisk form (9112 3.2.4)", "http", "Example.com", "*", "http://example.com"},
		{"path of another host", "http", "h", "//evil.example/x", "http://h//evil.example/x"},
	}
	for _, tt := range tests {
		got, err := ParseTarget(tt.scheme, tt.host, tt.target)
		if err != nil || got.String() != tt.want {
			t.Errorf("%s: ParseTarget(%q, %q, %q) = %q, %v, want %q", tt.name, tt.scheme, tt.host, tt.target, got, err, tt.want)
		}
	}
}

func TestParseTargetRefuses(t *testing.T) {
	tests := []struct {
		name, host, target, part string
	}{
		{"control byte", "h", "/a\x01", "path"},
		{"DEL", "h", "/a\x7f", "path"},
		{"tab in the query", "h", "/a?\t", "query"},
		{"fragment", "h", "/a#b", "path"},
		{"fragment in the query", "h", "/a?b#c", "query"},
		{"backslash", "h", "/a\\..\\b", "path"},
		{"half an escape", "h", "/a%2", "path"},
		{"no escape", "h", "/a%zz", "path"},
		{"zero byte", "h", "/a%00", "path"},
		{"zero byte in the query", "h", "/a?%00", "query"},
		{"zero byte escaped twice", "h", "/a%2500", "path"},
		{"dot segment behind a slash", "h", "/a%2F..%2Fb", "path"},
		{"dot segment behind a slash, at the end", "h", "/a%2f..", "path"},
		{"dot segment before a slash", "h", "/..%2Fa", "path"},
		{"dot segment behind a backslash", "h", "/a%5C..%5Cb", "path"},
		{"dot segment escaped twice", "h", "/a/%252e%252e/b", "path"},
		{"dot segment escaped thrice", "h", "/a/%25252e./b", "path"},
		{"dot segment split over escapes", "h", "/a/%25%32e/b", "path"},
		{"dot segment with parameters", "h", "/a/..;x=1/b", "path"},
		{"escaped dot segment with parameters", "h", "/a/%2e%2e%3bx/b", "path"},
		{"empty host", "", "/", "host"},
		{"port alone", ":80", "/", "host"},
		{"dot alone", ".", "/", "host"},
		{"empty label", "a..b", "/", "host"},
		{"user information", "user@h", "/", "host"},
		{"slash in the host", "h/x", "/", "host"},
		{"escape in the host", "h%41", "/", "host"},
		{"space in the host", "h h", "/", "host"},
		{"byte above 0x7F in the host", "hé", "/", "host"},
		{"long host", strings.Repeat("a", 254), "/", "host"},
		{"IPv6 without brackets", "::1", "/", "host"},
		{"IPv6 without its end", "[::1", "/", "host"},
		{"IPv6 with a zone", "[fe80::1%25eth0]", "/", "host"},
		{"IPv4 in brackets", "[127.0.0.1]", "/", "host"},
		{"bytes behind the brackets", "[::1]x", "/", "host"},
		{"port that is no number", "h:http", "/", "port"},
		{"negative port", "h:-1", "/", "port"},
		{"port 0", "h:0", "/", "port"},
		{"port above 65535", "h:65536", "/", "port"},
		{"two ports", "h:1:2", "/", "port"},
		{"empty target", "h", "", "target"},
		{"relative path", "h", "a/b", "target"},
		{"another scheme", "h", "ftp://h/", "target"},
		{"not the connection's scheme", "h", "https://h/", "scheme"},
		{"user information in absolute form", "h", "http://u:p@h/", "host"},
		{"no host in absolute form", "h", "http:///a", "host"},
	}
	for _, tt := range tests {
		got, err := ParseTarget("http", tt.host, tt.target)
		var te *TargetError
		if !errors.As(err, &te) {
			t.Errorf("%s: ParseTarget(%q, %q) = %v, %v, want a *TargetError", tt.name, tt.host, tt.target, got, err)
			continue
		}
		if te.Part != tt.part {
			t.Errorf("%s: ParseTarget(%q, %q): %v, want part %q", tt.name, tt.host, tt.target, err, tt.part)
		}
	}
	if _, err := ParseTarget("gopher", "h", "/"); err == nil {
		t.Error("scheme gopher was accepted")
	}
}

// TestResolve has the examples of RFC 3986, 5.4.1 and 5.4.2, which a Location may hold, and net/url as a second implementation.
func TestResolve(t *testing.T) {
	base, err := ParseURL("http://a/b/c/d;p?q")
	if err != nil {
		t.Fatal(err)
	}
	reference, _ := url.Parse(base.String())
	for _, ref := range []string{
		"g", "./g", "g/", "/g", "//g", "?y", "g?y", "#s", "g#s", "g?y#s", ";x", "g;x", "g;x?y#s", "", ".", "./", "..", "../", "../g",
		"../..", "../../", "../../g", "../../../g", "/./g", "/../g", "g.", ".g", "g..", "..g", "./../g", "./g/.", "g/./h", "g/../h",
		"g;x=1/./y", "g;x=1/../y", "g?y/./x", "g#s/../x", "http://other:8080/x", " /trimmed ",
	} {
		got, err := base.Resolve(ref)
		if err != nil {
			t.Errorf("Resolve(%q): %v", ref, err)
			continue
		}
		want, err := reference.Parse(strings.TrimSpace(ref))
		if err != nil {
			t.Fatal(err)
		}
		want.Fragment = ""
		if want.Path == "" {
			want.Path = "/"
		}
		if got.String() != want.String() {
			t.Errorf("Resolve(%q) = %q, want %q", ref, got, want)
		}
	}
	for _, ref := range []string{"mailto:a@b", "g:h", "a+b:c", "a-b:c", "a.b:c", "a1:c", "http:g", "//", "/a%00", "\\\\evil", "http://u@h/"} {
		if got, err := base.Resolve(ref); err == nil {
			t.Errorf("Resolve(%q) = %q, want an error", ref, got)
		}
	}
	if got, err := base.Resolve(":g"); err != nil || got.String() != "http://a/b/c/:g" { // net/url wants a scheme here
		t.Errorf("Resolve(:g) = %q, %v", got, err)
	}
	star := Target{Scheme: "http", Host: "h", Path: "*"}
	if got, err := star.Resolve("x"); err != nil || got.String() != "http://h/x" {
		t.Errorf("Resolve from *: %q, %v", got, err)
	}
}

func TestSameOrigin(t *testing.T) {
	a := Target{Scheme: "http", Host: "a", Path: "/"}
	for _, tt := range []struct {
		other string
		want  bool
	}{{"http://a/x?y", true}, {"http://a:80/", true}, {"https://a/", false}, {"http://b/", false}, {"http://a:81/", false}} {
		other, err := ParseURL(tt.other)
		if err != nil {
			t.Fatal(err)
		}
		if got := SameOrigin(&a, &other); got != tt.want {
			t.Errorf("SameOrigin(%q, %q) = %t, want %t", a, other, got, tt.want)
		}
	}
}

// FuzzParseTarget holds the promises of the normal form: it is its own normal form, its text reads as itself, and however often an
// origin decodes the path, it finds no dot segment in it.
func FuzzParseTarget(f *testing.F) {
	for _, seed := range [][2]string{
		{"h", "/a/../b"}, {"EXAMPLE.com:80", "/%7e%2F%41?x=%zz"}, {"[::1]:8080", "/a%252e%2e/"}, {"h.", "http://x/é?é#"},
		{"h", "*"}, {"h", "/a\\b"}, {"h", "/..;/"}, {"h", "/%25%32%65"}, {"h", "//.//..//"}, {"h", "/a%5c..?"}, {"h:0443", "/%"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, host, target string) {
		got, err := ParseTarget("http", host, target)
		if err != nil {
			var te *TargetError
			if !errors.As(err, &te) || te.Part == "" || te.Why == "" {
				t.Fatalf("ParseTarget(%q, %q): error %#v is no complete *TargetError", host, target, err)
			}
			return
		}
		if got.Path == "*" {
			return
		}
		if again, err := ParseTarget("http", got.Host, got.RequestURI()); err != nil || again != got {
			t.Errorf("ParseTarget(%q, %q) = %#v, and of that %#v, %v", host, target, got, again, err)
		}
		if again, err := ParseURL(got.String()); err != nil || again != got {
			t.Errorf("ParseURL(%q) = %#v, %v, want %#v", got, again, err, got)
		}
		decoded := got.Path
		for {
			if padded := strings.ReplaceAll(decoded, "\\", "/") + "/"; strings.Contains(padded, "/../") || strings.Contains(padded, "/./") {
				t.Errorf("ParseTarget(%q, %q): path %q decodes to %q", host, target, got.Path, decoded)
			}
			next, err := url.PathUnescape(decoded)
			if err != nil || next == decoded {
				break
			}
			decoded = next
		}
		for _, c := range []byte(got.String()) {
			if c <= ' ' || c >= 0x7f || c == '#' || c == '\\' {
				t.Errorf("ParseTarget(%q, %q) = %q, which has the byte %q", host, target, got, c)
			}
		}
	})
}
