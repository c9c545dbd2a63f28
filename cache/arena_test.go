package cache

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// page is a response whose body tells which it is, so that memory that was mixed up shows.
func page(n int) response {
	return response{
		uri: fmt.Sprintf("http://h/%d", n), header: fields("Cache-Control: max-age=3600", `Etag: "x"`), sent: start,
		body: strings.Repeat(fmt.Sprintf("%07d ", n), 32+n%200),
	}
}

// wantAccounts fails where the arena's own reckoning is not what the memory tier holds.
func (w *world) wantAccounts(t *testing.T) {
	t.Helper()
	living, chunks := int64(0), map[ref]int64{}
	w.memory.memory.Range(func(_ [16]byte, r ref) bool {
		for _, e := range w.memory.there(r).entries() {
			if e.home > 0 {
				living += e.cost
				chunks[e.home.base()] += e.cost
			}
		}
		return true
	})
	a := w.memory.arena
	if a.living != living {
		t.Errorf("the arena counts %d living bytes, stored are %d", a.living, living)
	}
	for i := range *a.chunks.slots.Load() {
		if c := (*a.chunks.slots.Load())[i].Load(); c != nil && c.living != chunks[c.name] {
			t.Errorf("chunk %d counts %d living bytes, stored are %d", i, c.living, chunks[c.name])
		}
	}
	if holes := a.holes(); holes > a.slack+2*int64(a.size*wordSize) {
		t.Errorf("%d bytes of holes, allowed are %d", holes, a.slack)
	}
}

// moveAll moves the entries of the newest chunk to one that it makes.
func (w *world) moveAll() (emptied *chunk) {
	emptied = w.memory.arena.current
	w.memory.arena.begin()
	w.memory.arena.sealed++
	emptied.each(w.memory.move)
	return emptied
}

// TestArenaUnderChurn stores four times what fits, in an order that leaves holes everywhere. What is found must be whole, and the
// memory bounded.
func TestArenaUnderChurn(t *testing.T) {
	const keys = 8_000 // twice what fits
	w := newWorldOf(t, Options{MaxBytes: arenaLeast, MaxVariants: 4})
	random := rand.New(rand.NewPCG(1, 1))
	for range 3 * keys {
		r := page(random.IntN(keys))
		switch random.IntN(10) {
		case 0:
			w.Free(keyOf(r.uri).Hash)
		case 1: // nothing but the order changes
			w.find(r.uri, start)
		default:
			w.keep(r)
		}
	}
	w.wantAccounts(t)
	if s := w.Stats().Memory; s.Bytes > arenaLeast*102/100 {
		t.Errorf("%d bytes are held, want at most %d", s.Bytes, arenaLeast)
	}
	found := 0
	for n := range keys {
		r := page(n)
		if o := w.find(r.uri, start); o.Entry != nil {
			found++
			w.wantBody(o, r.body)
		}
	}
	if found < keys/4 {
		t.Errorf("%d entries are left", found)
	}
	w.clear()
	w.wantAccounts(t)
	if w.memory.arena.living != 0 || w.memory.arena.sealed > 0 {
		t.Errorf("when all is gone there are %d bytes in %d chunks", w.memory.arena.living, w.memory.arena.sealed)
	}
}

// TestArenaWhileReading: readers that hold an entry while it dies or moves must see it unchanged, and all find nothing but their own.
func TestArenaWhileReading(t *testing.T) {
	const keys = 8_000
	w := newWorldOf(t, Options{MaxBytes: arenaLeast, MaxVariants: 4})
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				r := page(rand.IntN(keys))
				o := w.find(r.uri, start)
				if o.Entry == nil {
					continue
				}
				runtime.Gosched()
				w.wantBody(o, r.body)
			}
		})
	}
	for range keys {
		w.keep(page(rand.IntN(keys)))
	}
	close(done)
	wg.Wait()
	w.wantAccounts(t)
}

// TestMovedEntryIsTheSame: who holds an entry that has moved since must still be able to freshen it, and to remove it.
func TestMovedEntryIsTheSame(t *testing.T) {
	moved := func(t *testing.T) (*world, *Query, Outcome) {
		w := newWorldOf(t, Options{MaxBytes: arenaLeast, MaxVariants: 4})
		r := page(1)
		w.keep(r)
		q := w.query(r.uri, start)
		o := w.Find(q)
		w.moveAll()
		if now := w.Find(q).Entry; now == o.Entry || !now.is(o.Entry) {
			t.Fatal("the entry has not moved")
		}
		return w, q, o
	}
	t.Run("removed", func(t *testing.T) {
		w, q, o := moved(t)
		w.Remove(o.Entry)
		if w.Find(q).Entry != nil {
			t.Error("it is still there")
		}
		w.wantAccounts(t)
	})
	t.Run("freshened", func(t *testing.T) {
		w, q, o := moved(t)
		f := w.validation(q, o, `Etag: "x"`, "Cache-Control: max-age=7200")
		f.RequestTime, f.ResponseTime = start.Add(time.Second), start.Add(time.Second)
		if answer, stored := w.Freshen(f); answer == nil || !stored {
			t.Fatal("not freshened")
		}
		if n := w.stored(page(1).uri); n != 1 {
			t.Errorf("%d responses are stored", n)
		}
		m := w.Find(q).Entry.Facts()
		if m.Lifetime != 2*time.Hour {
			t.Errorf("lifetime %v", m.Lifetime)
		}
		w.wantAccounts(t)
	})
}

// TestVariantsInArena: several responses under one key move one by one, with the mark that belongs to the key.
func TestVariantsInArena(t *testing.T) {
	w := newWorldOf(t, Options{MaxBytes: arenaLeast, MaxVariants: 4})
	for i := range 6 {
		w.keep(response{
			uri: uri, request: fields(fmt.Sprintf("X: %d", i)), header: fields("Cache-Control: max-age=60", "Vary: X"),
			sent: start.Add(time.Duration(i)), body: fmt.Sprint(i),
		})
	}
	w.MarkUncacheable(keyOf(uri), start.Add(time.Minute), rfc9111.ReasonNoStore)
	first := w.moveAll()
	w.wantAccounts(t)
	if first.living != 0 || w.memory.arena.entry(first.name) != nil {
		t.Errorf("%d bytes are left in the chunk that was emptied", first.living)
	}
	for i := 2; i < 6; i++ {
		o := w.find(uri, start.Add(time.Second), fmt.Sprintf("X: %d", i))
		w.wantBody(o, fmt.Sprint(i))
		if !o.Uncacheable || o.Because != rfc9111.ReasonNoStore {
			t.Error("the mark was lost")
		}
	}
}

// TestArenaChangedByMany: several goroutines store, encode, freshen and take away at once, and so move each other's entries. Each must be
// counted once, and nobody may find anything but his own.
func TestArenaChangedByMany(t *testing.T) {
	const keys, writers, rounds = 2_500, 4, 5_000
	w := newWorldOf(t, Options{MaxBytes: arenaLeast, MaxVariants: 3}).encodes()
	moved := w.memory.arena.adopted
	var stored, changed atomic.Uint64
	work := func(random *rand.Rand) {
		r, variant := page(random.IntN(keys)), fmt.Sprint("X: ", random.IntN(2))
		r.request, r.header = fields(variant), fields("Cache-Control: max-age=3600", `Etag: "x"`, "Content-Type: text/plain", "Vary: X")
		q := w.query(r.uri, start, variant)
		o := w.Find(q)
		coding := w.policy.Encode.Codings[random.IntN(3)]
		if o.Entry != nil {
			w.wantBody(o, r.body)
		}
		switch op := random.IntN(16); {
		case o.Entry == nil || op < 5:
			w.Store(w.parts(r))
			stored.Add(1)
			return
		case op < 7:
			w.RejectForm(o.Entry.Form(coding))
		case op == 7:
			w.Remove(o.Entry)
		case op == 8:
			w.Free(q.Key.Hash)
		case op == 9:
			w.MarkUncacheable(q.Key, start.Add(time.Minute), rfc9111.ReasonNoStore)
		case op == 10:
			f := w.validation(q, o, `Etag: "x"`, "Cache-Control: max-age=7200")
			f.RequestTime, f.ResponseTime = start.Add(time.Second), start.Add(time.Second)
			w.Freshen(f)
		default:
			w.AddForm(o.Entry.Form(coding), formBody(coding, r.body))
		}
		changed.Add(1)
	}
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 2))
			for range rounds {
				work(random)
			}
		})
	}
	wg.Wait()
	w.wantAccounts(t)
	if moved = w.memory.arena.adopted - moved; changed.Load() < rounds || moved < 2*stored.Load() {
		t.Errorf("%d changes, %d stored, %d copied: that is no proof", changed.Load(), stored.Load(), moved)
	}
	w.clear()
	w.wantAccounts(t)
	if w.memory.arena.living != 0 || w.memory.arena.sealed > 0 {
		t.Errorf("when all is gone there are %d bytes in %d chunks", w.memory.arena.living, w.memory.arena.sealed)
	}
	if names := len(*w.memory.others.slots.Load()) - len(w.memory.others.free); names != 0 {
		t.Errorf("when all is gone %d names are left", names)
	}
}
