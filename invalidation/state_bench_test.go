package invalidation

import (
	"fmt"
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
