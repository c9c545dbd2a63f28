package consistency

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// What is promised, as an object whose operations can be put in one order. A
// write is two of them: the version is raised at the origin, and from then on it
// may be read; and its purge is settled, and from then on nothing older may be
// read. In between both versions may be, in any order, since each instance hears
// of the purge at another time. An ordinary register would promise more than the
// product does: there, who has read the new version never reads the old one again.
type register struct{ oldest, newest version }

type step struct {
	kind    stepKind
	version version
}

type stepKind uint8

const (
	reads stepKind = iota
	raises
	settles
)

var stepNames = [...]string{"reads", "raises", "settles"}

// promise is the object. It begins as it was when a piece of a history begins.
func promise(begin register) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return begin },
		Step: func(state, input, _ any) (bool, any) {
			r, s := state.(register), input.(step)
			switch s.kind {
			case raises:
				return s.version > r.newest, register{r.oldest, s.version}
			case settles:
				return s.version <= r.newest, register{max(r.oldest, s.version), r.newest}
			}
			return r.oldest <= s.version && s.version <= r.newest, r
		},
		DescribeOperation: func(input, _ any) string {
			s := input.(step)
			return fmt.Sprint(stepNames[s.kind], " ", s.version)
		},
	}
}

// operationsOf returns the steps of each register. A purge that was not
// acknowledged stays open for ever: it may take effect at any time from when it
// was sent on.
func (h *history) operationsOf() map[int][]porcupine.Operation {
	all := map[int][]porcupine.Operation{}
	add := func(register, client int, s step, from, to time.Duration) {
		all[register] = append(all[register], porcupine.Operation{ClientId: client, Input: s, Call: int64(from), Return: int64(to)})
	}
	for _, r := range h.reads {
		add(r.register, r.instance, step{reads, r.version}, r.begin, r.end)
	}
	for _, w := range h.writes {
		add(w.register, instances, step{raises, w.version}, w.begin, w.sent)
		add(w.register, instances, step{settles, w.version}, w.sent, w.acknowledged)
	}
	return all
}

// piece is a part of the history of a register, before and after which nothing
// was under way.
type piece struct {
	begin      register
	operations []porcupine.Operation
}

// pieces cuts the history of one register. Where nothing is under way its state
// is known, so each piece can be checked alone, and the pieces together are as
// good as the whole. An open purge does not hinder a cut: it is never wrong to let
// it take effect last.
func pieces(operations []porcupine.Operation) (list []piece) {
	slices.SortFunc(operations, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	at := register{1, 1}
	p := piece{begin: at}
	var open []porcupine.Operation
	var end int64
	cut := func() {
		for _, o := range open {
			o.Return = end
			p.operations = append(p.operations, o)
		}
		list = append(list, p)
		p, open = piece{begin: at}, nil
	}
	for _, o := range operations {
		if o.Call > end && len(p.operations) > 0 {
			cut()
		}
		s := o.Input.(step)
		if o.Return == int64(never) {
			open, end = append(open, o), max(end, o.Call)
			continue
		}
		p.operations, end = append(p.operations, o), max(end, o.Return)
		switch s.kind {
		case raises:
			at.newest = s.version
		case settles:
			at.oldest = s.version
		}
	}
	cut()
	return list
}

// verdict is what the checker says of a history.
type verdict struct {
	pieces, longest    int
	illegal, undecided []piece
}

// check has the history checked, each piece for at most a time.
func (h *history) check(each time.Duration) (v verdict) {
	for _, operations := range h.operationsOf() {
		for _, p := range pieces(operations) {
			v.pieces++
			v.longest = max(v.longest, len(p.operations))
			switch porcupine.CheckOperationsTimeout(promise(p.begin), p.operations, each) {
			case porcupine.Illegal:
				v.illegal = append(v.illegal, p)
			case porcupine.Unknown:
				v.undecided = append(v.undecided, p)
			}
		}
	}
	return v
}

func (v *verdict) add(other verdict) {
	v.pieces += other.pieces
	v.longest = max(v.longest, other.longest)
	v.illegal = append(v.illegal, other.illegal...)
	v.undecided = append(v.undecided, other.undecided...)
}
