package tiers

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// oracle does to a plain map what is done to a Memory, and learns from
// OnRemove what was pushed out. After each step both must hold the same.
type oracle struct {
	t      *testing.T
	m      *Memory[int, *object]
	now    int64 // seconds since start
	start  time.Time
	values map[int]*object
	serial int
}

const (
	oracleKeys   = 32
	oracleShards = 2
)

func newOracle(t *testing.T, p Policy, maxBytes int64) *oracle {
	o := &oracle{t: t, values: map[int]*object{}, start: time.Unix(time.Now().Unix(), 0)}
	o.m = New(Options[int, *object]{
		MaxBytes: maxBytes,
		Policy:   p,
		Shards:   oracleShards,
		Hash:     func(k int) uint64 { return stir(uint64(k)) },
		Cost:     func(_ int, v *object) int64 { return v.cost },
		Expires:  func(v *object) time.Time { return v.expires },
		OnRemove: o.removed,
	})
	return o
}

func (o *oracle) removed(k int, v *object, r RemoveReason) {
	if o.values[k] != v {
		o.t.Fatalf("OnRemove(%d, %v, %v), want %v", k, v, r, o.values[k])
	}
	if late := !v.expires.IsZero() && !v.expires.After(o.start.Add(time.Duration(o.now)*time.Second)); r == Expired && !late {
		o.t.Fatalf("key %d expired at second %d, %v early", k, o.now, v.expires.Sub(o.start))
	}
	delete(o.values, k)
}

// step does one operation, chosen by three bytes.
func (o *oracle) step(op, a, b byte) {
	k := int(a) % oracleKeys
	switch op % 8 {
	case 0, 1:
		v, ok := o.m.Get(k)
		if want, known := o.values[k]; v != want || ok != known {
			o.t.Fatalf("Get(%d) = %v, %v, want %v, %v", k, v, ok, want, known)
		}
	case 2, 3, 4:
		o.serial++
		v := &object{id: o.serial, cost: int64(b) * int64(b) / 8}
		if op >= 128 {
			v.expires = o.start.Add(time.Duration(o.now)*time.Second + time.Duration(a)*time.Duration(b)*50*time.Millisecond)
		}
		o.m.Update(k, func(old *object, ok bool) (*object, bool) {
			if want, known := o.values[k]; old != want || ok != known {
				o.t.Fatalf("f of key %d got %v, %v, want %v, %v", k, old, ok, want, known)
			}
			o.values[k] = v
			return v, true
		})
	case 5:
		if b%2 == 0 {
			_, known := o.values[k]
			if got := o.m.Delete(k); got != known {
				o.t.Fatalf("Delete(%d) = %v, want %v", k, got, known)
			}
		} else {
			o.m.Update(k, func(old *object, _ bool) (*object, bool) { return old, false })
		}
		if o.values[k] != nil {
			o.t.Fatalf("key %d was deleted without OnRemove", k)
		}
	case 6:
		o.now += int64(b)%100 + 1
		now := o.start.Add(time.Duration(o.now) * time.Second)
		o.m.expire(context.Background(), now.Unix())
		for k, v := range o.values {
			if !v.expires.IsZero() && !v.expires.After(now) {
				o.t.Fatalf("key %d is there %v after its expiry", k, now.Sub(v.expires))
			}
		}
	case 7:
		if b%8 == 0 {
			o.m.DeleteFunc(func(k int, v *object) bool { return k%2 == int(a)%2 })
		}
	}
	o.check()
}

func (o *oracle) check() {
	o.t.Helper()
	var bytes int64
	for k, v := range o.values {
		if got, ok := o.m.Peek(k); !ok || got != v {
			o.t.Fatalf("Peek(%d) = %v, %v, want %v", k, got, ok, v)
		}
		bytes += v.cost + o.m.shards[0].overhead
	}
	got := o.m.Stats()
	if got.Bytes != bytes || got.Entries != int64(len(o.values)) || got.Bytes > got.MaxBytes {
		o.t.Fatalf("Stats = %+v, want %d bytes in %d entries", got, bytes, len(o.values))
	}
	for _, s := range o.m.shards {
		checkShard(o.t, s)
	}
}

// checkShard holds all that a shard keeps twice against each other.
func checkShard[K comparable, V any](t *testing.T, s *shard[K, V]) {
	t.Helper()
	var bytes, listBytes int64
	var listed, inClock, scheduled int
	for k, i := range s.index {
		e := s.at(i)
		if e.key != k {
			t.Fatalf("slot %d of key %v holds key %v", i, k, e.key)
		}
		bytes += e.cost
		switch e.place {
		case inList:
			listed++
			listBytes += e.cost
			if !s.list.Contains(i) {
				t.Fatalf("slot %d is not in the list", i)
			}
		case inMain:
			inClock++
			if s.main[e.pos] != i {
				t.Fatalf("slot %d is not at its place in main", i)
			}
		default:
			t.Fatalf("slot %d is in use and free", i)
		}
		if e.expires != 0 {
			scheduled++
		}
	}
	if bytes != s.bytes || listBytes != s.listBytes || bytes > s.budget {
		t.Fatalf("counted %d bytes, %d in the list; the shard says %d and %d of %d", bytes, listBytes, s.bytes, s.listBytes, s.budget)
	}
	if listed != s.list.Len() || inClock != len(s.main) {
		t.Fatalf("counted %d entries in the list and %d in main; the shard says %d and %d", listed, inClock, s.list.Len(), len(s.main))
	}
	waiting := 0
	for bucket, i := range s.wheel.heads {
		for prev := uint32(0); i != 0; prev, i = i, s.at(i).next {
			if e := s.at(i); e.prev != prev || int(e.bucket) != bucket || e.expires == 0 {
				t.Fatalf("slot %d of bucket %d says bucket %d, prev %d, want %d", i, bucket, e.bucket, e.prev, prev)
			}
			waiting++
		}
	}
	if scheduled != waiting || waiting != s.wheel.count {
		t.Fatalf("%d entries expire, %d are in the wheel, which counts %d", scheduled, waiting, s.wheel.count)
	}
	unused := 0
	for i := s.freed; i != 0; i = s.at(i).next {
		unused++
	}
	if int(s.slots)-1 != len(s.index)+unused {
		t.Fatalf("%d slots made, %d in use, %d free", s.slots-1, len(s.index), unused)
	}
}

func TestAgreesWithMap(t *testing.T) {
	forPolicies(t, func(t *testing.T, p Policy) {
		for seed := range uint64(20) {
			random := rand.New(rand.NewPCG(seed, 0))
			o := newOracle(t, p, 1<<(13+seed%6))
			for range 1000 {
				o.step(byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32()))
			}
		}
	})
}

// FuzzOperations: any sequence of operations leaves the tier and a plain map
// with the same values and the same count of bytes.
func FuzzOperations(f *testing.F) {
	f.Add(false, uint8(13), []byte("\x02\x01\x10\x00\x01\x00\x05\x01\x00"))
	f.Add(true, uint8(14), []byte("\x82\x01\xff\x82\x02\xff\x82\x03\xff\x06\x00\x63\x07\x01\x00"))
	f.Add(false, uint8(12), []byte("\x02\x01\xff\x02\x02\xb0\x02\x03\xb0\x02\x04\xb0\x02\x01\x01\x00\x04\x00"))
	f.Fuzz(func(t *testing.T, lru bool, size uint8, ops []byte) {
		policy := Auto
		if lru {
			policy = LRU
		}
		o := newOracle(t, policy, 1<<(size%20))
		for ; len(ops) >= 3; ops = ops[3:] {
			o.step(ops[0], ops[1], ops[2])
		}
	})
}

// TestConcurrentUse lets all processors work on few keys: no value may be
// torn, none may leave without being counted, and the bytes must add up.
func TestConcurrentUse(t *testing.T) {
	forPolicies(t, func(t *testing.T, p Policy) {
		var inserted, reported atomic.Int64
		m := New(Options[int, *object]{
			MaxBytes: 40_000,
			Policy:   p,
			Shards:   4,
			Cost:     func(_ int, v *object) int64 { return v.cost },
			Expires:  func(v *object) time.Time { return v.expires },
			OnRemove: func(k int, v *object, _ RemoveReason) {
				if v.id != k {
					t.Errorf("OnRemove of key %d got the value of %d", k, v.id)
				}
				reported.Add(1)
			},
		})
		now := time.Now()
		var wg sync.WaitGroup
		for worker := range uint64(2 * runtime.GOMAXPROCS(0)) {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(worker, 0))
				for i := range 10_000 {
					k := random.IntN(400)
					switch op := random.IntN(16); {
					case op < 8:
						if v, ok := m.Get(k); ok && v.id != k {
							t.Errorf("Get(%d) returned the value of %d", k, v.id)
						}
					case op < 14:
						m.Update(k, func(old *object, ok bool) (*object, bool) {
							if !ok {
								inserted.Add(1)
							}
							return &object{id: k, cost: random.Int64N(500), expires: now.Add(time.Duration(random.IntN(100)) * time.Second)}, true
						})
					case op < 15:
						m.Delete(k)
					case i%100 == 0:
						m.DeleteFunc(func(k int, _ *object) bool { return k%16 == 0 })
						m.expire(context.Background(), now.Unix()+int64(i)/200)
						m.Range(func(k int, v *object) bool { return v.id == k })
						m.Stats()
					}
				}
			})
		}
		wg.Wait()
		got := m.Stats()
		var removed uint64
		for _, n := range got.Removed {
			removed += n
		}
		if int64(removed) != reported.Load() {
			t.Errorf("%d removals counted, %d reported", removed, reported.Load())
		}
		if want := inserted.Load() - int64(removed); got.Entries != want {
			t.Errorf("%d entries, want %d", got.Entries, want)
		}
		for _, s := range m.shards {
			checkShard(t, s)
		}
	})
}
