package cache

import (
	"encoding/binary"
	"sync"
)

// index knows which keys of the memory tier hold something that carries a hash (of a tag, a group or a dependency), so that what a
// purge has ended can be let go at once. No purge depends on it: who reads an entry asks the log.
//
// It holds exactly what is in memory: a row comes with its entry and goes with it, and an entry without hashes leaves nothing. No part
// of it holds a pointer for the garbage collector to follow. The rows of a hash are a ring, which begins and ends at a row without a
// key.
type index [indexShards]indexShard

const (
	indexShards = 16
	// rowCost is what a row takes: itself, its place, and that of its hash, of which most have few rows.
	rowCost = 112
)

type indexShard struct {
	mu    sync.Mutex          // guards the following
	heads map[uint64]uint32   // the ring of each hash
	rows  map[rowPlace]uint32 // each row of a ring
	slots []indexRow          // slots[0] is none
	free  uint32              // first of the free slots, linked by next; 0: none
}

// rowPlace is a hash and the beginning of a key. Two keys that begin alike share a row, and so one of them is not let go early: once
// in 2 to the 64th.
type rowPlace struct{ hash, key uint64 }

type indexRow struct {
	key        [16]byte
	hash       uint64
	next, prev uint32
	count      uint32 // entries of the key that carry the hash; of a ring's beginning, the rows in it
}

func (x *index) init() {
	for i := range x {
		x[i].heads, x[i].rows, x[i].slots = map[uint64]uint32{}, map[rowPlace]uint32{}, make([]indexRow, 1)
	}
}

func (x *index) shard(hash uint64) *indexShard { return &x[hash%indexShards] }

// add notes that an entry of key carries the hashes. It must happen before the entry can be found, and so before it can go.
func (x *index) add(key [16]byte, hashes []uint64) {
	for _, hash := range hashes {
		x.shard(hash).add(key, hash)
	}
}

// remove notes that an entry is gone that was added.
func (x *index) remove(key [16]byte, hashes []uint64) {
	for _, hash := range hashes {
		x.shard(hash).remove(key, hash)
	}
}

func placeOf(key [16]byte, hash uint64) rowPlace {
	return rowPlace{hash, binary.LittleEndian.Uint64(key[:])}
}

func (s *indexShard) add(key [16]byte, hash uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := placeOf(key, hash)
	if i, known := s.rows[place]; known {
		s.slots[i].count++
		return
	}
	head, known := s.heads[hash]
	if !known {
		head = s.slot()
		s.slots[head] = indexRow{hash: hash, next: head, prev: head}
		s.heads[hash] = head
	}
	i := s.slot()
	s.slots[i] = indexRow{key: key, hash: hash, count: 1}
	s.slots[head].count++
	s.link(head, i)
	s.rows[place] = i
}

func (s *indexShard) remove(key [16]byte, hash uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := placeOf(key, hash)
	i, known := s.rows[place]
	if !known {
		return
	}
	if s.slots[i].count--; s.slots[i].count > 0 {
		return
	}
	delete(s.rows, place)
	s.unlink(i)
	s.release(i)
	head := s.heads[hash]
	if s.slots[head].count--; s.slots[head].count == 0 {
		delete(s.heads, hash)
		s.release(head)
	}
}

// carriers returns how many keys hold something that carries the hash.
func (x *index) carriers(hash uint64) int {
	s := x.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.slots[s.heads[hash]].count)
}

// next appends to keys up to n keys that hold something which carries the hash, those first that have not been returned for longest.
func (x *index) next(hash uint64, n int, keys [][16]byte) [][16]byte {
	s := x.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	head, known := s.heads[hash]
	if !known {
		return keys
	}
	for range min(n, int(s.slots[head].count)) {
		i := s.slots[head].prev
		keys = append(keys, s.slots[i].key)
		s.unlink(i)
		s.link(head, i)
	}
	return keys
}

// keys returns all keys that hold something which carries the hash.
func (x *index) keys(hash uint64) (keys [][16]byte) {
	s := x.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	head, known := s.heads[hash]
	if !known {
		return nil
	}
	keys = make([][16]byte, 0, s.slots[head].count)
	for i := s.slots[head].next; i != head; i = s.slots[i].next {
		keys = append(keys, s.slots[i].key)
	}
	return keys
}

// size returns how many rows there are.
func (x *index) size() (n int) {
	for i := range x {
		x[i].mu.Lock()
		n += len(x[i].rows)
		x[i].mu.Unlock()
	}
	return n
}

// link puts row i behind head, as the newest.
func (s *indexShard) link(head, i uint32) {
	next := s.slots[head].next
	s.slots[i].next, s.slots[i].prev = next, head
	s.slots[next].prev, s.slots[head].next = i, i
}

func (s *indexShard) unlink(i uint32) {
	gone := &s.slots[i]
	s.slots[gone.prev].next, s.slots[gone.next].prev = gone.next, gone.prev
}

// slot returns a free slot.
func (s *indexShard) slot() uint32 {
	if i := s.free; i != 0 {
		s.free = s.slots[i].next
		return i
	}
	s.slots = append(s.slots, indexRow{})
	return uint32(len(s.slots) - 1)
}

func (s *indexShard) release(i uint32) {
	s.slots[i] = indexRow{next: s.free}
	s.free = i
}
