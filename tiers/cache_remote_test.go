package tiers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheproxy/cacheproxy/tiers"
	"github.com/cacheproxy/cacheproxy/tiers/backendtest"
)

// TestZeroValues are values: nil, empty and zero are found again, in memory and behind it, in every form.
func TestZeroValues(t *testing.T) {
	for s := tiers.Msgpack; s <= tiers.Gob; s++ {
		t.Run(s.String(), func(t *testing.T) {
			roundTrip(t, s, 0)
			roundTrip(t, s, "")
			roundTrip[*product](t, s, nil)
			roundTrip[[]byte](t, s, nil)
			roundTrip(t, s, []int{})
			roundTrip[map[string]int](t, s, nil)
			roundTrip[any](t, s, nil)
			roundTrip(t, s, product{})
			roundTrip(t, s, &product{ID: 1, Name: "thing", Price: 1.5, Tags: []string{"a"}, At: time.Unix(1700000000, 0).UTC()})
		})
	}
}

// roundTrip loads v in one cache and finds it in another.
func roundTrip[V any](t *testing.T, s tiers.Serializer, v V) {
	t.Helper()
	fake := backendtest.NewFake()
	setting := func(o *tiers.CacheOptions[V]) { o.Serializer = s }
	one := newCache(t, over[V](fake), setting)
	// What another writes is read whatever this one writes.
	two := newCache(t, over[V](fake), func(o *tiers.CacheOptions[V]) { o.Serializer = (s + 1) % 3 })
	var calls atomic.Int32
	for range 2 {
		if _, err := one.GetOrLoad(t.Context(), "k", returning(&calls, v)); err != nil {
			t.Fatal(err)
		}
	}
	if calls.Load() != 1 {
		t.Errorf("%T: %d loads, want 1", v, calls.Load())
	}
	flush(t, one)
	got, err := two.GetOrLoad(t.Context(), "k", never[V](t))
	if err != nil || describe(got) != describe(v) {
		t.Errorf("%T: %s from the other, %v, want %s", v, describe(got), err, describe(v))
	}
}

// describe shows a value, but does not tell nil from empty: not every form does.
func describe(v any) string {
	if p, ok := v.(*product); ok && p != nil {
		v = *p
	}
	return fmt.Sprintf("%v", v)
}

// TestRemoteAway: whatever befalls the store, callers see no error, and no wait beyond its deadline until the breaker opens.
func TestRemoteAway(t *testing.T) {
	for name, fault := range map[string]backendtest.Fault{
		"error":   {Err: errors.New("connection refused")},
		"hanging": {Hang: true},
		"full":    {Refuse: true},
		"garbage": {Lie: func([]byte) []byte { return []byte("garbage") }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := backendtest.NewFake()
				before := newCache(t, over[string](fake))
				if err := before.Set(t.Context(), "old", "old"); err != nil {
					t.Fatal(err)
				}
				flush(t, before)
				c := newCache(t, over[string](fake), func(o *tiers.CacheOptions[string]) {
					o.Timeout, o.Failures, o.OpenFor = 100*time.Millisecond, 3, time.Second
				})
				fake.Fail(fault)
				begin := time.Now()
				for i := range 20 {
					v, err := c.GetOrLoad(t.Context(), fmt.Sprint(i), func(context.Context) (string, error) { return "loaded", nil })
					want(t, "GetOrLoad", v, err, "loaded")
				}
				v, err := c.GetOrLoad(t.Context(), "old", func(context.Context) (string, error) { return "loaded", nil })
				if err != nil || v != "loaded" && name != "full" {
					t.Errorf("what the store cannot give = %q, %v", v, err)
				}
				if err := c.Set(t.Context(), "s", "set"); err != nil {
					t.Error(err)
				}
				v, err = c.GetOrLoad(t.Context(), "s", never[string](t))
				want(t, "GetOrLoad after Set", v, err, "set")
				if d := time.Since(begin); d > 400*time.Millisecond {
					t.Errorf("%v of waiting, want 3 deadlines of 100ms at most", d)
				}
				fake.Fail(backendtest.Fault{})
				time.Sleep(3 * time.Second)
				if s := c.Stats(); !s.RemoteUp || s.Remote.Deletes != 0 {
					t.Errorf("it is well again, and not asked: %+v", s.Remote)
				}
			})
		})
	}
}

// TestDeleteWhileAway: the store is told later, and what it holds is not read until then.
func TestDeleteWhileAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := backendtest.NewFake()
		c := newCache(t, over[string](fake), func(o *tiers.CacheOptions[string]) {
			o.Timeout, o.Failures, o.OpenFor = 10*time.Millisecond, 1, time.Second
		})
		for _, key := range []string{"deleted", "set"} {
			if err := c.Set(t.Context(), key, "old"); err != nil {
				t.Fatal(err)
			}
		}
		flush(t, c)
		fake.Fail(backendtest.Fault{Err: errors.New("connection refused")})
		if err := c.Delete(t.Context(), "deleted"); err == nil {
			t.Error("no word of that the store does not know")
		}
		if err := c.Set(t.Context(), "set", "new"); err != nil {
			t.Error(err)
		}
		if _, ok := c.Get(t.Context(), "deleted"); ok {
			t.Error("found after Delete")
		}
		fake.Fail(backendtest.Fault{})
		time.Sleep(3 * time.Second)
		for _, key := range []string{"deleted", "set"} {
			if v, ok := newCache(t, over[string](fake)).Get(t.Context(), key); ok {
				t.Errorf("the store still holds %q for %s", v, key)
			}
		}
		if v, _ := c.Get(t.Context(), "set"); v != "new" {
			t.Errorf("what was set is %q", v)
		}
	})
}

// TestKeys of all kinds are told apart.
func TestKeys(t *testing.T) {
	fake := backendtest.NewFake()
	c, other := newCache(t, over[string](fake)), newCache(t, over[string](fake))
	keys := []string{"", " ", "a", "{a}", "}a{", "a\nb", "a\x00b", "ключ", strings.Repeat("k", 200), strings.Repeat("k", 201), strings.Repeat("k", 5000), "%61", "\xff\xfe"}
	for _, key := range keys {
		if err := c.Set(t.Context(), key, key); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, c)
	for _, key := range keys {
		if v, ok := other.Get(t.Context(), key); !ok || v != key {
			t.Errorf("Get(%.10q) = %.10q, %v", key, v, ok)
		}
	}
}
