package proxy

import (
	"context"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
)

// waiters are those who wait for a fill to change. They are woken in the order in which they came, a few at once, and each wakes the
// next as soon as it runs. A channel that is closed would make all runnable at the same time: the scheduler's queues are short, and
// what flows over comes last, so that of five hundred clients the first would be answered after the others (`make coldkey`).
//
// The owner's lock guards it; a waiter's own methods need no lock but where they say so.
type waiters struct{ list []*waiter }

// waiter waits for one change.
type waiter struct {
	state atomic.Int32
	woken chan *wave // takes one value, once
}

// The states of a waiter. It leaves the first only once.
const (
	waiting int32 = iota
	woken
	left
)

// wave is a change on its way to those who waited for it.
type wave struct {
	waiters []*waiter
	next    atomic.Int64
}

// enter adds a waiter, who must call wait.
func (ws *waiters) enter() *waiter {
	w := &waiter{woken: make(chan *wave, 1)}
	ws.list = append(ws.list, w)
	return w
}

// wake wakes all who have entered.
func (ws *waiters) wake() {
	if len(ws.list) == 0 {
		return
	}
	v := &wave{waiters: ws.list}
	ws.list = nil
	for range 2 * runtime.GOMAXPROCS(0) {
		v.pass()
	}
}

// leave forgets a waiter who has given up.
func (ws *waiters) leave(w *waiter) {
	if at := slices.Index(ws.list, w); at >= 0 {
		ws.list = slices.Delete(ws.list, at, at+1)
	}
}

// pass wakes the next who has not left.
func (v *wave) pass() {
	for {
		i := int(v.next.Add(1)) - 1
		if i >= len(v.waiters) {
			return
		}
		if w := v.waiters[i]; w.state.CompareAndSwap(waiting, woken) {
			w.woken <- v
			return
		}
	}
}

// wait returns when the waiter is woken, or says why that has not been waited for; leave must be called then, with the owner's lock
// held.
func (w *waiter) wait(ctx context.Context, late <-chan time.Time) error {
	var why error
	select {
	case v := <-w.woken:
		v.pass()
		return nil
	case <-late:
		why = errWaited
	case <-ctx.Done():
		why = context.Cause(ctx)
	}
	if !w.state.CompareAndSwap(waiting, left) {
		(<-w.woken).pass() // it was woken at the same time: the next one depends on it
	}
	return why
}
