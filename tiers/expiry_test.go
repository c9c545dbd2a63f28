package tiers

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// run starts m.Run and returns what stops it and waits for its end.
func run(t *testing.T, m *Memory[int, *object]) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run returned %v, want nil", err)
		}
	}
}

func TestRunFreesExpired(t *testing.T) {
	for _, lifetime := range []time.Duration{
		-time.Hour, 0, time.Millisecond, time.Second, 10 * time.Second, 63 * time.Second, 64 * time.Second,
		65 * time.Second, time.Hour, 4095 * time.Second, 4096 * time.Second, 24 * time.Hour,
	} {
		synctest.Test(t, func(t *testing.T) {
			m, gone := newObjects(Auto, 1000)
			put(m, 1, &object{cost: 1, expires: time.Now().Add(lifetime)})
			put(m, 2, &object{cost: 1}) // never expires
			stop := run(t, m)
			if lifetime > time.Second {
				time.Sleep(lifetime - time.Second)
				if !has(m, 1) {
					t.Errorf("lifetime %v: gone a second early", lifetime)
				}
				time.Sleep(time.Second)
			}
			time.Sleep(2*expiryTick + max(0, min(lifetime, time.Second)))
			if has(m, 1) || !has(m, 2) {
				t.Errorf("lifetime %v: there = %v, and the one that never expires = %v", lifetime, has(m, 1), has(m, 2))
			}
			stop()
			if len(*gone) != 1 || (*gone)[0].reason != Expired {
				t.Errorf("lifetime %v: reported %v, want one expired", lifetime, *gone)
			}
			if got := m.Stats(); got.Bytes != 1 || got.Removed[Expired] != 1 {
				t.Errorf("lifetime %v: Stats = %+v, want one byte left and one expired", lifetime, got)
			}
		})
	}
}

// TestReplacingMovesExpiry says that the newest value's expiry counts.
func TestReplacingMovesExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newObjects(Auto, 1000)
		stop := run(t, m)
		defer stop()
		for i, lifetimes := range [][2]time.Duration{{10, 100}, {100, 10}, {10, 0}} {
			for _, seconds := range lifetimes {
				v := &object{cost: 1}
				if seconds > 0 {
					v.expires = time.Now().Add(seconds * time.Second)
				}
				put(m, i, v)
			}
		}
		time.Sleep(15 * time.Second)
		if !has(m, 0) || has(m, 1) || !has(m, 2) {
			t.Errorf("after 15 s: prolonged %v, shortened %v, made eternal %v; want true, false, true", has(m, 0), has(m, 1), has(m, 2))
		}
	})
}

// TestManyExpireAtOnce says that batches do not leave a rest behind.
func TestManyExpireAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newObjects(Auto, 1<<40)
		stop := run(t, m)
		defer stop()
		at := time.Now().Add(2 * time.Hour)
		for i := range 10*expiryBatch + 1 {
			put(m, i, &object{expires: at})
		}
		time.Sleep(2*time.Hour - time.Second)
		if got := m.Stats().Entries; got != 10*expiryBatch+1 {
			t.Errorf("a second early %d are there", got)
		}
		time.Sleep(3 * time.Second)
		if got := m.Stats().Entries; got != 0 {
			t.Errorf("%d are left", got)
		}
	})
}

func TestRunWithoutExpires(t *testing.T) {
	m := New(Options[int, int]{MaxBytes: 1000})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Run(ctx); err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
}

// TestWheelAgreesWithSort draws lifetimes from a second to a century and goes
// through time in leaps: at each stop just those are gone that are due.
func TestWheelAgreesWithSort(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	m, _ := newObjects(LRU, 1<<40)
	start := time.Now().Unix()
	expires := map[int]int64{}
	for i := range 2000 {
		span := int64(1) << random.IntN(32)
		at := start + random.Int64N(span) + 1
		expires[i] = at
		put(m, i, &object{expires: time.Unix(at, 0)})
	}
	// The last century is left out: a second at a time it takes a while.
	for now := start; now < start+1<<22; now += 1 + random.Int64N(1<<random.IntN(18)) {
		m.expire(t.Context(), now)
		for i, at := range expires {
			if has(m, i) != (at > now) {
				t.Fatalf("at %d the value that expires at %d: there = %v", now-start, at-start, has(m, i))
			}
			if at <= now {
				delete(expires, i)
			}
		}
		checkShard(t, m.shards[0])
	}
	if len(expires) == 0 {
		t.Error("no value outlived the test")
	}
}

// TestClockGoesBack says that a clock set back frees nothing early and loses
// nothing.
func TestClockGoesBack(t *testing.T) {
	m, _ := newObjects(Auto, 1000)
	now := time.Now().Unix()
	put(m, 1, &object{expires: time.Unix(now+100, 0)})
	m.expire(t.Context(), now+50)
	m.expire(t.Context(), now-1000)
	put(m, 2, &object{expires: time.Unix(now+20, 0)})
	if !has(m, 1) || !has(m, 2) {
		t.Error("a value is gone early")
	}
	m.expire(t.Context(), now+51)
	if !has(m, 1) || has(m, 2) {
		t.Errorf("at 51: the value of 100 there = %v, that of 20 there = %v", has(m, 1), has(m, 2))
	}
	m.expire(t.Context(), now+100)
	if has(m, 1) {
		t.Error("the value of 100 is still there")
	}
}
