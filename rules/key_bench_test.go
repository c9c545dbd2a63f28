package rules

import "testing"

// What does a key cost, sorted query and hash included?
func BenchmarkAppendKey(b *testing.B) {
	r := mustRoute(b, CacheSpec{})
	req := get("http://shop.example.com/products/1?page=2&colour=red&size=m&b=1")
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		r.AppendKey(buf, req)
	}
}

// What does it cost to leave parameters out for the origin?
func BenchmarkForwardURI(b *testing.B) {
	r := mustRoute(b, CacheSpec{Key: KeySpec{Query: QuerySpec{Mode: "ignore", Names: []string{"utm_*"}}}})
	req := get("http://shop.example.com/products/1?page=2&utm_source=x&size=m&b=1")
	b.ReportAllocs()
	for b.Loop() {
		r.ForwardURI(&req.target)
	}
}
