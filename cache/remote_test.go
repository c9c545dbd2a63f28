package cache

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/tiers"
	"github.com/cacheproxy/cacheproxy/tiers/backendtest"
)

// instance is a world with a remote tier, which it may have in common with others.
type instance struct {
	*world
	fake *backendtest.Fake
	all  *together
}

// together is what the instances over one remote tier have in common.
type together struct {
	log    *invalidation.MemLog
	mu     sync.Mutex // guards worlds
	worlds []*world
}

var instances sync.Map // a remote tier -> *together

// newInstance returns an instance over fake, which follows the same log as all over it.
func newInstance(t testing.TB, fake *backendtest.Fake, serializer tiers.Serializer) *instance {
	t.Helper()
	shared, _ := instances.LoadOrStore(fake, &together{log: invalidation.NewMemLogOf(1000)})
	all := shared.(*together)
	w := newWorldWith(t, Options{MaxBytes: 64 << 20, MaxVariants: 32, Remote: &tiers.RemoteOptions{
		Backend: fake, Timeout: time.Second, Failures: 5, OpenFor: time.Second,
		Codec: tiers.Codec{MaxBytes: 4 << 20, Serializer: serializer, Compression: tiers.Zstd, MinBytes: 1 << 10},
	}}, all.log)
	all.mu.Lock()
	all.worlds = append(all.worlds, w)
	all.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = w.Run(ctx) })
	running.Go(func() { _ = w.purger.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return &instance{w, fake, all}
}

// purge purges, and waits until all instances know it.
func (i *instance) purge(uri string) {
	i.t.Helper()
	i.world.purge(uri)
	i.all.mu.Lock()
	defer i.all.mu.Unlock()
	for _, w := range i.all.worlds {
		for begin := time.Now(); w.State().Applied() != i.all.log.Head(); time.Sleep(time.Millisecond) {
			if time.Since(begin) > 10*time.Second {
				i.t.Fatal("an instance has not heard of a purge")
			}
		}
	}
}

// shared stores r here and in the remote tier, as a fetch that began with mark.
func (i *instance) shared(r response, s Share) *Entry {
	i.t.Helper()
	p := i.parts(r)
	p.Share = &s
	e, stored := i.Store(p)
	if !stored {
		i.t.Fatalf("Store(%s %q) = not stored", r.uri, r.body)
	}
	if err := i.FlushRemote(i.t.Context()); err != nil {
		i.t.Fatal(err)
	}
	return e
}

// further finds as a request does: in memory, and where that would send it to the origin, in the remote tier.
func (i *instance) further(uri string, now time.Time, request ...string) Outcome {
	i.t.Helper()
	q := i.query(uri, now, request...)
	o := i.Find(q)
	if o.Decision.Action == rfc9111.Serve {
		return o
	}
	o, done := i.FindRemote(i.t.Context(), q, &o)
	done()
	return o
}

func (i *instance) wantFrom(o Outcome, tier Tier, body string) {
	i.t.Helper()
	if o.Entry == nil || o.Tier != tier || o.Decision.Action != rfc9111.Serve || string(o.Entry.Body()) != body {
		got := "nothing"
		if o.Entry != nil {
			got = string(o.Entry.Body())
		}
		i.t.Errorf("found %s in %v (%+v), want %s in %v", got, o.Tier, o.Decision, body, tier)
	}
}

func ok(uri, body string, lines ...string) response {
	return response{uri: uri, body: body, sent: now(), header: fields(append([]string{"Cache-Control: max-age=60", "Content-Type: text/html"}, lines...)...)}
}

// now is the time of tests with a remote tier, which counts its own lifetimes.
func now() time.Time { return time.Now() }

// TestInstancesShareWhatTheyStore, whatever serializer each of them writes with, and with what is left of the lifetime.
func TestInstancesShareWhatTheyStore(t *testing.T) {
	for _, serializer := range []tiers.Serializer{tiers.Msgpack, tiers.JSON, tiers.Gob} {
		t.Run(serializer.String(), func(t *testing.T) {
			fake := backendtest.NewFake()
			a, b := newInstance(t, fake, serializer), newInstance(t, fake, tiers.Msgpack)
			body := strings.Repeat("a page ", 300)
			r := ok(uri, body, `Etag: "1"`, "Last-Modified: Tue, 24 Nov 2026 11:00:00 GMT", "X-Odd: caf\xe9", "Link: a", "Link: b", "Age: 20")
			a.shared(r, Share{Named: true})
			o := b.further(uri, now())
			b.wantFrom(o, L2, body)
			if age := o.Decision.Age; age < 20*time.Second || age > 25*time.Second || o.Decision.TTL > 40*time.Second {
				t.Errorf("age %v, ttl %v, want 20 s and 40 s", age, o.Decision.TTL)
			}
			first, second := a.find(uri, now()).Entry, o.Entry
			if string(first.Head()) != string(second.Head()) || first.Validators() != second.Validators() || first.Status() != second.Status() {
				t.Errorf("head %q, want %q", second.Head(), first.Head())
			}
			b.wantFrom(b.find(uri, now()), L1, body)
			b.wantFrom(b.further(uri, now().Add(30*time.Second)), L1, body)
			if o := b.further(uri, now().Add(50*time.Second)); o.Decision.Action == rfc9111.Serve {
				t.Errorf("served beyond its lifetime: %+v", o.Decision)
			}
		})
	}
}

// TestVariantsAreFoundFurther: the first read of an unknown resource guesses, the second knows, and from then on the first is right.
// TestEncodedFormsStayHere: a response that is found further comes without encoded forms, and not with those of what it replaces; that
// it may have some, and that our Vary says so, comes with it.
func TestEncodedFormsStayHere(t *testing.T) {
	fake := backendtest.NewFake()
	a, b := newInstance(t, fake, tiers.Msgpack), newInstance(t, fake, tiers.Msgpack)
	a.encodes()
	b.encodes()
	text := func(body string, sent time.Time) response {
		r := ok(uri, body, `Etag: "`+body+`"`, "Vary: X")
		r.sent, r.request = sent, fields("X: 1")
		return r
	}
	old := b.keep(text("the old page", now().Add(-2*time.Minute)))
	if !b.AddForm(old.Form(rfc9111.Gzip), []byte("the old page, shorter")) {
		t.Fatal("the form was not stored")
	}
	first := a.shared(text("the new page", now()), Share{Named: true})
	if !a.AddForm(first.Form(rfc9111.Gzip), []byte("the new page, shorter")) {
		t.Fatal("the form was not stored")
	}
	o := b.further(uri, now(), "X: 1")
	b.wantFrom(o, L2, "the new page")
	if head := string(o.Entry.Head()); head != string(first.Head()) {
		t.Errorf("head %q, want %q", head, first.Head())
	}
	send, missing := o.Entry.Answer(&o.Forms, rfc9111.Header(fields("Accept-Encoding: gzip")), b.policy)
	if send != o.Entry || missing != rfc9111.Gzip {
		t.Errorf("answered with %q, and %v is missing; want the page as it is, and that gzip is to be made", send.Body(), missing)
	}
}

func TestVariantsAreFoundFurther(t *testing.T) {
	fake := backendtest.NewFake()
	a, b := newInstance(t, fake, tiers.Msgpack), newInstance(t, fake, tiers.Msgpack)
	for _, language := range []string{"de", "en"} {
		for _, page := range []string{"http://h/1", "http://h/2"} {
			r := ok(page, page+language, "Vary: Accept-Language")
			r.request = fields("Accept-Language: " + language)
			a.shared(r, Share{Named: true})
		}
	}
	reads := func(f func()) int {
		before := fake.Asked()
		f()
		return fake.Asked() - before
	}
	if n := reads(func() { b.wantFrom(b.further("http://h/1", now(), "Accept-Language: de"), L2, "http://h/1de") }); n != 2 {
		t.Errorf("%d reads of an unknown resource, want 2", n)
	}
	if n := reads(func() { b.wantFrom(b.further("http://h/1", now(), "Accept-Language: en"), L2, "http://h/1en") }); n != 1 {
		t.Errorf("%d reads of another variant, want 1", n)
	}
	if n := reads(func() { b.wantFrom(b.further("http://h/2", now(), "Accept-Language: en"), L2, "http://h/2en") }); n != 1 {
		t.Errorf("%d reads of another resource, want 1", n)
	}
	if o := b.further("http://h/2", now(), "Accept-Language: fr"); o.Decision.Action != rfc9111.Fetch {
		t.Errorf("a variant that is not stored: %+v", o.Decision)
	}
}

// TestPurgesReachTheRemoteTier: after a purge of one instance another finds nothing there, and nothing that was fetched before the
// purge comes back.
func TestPurgesReachTheRemoteTier(t *testing.T) {
	fake := backendtest.NewFake()
	a, b, c := newInstance(t, fake, tiers.Msgpack), newInstance(t, fake, tiers.Msgpack), newInstance(t, fake, tiers.Msgpack)
	a.shared(ok(uri, "old"), Share{Named: true})
	fetching := b.further("http://h/other", now()) // its mark is that of no purge
	b.Unshare(t.Context(), keyOf(uri).Hash)
	b.purge(uri)
	if o := c.further(uri, now()); o.Entry != nil {
		t.Errorf("found %q after the purge", o.Entry.Body())
	}
	a.shared(ok(uri, "late"), Share{Named: true, Mark: fetching.Mark}) // its fetch began before
	if o := c.further(uri, now()); o.Entry != nil {
		t.Errorf("found %q, which was fetched before the purge", o.Entry.Body())
	}
	o, done := a.FindRemote(t.Context(), a.query(uri, now()), &Outcome{})
	done()
	a.shared(ok(uri, "new"), Share{Named: true, Mark: o.Mark})
	c.wantFrom(c.further(uri, now()), L2, "new")
	b.wantFrom(b.further(uri, now()), L2, "new")
}

// TestAPurgeDuringAReadHolds: the read was sent before the purge, its answer comes after it.
func TestAPurgeDuringAReadHolds(t *testing.T) {
	fake := backendtest.NewFake()
	a, b := newInstance(t, fake, tiers.Msgpack), newInstance(t, fake, tiers.Msgpack)
	a.shared(ok(uri, "old"), Share{Named: true})
	fake.Fail(backendtest.Fault{Before: func(op, _ string) {
		if op == "get" {
			b.purge(uri)
		}
	}})
	if o := b.further(uri, now()); o.Decision.Action == rfc9111.Serve {
		t.Errorf("%q was served after the purge", o.Entry.Body())
	}
	fake.Fail(backendtest.Fault{})
	if o := b.find(uri, now()); o.Decision.Action == rfc9111.Serve {
		t.Errorf("%q was served from memory after the purge", o.Entry.Body())
	}
}

// TestAPurgeHoldsWhileTheRemoteTierIsAway, on the instance that purges: it does not read the copy that it could not delete.
func TestAPurgeHoldsWhileTheRemoteTierIsAway(t *testing.T) {
	fake := backendtest.NewFake()
	a := newInstance(t, fake, tiers.Msgpack)
	a.shared(ok(uri, "old"), Share{Named: true})
	fake.Fail(backendtest.Fault{Err: backendtest.ErrBroken})
	a.Unshare(t.Context(), keyOf(uri).Hash)
	a.purge(uri)
	fake.Fail(backendtest.Fault{})
	if o := a.further(uri, now()); o.Decision.Action == rfc9111.Serve {
		t.Errorf("%q was served after the purge", o.Entry.Body())
	}
}

// TestAPurgeHoldsForWhatItCouldNotName: another instance's purge does not know all keys of a URI where header fields are in them. The
// copy stays in the remote tier, and nobody uses it.
func TestAPurgeHoldsForWhatItCouldNotName(t *testing.T) {
	fake := backendtest.NewFake()
	a, b, c := newInstance(t, fake, tiers.Msgpack), newInstance(t, fake, tiers.Msgpack), newInstance(t, fake, tiers.Msgpack)
	a.shared(ok(uri, "a page", `Etag: "1"`), Share{})
	b.wantFrom(b.further(uri, now()), L2, "a page")
	a.purge(uri)
	for _, i := range []*instance{a, b, c} {
		if o := i.further(uri, now()); o.Entry != nil {
			t.Errorf("found %+v after the purge", o.Decision)
		}
	}
	a.shared(ok(uri, "another", `Etag: "1"`), Share{})
	c.wantFrom(c.further(uri, now()), L2, "another")
}

// TestWhatIsOfAnotherLogIsValidated: the log that it was born in has been lost.
func TestWhatIsOfAnotherLogIsValidated(t *testing.T) {
	fake := backendtest.NewFake()
	newInstance(t, fake, tiers.Msgpack).shared(ok(uri, "a page", `Etag: "1"`), Share{Named: true})
	instances.Delete(fake)
	b := newInstance(t, fake, tiers.Msgpack)
	o := b.further(uri, now())
	if o.Entry == nil || o.Standing != invalidation.Unsure || o.Decision.Action != rfc9111.Validate || o.Decision.Reason != rfc9111.ReasonUnsure {
		t.Errorf("found %+v, want it to be validated", o.Decision)
	}
	b.State().SetOnPartition(invalidation.Serve)
	o = b.further(uri, now())
	if o.Entry == nil || o.Decision.Action != rfc9111.ServeStale || !o.Decision.Refresh {
		t.Errorf("found %+v, want it to be served and refreshed", o.Decision)
	}
}

// TestRestartedInstanceIsWarm: a new process serves what the last one has stored.
func TestRestartedInstanceIsWarm(t *testing.T) {
	fake := backendtest.NewFake()
	newInstance(t, fake, tiers.Msgpack).shared(ok(uri, "a page"), Share{Named: true})
	b := newInstance(t, fake, tiers.Msgpack)
	b.wantFrom(b.further(uri, now()), L2, "a page")
}

// TestFresheningReachesTheRemoteTier: a 304 on one instance renews the copy of all, and one that forbids to keep it takes it away.
func TestFresheningReachesTheRemoteTier(t *testing.T) {
	fake := backendtest.NewFake()
	a, b := newInstance(t, fake, tiers.Msgpack), newInstance(t, fake, tiers.Msgpack)
	r := ok(uri, "a page", `Etag: "1"`)
	r.sent = now().Add(-100 * time.Second)
	a.shared(r, Share{Named: true})
	freshen := func(lines ...string) {
		q := a.query(uri, now())
		stored := a.find(uri, now()).Entry
		a.Freshen(&Freshening{
			Query: q, Validated: []*Entry{stored}, Selected: stored, Target: targetOf(uri), Request: q.Fields,
			Header: fields(append(lines, `Etag: "1"`)...), RequestTime: now(), ResponseTime: now(), Born: a.born(), Share: &Share{Named: true},
		})
		if err := a.FlushRemote(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if o := b.further(uri, now()); o.Entry == nil || o.Decision.Action != rfc9111.Validate {
		t.Fatalf("before: %+v", o.Decision)
	}
	freshen("Cache-Control: max-age=60")
	b.wantFrom(b.further(uri, now()), L2, "a page")
	freshen("Cache-Control: no-store")
	c := newInstance(t, fake, tiers.Msgpack)
	if o := c.further(uri, now()); o.Entry != nil {
		t.Errorf("found %q, which must not be kept", o.Entry.Body())
	}
}

// TestOnlyWhatBelongsThereIsPromoted: a frame of another key or rule is not what was looked for, whoever put it there.
func TestOnlyWhatBelongsThereIsPromoted(t *testing.T) {
	fake := backendtest.NewFake()
	a, b := newInstance(t, fake, tiers.Msgpack), newInstance(t, fake, tiers.Msgpack)
	e := a.keep(ok(uri, "a page"))
	w := wireOf(e, true)
	for _, tt := range []struct {
		name   string
		change func(*wire)
		want   bool
	}{
		{"as it is", func(*wire) {}, true},
		{"of another key", func(w *wire) { w.Key = octets("x") }, false},
		{"of another rule", func(w *wire) { w.Rule++ }, false},
		{"of no status", func(w *wire) { w.Status = 0 }, false},
		{"an interim response", func(w *wire) { w.Status = 103 }, false},
		{"a part", func(w *wire) { w.Flags |= uint16(rfc9111.Partial) }, false},
		{"answered before it was asked for", func(w *wire) { w.Response = w.Request - 1 }, false},
		{"of a negative age", func(w *wire) { w.InitialAge = -1 }, false},
	} {
		changed := *w
		tt.change(&changed)
		if _, got := changed.parts(keyOf(uri), rule, nil, now()); got != tt.want {
			t.Errorf("%s: taken %v, want %v", tt.name, got, tt.want)
		}
	}
	if o := b.further(uri, now()); o.Entry != nil {
		t.Error("found what was not shared")
	}
}

// TestAClockThatIsAheadMakesNothingLiveLonger.
func TestAClockThatIsAheadMakesNothingLiveLonger(t *testing.T) {
	fake := backendtest.NewFake()
	a, b := newInstance(t, fake, tiers.Msgpack), newInstance(t, fake, tiers.Msgpack)
	r := ok(uri, "a page")
	r.sent = now().Add(10 * time.Minute)
	a.shared(r, Share{Named: true})
	o := b.further(uri, now())
	b.wantFrom(o, L2, "a page")
	if o.Decision.TTL > time.Minute {
		t.Errorf("ttl %v, want a minute at most", o.Decision.TTL)
	}
}

// TestFlagsKeepTheirBits: they are in frames of earlier builds.
func TestFlagsKeepTheirBits(t *testing.T) {
	want := []rfc9111.Flags{
		rfc9111.MustRevalidate, rfc9111.WindowOnly, rfc9111.NoCache, rfc9111.Immutable, rfc9111.HeuristicLifetime, rfc9111.Partial,
	}
	for bit, flag := range want {
		if flag != 1<<bit {
			t.Errorf("flag %d is %#x", bit, flag)
		}
	}
}

// TestAHitAsksNothing of the remote tier and allocates nothing.
func TestAllocationsOfAHitWithARemoteTier(t *testing.T) {
	fake := backendtest.NewFake()
	a := newInstance(t, fake, tiers.Msgpack)
	a.shared(ok(uri, "a page"), Share{Named: true})
	q, before := a.query(uri, now()), fake.Asked()
	if n := testing.AllocsPerRun(100, func() { a.Find(q) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if fake.Asked() != before {
		t.Error("the remote tier was asked at a hit")
	}
}

// FuzzWire: what an instance reads is what another has stored, whatever the bytes.
func FuzzWire(f *testing.F) {
	f.Add("caf\xe9", "a, b", "de", true)
	f.Fuzz(func(t *testing.T, value, etag, language string, present bool) {
		w := &wire{
			Key: keyOf(uri).Text, Rule: rule, Status: 200, ETag: octets(etag), Vary: []wireVary{{octets("Accept-Language"), octets(language), present}},
			Head: []wireLine{{octets("X-A"), octets(value)}},
		}
		text, err := json.Marshal(w)
		if err != nil {
			t.Fatal(err)
		}
		var got wire
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(*w) {
			t.Errorf("%+v became %+v", *w, got)
		}
	})
}
