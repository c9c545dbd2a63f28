package rfc9111

import (
	"testing"
	"time"
)

// hot is what a hit does, piece by piece. Each piece may not allocate.
func hot() map[string]func() {
	m := NewMeta(
		exchange(fields("Accept-Encoding: gzip, br", "Accept-Language: en , de"), 200,
			fields("Cache-Control: max-age=60, stale-while-revalidate=60", "Vary: Accept-Encoding, Accept-Language, Foo", `Etag: "abc"`, at("Last-Modified", -time.Hour))),
		originPolicy(), now, now)
	req := fields("Accept-Encoding: GZIP,br", "Accept-Language: en, de", `If-None-Match: "x", W/"abc"`, at("If-Modified-Since", 0),
		"Cache-Control: max-age=600, min-fresh=1, max-stale=5, foo=\"bar, baz\"", at("If-Range", -time.Hour))
	conditional := fields(at("If-Modified-Since", time.Minute))
	text := AppendPart(AppendPart(nil, "example.com"), "/a/b")
	status := Status{Hit: true, TTL: 42 * time.Second, HasTTL: true, Detail: "l1"}
	var buf [128]byte
	return map[string]func(){
		"ParseTarget":                      func() { _, _ = ParseTarget("http", "www.example.com:8080", "/a/b%20c/d.html?q=1&r=%C3%A9") },
		"ParseTarget of an absolute form":  func() { _, _ = ParseTarget("http", "x", "http://www.example.com/a") },
		"ParseTarget of an IPv6 literal":   func() { _, _ = ParseTarget("http", "[2001:db8::1]:8080", "/a") },
		"NewKey":                           func() { _ = NewKey(text) },
		"Decide":                           func() { _ = Decide(req, &m, ForwardMiss, Constraint{}, now.Add(time.Second)) },
		"Decide on a stale one":            func() { _ = Decide(req, &m, ForwardMiss, Constraint{}, now.Add(time.Minute)) },
		"DecideOnError":                    func() { _ = DecideOnError(req, &m, Constraint{}, Disconnected, now.Add(time.Minute)) },
		"Matches":                          func() { _ = Matches(req, &m) },
		"Preconditions, If-None-Match":     func() { _ = Preconditions(req, &m) },
		"Preconditions, If-Modified-Since": func() { _ = Preconditions(conditional, &m) },
		"RangeApplies":                     func() { _ = RangeApplies(req, &m) },
		"AppendStatus":                     func() { _ = AppendStatus(buf[:0], "cacheproxy", &status) },
		"Age and TTL":                      func() { _, _ = m.Age(now), m.TTL(now) },
		"Newer":                            func() { _ = Newer(&m, &m) },
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	for name, f := range hot() {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}
