package rfc9111

import (
	"strings"
	"testing"
)

// BenchmarkHot: what does each piece of a hit cost?
func BenchmarkHot(b *testing.B) {
	for name, f := range hot() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
	}
}

// BenchmarkParseTarget: what does a URL cost that has to be rewritten, or that looks for trouble?
func BenchmarkParseTarget(b *testing.B) {
	for name, target := range map[string]string{
		"normal":         "/products/1?page=2",
		"dot segments":   "/a/./b/../products/1",
		"escapes":        "/%7euser/%c3%a9t%C3%A9",
		"refused":        "/a/%252e%252e/b",
		"many escapes":   "/" + strings.Repeat("%2525", 1600),
		"many dots":      "/" + strings.Repeat("../", 2600),
		"many raw bytes": "/" + strings.Repeat("é", 4000),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = ParseTarget("http", "www.example.com", target)
			}
		})
	}
}

// BenchmarkStore: what does the storing side cost, which runs once per fetch?
func BenchmarkStore(b *testing.B) {
	x := exchange(fields("Accept-Encoding: gzip, br"), 200, fields("Cache-Control: max-age=60", "Vary: Accept-Encoding", `Etag: "abc"`, at("Date", 0)))
	p := originPolicy()
	b.Run("Storable", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = Storable(x, p)
		}
	})
	b.Run("NewMeta", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = NewMeta(x, p, now, now)
		}
	})
}
