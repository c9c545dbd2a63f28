package proxy

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestWaitersAreWokenInOrder: who came first is woken first, also where they are far more than the scheduler's own queues hold.
func TestWaitersAreWokenInOrder(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const n = 1000
	var mu sync.Mutex
	var ws waiters
	var order []int
	var entered, done sync.WaitGroup
	for i := range n {
		w := ws.enter()
		entered.Add(1)
		done.Go(func() {
			entered.Done()
			if err := w.wait(t.Context(), nil); err != nil {
				t.Error(err)
			}
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			runtime.Gosched()
		})
	}
	entered.Wait()
	ws.wake()
	done.Wait()
	late := 0
	for place, i := range order {
		if place-i > 8 || i-place > 8 {
			late++
		}
	}
	if len(order) != n || late > n/100 { // the scheduler looks elsewhere now and then
		t.Errorf("%d were woken, %d of them out of order", len(order), late)
	}
}

// TestNobodyIsForgotten: however many give up, before and while the others are woken, all others are.
func TestNobodyIsForgotten(t *testing.T) {
	for range 200 {
		var mu sync.Mutex
		var ws waiters
		var done sync.WaitGroup
		for i := range 50 {
			mu.Lock()
			w := ws.enter()
			mu.Unlock()
			ctx, cancel := context.WithCancel(t.Context())
			if i%2 == 0 {
				done.Go(func() {
					for range rand.IntN(20) {
						runtime.Gosched()
					}
					cancel()
				})
			}
			done.Go(func() {
				defer cancel()
				if err := w.wait(ctx, nil); err != nil {
					mu.Lock()
					ws.leave(w)
					mu.Unlock()
				}
			})
		}
		for range rand.IntN(20) {
			runtime.Gosched()
		}
		mu.Lock()
		ws.wake()
		mu.Unlock()
		done.Wait() // a waiter that is forgotten waits for ever
	}
}

// TestWhoLeavesIsForgotten: a waiter that gives up leaves nothing behind, and says why.
func TestWhoLeavesIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ws waiters
		first, second := ws.enter(), ws.enter()
		if err := first.wait(t.Context(), time.After(time.Second)); err != errWaited {
			t.Errorf("wait = %v, want that it took too long", err)
		}
		ws.leave(first)
		if !slices.Equal(ws.list, []*waiter{second}) {
			t.Errorf("%d wait still", len(ws.list))
		}
		ws.wake()
		if err := second.wait(t.Context(), nil); err != nil {
			t.Errorf("wait = %v", err)
		}
	})
}
