package rules

import (
	"fmt"
	"testing"
)

// manyRoutes makes routes such as a large site has: some hosts, a section of paths for each route, and conditions on
// fields and parameters here and there.
func manyRoutes(n int) []Spec {
	var specs []Spec
	for i := range n {
		m := MatchSpec{
			Hosts: []string{fmt.Sprintf("shop-%d.example.com", i%10), "*.example.net"},
			Paths: []string{fmt.Sprintf("/section-%d/**", i), fmt.Sprintf("/old/section-%d/*/page", i)},
		}
		if i%3 == 0 {
			m.Headers = map[string]OneOrMany{"x-beta": {"on"}}
			m.Query = map[string]OneOrMany{"page": {"*"}}
		}
		specs = append(specs, Spec{Name: fmt.Sprintf("route-%d", i), Match: m})
	}
	return specs
}

// Does the number of routes matter? 10,000 should cost about what 10 do.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 100, 10_000} {
		table := mustCompile(b, manyRoutes(n)...)
		last := n - 1
		url := fmt.Sprintf("http://shop-%d.example.com/section-%d/products/1?utm_source=x&page=1", last%10, last)
		r := get(url, "X-Beta: on")
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if table.Match(r).Index != last {
					b.Fatal("another route")
				}
			}
		})
	}
}

// What does a request cost that no route wants?
func BenchmarkMatchDefault(b *testing.B) {
	table := mustCompile(b, manyRoutes(10_000)...)
	r := get("http://shop-1.example.com/elsewhere/1")
	b.ReportAllocs()
	for b.Loop() {
		table.Match(r)
	}
}
