package rules

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// partsOf takes a key apart.
func partsOf(t testing.TB, text []byte) []string {
	t.Helper()
	var parts []string
	for len(text) > 0 {
		n, size := binary.Uvarint(text)
		if size <= 0 || uint64(len(text)-size) < n {
			t.Fatalf("key %q has no whole parts", text)
		}
		parts = append(parts, string(text[size:size+int(n)]))
		text = text[size+int(n):]
	}
	return parts
}

func TestAppendKey(t *testing.T) {
	no := ptr(false)
	for _, tt := range []struct {
		name string
		key  KeySpec
		vary VarySpec
		req  *request
		want string // parts, joined by a space
	}{
		{"defaults", KeySpec{}, VarySpec{}, get("http://a:81/x?b=2&a=1"), "s http h a:81 r test p /x q a=1 q b=2"},
		{"no query", KeySpec{}, VarySpec{}, get("https://a/"), "s https h a r test p /"},
		{"method is not in the key", KeySpec{}, VarySpec{}, newRequest("HEAD", "https://a/"), "s https h a r test p /"},
		{"no host, no route", KeySpec{Host: no, Route: no}, VarySpec{}, get("http://a/x"), "s http p /x"},
		{"version", KeySpec{Version: "2"}, VarySpec{}, get("http://a/x"), "s http h a r test p /x v 2"},
		{"equal names keep their order", KeySpec{}, VarySpec{}, get("http://a/?b=2&a=9&b=1&a"), "s http h a r test p / q a=9 q a q b=2 q b=1"},
		{"names that are equal once decoded keep their order", KeySpec{}, VarySpec{},
			get("http://a/?x+y=2&a&x%20y=1"), "s http h a r test p / q a q x+y=2 q x%20y=1"},
		{"unsorted", KeySpec{Query: QuerySpec{Sort: no}}, VarySpec{}, get("http://a/?b=2&a=1"), "s http h a r test p / q b=2 q a=1"},
		{"empty parameters stay", KeySpec{}, VarySpec{}, get("http://a/?&a&"), "s http h a r test p / q  q  q a"},
		{"; is an ordinary character", KeySpec{Query: QuerySpec{Mode: "allow", Names: []string{"a"}}}, VarySpec{},
			get("http://a/?a=1;b=2&b;a=1"), "s http h a r test p / q a=1;b=2"},
		{"none", KeySpec{Query: QuerySpec{Mode: "none"}}, VarySpec{}, get("http://a/?b=2&a=1"), "s http h a r test p /"},
		{"allow", KeySpec{Query: QuerySpec{Mode: "allow", Names: []string{"p*", "q"}}}, VarySpec{},
			get("http://a/?x=1&q=1&page=2&qq"), "s http h a r test p / q page=2 q q=1"},
		{"ignore", KeySpec{Query: QuerySpec{Mode: "ignore", Names: []string{"utm_*", "a b"}}}, VarySpec{},
			get("http://a/?utm_source=x&q=1&utm%5Fid=2&utm&a+b=1&a%20b=2"), "s http h a r test p / q q=1 q utm"},
		{"headers", KeySpec{Headers: []string{"x-b", "X-A", "x-c"}}, VarySpec{},
			get("http://a/", "X-A: 1", "X-A: 2", "X-B:"), "s http h a r test p / f X-A 1, 2 f X-B "},
		{"headers are normalised", KeySpec{Headers: []string{"accept-encoding", "accept-language"}},
			VarySpec{Normalize: map[string][]string{"accept-language": {"en", "de"}}},
			get("http://a/", "Accept-Encoding: gzip;q=0.5, deflate, br", "Accept-Language: de-CH, fr"),
			"s http h a r test p / f Accept-Encoding br, gzip f Accept-Language de"},
		{"cookies", KeySpec{Cookies: []string{"b", "a"}}, VarySpec{},
			get("http://a/", "Cookie: x=0; a=1;b = 2 ; a=\"3\"; c"), `s http h a r test p / c a 1 c a "3" c b 2`},
		{"several Cookie lines", KeySpec{Cookies: []string{"a"}}, VarySpec{},
			get("http://a/", "Cookie: x=0", "Cookie: a=1"), "s http h a r test p / C x=0, a=1"},
		{"no cookies", KeySpec{Cookies: []string{"a"}}, VarySpec{}, get("http://a/"), "s http h a r test p /"},
	} {
		r := mustRoute(t, CacheSpec{Key: tt.key, Vary: tt.vary})
		key := r.AppendKey(nil, tt.req)
		if got := strings.Join(partsOf(t, key.Text), " "); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

// The key goes behind what is in the buffer already, and is not hashed with it.
func TestAppendKeyToBuffer(t *testing.T) {
	r := mustRoute(t, CacheSpec{})
	a, b := r.AppendKey(nil, get("http://a/")), r.AppendKey([]byte("in use"), get("http://a/"))
	if a.Hash != b.Hash || !bytes.Equal(a.Text, b.Text) {
		t.Errorf("key %q, behind other bytes %q", a.Text, b.Text)
	}
}

func TestAppendKeyDoesNotAllocate(t *testing.T) {
	var query []string
	for i := range stackParams {
		query = append(query, fmt.Sprintf("p%d=%d", (i*7)%stackParams, i))
	}
	r := mustRoute(t, CacheSpec{})
	keyed := mustRoute(t, CacheSpec{Key: KeySpec{Headers: []string{"Accept-Encoding"}, Cookies: []string{"a"}}})
	req := get("http://shop.example.com/products/1?"+strings.Join(query, "&"), "Accept-Encoding: gzip, br", "Cookie: b=1; a=2")
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { r.AppendKey(buf, req) }); n != 0 {
		t.Errorf("default key: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { keyed.AppendKey(buf, req) }); n != 0 {
		t.Errorf("key with header and cookie: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { r.AppendURI(buf, &req.target) }); n != 0 {
		t.Errorf("URI: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { r.ForwardURI(&req.target) }); n != 0 {
		t.Errorf("forwarded URI: %v allocations", n)
	}
}

func TestManyParameters(t *testing.T) {
	r := mustRoute(t, CacheSpec{})
	var up, down []string
	for i := range 1000 {
		up = append(up, fmt.Sprintf("p%03d=x", i))
		down = append(down, fmt.Sprintf("p%03d=x", 999-i))
	}
	a := r.AppendKey(nil, get("http://a/?"+strings.Join(up, "&")))
	b := r.AppendKey(nil, get("http://a/?"+strings.Join(down, "&")))
	if !bytes.Equal(a.Text, b.Text) {
		t.Error("1,000 parameters in two orders have two keys")
	}
}

func TestURIs(t *testing.T) {
	no := ptr(false)
	ignore := QuerySpec{Mode: "ignore", Names: []string{"utm_*"}}
	forward := ignore
	forward.Forward = true
	for _, tt := range []struct {
		name          string
		key           KeySpec
		rewrite       Rewrite
		url           string
		purge, origin string
	}{
		{"plain", KeySpec{}, Rewrite{}, "http://a:81/x?b&a", "http://a:81/x?a&b", "/x?b&a"},
		{"no query", KeySpec{}, Rewrite{}, "http://a/", "http://a/", "/"},
		{"no host", KeySpec{Host: no}, Rewrite{}, "http://a/x?b", "http:///x?b", "/x?b"},
		{"ignored", KeySpec{Query: ignore}, Rewrite{}, "http://a/x?utm_a&b&utm_c&a&utm_d", "http://a/x?a&b", "/x?b&a"},
		{"ignored at the end", KeySpec{Query: ignore}, Rewrite{}, "http://a/x?b&a&utm_d", "http://a/x?a&b", "/x?b&a"},
		{"all ignored", KeySpec{Query: ignore}, Rewrite{}, "http://a/x?utm_d", "http://a/x", "/x"},
		{"empty kept", KeySpec{Query: ignore}, Rewrite{}, "http://a/x?&utm_d&b", "http://a/x?&b", "/x?&b"},
		{"nothing ignored", KeySpec{Query: ignore}, Rewrite{}, "http://a/x?b&a&", "http://a/x?&a&b", "/x?b&a&"},
		{"forwarded all the same", KeySpec{Query: forward}, Rewrite{}, "http://a/x?utm_a&b&a", "http://a/x?a&b", "/x?utm_a&b&a"},
		{"none", KeySpec{Query: QuerySpec{Mode: "none"}}, Rewrite{}, "http://a/x?b", "http://a/x", "/x"},
		{"strip", KeySpec{}, Rewrite{StripPrefix: "/api"}, "http://a/api/x", "http://a/api/x", "/x"},
		{"strip with slash", KeySpec{}, Rewrite{StripPrefix: "/api/"}, "http://a/api/x", "http://a/api/x", "/x"},
		{"strip all", KeySpec{}, Rewrite{StripPrefix: "/api"}, "http://a/api", "http://a/api", "/"},
		{"strip whole segments", KeySpec{}, Rewrite{StripPrefix: "/api"}, "http://a/apix", "http://a/apix", "/apix"},
		{"strip in normal form", KeySpec{}, Rewrite{StripPrefix: "/%7ea"}, "http://a/~a/x", "http://a/~a/x", "/x"},
		{"add", KeySpec{}, Rewrite{AddPrefix: "/v2/"}, "http://a/x", "http://a/x", "/v2/x"},
		{"add to the root", KeySpec{}, Rewrite{AddPrefix: "/v2"}, "http://a/", "http://a/", "/v2/"},
		{"strip and add", KeySpec{}, Rewrite{StripPrefix: "/api", AddPrefix: "/v2"}, "http://a/api", "http://a/api", "/v2"},
		{"root prefixes", KeySpec{}, Rewrite{StripPrefix: "/", AddPrefix: "/"}, "http://a/x", "http://a/x", "/x"},
	} {
		r := mustCompile(t, Spec{Name: "test", Rewrite: tt.rewrite, Cache: &CacheSpec{Key: tt.key}}).Routes()[0]
		target := &get(tt.url).target
		if got := string(r.AppendURI(nil, target)); got != tt.purge {
			t.Errorf("%s: %s is purged as %s, want %s", tt.name, tt.url, got, tt.purge)
		}
		path, query := r.ForwardURI(target)
		if query != "" {
			path += "?" + query
		}
		if path != tt.origin {
			t.Errorf("%s: %s reaches the origin as %s, want %s", tt.name, tt.url, path, tt.origin)
		}
	}
}

func TestRewriteLeavesAsterisk(t *testing.T) {
	w := Rewrite{AddPrefix: "/v2"}
	if got := w.apply("*"); got != "*" {
		t.Errorf("OPTIONS * reaches the origin as %q", got)
	}
}

// meaning is the oracle of FuzzKey: what an origin that reads a form sees of a query, its parameters grouped by name.
func meaning(query string) string {
	values := map[string][]string{}
	for param := range strings.SplitSeq(query, "&") {
		if query == "" {
			break
		}
		name, value, assigned := strings.Cut(param, "=")
		if n, err := url.QueryUnescape(name); err == nil {
			name = n
		}
		values[name] = append(values[name], fmt.Sprintf("%v%q", assigned, value))
	}
	var b strings.Builder
	for _, name := range sorted(values) {
		fmt.Fprintf(&b, "%q%q;", name, values[name])
	}
	return b.String()
}

// FuzzKey: requests that differ in anything that the origin is sent have different keys. It is the query as it is
// forwarded that is compared, so that what is not in the key must not reach the origin either.
func FuzzKey(f *testing.F) {
	f.Add("/x", "a=1&b=2", "1", "a=1", "/x", "b=2&a=1", "1", "a=1")
	f.Add("/x", "a=1&a=2", "", "", "/x", "a=2&a=1", "", "")
	f.Add("/x", "a+b=1&a%20b=2", "", "", "/x", "a%20b=2&a+b=1", "", "")
	f.Add("/xq", "a", "", "", "/x", "qa", "", "")
	f.Add("/x", "a&", "", "a=1; a=2", "/x", "a", "", "a=2; a=1")
	f.Add("/x", "a%3D1", "", "", "/x", "a=1", "", "")
	f.Add("/x", "", "1", "", "/x", "f=1", "", "")
	f.Add("/x", "utm_a=1&a", "\x01f", "", "/x", "a&utm_a=2", "f", "")
	f.Fuzz(func(t *testing.T, path1, query1, field1, cookies1, path2, query2, field2, cookies2 string) {
		if strings.Contains(query1+query2, "%") && (!validEscapes(query1) || !validEscapes(query2)) {
			t.Skip("a query in normal form has whole escapes")
		}
		r := fuzzRoute(t)
		build := func(path, query, field, cookies string) *request {
			v := get("http://a/")
			v.target.Path, v.target.Query = path, query
			v.header["X-A"] = []string{field}
			v.header["Cookie"] = []string{cookies}
			return v
		}
		one, two := build(path1, query1, field1, cookies1), build(path2, query2, field2, cookies2)
		see := func(v *request) string {
			_, query := r.ForwardURI(&v.target)
			var c []string
			for rest := v.header["Cookie"][0]; rest != ""; {
				var name, value string
				if name, value, rest = nextCookie(rest, ";"); name == "a" {
					c = append(c, value)
				}
			}
			return fmt.Sprintf("%q %s %q %q", v.target.Path, meaning(query), v.header["X-A"], c)
		}
		same := bytes.Equal(r.AppendKey(nil, one).Text, r.AppendKey(nil, two).Text)
		if seen1, seen2 := see(one), see(two); same && seen1 != seen2 {
			t.Fatalf("one key for what the origin sees as\n%s\n%s", seen1, seen2)
		}
	})
}

func validEscapes(query string) bool { _, err := url.QueryUnescape(query); return err == nil }

var fuzzed *Route

func fuzzRoute(t testing.TB) *Route {
	if fuzzed == nil {
		fuzzed = mustRoute(t, CacheSpec{Key: KeySpec{
			Headers: []string{"X-A"}, Cookies: []string{"a"}, Query: QuerySpec{Mode: "ignore", Names: []string{"utm_*"}}}})
	}
	return fuzzed
}

// FuzzForward: the origin gets the client's parameters without those that are ignored, in the client's order, and a
// second pass changes nothing.
func FuzzForward(f *testing.F) {
	for _, query := range []string{"", "a", "utm_a", "utm_a&a", "a&utm_a&b", "&utm_a&", "a&b&&utm_%61=1", "utm_a&utm_b&&"} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		q := queryRule{mode: queryIgnore, names: []*glob{newGlob("utm_*", '/')}}
		var want []string
		for param := range strings.SplitSeq(query, "&") {
			name, _, _ := strings.Cut(param, "=")
			if name = decoded(name); !strings.HasPrefix(name, "utm_") || strings.Contains(name, "/") {
				want = append(want, param)
			}
		}
		got := q.forwarded(query)
		if got != strings.Join(want, "&") {
			t.Fatalf("%q is forwarded as %q, want %q", query, got, strings.Join(want, "&"))
		}
		if again := q.forwarded(got); again != got {
			t.Fatalf("%q is forwarded as %q, and that as %q", query, got, again)
		}
	})
}
