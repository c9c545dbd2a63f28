package cache

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// tagged stores a response that carries labels.
func (w *world) tagged(uri string, l Labels) *Entry {
	w.t.Helper()
	p := w.parts(response{uri: uri, sent: start, header: fields("Cache-Control: max-age=600, stale-while-revalidate=60"), body: "body of " + uri})
	p.Labels = &l
	e, ok := w.Store(p)
	if !ok {
		w.t.Fatalf("%s was not stored", uri)
	}
	return e
}

// apply logs a record as a purger would, and returns it.
func (w *world) apply(strategy invalidation.Strategy, selectors ...invalidation.Selector) invalidation.Record {
	w.t.Helper()
	if _, err := w.purger.Purge(context.Background(), invalidation.Purge{Selectors: selectors, Strategy: strategy}); err != nil {
		w.t.Fatal(err)
	}
	return *w.last.Load()
}

func tag(name string) invalidation.Selector {
	return invalidation.Selector{Kind: invalidation.KindTag, Value: name}
}

// TestDrop: an immediate purge frees what it has ended, and nothing else; the other strategies free nothing, or what is cold.
func TestDrop(t *testing.T) {
	for _, tt := range []struct {
		name     string
		selector invalidation.Selector
		freed    int
	}{
		{"tag of the response", tag("a"), 2},
		{"tag of the rule", tag("rule"), 3},
		{"no tag", tag("none"), 0},
		{"a tag that looks like a long key", tag("da39a3ee5e6b4b0d3255bfef95601890afd80709"), 0},
		{"group", invalidation.Group("http://h", "g"), 1},
		{"group of all origins", AnyGroup("g"), 1},
		{"group of another origin", invalidation.Group("http://other", "g"), 0},
		{"dependency on a tag", tag("prices"), 1},
		{"dependency on a URL", invalidation.Selector{Kind: invalidation.KindURL, Value: "//h/catalog"}, 1},
		{"key", invalidation.Selector{Kind: invalidation.KindKey, Value: keyOf("http://h/1").String()}, 1},
		{"pattern", invalidation.Selector{Kind: invalidation.KindPattern, Value: "/1"}, 1},
		{"pattern of many", invalidation.Selector{Kind: invalidation.KindPattern, Value: "h/**"}, 4},
		{"ban", invalidation.Ban{URL: "^/[12]", Tags: "^a$"}.Selector(), 2},
		{"all", invalidation.Selector{Kind: invalidation.KindAll}, 4},
	} {
		for _, strategy := range []invalidation.Strategy{invalidation.Immediate, invalidation.Lazy, invalidation.Soft, invalidation.Smart} {
			t.Run(tt.name+" "+strategy.String(), func(t *testing.T) {
				w := newWorld(t)
				w.tagged("http://h/1", Labels{Rule: []string{"rule"}, Tags: []string{"a", "b"}, Groups: []string{"http://h g"}})
				w.tagged("http://h/2", Labels{Rule: []string{"rule"}, Tags: []string{"a"}, Depends: []string{"tag:prices", "url://h/catalog"}})
				w.tagged("http://h/3", Labels{Rule: []string{"rule"}})
				w.tagged("http://h/4", Labels{})
				want := tt.freed
				if !frees(strategy) {
					want = 0
				}
				d, _ := w.drop(w.apply(strategy, tt.selector), func() bool { return false }) // however slow the machine is
				if d.Freed != want || d.More || len(d.Hot) != 0 || int(w.Stats().Memory.Entries) != 4-want {
					t.Errorf("freed %d, hot %d, %d entries are left; want %d freed", d.Freed, len(d.Hot), w.Stats().Memory.Entries, want)
				}
				unusable := 0
				for i := range 4 {
					e := w.find(fmt.Sprintf("http://h/%d", i+1), start).Decision
					if e.Action != rfc9111.Serve {
						unusable++
					}
				}
				if unusable != tt.freed {
					t.Errorf("%d cannot be served as they are, want %d", unusable, tt.freed)
				}
			})
		}
	}
}

// TestSmart: what is asked for often is kept, stale; what is not is freed.
func TestSmart(t *testing.T) {
	w := newWorld(t)
	for _, uri := range []string{"http://h/hot", "http://h/cold"} {
		w.tagged(uri, Labels{Tags: []string{"a"}})
	}
	for range 10 {
		w.find("http://h/hot", start)
	}
	d := w.Drop(w.apply(invalidation.Smart, tag("a")))
	if d.Freed != 1 || len(d.Hot) != 1 || d.Hot[0] != keyOf("http://h/hot").Hash {
		t.Fatalf("%+v, want the hot one kept and the cold one freed", d)
	}
	if o := w.find("http://h/hot", start); o.Decision.Action != rfc9111.ServeStale || !o.Decision.Refresh {
		t.Errorf("the hot one: %+v, want it served stale and refreshed", o.Decision)
	}
	if o := w.find("http://h/cold", start); o.Entry != nil {
		t.Error("the cold one is still there")
	}
}

// TestTTLCuts: a purge with ttl=D leaves D of the lifetime.
func TestTTLCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		now := time.Now()
		p := w.parts(response{uri: "http://h/", sent: now, header: fields("Cache-Control: max-age=600")})
		p.Labels = &Labels{Tags: []string{"a"}}
		w.Store(p)
		if _, err := w.purger.Purge(t.Context(), invalidation.Purge{
			Selectors: []invalidation.Selector{tag("a")}, Strategy: invalidation.TTL, TTL: 10 * time.Second,
		}); err != nil {
			t.Fatal(err)
		}
		if o := w.find("http://h/", now.Add(9*time.Second)); o.Decision.Action != rfc9111.Serve || o.Decision.TTL > time.Second {
			t.Errorf("before its end: %+v", o.Decision)
		}
		if o := w.find("http://h/", now.Add(10*time.Second)); o.Decision.Action == rfc9111.Serve {
			t.Errorf("at its end: %+v", o.Decision)
		}
	})
}

// TestTheIndexHoldsWhatIsStored: after any stores, purges, evictions and moves the index has a row for each hash of what is stored,
// and no other.
func TestTheIndexHoldsWhatIsStored(t *testing.T) {
	w := newWorldOf(t, Options{MaxBytes: arenaLeast, MaxVariants: 3})
	r := rand.New(rand.NewPCG(3, 4))
	body := make([]byte, 60_000)
	for range 20_000 {
		uri := fmt.Sprintf("http://h/%d", r.IntN(2000))
		switch r.IntN(20) {
		case 0:
			w.DropKey(keyOf(uri).Hash)
		case 1:
			w.Drop(w.apply(invalidation.Immediate, tag(fmt.Sprint(r.IntN(50)))))
		case 2:
			if o := w.find(uri, start); o.Entry != nil {
				w.Remove(o.Entry)
			}
		case 3:
			if o := w.find(uri, start); o.Entry != nil {
				w.AddForm(o.Entry.Form(rfc9111.Gzip), body[:100])
				w.RejectForm(o.Entry.Form(rfc9111.Brotli))
			}
		default:
			h := fields("Cache-Control: max-age=60", "Vary: X")
			p := w.parts(response{uri: uri, request: fields(fmt.Sprint("X: ", r.IntN(5))), sent: start, header: h, body: string(body[:r.IntN(len(body))])})
			if r.IntN(2) == 0 {
				p.Labels = &Labels{Tags: []string{fmt.Sprint(r.IntN(50)), fmt.Sprint(r.IntN(50))}}
			}
			w.Store(p)
		}
	}
	type row struct{ key, hash string }
	want := map[row]bool{}
	w.memory.memory.Range(func(key [16]byte, name ref) bool {
		for _, e := range w.memory.there(name).entries() {
			for _, hash := range e.Tags() {
				want[row{string(key[:]), fmt.Sprint(hash)}] = true
			}
		}
		return true
	})
	if len(want) == 0 || w.Stats().Memory.Removed[0] == 0 {
		t.Fatal("nothing is left, or nothing was evicted: that shows nothing")
	}
	if got := w.memory.index.size(); got != len(want) {
		t.Errorf("%d rows in the index for %d hashes of what is stored", got, len(want))
	}
}

// TestUntaggedLeavesNothing: URLs without tags, however many, take no room in the index.
func TestUntaggedLeavesNothing(t *testing.T) {
	w := newWorld(t)
	p := w.parts(response{uri: "http://h/", sent: start, header: fields("Cache-Control: max-age=60")})
	for i := range 1_000_000 {
		uri := fmt.Sprintf("http://h/%d", i)
		p.Key, p.URI = keyOf(uri), []byte(uri)
		w.Store(p)
	}
	for i := range w.memory.index {
		if s := &w.memory.index[i]; len(s.slots) != 1 || len(s.heads)+len(s.rows) != 0 {
			t.Fatalf("shard %d has %d slots", i, len(s.slots))
		}
	}
}

// TestLabelsTravel: what an entry can be purged by survives the remote tier's form of it, a 304, and the joining of two parts.
func TestLabelsTravel(t *testing.T) {
	w := newWorld(t)
	l := Labels{Rule: []string{"r"}, Tags: []string{"a", "b"}, Groups: []string{"http://h g"}, Depends: []string{"tag:d", "url://h/x"}}
	p := w.parts(response{uri: "http://h/", sent: start, header: fields("Cache-Control: max-age=60", `Etag: "1"`), body: "body"})
	p.Labels, p.Concealed = &l, fields("Surrogate-Key: a b")
	e, _ := w.Store(p)
	same := func(what string, e *Entry) {
		t.Helper()
		if got := e.Labels(); fmt.Sprint(got) != fmt.Sprint(l) {
			t.Errorf("%s: %v, want %v", what, got, l)
		}
		if got := string(e.TagNames()); got != "r\na\nb\n" {
			t.Errorf("%s: tag names %q", what, got)
		}
		if got := string(e.DependsOn()); got != "tag:d\nurl://h/x\n" {
			t.Errorf("%s: depends on %q", what, got)
		}
		concealed := ""
		for name, value := range e.Concealed() {
			concealed += name + "=" + value
		}
		if concealed != "Surrogate-Key=a b" || len(e.Tags()) != 7 {
			t.Errorf("%s: concealed %q, %d hashes", what, concealed, len(e.Tags()))
		}
	}
	same("stored", e)
	parts, ok := wireOf(e, true).parts(e.Key(), e.Rule, e.Body(), start)
	if !ok {
		t.Fatal("the wire form is refused")
	}
	same("from the remote tier", w.Build(parts))
	same("copied", e.clone())
	large := *p
	large.Body = make([]byte, inlineBody+1)
	same("with a large body", w.Build(&large))
	same("with a large body, copied", w.Build(&large).clone())
}
