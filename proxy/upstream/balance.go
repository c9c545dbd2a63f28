package upstream

import (
	"context"
	"hash/maphash"
	"math"
	"math/bits"
	"net/http"
	"sync/atomic"
)

// keyed is the context key of what WithKey says.
type keyed struct{}

// WithKey returns a context under which a request goes, where the balance is
// hash, to the target that hash chooses.
func WithKey(ctx context.Context, hash uint64) context.Context {
	return context.WithValue(ctx, keyed{}, hash)
}

// counted is the context key of what WithAttempts says.
type counted struct{}

// WithAttempts returns a context under which a request adds to n for each target
// that it is sent to.
func WithAttempts(ctx context.Context, n *atomic.Int32) context.Context {
	return context.WithValue(ctx, counted{}, n)
}

// count adds an attempt to what WithAttempts has named.
func count(req *http.Request) {
	if n, ok := req.Context().Value(counted{}).(*atomic.Int32); ok {
		n.Add(1)
	}
}

// seed is for requests without a key, which no other instance has to agree on.
var seed = maphash.MakeSeed()

// keyOf returns the request's key; of one that has none, what it asks for.
func keyOf(req *http.Request) uint64 {
	if key, ok := req.Context().Value(keyed{}).(uint64); ok {
		return key
	}
	var h maphash.Hash
	h.SetSeed(seed)
	for _, part := range []string{req.Host, "\x00", req.URL.EscapedPath(), "?", req.URL.RawQuery} {
		h.WriteString(part)
	}
	return h.Sum64()
}

// choose returns one of the targets, of which there is at least one.
func (r *roster) choose(all []*target, key uint64) *target {
	switch {
	case len(all) == 1:
		return all[0]
	case r.balance == Hash:
		return byHash(all, key)
	case r.balance == LeastConn:
		return inTurn(least(all))
	}
	return inTurn(all)
}

// inTurn is smooth weighted round robin, as nginx has it: every target gains its
// weight, and the one with the most pays the sum. So a heavy one comes often, but
// not often in a row.
func inTurn(all []*target) *target {
	var best *target
	sum := 0
	for _, t := range all {
		t.turn += t.weight
		sum += t.weight
		if best == nil || t.turn > best.turn {
			best = t
		}
	}
	best.turn -= sum
	return best
}

// least returns those that have the fewest requests under way for their weight,
// the next one included. It keeps them in all.
func least(all []*target) []*target {
	n := 1
	for _, t := range all[1:] {
		switch mine, best := (t.inFlight+1)*all[0].weight, (all[0].inFlight+1)*t.weight; {
		case mine < best:
			all[0], n = t, 1
		case mine == best:
			all[n] = t
			n++
		}
	}
	return all[:n]
}

// overload is how much more than its share of the requests under way a target
// may have before those that belong to it go to the next: "Consistent Hashing
// with Bounded Loads" (Mirrokni, Thorup, Zadimoghaddam, 2016) has the proof that
// something near 1.25 moves few keys and keeps the load even.
const overload = 1.25

// byHash is weighted rendezvous hashing with bounded loads: each target draws a
// number from the key, and the highest wins. Where a target is gone only its own
// keys move, and they spread over all others. Targets that are overloaded do not
// take part; one always is not.
func byHash(all []*target, key uint64) *target {
	load, weight := 1, 0
	for _, t := range all {
		load += t.inFlight
		weight += t.weight
	}
	var best *target
	highest := math.Inf(-1)
	for _, t := range all {
		bound := math.Ceil(overload * float64(load) * float64(t.weight) / float64(weight))
		if float64(t.inFlight+1) > bound {
			continue
		}
		if drawn := draw(t, key); drawn > highest {
			best, highest = t, drawn
		}
	}
	return best
}

// draw returns a number that grows with the target's weight such that its chance
// to be the highest is its share.
func draw(t *target, key uint64) float64 {
	h := mix(key ^ t.seed)
	unit := (float64(h>>11) + 0.5) / (1 << 53) // above 0 and below 1
	return -float64(t.weight) / math.Log(unit)
}

// mix spreads the bits of x over all bits of the result.
func mix(x uint64) uint64 {
	hi, lo := bits.Mul64(x^0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9)
	x = hi ^ lo
	hi, lo = bits.Mul64(x^0x94d049bb133111eb, 0x9fb21c651e98df25)
	return hi ^ lo
}
