package cache

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

func TestStore(t *testing.T) {
	fresh := fields("Cache-Control: max-age=60", `Etag: "1"`)
	part := fields("Cache-Control: max-age=60", `Etag: "1"`, "Content-Range: bytes 0-3/10")
	old := response{uri: uri, sent: start, header: fresh, body: "old"}
	tests := []struct {
		name   string
		before func(w *world)
		store  response
		stored bool
		want   string
	}{
		{name: "the first", store: response{header: fresh, body: "new"}, stored: true, want: "new"},
		{name: "in the place of an older one", before: func(w *world) { w.keep(old) },
			store: response{header: fresh, body: "new"}, stored: true, want: "new"},
		{name: "the response to an earlier request that comes late", before: func(w *world) { w.keep(old) },
			store: response{header: fresh, body: "new", sent: start.Add(-time.Second), came: start.Add(time.Second)}, want: "old"},
		{name: "useless on its way", store: response{header: fields("Cache-Control: max-age=60", "Age: 3600"), body: "new"}},
		{name: "a part, where the whole of it is stored and fresh", before: func(w *world) { w.keep(old) },
			store: response{header: part, status: 206, body: "newx", part: Part{0, 10}}, want: "old"},
		{name: "a part of another representation", before: func(w *world) { w.keep(old) },
			store:  response{header: fields("Cache-Control: max-age=60", `Etag: "2"`, "Content-Range: bytes 0-3/10"), status: 206, body: "newx", part: Part{0, 10}},
			stored: true, want: "newx"},
		{name: "a part, where the whole of it is stale", before: func(w *world) {
			stale := old
			stale.sent = start.Add(-2 * time.Minute)
			w.keep(stale)
		}, store: response{header: part, status: 206, body: "newx", part: Part{0, 10}}, stored: true, want: "newx"},
		{name: "a part, where the whole of it was purged", before: func(w *world) { w.keep(old); w.purge(uri) },
			store: response{header: part, status: 206, body: "newx", part: Part{0, 10}}, stored: true, want: "newx"},
		{name: "a part that claims more than there is",
			store: response{header: part, status: 206, body: "0123456789x", part: Part{0, 10}}},
		{name: "a part of unknown length", store: response{header: part, status: 206, body: "newx", part: Part{0, -1}}, stored: true, want: "newx"},
		{name: "what is purged already makes room", before: func(w *world) { w.keep(old); w.purge(uri) },
			store: response{header: fresh, body: "new", sent: start.Add(-time.Second)}, stored: true, want: "new"},
		{name: "a mark goes", before: func(w *world) { w.MarkUncacheable(keyOf(uri), start.Add(time.Hour), rfc9111.ReasonNoStore) },
			store: response{header: fresh, body: "new"}, stored: true, want: "new"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			if test.before != nil {
				test.before(w)
			}
			test.store.uri = uri
			if test.store.sent.IsZero() {
				test.store.sent = start.Add(time.Second)
			}
			e, stored := w.Store(w.parts(test.store))
			if stored != test.stored {
				t.Errorf("stored = %v, want %v", stored, test.stored)
			}
			if e == nil || string(e.Body()) != test.store.body {
				t.Errorf("Store returned %v, want the entry in any case", e)
			}
			o := w.find(uri, start.Add(2*time.Second))
			w.wantBody(o, test.want)
			if o.Uncacheable {
				t.Error("still marked")
			}
		})
	}
}

// TestHigherBornWins: the response of a request that left before a purge of something else does not displace that of one that left
// after it, in whatever order they come, be the clocks as they may.
func TestHigherBornWins(t *testing.T) {
	for _, lateFirst := range []bool{false, true} {
		w := newWorld(t)
		early := w.born()
		w.purge("http://h/other")
		late := w.born()
		h := fields("Cache-Control: max-age=60")
		store := func(born invalidation.Birth, sent time.Time, body string) bool {
			_, stored := w.Store(w.parts(response{uri: uri, sent: sent, header: h, body: body, born: &born}))
			return stored
		}
		if lateFirst {
			if !store(late, start, "late") || store(early, start.Add(time.Second), "early") {
				t.Error("late, then early: want stored, then not stored")
			}
		} else if !store(early, start.Add(time.Second), "early") || !store(late, start, "late") {
			t.Error("early, then late: want both stored")
		}
		w.wantBody(w.find(uri, start.Add(2*time.Second)), "late")
	}
}

// TestPurgeHolds: a response that was under way when the purge came is dead on arrival, and nothing that was stored is found.
func TestPurgeHolds(t *testing.T) {
	for _, selector := range []invalidation.Selector{
		{Kind: invalidation.KindURL, Value: uri}, {Kind: invalidation.KindURL, Value: "//h/a"}, {Kind: invalidation.KindAll},
	} {
		w := newWorld(t)
		h := fields("Cache-Control: max-age=60", "Vary: X", `Etag: "1"`)
		for v := range 3 {
			w.keep(response{uri: uri, request: fields(fmt.Sprintf("X: %d", v)), sent: start, header: h, body: "old"})
		}
		born := w.born()
		if _, err := w.purger.Purge(context.Background(), invalidation.Purge{Selectors: []invalidation.Selector{selector}}); err != nil {
			t.Fatal(err)
		}
		if _, stored := w.Store(w.parts(response{uri: uri, request: fields("X: 0"), sent: start, header: h, body: "late", born: &born})); stored {
			t.Errorf("%v: stored what was under way", selector)
		}
		for v := range 3 {
			w.wantBody(w.find(uri, start, fmt.Sprintf("X: %d", v)), "")
		}
		w.keep(response{uri: uri, request: fields("X: 0"), sent: start, header: h, body: "new"})
		w.wantBody(w.find(uri, start, "X: 0"), "new")
		if n := w.stored(uri); n != 1 {
			t.Errorf("%v: %d responses are stored, want the purged ones gone", selector, n)
		}
	}
}

func TestMaxVariants(t *testing.T) {
	w := newWorldOf(t, Options{MaxBytes: 64 << 20, MaxVariants: 3})
	store := func(v int, came time.Time) {
		w.keep(response{
			uri: uri, request: fields(fmt.Sprintf("X: %d", v)), sent: start, came: came, body: fmt.Sprint(v),
			header: fields("Cache-Control: max-age=600", "Vary: X"),
		})
	}
	for v := range 5 {
		store(v, start.Add(time.Duration(v)*time.Second))
	}
	want := func(bodies ...string) {
		t.Helper()
		for v, body := range bodies {
			w.wantBody(w.find(uri, start.Add(time.Minute), fmt.Sprintf("X: %d", v)), body)
		}
	}
	want("", "", "2", "3", "4")
	if n := w.Stats().VariantsDropped; n != 2 {
		t.Errorf("%d dropped, want 2", n)
	}
	store(3, start.Add(6*time.Second)) // the same variant needs no room
	want("", "", "2", "3", "4")
	store(5, start) // it came first, but it is the one that is wanted now
	want("", "", "", "3", "4", "5")
	if n := w.Stats().VariantsDropped; n != 3 {
		t.Errorf("%d dropped, want 3", n)
	}
}

// TestVariantsTooLargeTogether: the memory tier rejects a key whose variants are larger than a shard. The newest must survive that.
func TestVariantsTooLargeTogether(t *testing.T) {
	w := newWorldOf(t, Options{MaxBytes: 1 << 20, MaxVariants: 32})
	body := strings.Repeat("x", 300<<10)
	for v := range 8 {
		w.keep(response{
			uri: uri, request: fields(fmt.Sprintf("X: %d", v)), sent: start, body: body,
			header: fields("Cache-Control: max-age=600", "Vary: X"),
		})
		w.wantBody(w.find(uri, start, fmt.Sprintf("X: %d", v)), body)
	}
	if n := w.Stats().VariantsDropped; n != 6 { // at the 4th and the 7th
		t.Errorf("%d dropped, want 6", n)
	}
	if _, stored := w.Store(w.parts(response{
		uri: "http://h/huge", sent: start, body: strings.Repeat("x", 2<<20), header: fields("Cache-Control: max-age=600"),
	})); stored {
		t.Error("what is larger than the cache was called stored")
	}
}

func TestRemove(t *testing.T) {
	w := newWorld(t)
	h := fields("Cache-Control: max-age=60", "Vary: X")
	store := func(v, body string) *Entry {
		return w.keep(response{uri: uri, request: fields("X: " + v), sent: start, header: h, body: body})
	}
	old, other := store("1", "old"), store("2", "other")
	store("1", "new")
	w.Remove(old) // a newer one has come meanwhile, which must stay
	w.wantBody(w.find(uri, start, "X: 1"), "new")
	w.Remove(other)
	w.wantBody(w.find(uri, start, "X: 2"), "")
	w.wantBody(w.find(uri, start, "X: 1"), "new")
	w.Remove(other) // twice
	w.MarkUncacheable(keyOf(uri), start.Add(time.Minute), rfc9111.ReasonNoStore)
	w.Remove(w.find(uri, start, "X: 1").Entry)
	if o := w.find(uri, start, "X: 1"); o.Entry != nil || !o.Uncacheable {
		t.Errorf("after the last was removed: %+v, want the mark alone", o)
	}
}

func TestExpiredIsFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := newWorld(t)
		ended := make(chan error, 1)
		go func() { ended <- w.Run(ctx) }()
		now := time.Now()
		h := func(age int) http.Header { return fields(fmt.Sprintf("Cache-Control: max-age=%d", age), "Vary: X") }
		w.keep(response{uri: uri, request: fields("X: 1"), sent: now, header: h(60)})
		w.keep(response{uri: uri, request: fields("X: 2"), sent: now, header: h(3600)})
		w.MarkUncacheable(keyOf("http://h/marked"), now.Add(time.Minute), rfc9111.ReasonNoStore)

		for _, step := range []struct {
			at   time.Duration
			keys int64
		}{{59 * time.Second, 2}, {63 * time.Second, 1}, {time.Hour + rfc9111.Keep - time.Second, 1}, {time.Hour + rfc9111.Keep + 3*time.Second, 0}} {
			time.Sleep(time.Until(now.Add(step.at)))
			synctest.Wait()
			if n := w.Stats().Memory.Entries; n != step.keys {
				t.Errorf("after %v: %d keys, want %d", step.at, n, step.keys)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}
