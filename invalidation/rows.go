package invalidation

import "math"

// rows maps a hash to the last record that selects what has it, and forgets the
// oldest rows first. It is an index into a slice whose rows are linked by age;
// no part of it holds a pointer, so that the garbage collector has nothing to
// look at however many rows there are.
type rows struct {
	max   int
	index map[uint64]uint32 // hash -> place in slots
	slots []row             // slots[0] is no row: it closes the ring, and its neighbours are the oldest and the newest row
	free  uint32            // first of the free places, linked by newer; 0: none
}

type row struct {
	hash, tick   uint64
	at           int64 // nanoseconds since 1970
	until        int64 // the same; of the class cut: when what is hit ends
	older, newer uint32
}

func newRows(limit int) rows {
	return rows{max: min(limit, math.MaxInt32), index: map[uint64]uint32{}, slots: make([]row, 1)}
}

// get returns the row for hash; its tick is 0 where there is none.
func (r *rows) get(hash uint64) *row { return &r.slots[r.index[hash]] }

// set puts the row in the place of the one of the same hash, as the newest. Where
// another had to go for it, the result is that one's tick, else 0.
func (r *rows) set(set row) (forgotten uint64) {
	i, known := r.index[set.hash]
	if known {
		r.unlink(i)
	} else {
		if len(r.index) == r.max {
			forgotten = r.forget()
		}
		i = r.place()
		r.index[set.hash] = i
	}
	newest := r.slots[0].older
	set.older, set.newer = newest, 0
	r.slots[i] = set
	r.slots[newest].newer = i
	r.slots[0].older = i
	return forgotten
}

// prune forgets the rows from before the given time. It returns how many, and
// the highest tick among them, or 0.
func (r *rows) prune(before int64) (n int, forgotten uint64) {
	for oldest := r.slots[0].newer; oldest != 0 && r.slots[oldest].at < before; oldest = r.slots[0].newer {
		forgotten = max(forgotten, r.forget())
		n++
	}
	return n, forgotten
}

// forget drops the oldest row and returns its tick.
func (r *rows) forget() uint64 {
	i := r.slots[0].newer
	gone := r.slots[i]
	r.unlink(i)
	delete(r.index, gone.hash)
	r.slots[i] = row{newer: r.free}
	r.free = i
	return gone.tick
}

// place returns a place for a new row.
func (r *rows) place() uint32 {
	if i := r.free; i != 0 {
		r.free = r.slots[i].newer
		return i
	}
	r.slots = append(r.slots, row{})
	return uint32(len(r.slots) - 1)
}

// unlink takes a row out of the order of ages.
func (r *rows) unlink(i uint32) {
	gone := r.slots[i]
	r.slots[gone.older].newer = gone.newer
	r.slots[gone.newer].older = gone.older
}
