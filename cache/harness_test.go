package cache

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

const rule = 7

// world is a cache and what is round it: the log, and a policy that follows the origin.
type world struct {
	*Cache
	t      testing.TB
	log    *invalidation.MemLog
	purger *invalidation.Purger
	last   atomic.Pointer[invalidation.Record] // that was applied
	policy *rfc9111.Policy
}

func newWorld(t testing.TB) *world {
	return newWorldOf(t, Options{MaxBytes: 64 << 20, MaxVariants: 32})
}

func newWorldOf(t testing.TB, o Options) *world { return newWorldWith(t, o, invalidation.NewMemLog()) }

// newWorldWith returns a world that has its log, perhaps, in common with others.
func newWorldWith(t testing.TB, o Options, log *invalidation.MemLog) *world {
	state := invalidation.NewState(10_000)
	c := New(o, state)
	w := &world{Cache: c, t: t, log: log, policy: &rfc9111.Policy{StaleWhileRevalidate: -1, StaleIfError: -1}}
	w.purger = invalidation.NewPurger(log, state, func(r invalidation.Record) int { w.last.Store(&r); return 0 })
	return w
}

func (w *world) purge(uri string) {
	w.t.Helper()
	if _, err := w.purger.Purge(context.Background(), invalidation.Purge{Selectors: []invalidation.Selector{{Kind: invalidation.KindURL, Value: uri}}}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) born() invalidation.Birth { return w.State().Birth() }

// response is a response of the origin, and the request that it answers.
type response struct {
	uri     string
	request http.Header
	status  int // 0 is 200
	header  http.Header
	body    string
	sent    time.Time // when the request left
	came    time.Time // when the response came; zero is sent
	born    *invalidation.Birth
	part    Part
}

func fields(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h[name] = append(h[name], value)
	}
	return h
}

func keyOf(uri string) rfc9111.Key { return rfc9111.NewKey(rfc9111.AppendPart(nil, uri)) }

func targetOf(uri string) *rfc9111.Target {
	target, err := rfc9111.ParseURL(uri)
	if err != nil {
		panic(err)
	}
	return &target
}

func (w *world) parts(r response) *Parts {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	if r.came.IsZero() {
		r.came = r.sent
	}
	if r.born == nil {
		now := w.born()
		r.born = &now
	}
	x := &rfc9111.Exchange{
		Method: http.MethodGet, Target: targetOf(r.uri), Request: rfc9111.Header(r.request), Status: r.status, Response: rfc9111.Header(r.header),
	}
	return &Parts{
		Key: keyOf(r.uri), URI: []byte(r.uri), Meta: rfc9111.NewMeta(x, w.policy, r.sent, r.came), Rule: rule, Policy: w.policy,
		Header: rfc9111.StoredHeader(r.header, w.policy), Body: []byte(r.body), Part: r.part, Born: *r.born,
	}
}

// keep stores r, which must succeed.
func (w *world) keep(r response) *Entry {
	w.t.Helper()
	e, stored := w.Store(w.parts(r))
	if !stored {
		w.t.Fatalf("Store(%s %q) = not stored", r.uri, r.body)
	}
	return e
}

func (w *world) query(uri string, now time.Time, request ...string) *Query {
	return &Query{Key: keyOf(uri), Fields: rfc9111.Header(fields(request...)), Policy: w.policy, Rule: rule, Now: now}
}

func (w *world) find(uri string, now time.Time, request ...string) Outcome {
	return w.Find(w.query(uri, now, request...))
}

// wantBody fails where the body found is not the one wanted; "" is no entry.
func (w *world) wantBody(o Outcome, want string) {
	w.t.Helper()
	got := ""
	if o.Entry != nil {
		got = string(o.Entry.Body())
	}
	if got != want {
		w.t.Errorf("found %q, want %q (decision %+v)", got, want, o.Decision)
	}
}

// stored returns how many responses are stored under uri, usable or not.
func (w *world) stored(uri string) int {
	v, ok := w.memory.Peek(keyOf(uri).Hash)
	if !ok {
		return 0
	}
	return v.responses()
}

// heap returns the bytes of live objects.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// Free takes all that is stored under key out of memory, as an eviction would, and returns how many responses that were.
func (c *Cache) Free(key [16]byte) (freed int) {
	c.memory.Update(key, func(old Variants, _ bool) (Variants, bool) {
		freed = old.responses()
		return Variants{}, false
	})
	return freed
}

// clear takes everything out of memory.
func (w *world) clear() { w.memory.memory.DeleteFunc(func([16]byte, ref) bool { return true }) }
