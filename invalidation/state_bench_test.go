package invalidation

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// What does a hit pay where nothing was purged since the last one?
func BenchmarkCheckIdle(b *testing.B) {
	s := NewState(1000)
	p := NewPurger(NewMemLog(), s, nil)
	p.append(Record{Selectors: []Selector{{KindURL, "http://host/other"}}})
	st := s.thing(s.Birth(), "http://host/path")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if s.check(st) != Valid {
				b.Error("not valid")
			}
		}
	})
}

// What does a hit pay where something else was purged since the last one, with
// a million purged URIs remembered?
func BenchmarkCheckAfterPurge(b *testing.B) {
	const rows = 1 << 20
	s := NewState(rows)
	for i := range rows {
		s.Apply(Record{Position: Position{1, Seq(i + 1)}, Selectors: []Selector{{KindURL, fmt.Sprintf("http://host/%d", i)}}})
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		things := make([]*thing, 1<<12)
		for i := range things {
			things[i] = s.thing(s.Birth(), fmt.Sprintf("http://stored/%d", i))
		}
		for i := 0; pb.Next(); i++ {
			x := things[i%len(things)]
			x.stamp.checked.Store(s.tick.Load()) // one record behind
			if s.check(x) != Valid {
				b.Error("not valid")
			}
		}
	})
}

// What do hits pay while purges come as fast as one writer can make them?
func BenchmarkCheckUnderPurges(b *testing.B) {
	s := NewState(1000)
	p := NewPurger(NewMemLog(), s, nil)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		sel := []Selector{{KindURL, "http://host/other"}}
		for {
			select {
			case <-stop:
				return
			default:
				p.append(Record{Selectors: sel})
			}
		}
	}()
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		st := s.thing(s.Birth(), "http://host/path")
		for pb.Next() {
			if s.check(st) != Valid {
				b.Error("not valid")
			}
		}
	})
	b.StopTimer()
	close(stop)
	<-done
}

// What does a purge of one URL cost with a full state, so that each forgets one?
func BenchmarkApply(b *testing.B) {
	const rows = 1 << 20
	s := NewState(rows)
	sel := make([]Selector, 2*rows)
	for i := range sel {
		sel[i] = Selector{KindURL, fmt.Sprintf("http://host/%d", i)}
	}
	now := time.Now()
	seq := 0
	apply := func() {
		i := seq % len(sel)
		seq++
		s.Apply(Record{Position: Position{1, Seq(seq)}, At: now, Selectors: sel[i : i+1]})
	}
	for range rows {
		apply()
	}
	b.ReportAllocs()
	for b.Loop() {
		apply()
	}
}

// What does a hit on something with ten tags pay while other tags are purged a
// thousand times a second, and it is asked for ten thousand times a second? One
// Check in ten then finds something new.
func BenchmarkCheckTaggedAtAThousandPurgesASecond(b *testing.B) {
	s := NewState(1_000_000)
	s.Begin(Position{1, 0})
	var marks []Selector
	for i := range 10 {
		marks = append(marks, Selector{KindTag, fmt.Sprint("tag-", i)})
	}
	x := s.thing(s.Birth(), "http://host/path", marks...)
	other := Record{Selectors: []Selector{{KindTag, "other"}}}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i++; i%10 == 0 {
			s.ApplyHere(other)
		}
		if s.check(x) != Valid {
			b.Fatal("not valid")
		}
	}
}

// What do a million different purged tags take? The result is in the metric.
func BenchmarkAMillionPurgedTags(b *testing.B) {
	const tags = 1_000_000
	for b.Loop() {
		before := heap()
		s := NewState(tags)
		s.Begin(Position{1, 0})
		for i := range tags {
			s.Apply(Record{Position: Position{1, Seq(i + 1)}, Selectors: []Selector{{KindTag, fmt.Sprint("tag-", i)}}})
		}
		b.ReportMetric(float64(heap()-before)/tags, "bytes/tag")
		runtime.KeepAlive(s)
	}
}

// TestOverheadOfPurgedTags: a million different purged tags, and as many again,
// take no more than 110 bytes each of those that are remembered.
func TestOverheadOfPurgedTags(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector multiplies memory")
	}
	const rows, bound = 1_000_000, 110
	before := heap()
	s := NewState(rows)
	s.Begin(Position{1, 0})
	for i := range 2 * rows {
		s.Apply(Record{Position: Position{1, Seq(i + 1)}, Selectors: []Selector{{KindTag, fmt.Sprint("tag-", i)}}})
		if i == rows-1 || i == 2*rows-1 {
			if took := (heap() - before) / rows; took > bound {
				t.Errorf("after %d tags: %d bytes for each row, want at most %d", i+1, took, bound)
			}
		}
	}
	runtime.KeepAlive(s)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
