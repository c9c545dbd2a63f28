package rules

import "testing"

// What does a condition add to a request?
func BenchmarkCondition(b *testing.B) {
	r := mustRoute(b, CacheSpec{Bypass: `request.headers["x-preview"] == "1" || request.cookies["session"] != ""`})
	v := get("http://a/x", "Cookie: theme=dark; lang=en")
	b.ReportAllocs()
	for b.Loop() {
		r.Bypass(v)
	}
}

// How long may a condition take before the cost limit ends it?
func BenchmarkConditionAtItsLimit(b *testing.B) {
	const list = "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50]"
	r := mustRoute(b, CacheSpec{Bypass: list + ".all(a, " + list + ".all(b, " + list + ".all(c, a + b + c > 0 && request.path != '')))"})
	v := get("http://a/x")
	for b.Loop() {
		r.Bypass(v)
	}
}
