package upstream

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"
)

// direct sends GET and HEAD requests without content over HTTP/1.1, each on the
// goroutine of its caller. http.Transport has two more for every connection, and
// a request and its response change hands between them four times, which is a
// good part of what a cache miss costs. Responses are read by net/http here as
// there (http.ReadResponse), so that both take the same for one.
//
// What it does not take goes through http.Transport: content, upgrades, TLS,
// HTTP/2, and whatever is unusual in a request. See docs/decisions/016.
type direct struct {
	dial    func(context.Context) (*conn, error)
	timeout Timeouts
	kept    int           // lines that stay open unused
	limit   int           // lines in all; 0: any number
	full    func(own int) // called before a line is opened, with the number that there are

	work sync.WaitGroup // dials

	mu      sync.Mutex      // guards the following
	dialing context.Context // of connections that are being opened: whoever wanted one may have gone
	stop    context.CancelFunc
	free    []*line   // unused, the one that was used last at the end
	waiting []*waiter // the first to come first
	dials   int       // connections that are being opened
	lines   int       // all, those included
	closed  bool      // what becomes free is closed
	expiry  *time.Timer
}

// waiter is a request that waits for a line.
type waiter struct{ ready chan arrival }

// arrival is a line, or why there is none.
type arrival struct {
	line *line
	used bool // it has carried other requests: it may have ended meanwhile
	err  error
}

func newDirect(dial func(context.Context) (*conn, error), o *Options, kept, limit int) *direct {
	d := &direct{dial: dial, timeout: o.Timeout, kept: kept, limit: limit, full: func(int) {}}
	d.dialing, d.stop = context.WithCancel(context.Background())
	return d
}

// take returns a line that nobody else uses, and whether it was used before.
func (d *direct) take(ctx context.Context) (*line, bool, error) {
	for {
		l, w := d.next()
		if l == nil {
			return d.wait(ctx, w)
		}
		// An origin that has closed it meanwhile, or has sent what nobody asked for
		// (RFC 9112, section 9.2), is found out here: nobody reads from a line that
		// is not in use.
		if silent(l.conn.socket) {
			return l, true, nil
		}
		d.drop(l)
	}
}

// next takes the line that was used last, or else a place in the queue.
func (d *direct) next() (*line, *waiter) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if last := len(d.free) - 1; last >= 0 {
		l := d.free[last]
		d.free[last] = nil
		d.free = d.free[:last]
		return l, nil
	}
	w := &waiter{make(chan arrival, 1)}
	d.waiting = append(d.waiting, w)
	d.open()
	return nil, w
}

// wait waits for a line. One that comes for somebody who has gone is for others.
func (d *direct) wait(ctx context.Context, w *waiter) (*line, bool, error) {
	select {
	case a := <-w.ready:
		return a.line, a.used, a.err
	case <-ctx.Done():
	}
	d.mu.Lock()
	if i := slices.Index(d.waiting, w); i >= 0 {
		d.waiting = slices.Delete(d.waiting, i, i+1)
		d.mu.Unlock()
		return nil, false, context.Cause(ctx)
	}
	d.mu.Unlock()
	if a := <-w.ready; a.line != nil {
		d.put(a.line)
	}
	return nil, false, context.Cause(ctx)
}

// open opens as many connections as there are requests that wait for one, within
// the limit. mu is held.
func (d *direct) open() {
	if d.dialing.Err() != nil { // it was closed, but somebody had it in hand already
		d.dialing, d.stop = context.WithCancel(context.Background())
	}
	for d.dials < len(d.waiting) && (d.limit == 0 || d.lines < d.limit) {
		d.full(d.lines)
		d.dials++
		d.lines++
		ctx := d.dialing
		d.work.Go(func() { d.connect(ctx) })
	}
}

func (d *direct) connect(ctx context.Context) {
	c, err := d.dial(ctx)
	if err == nil {
		d.settle(newLine(c), false)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dials--
	d.lines--
	d.serve(arrival{err: err})
	d.open()
}

// serve gives what has come to who has waited longest, if anybody has. mu is held.
func (d *direct) serve(a arrival) bool {
	if len(d.waiting) == 0 {
		return false
	}
	d.waiting[0].ready <- a
	d.waiting = slices.Delete(d.waiting, 0, 1)
	return true
}

// put gives a line back after a request.
func (d *direct) put(l *line) { d.settle(l, true) }

func (d *direct) settle(l *line, used bool) {
	d.mu.Lock()
	if !used {
		d.dials--
	}
	switch {
	case d.serve(arrival{line: l, used: used}):
	case d.closed || len(d.free) >= d.kept:
		d.mu.Unlock()
		d.drop(l)
		return
	default:
		l.since = time.Now()
		d.free = append(d.free, l)
		if d.expiry == nil {
			d.expiry = time.AfterFunc(d.timeout.Idle, d.expire)
		}
	}
	d.mu.Unlock()
}

// drop closes a line that is of no further use, and opens others for those who
// wait for one.
func (d *direct) drop(l *line) {
	l.conn.Close() // it is of no use whatever the error
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines--
	d.open()
}

// expire closes what has not been used for the idle time.
func (d *direct) expire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, now := 0, time.Now()
	for old < len(d.free) && now.Sub(d.free[old].since) >= d.timeout.Idle {
		old++
	}
	d.shed(old)
	d.expiry = nil
	if len(d.free) > 0 {
		d.expiry = time.AfterFunc(d.timeout.Idle-now.Sub(d.free[0].since), d.expire)
	}
}

// shed closes the first n unused lines. mu is held.
func (d *direct) shed(n int) {
	for _, l := range d.free[:n] {
		l.conn.Close() // likewise
	}
	d.free = slices.Delete(d.free, 0, n)
	d.lines -= n
}

// closeUnused closes the lines that no request uses.
func (d *direct) closeUnused() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shed(len(d.free))
	if d.expiry != nil {
		d.expiry.Stop()
		d.expiry = nil
	}
}

// close makes that no line stays open which no request uses. unused says that
// none is in use any more.
func (d *direct) close(unused bool) {
	d.mu.Lock()
	d.closed = true
	if unused {
		d.stop()
	}
	d.mu.Unlock()
	if unused {
		d.work.Wait()
	}
	d.closeUnused()
}

// takes reports whether the request is one of those that direct sends.
func (d *direct) takes(req *http.Request) bool {
	return (req.Method == http.MethodGet || req.Method == http.MethodHead) &&
		(req.Body == nil || req.Body == http.NoBody) && req.ContentLength == 0 && len(req.TransferEncoding) == 0 &&
		len(req.Trailer) == 0 && !req.Close && isUsual(req)
}

// roundTrip sends the attempt's request and returns the head of the response,
// whose body ends the attempt. Where a kept line turns out to have ended before
// the origin can have acted on the request, another one is taken.
func (d *direct) roundTrip(a *attempt) (*http.Response, error) {
	for {
		l, used, err := d.take(a.ctx)
		if err != nil {
			return nil, err
		}
		c := l.conn
		a.leg.Store(&leg{conn: c, read: c.read.Load(), begun: c.begun.Load(), written: c.written.Load()})
		ended := noEnd
		if a.ctx.Done() != nil {
			ended = context.AfterFunc(a.ctx, l.abort)
		}
		response, err := l.exchange(a, d.timeout)
		if err == nil {
			response.Body = d.content(a, l, response, ended)
			return response, nil
		}
		ended()
		d.drop(l)
		if !used || !a.mayRepeat() || a.ctx.Err() != nil {
			return nil, err
		}
	}
}

func noEnd() bool { return true }
