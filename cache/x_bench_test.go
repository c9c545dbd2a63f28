package cache

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// filled returns a world with n variants of uri.
func filled(b *testing.B, n int) *world {
	w := newWorld(b)
	for v := range n {
		w.keep(response{
			uri: uri, request: fields(fmt.Sprintf("Accept-Language: l%d", v)), sent: start, body: strings.Repeat("x", 1024),
			header: fields("Cache-Control: max-age=60", "Vary: Accept-Language", fmt.Sprintf(`Etag: "%d"`, v), "Content-Type: text/html"),
		})
	}
	return w
}

// What does a hit cost, how much more where a key has 8 variants, and what a miss?
func BenchmarkFind(b *testing.B) {
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprintf("hit/variants=%d", n), func(b *testing.B) {
			w := filled(b, n)
			q := w.query(uri, start, fmt.Sprintf("Accept-Language: l%d", n-1))
			b.ReportAllocs()
			for b.Loop() {
				if w.Find(q).Decision.Action != rfc9111.Serve {
					b.Fatal("no hit")
				}
			}
		})
	}
	b.Run("miss", func(b *testing.B) {
		w := filled(b, 1)
		q := w.query("http://h/none", start)
		b.ReportAllocs()
		for b.Loop() {
			w.Find(q)
		}
	})
}

// Do readers of one key hinder each other by more than the shard's lock?
func BenchmarkFindParallel(b *testing.B) {
	w := filled(b, 1)
	q := w.query(uri, start, "Accept-Language: l0")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			w.Find(q)
		}
	})
}

// What does storing 1 KiB cost, alone and among 8 variants: is it far below the fetch that it follows?
func BenchmarkStore(b *testing.B) {
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprintf("variants=%d", n), func(b *testing.B) {
			w := filled(b, n)
			p := w.parts(response{
				uri: uri, request: fields("Accept-Language: l0"), sent: start.Add(time.Second), body: strings.Repeat("x", 1024),
				header: fields("Cache-Control: max-age=60", "Vary: Accept-Language", `Etag: "x"`, "Content-Type: text/html"),
			})
			b.ReportAllocs()
			for b.Loop() {
				if _, stored := w.Store(p); !stored {
					b.Fatal("not stored")
				}
			}
		})
	}
}

// What does a 304 cost beside the round trip to the origin, and how much more where it is compared with 8 variants?
func BenchmarkFreshen(b *testing.B) {
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprintf("variants=%d", n), func(b *testing.B) {
			w := filled(b, n)
			q := w.query(uri, start.Add(2*time.Minute), "Accept-Language: l0")
			b.ReportAllocs()
			for b.Loop() {
				f := w.validation(q, w.Find(q), `Etag: "0"`, "Cache-Control: max-age=60", "Vary: Accept-Language")
				if answer, _ := w.Freshen(f); answer == nil {
					b.Fatal("not freshened")
				}
			}
		})
	}
}

// What does it cost to keep a full cache's memory dense, where what dies is spread evenly over it: how many bytes are moved for each
// that is stored?
func BenchmarkStoreInFullCache(b *testing.B) {
	const keys = 100_000
	w := newWorldOf(b, Options{MaxBytes: 64 << 20, MaxVariants: 1})
	parts := make([]*Parts, keys)
	for i := range parts {
		parts[i] = w.parts(response{
			uri: fmt.Sprintf("http://h/%d", i), sent: start, body: strings.Repeat("x", 1024),
			header: fields("Cache-Control: max-age=60", `Etag: "x"`, "Content-Type: text/html"),
		})
		w.Store(parts[i])
	}
	random := rand.New(rand.NewPCG(1, 1))
	adopted := w.memory.arena.adopted
	b.ReportAllocs()
	for b.Loop() {
		w.Store(parts[random.IntN(keys)])
	}
	b.ReportMetric(float64(w.memory.arena.adopted-adopted)/float64(b.N)-1, "moves/op")
}
