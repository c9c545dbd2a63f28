package tiers_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheproxy/cacheproxy/tiers"
	"github.com/cacheproxy/cacheproxy/tiers/backendtest"
)

// TestCallersThatLeaveAreNoFailures: a store that is well is not left alone because those who ask it have no time: their contexts are
// cancelled, or end before the deadline of the operation.
func TestCallersThatLeaveAreNoFailures(t *testing.T) {
	for name, limit := range map[string]time.Duration{"cancelled": 0, "impatient": 10 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFar(t)
				f.fake.Fail(backendtest.Fault{Delay: 20 * time.Millisecond})
				leave := func(do func(ctx context.Context) error) {
					ctx, cancel := context.WithTimeout(t.Context(), limit)
					defer cancel()
					if err := do(ctx); !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("the error is %v", err)
					}
				}
				for range 20 {
					leave(func(ctx context.Context) error { return f.Delete(ctx, "k") })
					leave(func(ctx context.Context) error {
						_, err := f.Claim(ctx, "k", "c", time.Second, []string{"v"}, open)
						return err
					})
				}
				if !f.Up() {
					t.Error("the store is left alone")
				}
				time.Sleep(openFor)
				if n := f.Stats().Deletes; n > 0 {
					t.Errorf("the store was not told of %d deletes", n)
				}
			})
		})
	}
}

// TestNobodyJoinsAReadFromBeforeADelete: a read that has seen what was deleted, and is long on its way back, answers nobody who asks
// when the Delete has returned.
func TestNobodyJoinsAReadFromBeforeADelete(t *testing.T) {
	fake := backendtest.NewFake()
	c := newCache(t, over[string](fake), func(o *tiers.CacheOptions[string]) { o.Timeout = 5 * time.Second })
	before := newCache(t, over[string](fake))
	if err := before.Set(t.Context(), "k", "old"); err != nil {
		t.Fatal(err)
	}
	flush(t, before)
	read, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	fake.Fail(backendtest.Fault{After: func(op, key string) {
		if op == "get" {
			once.Do(func() {
				close(read)
				<-answer // it is long on its way back
			})
		}
	}})
	var first sync.WaitGroup
	first.Go(func() { c.Get(t.Context(), "k") })
	<-read
	if err := c.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, func() { close(answer) })
	if v, ok := c.Get(t.Context(), "k"); ok {
		t.Errorf("found %q after Delete", v)
	}
	first.Wait()
	if v, ok := c.Get(t.Context(), "k"); ok {
		t.Errorf("found %q after Delete, and after the read that began before", v)
	}
}
