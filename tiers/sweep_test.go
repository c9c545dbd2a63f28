package tiers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/test/redistest"
	"github.com/cacheproxy/cacheproxy/tiers"
	"github.com/cacheproxy/cacheproxy/tiers/backendtest"
)

// dusty is a store that can be gone through. Each key holds one frame, which says in its metadata whether it is dead.
type dusty struct {
	*backendtest.Fake
	err error // of whatever is asked

	mu      sync.Mutex // guards the following
	keys    []string
	dead    map[string]bool
	walked  []time.Time // when each key was looked at
	heads   int
	removed []string
	token   string    // of who has the claim
	until   time.Time // when it ends
	extends int
	during  func() // called within Heads
}

func newDusty(keys int, dead func(int) bool) *dusty {
	d := &dusty{Fake: backendtest.NewFake(), dead: map[string]bool{}}
	for i := range keys {
		key := fmt.Sprint("k", i)
		d.keys, d.dead[key] = append(d.keys, key), dead(i)
	}
	return d
}

func (d *dusty) Walk(_ context.Context, from string, count int) (p tiers.Page, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return p, d.err
	}
	at, _ := strconv.Atoi(from)
	end := min(at+count, len(d.keys))
	for _, key := range d.keys[at:end] {
		p.Keys = append(p.Keys, tiers.Held{Key: key, Rows: []tiers.Row{{Field: "v", Time: int64(at)}}})
		d.walked = append(d.walked, time.Now())
	}
	if end < len(d.keys) {
		p.Next = strconv.Itoa(end)
	}
	return p, nil
}

func (d *dusty) Heads(ctx context.Context, key string, fields []string) ([]tiers.Head, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.during != nil {
		d.during()
	}
	if d.err != nil || ctx.Err() != nil {
		return nil, errors.Join(d.err, ctx.Err())
	}
	d.heads++
	codec := tiers.Codec{Serializer: tiers.JSON, MaxBytes: 1 << 20}
	frame, err := codec.Encode(note{strconv.FormatBool(d.dead[key])}, nil, false, invalidation.Position{})
	return []tiers.Head{frame[:len(frame)-4]}, err
}

func (d *dusty) Remove(_ context.Context, key string, _ tiers.Row) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return false, d.err
	}
	d.removed = append(d.removed, key)
	return true, nil
}

func (d *dusty) Claim(_ context.Context, _, _, token string, ttl time.Duration, _ ...string) (tiers.Claimed, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if left := time.Until(d.until); left > 0 || d.err != nil {
		return tiers.Claimed{Left: left}, d.err
	}
	d.token, d.until = token, time.Now().Add(ttl)
	return tiers.Claimed{Won: true}, nil
}

func (d *dusty) Extend(_ context.Context, _, _, token string, ttl time.Duration) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.extends++; d.err != nil || d.token != token || time.Now().After(d.until) {
		return false, d.err
	}
	d.until = time.Now().Add(ttl)
	return true, nil
}

func (d *dusty) Release(_ context.Context, _, _, token string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil && d.token == token {
		d.until = time.Time{}
	}
	return d.err
}

// looked returns how many keys were looked at.
func (d *dusty) looked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.walked)
}

func (d *dusty) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// sweepOf is a sweep that looks into each frame.
func sweepOf(rate int) tiers.Sweep {
	return tiers.Sweep{
		Rate: rate, Suspect: func(invalidation.Position) bool { return true },
		Dead: func(_ string, h tiers.Head) bool {
			var n note
			_, err := h.Decode(&n)
			return err == nil && n.Text == "true"
		},
	}
}

// sweeps sweeps d until the test ends, or stop is called, which returns when it has ended.
func (f *far) sweeps(s tiers.Sweep) (stop func()) {
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f.Sweep(ctx, s); err != nil {
			f.t.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	f.t.Cleanup(stop)
	return stop
}

func onDusty(d *dusty) func(*tiers.RemoteOptions) {
	return func(o *tiers.RemoteOptions) { o.Backend = d }
}

// TestSweepKeepsItsRate: in no second more keys are looked at than the rate and a page, a round takes the time that the rate gives it,
// and the next one does not begin at once. The dead go, and only those.
func TestSweepKeepsItsRate(t *testing.T) {
	for _, tt := range []struct{ keys, rate int }{{1000, 100}, {40, 1}, {900, 7}, {5000, 20_000}} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDusty(tt.keys, func(i int) bool { return i%3 == 0 })
				f := newFar(t, onDusty(d))
				f.sweeps(sweepOf(tt.rate))
				round := time.Duration(tt.keys) * time.Second / time.Duration(tt.rate)
				time.Sleep(round + time.Second)
				synctest.Wait()
				times := d.walked
				if len(times) < tt.keys || f.Stats().Swept < uint64(tt.keys) || round < 9*time.Second && len(times) > tt.keys {
					t.Fatalf("%d keys looked at after %v, want %d", len(times), round+time.Second, tt.keys)
				}
				page := min(max(tt.rate/10, 1), 100)
				for i := range times {
					if most := tt.rate + page; i >= most && times[i].Sub(times[i-most]) < time.Second {
						t.Fatalf("%d keys within %v", most+1, times[i].Sub(times[i-most]))
					}
				}
				if want := (tt.keys + 2) / 3; len(slices.Compact(slices.Sorted(slices.Values(d.removed)))) != want || f.Stats().Removed < uint64(want) {
					t.Errorf("%d removed, want %d", len(d.removed), want)
				}
				for _, key := range d.removed {
					if !d.dead[key] {
						t.Errorf("%s was alive", key)
					}
				}
			})
		})
	}
}

// TestSweepReadsSuspectsOnly: where nothing was purged since the birth, nothing is read but the index.
func TestSweepReadsSuspectsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDusty(100, func(int) bool { return true })
		s := sweepOf(1000)
		s.Suspect = func(invalidation.Position) bool { return false }
		newFar(t, onDusty(d)).sweeps(s)
		time.Sleep(time.Second)
		synctest.Wait()
		if d.looked() != 100 || d.heads > 0 || len(d.removed) > 0 {
			t.Errorf("%d looked at, %d read, %d removed", d.looked(), d.heads, len(d.removed))
		}
	})
}

// TestOneInstanceSweeps: of two, one looks at keys; when it ends, the other goes on.
func TestOneInstanceSweeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDusty(200_000, func(int) bool { return false })
		a, b := newFar(t, onDusty(d)), newFar(t, onDusty(d))
		stop := a.sweeps(sweepOf(100))
		synctest.Wait()
		b.sweeps(sweepOf(100))
		time.Sleep(time.Minute) // many claims, if they were not renewed
		synctest.Wait()
		if n, m := a.Stats().Swept, b.Stats().Swept; n < 5900 || m > 0 {
			t.Errorf("one has looked at %d keys and the other at %d", n, m)
		}
		d.change(func() {
			if d.extends < 5 || d.extends > 60 {
				t.Errorf("renewed %d times in a minute", d.extends)
			}
		})
		stop()
		left := a.Stats().Swept
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if b.Stats().Swept < 500 || a.Stats().Swept != left {
			t.Errorf("ten seconds later %d and %d", a.Stats().Swept-left, b.Stats().Swept)
		}
	})
}

// TestSweepStops: at once, in the middle of a page, where its context ends, and where the store fails. Nothing is asked of a store
// whose breaker is open, nor by who has lost the claim.
func TestSweepStops(t *testing.T) {
	begin := func(t *testing.T) (*dusty, *far, func()) {
		d := newDusty(200_000, func(int) bool { return true })
		f := newFar(t, onDusty(d))
		stop := f.sweeps(sweepOf(1000))
		time.Sleep(2050 * time.Millisecond)
		synctest.Wait()
		if len(d.removed) != 2100 {
			t.Fatalf("%d removed after two seconds", len(d.removed))
		}
		return d, f, stop
	}
	t.Run("context", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := newDusty(1000, func(int) bool { return true })
			f := newFar(t, onDusty(d))
			ctx, cancel := context.WithCancel(t.Context())
			d.during = func() {
				if d.heads == 3 {
					cancel()
				}
			}
			if err := f.Sweep(ctx, sweepOf(1000)); err != nil {
				t.Error(err)
			}
			if len(d.removed) != 3 {
				t.Errorf("%d removed, want 3", len(d.removed))
			}
			c, err := d.Claim(t.Context(), "sweep", "lease", "another", time.Second)
			if err != nil || !c.Won {
				t.Errorf("the claim was not given back: %+v, %v", c, err)
			}
		})
	})
	t.Run("failure", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, f, _ := begin(t)
			d.change(func() { d.err = errors.New("broken") })
			d.Fail(backendtest.Fault{Err: d.err})
			time.Sleep(time.Minute)
			synctest.Wait()
			n := d.looked()
			d.change(func() { d.err = nil })
			d.Fail(backendtest.Fault{})
			time.Sleep(time.Minute)
			if n != 2100 || d.looked() < 10_000 || !f.Up() {
				t.Errorf("%d looked at until it was back, and then %d", n, d.looked())
			}
		})
	})
	t.Run("breaker", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, f, _ := begin(t)
			d.Fail(backendtest.Fault{Err: errors.New("broken")}) // of what requests ask
			for range 5 {
				f.get("x")
			}
			if f.Up() {
				t.Fatal("the breaker is closed")
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := d.looked(); n != 2100 {
				t.Errorf("%d looked at while the breaker was open", n-2100)
			}
		})
	})
	t.Run("claim", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d, f, stop := begin(t)
			d.change(func() { d.token, d.until = "another", time.Now().Add(time.Hour) })
			time.Sleep(10 * time.Second)
			synctest.Wait()
			looked := d.looked()
			if looked > 4000 { // it may go on until it asks again
				t.Errorf("%d looked at", looked)
			}
			stop()
			if !f.Up() {
				t.Error("a claim that is lost is no failure of the store")
			}
		})
	})
}

// TestOnlyWhatCanBeSweptIs: another kind of store is told from one that does nothing.
func TestOnlyWhatCanBeSweptIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if err := newFar(t).Sweep(t.Context(), sweepOf(1)); err == nil {
			t.Error("no error")
		}
	})
}

// TestRedisIsSweepable: by a user with the rights that are documented, and in a cluster on all masters.
func TestRedisIsSweepable(t *testing.T) {
	t.Run("single", func(t *testing.T) {
		server := redistest.Start(t)
		server.Do("ACL", "SETUSER", "cache", "on", ">secret", "resetchannels", "~sh[o]p:*", "&shop:*", "~sh\\[o\\]p:*", "+hmget", "+evalsha", "+eval", "+ping", "+hello",
			"+hget", "+hset", "+hdel", "+unlink", "+pexpire", "+pttl", "+get", "+set", "+del", "+publish", "+scan", "+hstrlen")
		server.Do("HSET", "shop:{foreign}", "i", "{}")
		sweepable(t, clientOf(t, redis.UniversalOptions{Addrs: []string{server.Addr}, Username: "cache", Password: "secret"}))
	})
	t.Run("cluster", func(t *testing.T) {
		sweepable(t, clientOf(t, redis.UniversalOptions{Addrs: redistest.StartCluster(t).Addrs, IsClusterMode: true}))
	})
}

// walkAll returns all that b holds, and how many pages that took.
func walkAll(t *testing.T, b *tiers.Redis, count int) (all map[string][]tiers.Row, pages int) {
	t.Helper()
	all = map[string][]tiers.Row{}
	for from := ""; ; pages++ {
		p, err := b.Walk(t.Context(), from, count)
		if err != nil {
			t.Fatal(err)
		}
		for _, held := range p.Keys {
			all[held.Key] = held.Rows
		}
		if from = p.Next; from == "" {
			return all, pages + 1
		}
	}
}

func sweepable(t *testing.T, client redis.UniversalClient) {
	b := tiers.NewRedis(client, "sh[o]p", 8) // the brackets would be a pattern
	codec := tiers.Codec{Serializer: tiers.JSON, MaxBytes: 4 << 20}
	now := time.Now()
	set := func(key, field, mark string, at time.Time, size int) []byte {
		t.Helper()
		born := invalidation.Position{Epoch: 0xfedcba9876543210, Seq: 7}
		frame, err := codec.Encode(note{field}, bytes.Repeat([]byte("x"), size), false, born)
		if err != nil {
			t.Fatal(err)
		}
		w := tiers.Write{Field: field, Frame: frame, Mark: mark, Born: born, Time: at, TTL: time.Minute}
		if stored, err := b.Set(t.Context(), key, w); err != nil || !stored {
			t.Fatal(stored, err)
		}
		return frame
	}
	const n = 300
	for i := range n {
		set(fmt.Sprint("k", i), "v", "", now, 10)
	}
	all, pages := walkAll(t, b, 50)
	if len(all) != n || pages < n/50/2 {
		t.Fatalf("%d keys in %d pages", len(all), pages)
	}
	row := all["k7"][0]
	if row.Field != "v" || row.Born != (invalidation.Position{Epoch: 0xfedcba9876543210, Seq: 7}) || row.Time != now.UnixMilli() {
		t.Errorf("%+v", row)
	}

	// A head is a frame up to its body, and many large ones come in parts.
	var fields []string
	for i := range 3 {
		fields = append(fields, fmt.Sprint("large", i))
		set("k8", fields[i], "", now, 700_000)
	}
	for rest := append([]string{"v", "none"}, fields...); len(rest) > 0; {
		heads, err := b.Heads(t.Context(), "k8", rest)
		if err != nil || len(heads) == 0 || len(heads) == 5 {
			t.Fatalf("%d heads of %q: %v", len(heads), rest, err)
		}
		for i, h := range heads {
			var got note
			born, err := h.Decode(&got)
			switch {
			case rest[i] == "none" && h == nil:
			case err != nil || got.Text != rest[i] || born.Seq != 7 || len(h) > 200:
				t.Errorf("%s: %d bytes, %+v, %v, %v", rest[i], len(h), got, born, err)
			}
		}
		rest = rest[len(heads):]
	}
	if heads, err := b.Heads(t.Context(), "none", []string{"v"}); err != nil || len(heads) != 1 || heads[0] != nil {
		t.Errorf("a key that is not there: %v, %v", heads, err)
	}

	// What was written since is not what the row stands for.
	set("k7", "v", "", now.Add(time.Second), 10)
	remove := func(key string, row tiers.Row, want bool) {
		t.Helper()
		if removed, err := b.Remove(t.Context(), key, row); err != nil || removed != want {
			t.Errorf("Remove(%s, %+v) = %v, %v, want %v", key, row, removed, err, want)
		}
	}
	remove("k7", row, false)
	row.Time += 1000
	other := row
	other.Born.Seq = 8
	remove("k7", other, false)
	other = row
	other.Born.Epoch++
	remove("k7", other, false)
	other = row
	other.Field = "w"
	remove("k7", other, false)
	remove("none", row, false)
	remove("k7", row, true)
	remove("k7", row, false)
	if n, err := client.Exists(t.Context(), "sh[o]p:{k7}").Result(); err == nil && n != 0 {
		t.Error("a key with nothing in it is left")
	}

	// Other variants stay, and so does a mark.
	if err := b.Delete(t.Context(), "k9", "mark"); err != nil {
		t.Fatal(err)
	}
	set("k9", "v", "mark", now, 10)
	set("k9", "w", "mark", now, 10)
	for i, field := range []string{"v", "w"} {
		remove("k9", tiers.Row{Field: field, Born: row.Born, Time: now.UnixMilli()}, true)
		index, frames, err := b.Get(t.Context(), "k9", "v", "w")
		if err != nil || index.Mark != "mark" || frames[0] != nil || (frames[1] == nil) != (i == 1) {
			t.Errorf("%+v, %d bytes, %v", index, len(frames[1]), err)
		}
	}

	// A claim lasts longer for who has it.
	if c, err := b.Claim(t.Context(), "sweep", "lease", "mine", 200*time.Millisecond); err != nil || !c.Won {
		t.Fatal(c, err)
	}
	for token, want := range map[string]bool{"mine": true, "yours": false} {
		if held, err := b.Extend(t.Context(), "sweep", "lease", token, time.Minute); err != nil || held != want {
			t.Errorf("Extend(%s) = %v, %v", token, held, err)
		}
	}
	if c, err := b.Claim(t.Context(), "sweep", "lease", "yours", time.Second); err != nil || c.Won || c.Left < 30*time.Second {
		t.Errorf("%+v, %v", c, err)
	}
}

// FuzzHead: whatever is there, a head is refused or read, and what Encode has made is read as it was.
func FuzzHead(f *testing.F) {
	for _, s := range []tiers.Serializer{tiers.Msgpack, tiers.JSON, tiers.Gob} {
		codec := tiers.Codec{Serializer: s, MaxBytes: 1 << 20}
		frame, err := codec.Encode(note{"text"}, []byte("body"), false, invalidation.Position{Epoch: 1, Seq: 2})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame)
		f.Add(frame[:len(frame)-8])
		f.Add(frame[:33])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var head, whole note
		codec := tiers.Codec{MaxBytes: 1 << 20}
		_, born, why := codec.Decode(b, &whole)
		at, err := tiers.Head(b).Decode(&head)
		if err != nil && !errors.Is(err, tiers.ErrFrame) && !errors.Is(err, tiers.ErrVersion) {
			t.Errorf("%v", err)
		}
		if whole, _ := json.Marshal(whole); why == nil {
			if head, _ := json.Marshal(head); err != nil || at != born || !strings.EqualFold(string(head), string(whole)) {
				t.Errorf("%s %v %v, want %s %v", head, at, err, whole, born)
			}
		}
	})
}
