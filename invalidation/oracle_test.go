package invalidation

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// oracle is the state done naively: all records are kept, in the order in which
// they were applied, and each thing is held against every one of them. Of what
// the state may forget it knows the bounds only: from which tick on nothing has
// been forgotten.
type oracle struct {
	maxRows  int
	epoch    Epoch
	seq      Seq
	applied  []told
	ticks    uint64
	position map[Position]uint64 // of this epoch: the tick at which it was reached
	pruned   time.Time
	gap      uint64 // tick of the last gap
	unlogged uint64 // tick of the first purge here that is not known to be in the log
}

type told struct {
	Record
	tick uint64
}

func (o *oracle) begin(at Position) {
	o.ticks++
	if at.Epoch == o.epoch {
		o.gap = o.ticks
	} else {
		o.position = map[Position]uint64{}
	}
	o.epoch, o.seq = at.Epoch, at.Seq
	o.position[at] = o.ticks
}

func (o *oracle) apply(r Record, here bool) {
	if !here {
		if r.Epoch != o.epoch || r.Seq > o.seq+1 {
			o.begin(Position{r.Epoch, r.Seq - 1})
		}
		o.seq = r.Seq
	}
	o.ticks++
	if !here {
		o.position[r.Position] = o.ticks
	}
	if here && o.unlogged == 0 {
		o.unlogged = o.ticks
	}
	o.applied = append(o.applied, told{r, o.ticks})
}

// kept returns the tick from which on no row can have been forgotten: there are
// not more things selected since than rows, and none was pruned.
func (o *oracle) kept() uint64 {
	seen := map[string]bool{}
	tick := o.ticks + 1
	for _, r := range slices.Backward(o.applied) {
		for _, sel := range r.Selectors {
			// A cut that has run out may leave a row of the class soften too.
			seen[fmt.Sprint(sel, r.Strategy.class())] = true
			if r.Strategy == TTL {
				seen[fmt.Sprint(sel, soften)] = true
			}
		}
		if len(seen) > o.maxRows || r.At.Before(o.pruned) {
			break
		}
		tick = r.tick
	}
	return tick
}

// held is something that the oracle remembers, with what it knows about it.
type held struct {
	*thing
	key   string
	marks []Selector
	born  Birth
	known bool   // since which tick records count
	since uint64 // that tick: of its birth, or when it was last found valid
}

// allowed is what the state may say: nothing milder than least, nothing worse
// than most; and of Cut no later end than until.
type allowed struct {
	least, most Standing
	until       int64
}

// want says what the state may answer.
func (o *oracle) want(h *held) allowed {
	sure, since := o.birth(h)
	var a allowed
	for _, r := range o.applied {
		if r.tick <= since || !slices.ContainsFunc(r.Selectors, func(s Selector) bool { return selects(s, string(h.uri), h.key, h.marks) }) {
			continue
		}
		a.least = max(a.least, standings[r.Strategy.class()])
		if until := r.At.Add(r.TTL).UnixNano(); r.Strategy == TTL && (a.until == 0 || until < a.until) {
			a.until = until
		}
	}
	a.most = a.least
	if a.least == Cut {
		a.most = Stale // a cut that has run out when the next one comes softens
	}
	if !sure || o.gap > since {
		a.least, a.most = max(a.least, Unsure), max(a.most, Unsure)
	}
	if o.kept() > since+1 {
		// What selects it may have been forgotten.
		a.least, a.most = min(a.least, Unsure), max(a.most, Unsure)
	}
	return a
}

// birth returns since which tick records count for h, and whether that is sure.
func (o *oracle) birth(h *held) (sure bool, since uint64) {
	here := h.born.Epoch == o.epoch
	if h.known || !here {
		return here, h.since
	}
	// Born elsewhere: at the place of the last record applied here that it knew.
	for at, tick := range o.position {
		if at.Seq <= h.born.Seq && tick > since {
			sure, since = true, tick
		}
	}
	if sure && o.unlogged > 0 {
		since = min(since, o.unlogged-1) // nobody knows whether it was before or after that
	}
	return sure, since
}

func (a allowed) allows(got Standing, until int64) bool {
	return got >= a.least && got <= a.most && (got != Cut || until <= a.until)
}

// player holds a State against the oracle.
type player struct {
	t     *testing.T
	s     *State
	o     *oracle
	clock time.Time
	held  []*held
}

var hosts = []string{"http://host", "https://host", "http://other:8080"}

func (p *player) uri(n byte) string { return fmt.Sprintf("%s/%d", hosts[int(n)%len(hosts)], n>>2&3) }

func (p *player) mark(n byte) Selector {
	if n&8 != 0 {
		return Group("https://host", string('a'+rune(n&3)))
	}
	return Selector{KindTag, string('a' + rune(n&3))}
}

func (p *player) selector(n byte) Selector {
	switch n >> 5 {
	case 0, 1:
		return Selector{KindURL, p.uri(n)}
	case 2:
		return Selector{KindURL, string(withoutScheme([]byte(p.uri(n))))}
	case 3:
		return Selector{KindKey, hex.EncodeToString(keyOfURI(p.uri(n)))}
	case 4, 5:
		return p.mark(n)
	case 6:
		return []Selector{{KindPattern, "host/*"}, {KindPattern, "/1"}, {KindPattern, "re:^other/2"}, Ban{Tags: "^a$", Host: "host"}.Selector()}[n&3]
	}
	if n&15 == 15 {
		return Selector{Kind: KindAll}
	}
	return Selector{KindPattern, "other/**"}
}

func keyOfURI(uri string) []byte {
	var key [16]byte
	copy(key[:], uri[max(0, len(uri)-16):])
	return key[:]
}

// step does one operation of two bytes.
func (p *player) step(op, arg byte) {
	p.clock = p.clock.Add(time.Second)
	switch op % 16 {
	case 0, 1, 2, 3:
		p.purge(op, arg, 1, false)
	case 4:
		p.purge(op, arg, 1, true)
	case 5:
		if arg < 64 {
			p.purge(op, arg<<2, 2+Seq(arg%3), false)
		}
	case 6:
		if arg < 64 {
			at := Position{p.o.epoch + 1, Seq(arg & 7)}
			p.s.Begin(at)
			p.o.begin(at)
		}
	case 7:
		if arg < 64 {
			before := p.clock.Add(-time.Duration(arg%8) * time.Second)
			p.s.Prune(before)
			if before.After(p.o.pruned) {
				p.o.pruned = before
			}
		}
	case 8:
		if arg < 64 {
			p.s.Logged(p.s.Birth())
			p.o.unlogged = 0
		}
		fallthrough
	case 9:
		p.hold(arg, p.s.Birth())
	case 10: // from another instance, at a place in this log, or in none of ours
		at := Position{p.o.epoch, p.o.seq + 1 - min(p.o.seq+1, Seq(op>>4))}
		if arg&16 != 0 {
			at.Epoch += 3
		}
		p.hold(arg, Birth{Position: at})
	default:
		if len(p.held) > 0 {
			p.check(p.held[int(arg)%len(p.held)])
		}
	}
	if got, want := p.s.Applied(), (Position{p.o.epoch, p.o.seq}); got != want {
		p.t.Fatalf("applied %v, want %v", got, want)
	}
	if len(p.s.rows.index) > p.o.maxRows || len(p.s.rows.slots) > p.o.maxRows+1 {
		p.t.Fatalf("%d rows in %d places, want at most %d", len(p.s.rows.index), len(p.s.rows.slots), p.o.maxRows)
	}
}

func (p *player) purge(op, arg byte, ahead Seq, here bool) {
	r := Record{
		At: p.clock, Selectors: []Selector{p.selector(arg)},
		Strategy: []Strategy{Immediate, Soft, TTL, Smart, Lazy, Soft, TTL, Immediate}[op>>4&7],
	}
	if op&128 != 0 {
		r.Selectors = append(r.Selectors, p.selector(arg*7+3))
	}
	if r.Strategy == TTL {
		r.TTL = time.Duration(arg&7) * time.Second
	}
	if here {
		p.s.ApplyHere(r)
	} else {
		r.Position = Position{p.o.epoch, p.o.seq + ahead}
		p.s.Apply(r)
	}
	p.o.apply(r, here)
}

func (p *player) hold(arg byte, born Birth) {
	uri := p.uri(arg)
	var marks []Selector
	for n := range arg >> 5 & 3 {
		marks = append(marks, p.mark(arg>>2+n))
	}
	p.held = append(p.held, &held{
		thing: p.s.thing(born, uri, marks...), key: hex.EncodeToString(keyOfURI(uri)), marks: marks,
		born: born, known: born.tick > 0, since: born.tick,
	})
}

func (p *player) check(h *held) {
	p.t.Helper()
	want := p.o.want(h)
	got, until := p.s.look(&h.stamp, h)
	if !want.allows(got, until) {
		p.t.Fatalf("Check of %s %v, born at %+v, since %d, is %v until %d, want %+v\nat %+v, kept from %d, gap %d, max rows %d, records: %+v",
			h.uri, h.marks, h.born, h.since, got, until, want, p.s.Birth(), p.o.kept(), p.o.gap, p.o.maxRows, p.o.applied)
	}
	if joinable := p.s.Joinable(&h.stamp); joinable && got == Invalid {
		p.t.Fatalf("what is %v may be joined", got)
	}
	far := p.s.thing(Birth{Position: h.born.Position}, string(h.uri), h.marks...) // as another instance would have stored it
	if got := p.s.check(far); got == Invalid && !p.s.MayBeInvalid(h.born.Position) {
		p.t.Fatalf("what is %v cannot be", got)
	}
	if got == Valid {
		h.known, h.since = true, p.o.ticks
	}
}

// play reads operations from data and holds a State against the oracle after
// each of them.
func play(t *testing.T, data []byte) {
	if len(data) == 0 {
		return
	}
	maxRows := 1 + int(data[0]%12)
	p := &player{
		t: t, s: NewState(maxRows), clock: time.Unix(1_000_000, 0),
		o: &oracle{maxRows: maxRows, ticks: 1, position: map[Position]uint64{}},
	}
	p.s.Begin(Position{Epoch: 7})
	p.o.begin(Position{Epoch: 7})
	for i := 1; i+1 < len(data); i += 2 {
		p.step(data[i], data[i+1])
	}
}

func TestCheckAgreesWithNaiveOracle(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 1500 {
		data := make([]byte, 1+2*rnd.IntN(200))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		play(t, data)
	}
}

func FuzzCheckAgreesWithNaiveOracle(f *testing.F) {
	f.Add([]byte{2, 8, 4, 0, 4, 11, 0})
	f.Add([]byte{0, 8, 4, 8, 2, 0, 1, 0, 3, 0, 5, 11, 0, 11, 1})
	f.Add([]byte{3, 8, 4, 32, 4, 11, 0, 6, 0, 11, 0, 5, 11, 11, 0})
	f.Add([]byte{11, 8, 255, 4, 128, 6, 1, 10, 4, 11, 0, 11, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 1000 {
			play(t, data)
		}
	})
}
