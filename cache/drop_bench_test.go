package cache

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// How long does a purge of a tag take until it holds, by how many stored responses carry the tag? As a second figure, in
// milliseconds, until it is answered, with what was freed by then.
func BenchmarkPurgeOfATag(b *testing.B) {
	for _, carriers := range []int{1, 1000, 1_000_000} {
		b.Run(fmt.Sprintf("carriers=%d", carriers), func(b *testing.B) {
			w := newWorldOf(b, Options{MaxBytes: 2 << 30, MaxVariants: 32})
			purge := invalidation.Purge{Selectors: []invalidation.Selector{tag("a")}}
			h := fields("Cache-Control: max-age=600")
			for i := range carriers {
				p := w.parts(response{uri: fmt.Sprintf("http://h/%d", i), sent: start, header: h})
				p.Labels = &Labels{Tags: []string{"a"}}
				w.Store(p)
			}
			last := w.query(fmt.Sprintf("http://h/%d", carriers-1), start)
			if w.Find(last).Entry == nil {
				b.Fatal("they were not stored")
			}
			began := time.Now()
			if _, err := w.purger.Purge(context.Background(), purge); err != nil {
				b.Fatal(err)
			}
			d := w.Drop(invalidation.Record{Selectors: purge.Selectors})
			answered := time.Since(began)
			if w.Find(last).Entry != nil {
				b.Fatal("it does not hold")
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.purger.Purge(context.Background(), purge); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(answered.Microseconds())/1000, "ms-to-answer")
			b.ReportMetric(float64(d.Freed), "freed-by-then")
		})
	}
}
