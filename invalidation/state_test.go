package invalidation

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// oracle is the state done naively: all records are kept, and each entry is
// held against every one of them.
type oracle struct {
	maxRows int
	records []Record
	pruned  Seq // nothing up to here is a row any more
	floor   Seq
}

func (o *oracle) apply(r Record) {
	if missed := r.Seq - 1; missed > o.applied() {
		o.floor = missed
	}
	o.records = append(o.records, r)
	rows := o.rows()
	if len(rows) > o.maxRows {
		o.floor = max(o.floor, rows[o.maxRows])
	}
}

func (o *oracle) applied() Seq {
	if len(o.records) == 0 {
		return 0
	}
	return o.records[len(o.records)-1].Seq
}

// rows returns the number of the last record of each URL, the newest first.
func (o *oracle) rows() (last []Seq) {
	seen := map[string]bool{}
	for _, r := range slices.Backward(o.records) {
		for _, sel := range slices.Backward(r.Selectors) {
			if sel.Kind == KindURL && !seen[sel.Value] && r.Seq > o.pruned {
				seen[sel.Value] = true
				last = append(last, r.Seq)
			}
		}
	}
	return last
}

// prune forgets the rows of the records from before a time; records come in
// the order of their times.
func (o *oracle) prune(before time.Time) {
	rows := o.rows()
	for _, r := range o.records {
		if r.At.Before(before) {
			o.pruned = r.Seq
		}
	}
	for _, seq := range rows {
		if seq <= o.pruned {
			o.floor = max(o.floor, seq)
		}
	}
}

// last returns the number of the last record that selects uri, or 0.
func (o *oracle) last(uri string) (last Seq) {
	_, rest, _ := strings.Cut(uri, ":")
	for _, r := range o.records {
		for _, sel := range r.Selectors {
			if sel.Kind == KindAll || sel.Value == uri || sel.Value == rest {
				last = r.Seq
			}
		}
	}
	return last
}

type stored struct {
	uri   string
	stamp *Stamp
	valid Seq // up to which it was born or found valid
}

// want lists the standings that the oracle allows.
func (o *oracle) want(e *stored) []Standing {
	hit := o.last(e.uri)
	switch {
	case hit > e.stamp.Born.Seq && hit > o.floor:
		return []Standing{Invalid}
	case hit > e.stamp.Born.Seq:
		return []Standing{Invalid, Unsure} // whether its row is still there is the state's affair
	case o.floor > e.valid:
		return []Standing{Unsure}
	}
	return []Standing{Valid}
}

// play reads operations from data and holds a State against the oracle after
// each of them.
func play(t *testing.T, data []byte) {
	const epoch = 7
	if len(data) == 0 {
		return
	}
	maxRows := 1 + int(data[0]%6)
	s, o := NewState(maxRows), &oracle{maxRows: maxRows}
	clock := time.Unix(1_000_000, 0)
	s.begin(epoch)
	uri := func(n byte) string { return fmt.Sprintf("%s://host/%d", []string{"http", "https"}[n&1], n>>1&7) }
	log := func(seq Seq, sel ...Selector) {
		clock = clock.Add(time.Second)
		r := Record{Position: Position{epoch, seq}, At: clock, Selectors: sel}
		s.Apply(r)
		o.apply(r)
	}
	var entries []*stored
	for i := 1; i+1 < len(data); i += 2 {
		op, arg := data[i], data[i+1]
		next := o.applied() + 1
		switch op % 12 {
		case 0, 1:
			log(next, Selector{KindURL, uri(arg)})
		case 2:
			log(next, Selector{KindURL, uri(arg)}, Selector{KindURL, uri(arg >> 4)})
		case 3:
			_, rest, _ := strings.Cut(uri(arg), ":")
			log(next, Selector{KindURL, rest})
		case 4:
			if arg < 32 {
				log(next, Selector{Kind: KindAll})
			}
		case 5:
			if arg < 32 {
				log(next+1+Seq(arg%3), Selector{KindURL, uri(arg)})
			}
		case 6:
			if arg < 64 {
				before := clock.Add(-time.Duration(arg%8) * time.Second)
				s.Prune(before)
				o.prune(before)
			}
		case 7, 8: // a response that left for the origin some records ago
			born := Position{epoch, o.applied() - min(o.applied(), Seq(op/12)%4)}
			st := s.Stamp(born, []byte(uri(arg)))
			entries = append(entries, &stored{uri: uri(arg), stamp: &st, valid: born.Seq})
		default:
			if len(entries) == 0 {
				continue
			}
			e := entries[int(arg)%len(entries)]
			want, got := o.want(e), s.Check(e.stamp)
			if !slices.Contains(want, got) {
				t.Fatalf("step %d: Check of %s, born at %d and valid at %d, is %v, want one of %v\nfloor %d, max rows %d, records: %v",
					i, e.uri, e.stamp.Born.Seq, e.valid, got, want, o.floor, maxRows, o.records)
			}
			if got == Valid {
				e.valid = o.applied()
			}
		}
		if got, want := s.Applied(), (Position{epoch, o.applied()}); got != want {
			t.Fatalf("step %d: applied %v, want %v", i, got, want)
		}
		if len(s.rows.index) > maxRows || len(s.rows.slots) > maxRows+1 {
			t.Fatalf("step %d: %d rows in %d places, want at most %d", i, len(s.rows.index), len(s.rows.slots), maxRows)
		}
	}
}

func TestCheckAgreesWithNaiveOracle(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 600 {
		data := make([]byte, 1+2*rnd.IntN(150))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		play(t, data)
	}
}

func FuzzCheckAgreesWithNaiveOracle(f *testing.F) {
	f.Add([]byte{2, 7, 4, 0, 4, 9, 0})
	f.Add([]byte{0, 7, 4, 7, 2, 0, 1, 0, 3, 0, 5, 9, 0, 9, 1})
	f.Add([]byte{3, 7, 4, 3, 4, 9, 0, 6, 0, 9, 0, 5, 9, 9, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 1000 {
			play(t, data)
		}
	})
}

func TestCheck(t *testing.T) {
	url := func(v string) []Selector { return []Selector{{KindURL, v}} }
	all := []Selector{{Kind: KindAll}}
	tests := []struct {
		name   string
		uri    string
		before [][]Selector // logged before the birth
		after  [][]Selector
		want   Standing
	}{
		{"nothing was ever logged", "http://a/x", nil, nil, Valid},
		{"a purge before the birth", "http://a/x", [][]Selector{url("http://a/x")}, nil, Valid},
		{"a purge after the birth", "http://a/x", nil, [][]Selector{url("http://a/x")}, Invalid},
		{"purged before and after", "http://a/x", [][]Selector{url("http://a/x")}, [][]Selector{url("http://a/x")}, Invalid},
		{"another path", "http://a/x", nil, [][]Selector{url("http://a/x/")}, Valid},
		{"another query", "http://a/x?a", nil, [][]Selector{url("http://a/x")}, Valid},
		{"another host", "http://a/x", nil, [][]Selector{url("http://b/x")}, Valid},
		{"another scheme", "http://a/x", nil, [][]Selector{url("https://a/x")}, Valid},
		{"both schemes, this is http", "http://a/x", nil, [][]Selector{url("//a/x")}, Invalid},
		{"both schemes, this is https", "https://a/x", nil, [][]Selector{url("//a/x")}, Invalid},
		{"both schemes, two slashes in the path", "https://a//x", nil, [][]Selector{url("//a//x")}, Invalid},
		{"no host", "http:///x", nil, [][]Selector{url("///x")}, Invalid},
		{"no host, another path", "http:///x", nil, [][]Selector{url("//x")}, Valid},
		{"all after the birth", "http://a/x", nil, [][]Selector{all}, Invalid},
		{"all before the birth", "http://a/x", [][]Selector{all}, nil, Valid},
		{"the second selector of a record", "http://a/x", nil, [][]Selector{{{KindURL, "http://a/y"}, {KindURL, "http://a/x"}}}, Invalid},
		{"a kind of a later version hits everything", "http://a/x", nil, [][]Selector{{{Kind(200), "?"}}}, Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := NewState(100)
			p := NewPurger(NewMemLog(), s, nil)
			log := func(records [][]Selector) {
				for _, r := range records {
					p.append(r)
				}
			}
			log(tt.before)
			st := s.Stamp(s.Applied(), []byte(tt.uri))
			log(tt.after)
			for range 2 { // an answer other than Valid must not wear off
				if got := s.Check(&st); got != tt.want {
					t.Errorf("Check of %q is %v, want %v", tt.uri, got, tt.want)
				}
			}
		})
	}
}

func TestCheckOfAnotherEpochIsNeverValid(t *testing.T) {
	s := NewState(100)
	p := NewPurger(NewMemLog(), s, nil)
	foreign := s.Stamp(Position{s.Applied().Epoch + 1, 5}, []byte("http://a/x"))
	var zero Stamp
	for range 3 {
		for _, st := range []*Stamp{&foreign, &zero} {
			if got := s.Check(st); got != Unsure {
				t.Errorf("with %d records applied: Check of %v is %v, want unsure", s.Applied().Seq, st.Born, got)
			}
		}
		p.append([]Selector{{KindURL, "http://a/other"}})
	}
	p.append([]Selector{{KindURL, "http://a/x"}})
	if got := s.Check(&foreign); got != Invalid {
		t.Errorf("Check of a stamp of another epoch that was purged since is %v, want invalid", got)
	}
}

func TestStampFromBeforeTheFirstRecordKeepsItsBirth(t *testing.T) {
	s := NewState(100)
	st := s.Stamp(s.Applied(), []byte("http://a/x")) // the epoch is not known yet
	p := NewPurger(NewMemLog(), s, nil)
	p.append([]Selector{{KindURL, "http://a/other"}})
	if got := s.Check(&st); got != Valid {
		t.Errorf("Check is %v, want valid", got)
	}
	p.append([]Selector{{KindURL, "http://a/x"}})
	if got := s.Check(&st); got != Invalid {
		t.Errorf("Check after the purge is %v, want invalid", got)
	}
}

func TestApplyPanicsOnASecondEpoch(t *testing.T) {
	s := NewState(100)
	s.Apply(Record{Position: Position{1, 1}})
	defer func() {
		if recover() == nil {
			t.Error("Apply of a record of another epoch did not panic")
		}
	}()
	s.Apply(Record{Position: Position{2, 2}})
}

func TestApplyIgnoresWhatItHasApplied(t *testing.T) {
	s := NewState(100)
	r := Record{Position: Position{1, 1}, Selectors: []Selector{{Kind: KindAll}}}
	s.Apply(r)
	s.Apply(Record{Position: Position{1, 2}})
	st := s.Stamp(s.Applied(), []byte("http://a/x"))
	s.Apply(r)
	if got := s.Check(&st); got != Valid {
		t.Errorf("Check after an old record came again is %v, want valid", got)
	}
	if got := s.Applied(); got != (Position{1, 2}) {
		t.Errorf("applied went back to %v", got)
	}
}

// The row of a URI that is purged again and again must not be the next to go,
// and what was looked at lately is not ended by a floor that rises.
func TestFloorSparesWhatIsUsed(t *testing.T) {
	s := NewState(2)
	p := NewPurger(NewMemLog(), s, nil)
	used := s.Stamp(s.Applied(), []byte("http://a/used"))
	unused := s.Stamp(s.Applied(), []byte("http://a/unused"))
	for i := range 50 {
		p.append([]Selector{{KindURL, "http://a/hot"}})
		p.append([]Selector{{KindURL, fmt.Sprintf("http://a/%d", i)}})
		if got := s.Check(&used); got != Valid {
			t.Fatalf("round %d: Check of what is checked all the time is %v, want valid", i, got)
		}
	}
	if got := s.Check(&unused); got != Unsure {
		t.Errorf("Check of what was born below the floor is %v, want unsure", got)
	}
	hot := s.Stamp(Position{s.Applied().Epoch, s.Applied().Seq - 3}, []byte("http://a/hot"))
	if got := s.Check(&hot); got != Invalid {
		t.Errorf("Check of what was purged lately is %v, want invalid", got)
	}
}

func TestPruneForgetsByAge(t *testing.T) {
	s := NewState(100)
	at := time.Unix(1_000_000, 0)
	old := s.Stamp(s.Applied(), []byte("http://a/x"))
	for i := range 10 {
		s.Apply(Record{Position: Position{0, Seq(i + 1)}, At: at.Add(time.Duration(i) * time.Hour), Selectors: []Selector{{KindURL, fmt.Sprintf("http://a/%d", i)}}})
	}
	young := s.Stamp(Position{0, 4}, []byte("http://a/x"))
	if n := s.Prune(at.Add(4 * time.Hour)); n != 4 {
		t.Errorf("Prune forgot %d URIs, want 4", n)
	}
	if got := s.Check(&old); got != Unsure {
		t.Errorf("Check of what was born before a forgotten record is %v, want unsure", got)
	}
	if got := s.Check(&young); got != Valid {
		t.Errorf("Check of what was born after it is %v, want valid", got)
	}
	if n := s.Prune(at.Add(4 * time.Hour)); n != 0 {
		t.Errorf("Prune forgot %d URIs the second time, want 0", n)
	}
}

// Readers check stamps of their own and shared ones while purges go on. Once a
// purge has returned, whatever it selects and was born before must not be Valid
// to anybody; what it does not select must be.
func TestCheckWhilePurging(t *testing.T) {
	const readers, purges, uris = 4, 2000, 8
	s := NewState(4 * uris)
	p := NewPurger(NewMemLog(), s, nil)
	uri := func(i int) []byte { return fmt.Appendf(nil, "http://host/%d", i) }
	type version struct {
		number int
		stamp  Stamp
	}
	// published[i] is what a cache would hold; done[i] is the last purge of it
	// that has returned.
	var mu sync.Mutex
	var published [uris]*version
	var done [uris]int
	spared := s.Stamp(s.Applied(), []byte("http://host/spared"))
	for i := range published {
		published[i] = &version{stamp: s.Stamp(s.Applied(), uri(i))}
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for r := range readers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(3, uint64(r)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := rnd.IntN(uris)
				mu.Lock()
				v, purged := published[i], done[i]
				mu.Unlock()
				if got := s.Check(&v.stamp); got == Valid && v.number < purged {
					t.Errorf("version %d of %d is valid after purge %d has returned", v.number, i, purged)
					return
				}
				if got := s.Check(&spared); got != Valid {
					t.Errorf("Check of what no purge selects is %v", got)
					return
				}
			}
		})
	}
	for n := 1; n <= purges; n++ {
		i := n % uris
		late := s.Applied() // a response under way while the purge comes
		if _, err := p.Purge(t.Context(), []Selector{{KindURL, string(uri(i))}}); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		done[i] = n
		if n%3 == 0 {
			published[i] = &version{number: n - 1, stamp: s.Stamp(late, uri(i))}
		} else {
			published[i] = &version{number: n, stamp: s.Stamp(s.Applied(), uri(i))}
		}
		mu.Unlock()
	}
	close(stop)
	wg.Wait()
}

// A Check that goes on while two records are applied may note what it found up
// to the first only. If it noted more, or if a record counted as applied before
// all of it could be seen, the second would be missed for ever.
func TestCheckNotesNoMoreThanItHasSeen(t *testing.T) {
	const readers, rounds = 3, 3000
	filler := make([]Selector, 64)
	for i := range filler {
		filler[i] = Selector{KindURL, fmt.Sprintf("http://host/filler/%d", i)}
	}
	for _, hit := range []Selector{{KindURL, "http://host/x"}, {Kind: KindAll}} {
		s := NewState(1000)
		var current atomic.Pointer[Stamp]
		fresh := func() *Stamp {
			st := s.Stamp(s.Applied(), []byte("http://host/x"))
			return &st
		}
		current.Store(fresh())
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range readers {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						s.Check(current.Load())
					}
				}
			})
		}
		for round := range rounds {
			st := fresh()
			current.Store(st)
			seq := s.Applied().Seq
			s.Apply(Record{Position: Position{0, seq + 1}, Selectors: filler[:1]})
			record := filler[: round%len(filler) : round%len(filler)]
			s.Apply(Record{Position: Position{0, seq + 2}, Selectors: append(record, hit)})
			if got := s.Check(st); got != Invalid {
				t.Errorf("round %d: Check after the purge of %s %q is %v, want invalid", round, hit.Kind, hit.Value, got)
				break
			}
		}
		close(stop)
		wg.Wait()
	}
}

// The same by hand: a Check has read what is applied and waits for the rows, and
// meanwhile a record is applied in full.
func TestCheckThatIsOvertakenLooksAgain(t *testing.T) {
	for range 50 {
		s := NewState(1000)
		st := s.Stamp(s.Applied(), []byte("http://host/x"))
		s.Apply(Record{Position: Position{0, 1}, Selectors: []Selector{{KindURL, "http://host/y"}}})
		s.mu.Lock()
		var wg sync.WaitGroup
		wg.Go(func() { s.Check(&st) }) // it may be early or late
		for range 50 {
			runtime.Gosched()
		}
		s.all.Store(2)
		s.applied.Store(2)
		s.mu.Unlock()
		wg.Wait()
		if got := s.Check(&st); got != Invalid {
			t.Fatalf("Check after the purge is %v, want invalid", got)
		}
	}
}

func TestCheckAllocatesNothing(t *testing.T) {
	s := NewState(100)
	p := NewPurger(NewMemLog(), s, nil)
	uri := []byte("http://host/path?query")
	st := s.Stamp(s.Applied(), uri)
	seq := Seq(0)
	tests := []struct {
		name string
		f    func()
	}{
		{"Check, nothing new", func() { s.Check(&st) }},
		{"Check after a record", func() {
			seq++
			s.applied.Store(uint64(seq))
			s.Check(&st)
		}},
		{"Stamp", func() { st2 := s.Stamp(s.Applied(), uri); _ = st2.Born }},
	}
	for _, tt := range tests {
		if n := testing.AllocsPerRun(100, tt.f); n != 0 {
			t.Errorf("%s: %v allocations, want none", tt.name, n)
		}
	}
	p.append([]Selector{{Kind: KindAll}})
	if n := testing.AllocsPerRun(100, func() { s.Check(&st) }); n != 0 {
		t.Errorf("Check of what is invalid: %v allocations, want none", n)
	}
}
