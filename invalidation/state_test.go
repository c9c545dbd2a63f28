package invalidation

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestMayBeInvalid: only what is older than a purge that makes something invalid may be so.
func TestMayBeInvalid(t *testing.T) {
	s := NewState(100)
	s.Begin(Position{Epoch: 1})
	for i, tt := range []struct {
		strategy Strategy
		last     Seq // record that makes something invalid
	}{{Soft, 0}, {TTL, 0}, {Smart, 0}, {Immediate, 4}, {Soft, 4}, {Lazy, 6}, {Smart, 6}} {
		s.Apply(Record{Position: Position{1, Seq(i + 1)}, Selectors: []Selector{{KindTag, "a"}}, Strategy: tt.strategy})
		for seq := range Seq(i + 2) {
			if got, want := s.MayBeInvalid(Position{1, seq}), seq < tt.last; got != want {
				t.Errorf("after %v, record %d, what was born at %d may be invalid: %v", tt.strategy, i+1, seq, got)
			}
		}
	}
	if !s.MayBeInvalid(Position{2, 9}) {
		t.Error("in another epoch all that was ever applied counts")
	}
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
					p.append(Record{Selectors: r})
				}
			}
			log(tt.before)
			st := s.thing(s.Birth(), tt.uri)
			log(tt.after)
			for range 2 { // an answer other than Valid must not wear off
				if got := s.check(st); got != tt.want {
					t.Errorf("Check of %q is %v, want %v", tt.uri, got, tt.want)
				}
			}
		})
	}
}

func TestCheckOfAnotherEpochIsNeverValid(t *testing.T) {
	s := NewState(100)
	early := s.thing(s.Birth(), "http://a/x") // no log is known yet
	p := NewPurger(NewMemLog(), s, nil)
	foreign := s.thing(Birth{Position: Position{s.Applied().Epoch + 1, 5}}, "http://a/x")
	zero := &thing{uri: []byte("http://a/x")}
	for range 3 {
		for _, x := range []*thing{early, foreign, zero} {
			if got := s.check(x); got != Unsure {
				t.Errorf("with %d records applied: Check of %v is %v, want unsure", s.Applied().Seq, x.stamp.Born, got)
			}
		}
		p.append(Record{Selectors: []Selector{{KindURL, "http://a/other"}}})
	}
	p.append(Record{Selectors: []Selector{{KindURL, "http://a/x"}}})
	for _, x := range []*thing{early, foreign} {
		if got := s.check(x); got != Invalid {
			t.Errorf("Check of a stamp of another epoch that was purged since is %v, want invalid", got)
		}
	}
}

// A log that begins anew takes nothing away: what was purged stays purged, and
// what was valid is unsure.
func TestANewEpochKeepsWhatWasApplied(t *testing.T) {
	s := NewState(100)
	s.Begin(Position{1, 10})
	x, y := s.thing(s.Birth(), "http://a/x"), s.thing(s.Birth(), "http://a/y")
	s.Apply(Record{Position: Position{1, 11}, Selectors: []Selector{{KindURL, "http://a/x"}}})
	if got := s.check(y); got != Valid {
		t.Errorf("Check of what was not purged is %v, want valid", got)
	}
	s.Begin(Position{2, 3})
	z := s.thing(s.Birth(), "http://a/z")
	below := s.thing(Birth{Position: Position{2, 2}}, "http://a/z")
	for _, tt := range []struct {
		x    *thing
		want Standing
	}{{x, Invalid}, {y, Unsure}, {z, Valid}, {below, Unsure}} {
		if got := s.check(tt.x); got != tt.want {
			t.Errorf("after the epoch has changed Check of %s born at %v is %v, want %v", tt.x.uri, tt.x.stamp.Born, got, tt.want)
		}
		if got, want := s.Joinable(&tt.x.stamp), tt.want == Valid; got != want {
			t.Errorf("Joinable of %s born at %v is %v, want %v", tt.x.uri, tt.x.stamp.Born, got, want)
		}
	}
}

// What is purged here while the log is away holds at once, and spares what was
// requested afterwards, although the position in the log is the same.
func TestPurgesWithoutAPlaceInTheLogHold(t *testing.T) {
	s := NewState(100)
	s.Begin(Position{1, 10})
	x := Record{Selectors: []Selector{{KindURL, "http://a/x"}}}
	before := s.thing(s.Birth(), "http://a/x")
	elsewhere := Birth{Position: s.Applied()}
	s.ApplyHere(x)
	after := s.thing(s.Birth(), "http://a/x")
	if b, a := s.check(before), s.check(after); b != Invalid || a != Valid {
		t.Errorf("Check of what was requested before is %v and after %v, want invalid and valid", b, a)
	}
	if got := s.check(s.thing(elsewhere, "http://a/x")); got != Invalid {
		t.Errorf("Check of what another instance requested at the same place in the log is %v, want invalid", got)
	}
	x.Position = Position{1, 11}
	s.Apply(x)
	if got := s.check(after); got != Invalid {
		t.Errorf("Check of what was requested before the purge got its place is %v, want invalid", got)
	}
	if got := s.check(s.thing(Birth{Position: x.Position}, "http://a/x")); got != Invalid {
		t.Errorf("Check of what may be from before a purge that is not known to be logged is %v, want invalid", got)
	}
	s.Logged(s.Birth())
	if got := s.check(s.thing(Birth{Position: x.Position}, "http://a/x")); got != Valid {
		t.Errorf("Check of what another instance requested behind it is %v, want valid", got)
	}
}

func TestTheWorstOfAllStrategiesCounts(t *testing.T) {
	at := time.Now()
	tests := []struct {
		strategies []string
		want       Standing
		until      time.Duration
	}{
		{[]string{"soft", "immediate"}, Invalid, 0},
		{[]string{"immediate", "soft"}, Invalid, 0},
		{[]string{"lazy", "ttl=1s"}, Invalid, 0},
		{[]string{"smart", "soft"}, Judge, 0},
		{[]string{"soft", "smart"}, Judge, 0},
		{[]string{"ttl=1s", "soft"}, Stale, 0},
		{[]string{"soft", "ttl=1s"}, Stale, 0},
		{[]string{"ttl=10s", "ttl=1s"}, Cut, time.Second},
		{[]string{"ttl=1s", "ttl=10s"}, Cut, time.Second},
		{[]string{"ttl=0s"}, Cut, 0},
	}
	for _, tt := range tests {
		for _, sel := range []Selector{{KindURL, "http://a/x"}, {KindTag, "t"}, {KindPattern, "a/*"}, Ban{URL: "x"}.Selector(), {Kind: KindAll}} {
			s := NewState(100)
			s.Begin(Position{1, 0})
			x := s.thing(s.Birth(), "http://a/x", Selector{KindTag, "t"})
			for i, name := range tt.strategies {
				strategy, ttl, err := ParseStrategy(name)
				if err != nil {
					t.Fatal(err)
				}
				s.Apply(Record{Position: Position{1, Seq(i + 1)}, At: at, Selectors: []Selector{sel}, Strategy: strategy, TTL: ttl})
			}
			for range 2 { // an answer other than Valid must not wear off
				if got := s.check(x); got != tt.want {
					t.Errorf("%v of %s: %v, want %v", tt.strategies, sel.Kind, got, tt.want)
				}
			}
			if until := s.Until(&x.stamp, x); tt.want == Cut && !until.Equal(at.Add(tt.until)) || tt.want != Cut && !until.IsZero() {
				t.Errorf("%v of %s: until %v, want %v", tt.strategies, sel.Kind, until, at.Add(tt.until))
			}
			if got := s.check(s.thing(s.Birth(), "http://a/x", Selector{KindTag, "t"})); got != Valid {
				t.Errorf("%v of %s: %v for what was born behind them, want valid", tt.strategies, sel.Kind, got)
			}
		}
	}
}

// A cut that ran out before the next came must not be lengthened by it.
func TestALaterCutRevivesNothing(t *testing.T) {
	s := NewState(100)
	s.Begin(Position{1, 0})
	at := time.Now()
	x := s.thing(s.Birth(), "http://a/x")
	for i, after := range []time.Duration{0, time.Minute} {
		s.Apply(Record{
			Position: Position{1, Seq(i + 1)}, At: at.Add(after), Selectors: []Selector{{KindURL, "http://a/x"}}, Strategy: TTL, TTL: time.Second,
		})
	}
	if got := s.check(x); got != Stale {
		t.Errorf("Check of what was cut a minute ago and again is %v, want stale", got)
	}
}

// Before its response's head has come, nobody knows what tags it will have.
func TestJoinable(t *testing.T) {
	tests := []struct {
		name   string
		record Record
		want   bool
	}{
		{"another URL", Record{Selectors: []Selector{{KindURL, "http://a/y"}}}, true},
		{"another key", Record{Selectors: []Selector{{KindKey, "00000000000000000000000000000000"}}}, true},
		{"another URL and what depends on it", Record{Selectors: []Selector{{KindURL, "http://a/y"}}, Dependents: true}, false},
		{"its URL", Record{Selectors: []Selector{{KindURL, "http://a/x"}}}, false},
		{"its URL softly", Record{Selectors: []Selector{{KindURL, "//a/x"}}, Strategy: Soft}, false},
		{"a tag", Record{Selectors: []Selector{{KindTag, "t"}}}, false},
		{"a group", Record{Selectors: []Selector{Group("http://a", "g")}}, false},
		{"a pattern", Record{Selectors: []Selector{{KindPattern, "b/**"}}}, false},
		{"a ban", Record{Selectors: []Selector{Ban{Tags: "t"}.Selector()}}, false},
		{"all", Record{Selectors: []Selector{{Kind: KindAll}}}, false},
	}
	for _, tt := range tests {
		s := NewState(100)
		s.Begin(Position{1, 0})
		x := s.thing(s.Birth(), "http://a/x")
		if !s.Joinable(&x.stamp) {
			t.Errorf("%s: not joinable before", tt.name)
		}
		s.ApplyHere(tt.record)
		for range 2 {
			if got := s.Joinable(&x.stamp); got != tt.want {
				t.Errorf("%s: joinable is %v, want %v", tt.name, got, tt.want)
			}
		}
	}
}

func TestApplyIgnoresWhatItHasApplied(t *testing.T) {
	s := NewState(100)
	s.Begin(Position{1, 0})
	r := Record{Position: Position{1, 1}, Selectors: []Selector{{Kind: KindAll}}}
	s.Apply(r)
	s.Apply(Record{Position: Position{1, 2}})
	st := s.thing(s.Birth(), "http://a/x")
	s.Apply(r)
	if got := s.check(st); got != Valid {
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
	used := s.thing(s.Birth(), "http://a/used")
	unused := s.thing(s.Birth(), "http://a/unused")
	for i := range 50 {
		p.append(Record{Selectors: []Selector{{KindURL, "http://a/hot"}}})
		p.append(Record{Selectors: []Selector{{KindURL, fmt.Sprintf("http://a/%d", i)}}})
		if got := s.check(used); got != Valid {
			t.Fatalf("round %d: Check of what is checked all the time is %v, want valid", i, got)
		}
	}
	if got := s.check(unused); got != Unsure {
		t.Errorf("Check of what was born below the floor is %v, want unsure", got)
	}
	hot := s.thing(Birth{Position: Position{s.Applied().Epoch, s.Applied().Seq - 3}}, "http://a/hot")
	if got := s.check(hot); got != Invalid {
		t.Errorf("Check of what was purged lately is %v, want invalid", got)
	}
}

func TestPruneForgetsByAge(t *testing.T) {
	s := NewState(100)
	s.Begin(Position{1, 0})
	at := time.Unix(1_000_000, 0)
	old := s.thing(s.Birth(), "http://a/x")
	for i := range 10 {
		s.Apply(Record{Position: Position{1, Seq(i + 1)}, At: at.Add(time.Duration(i) * time.Hour), Selectors: []Selector{{KindURL, fmt.Sprintf("http://a/%d", i)}}})
	}
	young := s.thing(Birth{Position: Position{1, 4}}, "http://a/x")
	if n := s.Prune(at.Add(4 * time.Hour)); n != 4 {
		t.Errorf("Prune forgot %d URIs, want 4", n)
	}
	if got := s.check(old); got != Unsure {
		t.Errorf("Check of what was born before a forgotten record is %v, want unsure", got)
	}
	if got := s.check(young); got != Valid {
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
	uri := func(i int) string { return fmt.Sprintf("http://host/%d", i) }
	type version struct {
		number int
		*thing
	}
	// published[i] is what a cache would hold; done[i] is the last purge of it
	// that has returned.
	var mu sync.Mutex
	var published [uris]*version
	var done [uris]int
	spared := s.thing(s.Birth(), "http://host/spared")
	for i := range published {
		published[i] = &version{thing: s.thing(s.Birth(), uri(i))}
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
				if got := s.check(v.thing); got == Valid && v.number < purged {
					t.Errorf("version %d of %d is valid after purge %d has returned", v.number, i, purged)
					return
				}
				if got := s.check(spared); got != Valid {
					t.Errorf("Check of what no purge selects is %v", got)
					return
				}
			}
		})
	}
	for n := 1; n <= purges; n++ {
		i := n % uris
		late := s.Birth() // a response under way while the purge comes
		if _, err := p.Purge(t.Context(), Purge{Selectors: []Selector{{KindURL, uri(i)}}}); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		done[i] = n
		if n%3 == 0 {
			published[i] = &version{number: n - 1, thing: s.thing(late, uri(i))}
		} else {
			published[i] = &version{number: n, thing: s.thing(s.Birth(), uri(i))}
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
		s.Begin(Position{1, 0})
		var current atomic.Pointer[thing]
		fresh := func() *thing { return s.thing(s.Birth(), "http://host/x") }
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
						s.check(current.Load())
					}
				}
			})
		}
		for round := range rounds {
			st := fresh()
			current.Store(st)
			seq := s.Applied().Seq
			s.Apply(Record{Position: Position{1, seq + 1}, Selectors: filler[:1]})
			record := filler[: round%len(filler) : round%len(filler)]
			s.Apply(Record{Position: Position{1, seq + 2}, Selectors: append(record, hit)})
			if got := s.check(st); got != Invalid {
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
		s.Begin(Position{1, 0})
		st := s.thing(s.Birth(), "http://host/x")
		s.Apply(Record{Position: Position{1, 1}, Selectors: []Selector{{KindURL, "http://host/y"}}})
		s.mu.Lock()
		var wg sync.WaitGroup
		wg.Go(func() { s.check(st) }) // it may be early or late
		for range 50 {
			runtime.Gosched()
		}
		s.remember(&Record{Selectors: []Selector{{Kind: KindAll}}}, nil, 4)
		s.stand(Position{1, 2}, 4)
		s.mu.Unlock()
		wg.Wait()
		if got := s.check(st); got != Invalid {
			t.Fatalf("Check after the purge is %v, want invalid", got)
		}
	}
}

func TestCheckAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector regexp allocates: its pool loses things at random")
	}
	s := NewState(100)
	s.Begin(Position{1, 0})
	uri := []byte("http://host/path?query")
	x := s.thing(s.Birth(), string(uri), Selector{KindTag, "t"}, Selector{KindTag, "u"})
	s.ApplyHere(Record{Selectors: []Selector{{KindURL, "http://host/"}, {KindTag, "v"}, {KindPattern, "host/no/**"}, {KindPattern, "re:no"}, Ban{Tags: "no"}.Selector()}})
	tests := []struct {
		name string
		f    func()
	}{
		{"Check, nothing new", func() { s.check(x) }},
		{"Check after a record of all kinds", func() { x.stamp.checked.Store(1); s.check(x) }},
		{"Joinable", func() { s.Joinable(&x.stamp) }},
		{"Stamp", func() { st := s.Stamp(s.Birth(), x.key, uri); _ = st.Born }},
	}
	for _, tt := range tests {
		if n := testing.AllocsPerRun(100, tt.f); n != 0 {
			t.Errorf("%s: %v allocations, want none", tt.name, n)
		}
	}
	if got := s.check(x); got != Valid {
		t.Errorf("Check is %v, want valid", got)
	}
	s.ApplyHere(Record{Selectors: []Selector{{Kind: KindAll}}})
	if n := testing.AllocsPerRun(100, func() { s.check(x) }); n != 0 {
		t.Errorf("Check of what is invalid: %v allocations, want none", n)
	}
}

// made is a thing that is made of others.
type made struct {
	*thing
	on string
}

func (m *made) DependsOn() []byte { return []byte(m.on) }

// TestPatternsHitWhatIsMadeOfOthers: what a pattern or a ban selects ends what depends on it.
func TestPatternsHitWhatIsMadeOfOthers(t *testing.T) {
	for _, tt := range []struct {
		sel  Selector
		want Standing
	}{
		{Selector{KindPattern, "/li*"}, Invalid}, {Selector{KindPattern, "h/list"}, Invalid}, {Selector{KindPattern, "re:^h/list$"}, Invalid},
		{Selector{KindPattern, "/prices"}, Valid}, {Selector{KindPattern, "other/**"}, Valid}, {Selector{KindPattern, "re:prices"}, Valid},
		{Ban{URL: "^/list$"}.Selector(), Invalid}, {Ban{Tags: "^prices$"}.Selector(), Invalid}, {Ban{Tags: "^list$"}.Selector(), Valid},
		{Ban{URL: "^/home$", Tags: "^prices$"}.Selector(), Valid}, // it does not carry the tag
	} {
		s := NewState(10)
		s.Begin(Position{1, 0})
		home := &made{s.thing(s.Birth(), "http://h/home"), "url://h/list\ntag:prices\n"}
		s.Apply(Record{Position: Position{1, 1}, Selectors: []Selector{tt.sel}})
		if got := s.Check(&home.stamp, home); got != tt.want {
			t.Errorf("after a purge of %v: %v, want %v", tt.sel, got, tt.want)
		}
	}
}
