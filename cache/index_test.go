package cache

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
)

func indexKey(n int) (key [16]byte) {
	binary.LittleEndian.PutUint64(key[:], uint64(n)+1)
	binary.LittleEndian.PutUint64(key[8:], uint64(n)*7)
	return key
}

// TestIndexAgainstAnOracle adds and removes at random and compares with a map of sets.
func TestIndexAgainstAnOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var x index
	x.init()
	type pair struct {
		key  [16]byte
		hash uint64
	}
	want := map[pair]int{}
	var living []pair
	for range 20_000 {
		if len(living) > 0 && r.IntN(2) == 0 {
			i := r.IntN(len(living))
			p := living[i]
			living = slices.Delete(living, i, i+1)
			x.remove(p.key, []uint64{p.hash})
			if want[p]--; want[p] == 0 {
				delete(want, p)
			}
			continue
		}
		p := pair{indexKey(r.IntN(50)), uint64(r.IntN(20))}
		living = append(living, p)
		x.add(p.key, []uint64{p.hash})
		want[p]++
	}
	if x.size() != len(want) {
		t.Fatalf("%d rows, want %d", x.size(), len(want))
	}
	for hash := range uint64(20) {
		n := x.carriers(hash)
		got := map[[16]byte]bool{}
		for range n {
			for _, key := range x.next(hash, 1, nil) {
				got[key] = true
			}
		}
		expected := 0
		for p := range want {
			if p.hash == hash {
				expected++
				if !got[p.key] {
					t.Errorf("hash %d: a key is missing", hash)
				}
			}
		}
		if n != expected || len(got) != n {
			t.Errorf("hash %d: %d carriers, %d seen in turn, want %d", hash, n, len(got), expected)
		}
	}
	for _, p := range living {
		x.remove(p.key, []uint64{p.hash})
	}
	x.remove(indexKey(1), []uint64{1}) // of what is not there
	for i := range x {
		if len(x[i].heads)+len(x[i].rows) != 0 {
			t.Errorf("shard %d: %d hashes and %d rows are left of nothing", i, len(x[i].heads), len(x[i].rows))
		}
	}
}
