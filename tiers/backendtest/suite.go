// Package backendtest holds what every [tiers.Backend] must do, as one suite of
// tests, and a Backend in memory that passes it and can be slow, lose and lie.
package backendtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/tiers"
)

// Test runs the suite against a backend that keeps at least eight fields of a
// key. It uses keys of its own, so the backend need not be empty.
func Test(t *testing.T, b tiers.Backend) {
	for name, test := range map[string]func(*bench){
		"what was set is there":          setAndGet,
		"the higher Born stays":          higherBorn,
		"the later of an epoch's equals": laterTime,
		"fields do not disturb others":   otherFields,
		"delete marks":                   deleteMarks,
		"frames expire":                  expires,
		"one holds a claim":              claims,
		"a claim tells what is there":    claimReads,
		"a store ends a claim":           storeEndsClaim,
		"claims expire":                  claimExpires,
		"bytes of all values":            bytesOfAllValues,
		"values that are no frames":      keeps,
		"a context that has ended":       endedContext,
	} {
		t.Run(name, func(t *testing.T) {
			test(&bench{T: t, b: b, key: strings.ReplaceAll(t.Name(), " ", "-") + fmt.Sprint(time.Now().UnixNano())})
		})
	}
}

// bench is one test's view of a backend.
type bench struct {
	*testing.T
	b   tiers.Backend
	key string
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func at(epoch invalidation.Epoch, seq invalidation.Seq) invalidation.Position {
	return invalidation.Position{Epoch: epoch, Seq: seq}
}

func (t *bench) set(w tiers.Write, want bool) {
	t.Helper()
	if w.TTL == 0 {
		w.TTL = time.Minute
	}
	if w.Time.IsZero() {
		w.Time = noon
	}
	if stored, err := t.b.Set(t.Context(), t.key, w); err != nil || stored != want {
		t.Errorf("Set(%s %q, born %v) = %v, %v, want %v", w.Field, w.Frame, w.Born, stored, err, want)
	}
}

func (t *bench) want(field, frame string, notes ...string) tiers.Index {
	t.Helper()
	index, frames, err := t.b.Get(t.Context(), t.key, field)
	if err != nil {
		t.Fatal(err)
	}
	if len(frames) != 1 || string(frames[0]) != frame || !slices.Equal(index.Notes, notes) {
		t.Errorf("Get(%s) = %q with notes %q, want %q with %q", field, frames, index.Notes, frame, notes)
	}
	return index
}

func setAndGet(t *bench) {
	t.want("a", "")
	t.set(tiers.Write{Field: "a", Frame: []byte("one"), Note: "x"}, true)
	t.want("a", "one", "x")
	t.want("b", "", "x")
	index, frames, err := t.b.Get(t.Context(), t.key)
	if err != nil || len(frames) != 0 || !slices.Equal(index.Notes, []string{"x"}) {
		t.Errorf("Get of no field: %+v, %q, %v", index, frames, err)
	}
}

func higherBorn(t *bench) {
	t.set(tiers.Write{Field: "a", Frame: []byte("five"), Born: at(1, 5)}, true)
	t.set(tiers.Write{Field: "a", Frame: []byte("four"), Born: at(1, 4), Time: noon.Add(time.Hour)}, false)
	t.want("a", "five", "")
	t.set(tiers.Write{Field: "a", Frame: []byte("six"), Born: at(1, 6), Time: noon.Add(-time.Hour)}, true)
	t.want("a", "six", "")
	t.set(tiers.Write{Field: "a", Frame: []byte("large"), Born: at(1<<63+1, 1<<52), Time: noon}, true)
	t.set(tiers.Write{Field: "a", Frame: []byte("less"), Born: at(1<<63+1, 1<<52-1), Time: noon}, false)
	t.want("a", "large", "")
}

func laterTime(t *bench) {
	t.set(tiers.Write{Field: "a", Frame: []byte("noon"), Born: at(1, 5)}, true)
	t.set(tiers.Write{Field: "a", Frame: []byte("before"), Born: at(1, 5), Time: noon.Add(-time.Second)}, false)
	t.set(tiers.Write{Field: "a", Frame: []byte("other epoch, before"), Born: at(2, 50), Time: noon.Add(-time.Second)}, false)
	t.set(tiers.Write{Field: "a", Frame: []byte("again"), Born: at(1, 5)}, true)
	t.set(tiers.Write{Field: "a", Frame: []byte("other epoch, after"), Born: at(2, 1), Time: noon.Add(time.Second)}, true)
	t.want("a", "other epoch, after", "")
}

func otherFields(t *bench) {
	t.set(tiers.Write{Field: "a", Frame: []byte("one"), Note: "x"}, true)
	t.set(tiers.Write{Field: "b", Frame: []byte("two"), Note: "y"}, true)
	t.set(tiers.Write{Field: "c", Frame: []byte("three"), Note: "y"}, true)
	_, frames, err := t.b.Get(t.Context(), t.key, "c", "none", "a", "b")
	if err != nil || len(frames) != 4 || string(frames[0]) != "three" || frames[1] != nil || string(frames[2]) != "one" || string(frames[3]) != "two" {
		t.Errorf("Get = %q, %v", frames, err)
	}
	t.want("a", "one", "x", "y")
}

func deleteMarks(t *bench) {
	t.set(tiers.Write{Field: "a", Frame: []byte("one")}, true)
	if err := t.b.Delete(t.Context(), t.key, "first"); err != nil {
		t.Fatal(err)
	}
	if index := t.want("a", ""); index.Mark != "first" {
		t.Errorf("mark %q, want that of the delete", index.Mark)
	}
	t.set(tiers.Write{Field: "a", Frame: []byte("fetched before")}, false)
	t.set(tiers.Write{Field: "a", Frame: []byte("fetched after"), Mark: "first"}, true)
	t.want("a", "fetched after", "")
	if err := t.b.Delete(t.Context(), t.key, "second"); err != nil {
		t.Fatal(err)
	}
	t.set(tiers.Write{Field: "a", Frame: []byte("fetched between"), Mark: "first"}, false)
	t.want("a", "")
}

func expires(t *bench) {
	t.set(tiers.Write{Field: "a", Frame: []byte("short"), TTL: 50 * time.Millisecond}, true)
	t.eventually("the frame has expired", func() bool {
		_, frames, err := t.b.Get(t.Context(), t.key, "a")
		return err == nil && frames[0] == nil
	})
}

func (t *bench) claim(token string, ttl time.Duration, fields ...string) tiers.Claimed {
	t.Helper()
	c, err := t.b.Claim(t.Context(), t.key, "c", token, ttl, fields...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func claims(t *bench) {
	heard := t.listen()
	if c := t.claim("one", time.Minute); !c.Won {
		t.Fatalf("the first claim: %+v", c)
	}
	if c := t.claim("two", time.Minute); c.Won || c.Left <= 50*time.Second || c.Left > time.Minute {
		t.Errorf("the second claim: %+v, want a minute left", c)
	}
	if c, err := t.b.Claim(t.Context(), t.key, "another", "two", time.Minute); err != nil || !c.Won {
		t.Errorf("another claim of the key: %+v, %v", c, err)
	}
	if err := t.b.Release(t.Context(), t.key, "c", "two"); err != nil {
		t.Fatal(err)
	}
	if c := t.claim("three", time.Minute); c.Won {
		t.Error("a claim was released by one who did not hold it")
	}
	if err := t.b.Release(t.Context(), t.key, "c", "one"); err != nil {
		t.Fatal(err)
	}
	t.hear(heard)
	if c := t.claim("three", time.Minute); !c.Won {
		t.Errorf("after the release: %+v", c)
	}
}

// listen returns a channel of the keys that are told.
func (t *bench) listen() <-chan string {
	heard := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	listening.Go(func() {
		if err := t.b.Listen(ctx, func(key string) { heard <- key }); err != nil && ctx.Err() == nil {
			t.Errorf("Listen: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		listening.Wait()
	})
	probe := t.key + "-probe" // until the subscription is there
	t.eventually("the listener hears", func() bool {
		if _, err := t.b.Claim(t.Context(), probe, "c", "p", time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := t.b.Release(t.Context(), probe, "c", "p"); err != nil {
			t.Fatal(err)
		}
		select {
		case <-heard:
			return true
		case <-time.After(20 * time.Millisecond):
			return false
		}
	})
	return heard
}

func (t *bench) hear(heard <-chan string) {
	t.Helper()
	for {
		select {
		case key := <-heard:
			if key == t.key {
				return
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the end of the claim was not told")
		}
	}
}

func claimReads(t *bench) {
	t.set(tiers.Write{Field: "a", Frame: []byte("one"), Note: "x"}, true)
	c := t.claim("t", time.Minute, "a", "b")
	if !c.Won || len(c.Frames) != 2 || string(c.Frames[0]) != "one" || c.Frames[1] != nil || !slices.Equal(c.Index.Notes, []string{"x"}) {
		t.Errorf("claim: %+v", c)
	}
}

func storeEndsClaim(t *bench) {
	heard := t.listen()
	t.claim("one", time.Minute)
	t.set(tiers.Write{Field: "a", Frame: []byte("x"), Claim: "c", Token: "another"}, true)
	if c := t.claim("two", time.Minute); c.Won {
		t.Fatal("a store without the token has ended the claim")
	}
	t.set(tiers.Write{Field: "a", Frame: []byte("y"), Claim: "c", Token: "one"}, true)
	t.hear(heard)
	if c := t.claim("two", time.Minute); !c.Won {
		t.Error("the store has not ended the claim")
	}
	t.set(tiers.Write{Field: "a", Frame: []byte("old"), Mark: "unknown", Claim: "c", Token: "two"}, false)
	t.hear(heard)
}

func claimExpires(t *bench) {
	t.claim("dead", 50*time.Millisecond)
	t.eventually("the claim has expired", func() bool { return t.claim("next", time.Minute).Won })
}

func bytesOfAllValues(t *bench) {
	all := make([]byte, 1<<16)
	for i := range all {
		all[i] = byte(i)
	}
	t.set(tiers.Write{Field: "a", Frame: all, Note: "Accept-Language\nX-\"Odd\"\\"}, true)
	t.want("a", string(all), "Accept-Language\nX-\"Odd\"\\")
}

func keeps(t *bench) {
	if v, err := t.b.Kept(t.Context(), t.key); v != nil || err != nil {
		t.Errorf("Kept of nothing: %q, %v", v, err)
	}
	if err := t.b.Keep(t.Context(), t.key, []byte("a list"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if v, err := t.b.Kept(t.Context(), t.key); string(v) != "a list" || err != nil {
		t.Errorf("Kept: %q, %v", v, err)
	}
}

func endedContext(t *bench) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	if _, _, err := t.b.Get(ctx, t.key, "a"); err == nil {
		t.Skip("the answer came before the context was looked at")
	}
}

func (t *bench) eventually(what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
