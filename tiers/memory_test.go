package tiers

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

// object is a value that says what it costs and when it expires.
type object struct {
	id      int
	cost    int64
	expires time.Time
}

// left is one call of OnRemove.
type left struct {
	key    int
	id     int
	reason RemoveReason
}

// newObjects returns a Memory of one shard with that budget, bookkeeping not
// counted, and the record of what left it.
func newObjects(policy Policy, budget int64) (*Memory[int, *object], *[]left) {
	var gone []left
	m := New(Options[int, *object]{
		MaxBytes: budget,
		Policy:   policy,
		Shards:   1,
		Cost:     func(_ int, v *object) int64 { return v.cost },
		Expires:  func(v *object) time.Time { return v.expires },
		OnRemove: func(k int, v *object, r RemoveReason) { gone = append(gone, left{k, v.id, r}) },
	})
	for _, s := range m.shards {
		s.overhead = 0
	}
	return m, &gone
}

func put[K comparable, V any](m *Memory[K, V], k K, v V) {
	m.Update(k, func(V, bool) (V, bool) { return v, true })
}

func has[K comparable, V any](m *Memory[K, V], k K) bool {
	_, ok := m.Peek(k)
	return ok
}

var (
	policies   = []Policy{Auto, LRU}
	policyName = map[Policy]string{Auto: "auto", LRU: "lru"}
)

// forPolicies runs a test with each policy.
func forPolicies(t *testing.T, f func(*testing.T, Policy)) {
	for _, p := range policies {
		t.Run(policyName[p], func(t *testing.T) { f(t, p) })
	}
}

func TestUpdateStoresReplacesAndDeletes(t *testing.T) {
	forPolicies(t, func(t *testing.T, p Policy) {
		m, gone := newObjects(p, 1000)
		m.Update(1, func(old *object, ok bool) (*object, bool) {
			if old != nil || ok {
				t.Errorf("f of an unknown key got %v, %v", old, ok)
			}
			return &object{id: 10, cost: 100}, true
		})
		m.Update(1, func(old *object, ok bool) (*object, bool) {
			if !ok || old.id != 10 {
				t.Errorf("f of a known key got %v, %v", old, ok)
			}
			return &object{id: 11, cost: 300}, true
		})
		if v, ok := m.Get(1); !ok || v.id != 11 {
			t.Errorf("Get = %v, %v, want object 11", v, ok)
		}
		if len(*gone) != 0 {
			t.Errorf("replacing reported %v, want nothing", *gone)
		}
		if got := m.Stats(); got.Bytes != 300 || got.Entries != 1 || got.MaxBytes != 1000 {
			t.Errorf("Stats = %+v, want 300 of 1000 bytes in 1 entry", got)
		}
		m.Update(1, func(*object, bool) (*object, bool) { return nil, false })
		m.Update(2, func(*object, bool) (*object, bool) { return nil, false })
		if want := []left{{1, 11, Deleted}}; !slices.Equal(*gone, want) {
			t.Errorf("deleting by Update reported %v, want %v", *gone, want)
		}
		if got := m.Stats(); got.Bytes != 0 || got.Entries != 0 || got.Removed[Deleted] != 1 {
			t.Errorf("Stats = %+v, want nothing stored and 1 deleted", got)
		}
	})
}

func TestDelete(t *testing.T) {
	m, gone := newObjects(Auto, 1000)
	put(m, 1, &object{id: 10, cost: 1})
	if !m.Delete(1) || m.Delete(1) {
		t.Error("Delete must report true, and false for what is gone")
	}
	if want := []left{{1, 10, Deleted}}; !slices.Equal(*gone, want) {
		t.Errorf("reported %v, want %v", *gone, want)
	}
}

// TestDeleteFuncAndRange covers several pages of several shards.
func TestDeleteFuncAndRange(t *testing.T) {
	const n = 2000
	var gone []int
	m := New(Options[int, int]{MaxBytes: 1 << 20, Shards: 4, OnRemove: func(k, v int, r RemoveReason) {
		if k != -v || r != Deleted {
			t.Errorf("OnRemove(%d, %d, %v)", k, v, r)
		}
		gone = append(gone, k)
	}})
	for i := range n {
		put(m, i, -i)
	}
	if got := m.DeleteFunc(func(k, v int) bool { return k%2 == 0 && k == -v }); got != n/2 || len(gone) != n/2 {
		t.Errorf("DeleteFunc = %d and %d reported, want %d", got, len(gone), n/2)
	}
	seen := map[int]bool{}
	m.Range(func(k, v int) bool {
		if k != -v || k%2 == 0 || seen[k] {
			t.Errorf("Range saw %d, %d", k, v)
		}
		seen[k] = true
		m.Peek(k) // no lock is held
		return true
	})
	if len(seen) != n/2 {
		t.Errorf("Range saw %d entries, want %d", len(seen), n/2)
	}
	calls := 0
	m.Range(func(int, int) bool { calls++; return calls < 3 })
	if calls != 3 {
		t.Errorf("Range went on for %d calls after false at the third", calls)
	}
}

func TestTooLargeIsRejected(t *testing.T) {
	forPolicies(t, func(t *testing.T, p Policy) {
		m, gone := newObjects(p, 1000)
		put(m, 1, &object{id: 10, cost: 900})
		put(m, 2, &object{id: 20, cost: 1001})
		if !has(m, 1) || has(m, 2) {
			t.Error("a value larger than the shard must not be stored, nor push others out")
		}
		put(m, 1, &object{id: 11, cost: 1001})
		if has(m, 1) {
			t.Error("the value that a larger one replaced is still there")
		}
		// The first value of key 1 was replaced: that is not reported.
		if want := []left{{2, 20, Rejected}, {1, 11, Rejected}}; !slices.Equal(*gone, want) {
			t.Errorf("reported %v, want %v", *gone, want)
		}
		put(m, 3, &object{id: 30, cost: 1000})
		if got := m.Stats(); !has(m, 3) || got.Bytes != 1000 || got.Removed[Rejected] != 2 {
			t.Errorf("Stats = %+v, want a value of just the budget stored and 2 rejected", got)
		}
	})
}

func TestNothingIsStoredWithoutBudget(t *testing.T) {
	for _, bytes := range []int64{0, -1} {
		m := New(Options[int, int]{MaxBytes: bytes})
		put(m, 1, 1)
		if got := m.Stats(); has(m, 1) || got.MaxBytes != 0 || got.Removed[Rejected] != 1 {
			t.Errorf("MaxBytes %d: Stats = %+v, want the value rejected", bytes, got)
		}
	}
}

func TestLRUEvictsLeastRecentlyUsed(t *testing.T) {
	m, gone := newObjects(LRU, 300)
	for i := range 3 {
		put(m, i, &object{id: i, cost: 100})
	}
	m.Get(0)
	m.Peek(1) // does not count as use
	put(m, 2, &object{id: 2, cost: 100})
	put(m, 3, &object{id: 3, cost: 200})
	if want := []left{{1, 1, Evicted}, {0, 0, Evicted}}; !slices.Equal(*gone, want) {
		t.Errorf("reported %v, want %v", *gone, want)
	}
}

// TestGrowingPushesOthersOut says that a value which replaces a smaller one of
// its key makes room among the others, wherever it stands.
func TestGrowingPushesOthersOut(t *testing.T) {
	forPolicies(t, func(t *testing.T, p Policy) {
		for key := range 10 {
			m, _ := newObjects(p, 1000)
			for i := range 10 {
				put(m, i, &object{id: i, cost: 100})
			}
			put(m, key, &object{id: 100, cost: 950})
			if got := m.Stats(); !has(m, key) || got.Bytes != 950 || got.Entries != 1 || got.Removed[Evicted]+got.Removed[Rejected] != 9 {
				t.Errorf("key %d: Stats = %+v, want it alone", key, got)
			}
		}
	})
}

// TestGrowingTakesFromTheUnwanted says that where no newcomer asks for room,
// it is not the wanted values that give it.
func TestGrowingTakesFromTheUnwanted(t *testing.T) {
	m, gone := newObjects(Auto, 1000)
	for i := range 20 {
		put(m, i, &object{id: i, cost: 50})
		for range 10 * (i % 2) { // the odd ones are wanted
			m.Get(i)
		}
	}
	put(m, 1, &object{id: 1, cost: 200})
	if len(*gone) != 3 {
		t.Fatalf("reported %v, want three evicted", *gone)
	}
	for _, r := range *gone {
		if r.key%2 != 0 || r.reason != Evicted {
			t.Errorf("reported %v, want unwanted ones evicted", r)
		}
	}
}

// TestJustStoredIsFound says that in a full tier of wanted values a new value
// can be found when it has been stored, and after a few more were: the client
// whose request brought it here is often not the last to ask for it.
func TestJustStoredIsFound(t *testing.T) {
	for _, cost := range []int64{1, 100, 10_000} {
		m, _ := newObjects(Auto, 1_000_000)
		for i := range 100 {
			put(m, i, &object{cost: 10_000})
		}
		for range 10 {
			for i := range 100 {
				m.Get(i)
			}
		}
		for i := 1000; i < 1020; i++ {
			put(m, i, &object{cost: cost})
			for j := max(1000, i-windowEntries+1); j <= i; j++ {
				if !has(m, j) {
					t.Fatalf("cost %d: with %d stored, %d of the window of %d is gone", cost, i, j, windowEntries)
				}
			}
		}
	}
}

// TestLargestIsFound says the same of a value as large as a shard.
func TestLargestIsFound(t *testing.T) {
	m, _ := newObjects(Auto, 1000)
	for i := range 20 {
		put(m, i, &object{cost: 1000})
		if got := m.Stats(); !has(m, i) || got.Entries != 1 || got.Removed[Rejected] != uint64(i) {
			t.Fatalf("value %d of the whole budget: Stats = %+v, want it alone and the others rejected", i, got)
		}
	}
}

// TestEverythingIsAdmittedWhileThereIsRoom says that the filter does not speak
// before the shard is full.
func TestEverythingIsAdmittedWhileThereIsRoom(t *testing.T) {
	m, gone := newObjects(Auto, 1000)
	for i := range 100 {
		m.Get(0) // one key is wanted, the others are not
		put(m, i, &object{cost: 10})
	}
	if got := m.Stats(); got.Entries != 100 || len(*gone) != 0 {
		t.Errorf("Stats = %+v, want all 100 entries", got)
	}
}

// TestScanPassesThrough says that values asked for once do not push out those
// that are asked for again and again, whatever their sizes.
func TestScanPassesThrough(t *testing.T) {
	for _, cost := range []int64{100, 1000, 5000} {
		m, _ := newObjects(Auto, 100_000)
		for range 5 {
			for i := range 90 {
				if _, ok := m.Get(i); !ok {
					put(m, i, &object{cost: 1000})
				}
			}
		}
		for i := 1000; i < 3000; i++ {
			m.Get(i)
			put(m, i, &object{cost: cost})
		}
		kept := 0
		for i := range 90 {
			if has(m, i) {
				kept++
			}
		}
		if kept < 80 {
			t.Errorf("a scan of values of %d bytes left %d of 90 wanted ones, want 80", cost, kept)
		}
	}
}

// TestWantedIsAdmitted is the other side: what is asked for often comes in,
// and what it replaces is what nobody asked for.
func TestWantedIsAdmitted(t *testing.T) {
	m, _ := newObjects(Auto, 100_000)
	for i := range 100 {
		put(m, i, &object{cost: 1000})
		if i < 50 {
			for range 10 {
				m.Get(i)
			}
		}
	}
	for range 10 {
		for i := 1000; i < 1030; i++ {
			if _, ok := m.Get(i); !ok {
				put(m, i, &object{cost: 1000})
			}
		}
	}
	count := func(from, to int) (n int) {
		for i := from; i < to; i++ {
			if has(m, i) {
				n++
			}
		}
		return n
	}
	if old, cold, fresh := count(0, 50), count(50, 100), count(1000, 1030); old < 48 || fresh < 28 || cold > 24 {
		t.Errorf("kept %d of 50 wanted, %d of 50 unwanted, %d of 30 newly wanted", old, cold, fresh)
	}
}

// TestLargeMustBeWantedMore says that a newcomer is weighed against all that
// would have to go for it.
func TestLargeMustBeWantedMore(t *testing.T) {
	for _, test := range []struct {
		gets int
		want bool
	}{{3, false}, {14, true}} {
		m, _ := newObjects(Auto, 100_000)
		for i := range 100 {
			put(m, i, &object{cost: 1000})
			m.Get(i)
			m.Get(i)
		}
		for range test.gets {
			m.Get(1000)
		}
		put(m, 1000, &object{cost: 5000})
		put(m, 1001, &object{cost: 10_000}) // presses it out of the window
		for i := 1002; i < 1010; i++ {
			put(m, i, &object{cost: 1000})
		}
		if got := has(m, 1000); got != test.want {
			t.Errorf("five times as large as the others with twice their accesses, asked for %d times: stored = %v, want %v", test.gets, got, test.want)
		}
	}
}

// TestUpdatePanicReleasesLock says that a panic in the caller's function
// reaches the caller and leaves the tier in order.
func TestUpdatePanicReleasesLock(t *testing.T) {
	m, _ := newObjects(Auto, 1000)
	put(m, 1, &object{cost: 10})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was lost")
			}
		}()
		m.Update(1, func(*object, bool) (*object, bool) { panic("caller's bug") })
	}()
	if !has(m, 1) {
		t.Error("the value is gone")
	}
}

// TestOnRemoveMayCall says that no lock is held while OnRemove runs.
func TestOnRemoveMayCall(t *testing.T) {
	var m *Memory[int, int]
	m = New(Options[int, int]{MaxBytes: 1000, Shards: 1,
		Cost:     func(int, int) int64 { return 100 },
		OnRemove: func(k, _ int, _ RemoveReason) { m.Peek(k); m.Delete(k + 1) },
	})
	for i := range 100 {
		put(m, i, i)
	}
	m.DeleteFunc(func(int, int) bool { return true })
}

func TestShardCount(t *testing.T) {
	procs := 4 * runtime.GOMAXPROCS(0)
	for _, test := range []struct {
		asked    int
		maxBytes int64
		want     func(int) bool
		say      string
	}{
		{0, 1 << 20, func(n int) bool { return n == 1 }, "1"},
		{0, 31 << 20, func(n int) bool { return n == 1 }, "1"},
		{0, 64 << 20, func(n int) bool { return n == min(4, procs) }, "min(4, 4 per processor)"},
		{0, 1 << 40, func(n int) bool { return n >= procs && n < 2*procs }, "4 per processor"},
		{1, 1 << 40, func(n int) bool { return n == 1 }, "1"},
		{5, 1 << 20, func(n int) bool { return n == 8 }, "8"},
		{1 << 30, 1 << 20, func(n int) bool { return n == maxShards }, "the most there can be"},
	} {
		if got := shardCount(test.asked, test.maxBytes); !test.want(got) {
			t.Errorf("shardCount(%d, %d) = %d, want %s", test.asked, test.maxBytes, got, test.say)
		}
	}
}

func TestGetAllocatesNothing(t *testing.T) {
	forPolicies(t, func(t *testing.T, p Policy) {
		m := New(Options[key16, *object]{MaxBytes: 1 << 20, Policy: p, Hash: hash16})
		present, absent := keyOf(1), keyOf(2)
		put(m, present, &object{})
		if n := testing.AllocsPerRun(1000, func() {
			m.Get(present)
			m.Get(absent)
			m.Peek(present)
		}); n != 0 {
			t.Errorf("%v allocations, want none", n)
		}
	})
}

func TestRemoveReasonString(t *testing.T) {
	for r, want := range []string{"evicted", "rejected", "expired", "deleted", "unknown"} {
		if got := RemoveReason(r).String(); got != want {
			t.Errorf("RemoveReason(%d) = %q, want %q", r, got, want)
		}
	}
}

func ExampleMemory() {
	pages := New(Options[string, string]{
		MaxBytes: 64 << 20,
		Cost:     func(key, value string) int64 { return int64(len(key) + len(value)) },
	})
	pages.Update("/", func(old string, ok bool) (string, bool) { return "welcome", true })
	page, ok := pages.Get("/")
	fmt.Println(page, ok)
	// Output: welcome true
}

// Who asks again where nothing is there is noted once.
func TestHitNotesWhatIsThere(t *testing.T) {
	m := New(Options[int, int]{MaxBytes: 1 << 20})
	noted := func(k int) int {
		h := m.spread(k)
		return m.shards[h&m.mask].sketch.estimate(h)
	}
	m.Update(1, func(int, bool) (int, bool) { return 10, true })
	for _, k := range []int{1, 2} {
		for range 3 {
			v, ok := m.Hit(k)
			if ok != (k == 1) || ok && v != 10 {
				t.Errorf("%d: %d, %v", k, v, ok)
			}
		}
	}
	if there, absent := noted(1), noted(2); there < 2 || absent > 0 {
		t.Errorf("noted %d times where it is there and %d times where it is not", there, absent)
	}
}
