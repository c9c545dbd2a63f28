//go:build linux

package load

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A Job says what is asked, how and for how long.
type Job struct {
	Addr    string // IPv4 address and port of the server
	TLS     bool   // TLS 1.3, whose handshakes are made before anything is measured; no certificate is refused
	Conns   int    // connections, each with one request at a time
	Targets Targets

	Warm     time.Duration // how long to ask before it counts
	For      time.Duration // how long to ask then
	Requests int           // how often to ask, in place of Warm and For
	Bursts   int           // how often to ask for one new target on all connections at once, in place of the three above
	Fresh    bool          // each request has a connection of its own, which counts, with its handshake, as part of it

	PID    int           // of the server, whose usage is wanted; 0: of none
	Settle time.Duration // how long the connections stay open and idle before the server's memory is looked at again
}

// A Result says what has come of a [Job].
type Result struct {
	Requests      int           // that were answered, as they should be, in the time that counts
	Took          time.Duration // that time
	CPU           time.Duration // what the server has used in it
	P50, P99, Max time.Duration // from the sending of a request to the last byte of its answer
	Before, After int64         // the server's resident bytes, before the first connection and after the last request
	Asked         int           // requests that were sent, in all, so that another job can go on with the ids
	Bursts        []Burst       // one for each, where they were asked for
}

// A Burst says how long the clients of one burst waited.
type Burst struct{ P50, P99, Max time.Duration }

// patience is how long no answer at all may come.
const patience = 20 * time.Second

// Run does the job in this goroutine, which it keeps on one thread. The first answer that is not what it should be ends it with an error.
func Run(job Job) (r Result, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after Usage
	if job.PID != 0 {
		if before, err = Used(job.PID); err != nil {
			return r, err
		}
	}
	if job.Fresh {
		r, err = runFresh(job, &after)
	} else {
		r, err = runKept(job, &after)
	}
	if err != nil {
		return r, err
	}
	if job.PID != 0 {
		r.Before, r.After = before.Memory, after.Memory
	}
	return r, nil
}

// runKept asks on connections that stay. It looks at the server for the last time while they are open.
func runKept(job Job, after *Usage) (r Result, err error) {
	l, err := open(job)
	if err != nil {
		return r, err
	}
	defer l.close()
	switch {
	case job.Bursts > 0:
		err = l.bursts(&r)
	case job.Requests > 0:
		err = l.measure(&r, func() error { return l.ask(job.Requests) })
	default:
		if err = l.askFor(job.Warm); err == nil {
			l.times = Histogram{}
			err = l.measure(&r, func() error { return l.askFor(job.For) })
		}
	}
	if err != nil {
		return r, err
	}
	r.Asked = l.choose.asked
	return r, l.settle(after)
}

// settle lets the server come to rest, and looks at it for the last time.
func (l *loop) settle(after *Usage) (err error) {
	if l.job.PID != 0 {
		time.Sleep(l.job.Settle)
		*after, err = Used(l.job.PID)
	}
	return err
}

// A loop has all connections and the thread that serves them.
type loop struct {
	job    Job
	poll   *poll
	conns  []conn
	choose *chooser
	buf    []byte
	start  time.Time

	times    Histogram
	may      int           // how many requests may still be sent
	waiting  int           // connections that wait for their answer
	answered time.Duration // when the last answer came, since start
	burst    []time.Duration
}

func open(job Job) (l *loop, err error) {
	to, err := netip.ParseAddrPort(job.Addr)
	if err != nil || !to.Addr().Is4() {
		return nil, fmt.Errorf("%q is no IPv4 address with a port", job.Addr)
	}
	l = &loop{job: job, buf: make([]byte, 64<<10), start: time.Now()}
	if l.choose, err = newChooser(job.Targets); err != nil {
		return nil, err
	}
	if l.poll, err = newPoll(); err != nil {
		return nil, err
	}
	l.conns = make([]conn, 0, job.Conns)
	for i := range job.Conns {
		c, err := connect(to, job.TLS)
		if err == nil {
			l.conns = append(l.conns, c)
			err = l.poll.watch(unix.EPOLL_CTL_ADD, c.fd, i, unix.EPOLLIN)
		}
		if err != nil {
			l.close()
			return nil, fmt.Errorf("connection %d: %w", i, err)
		}
	}
	return l, nil
}

func (l *loop) close() {
	for i := range l.conns {
		_ = unix.Close(l.conns[i].fd)
	}
	l.poll.close()
}

// measure does what counts, and notes the time and the server's.
func (l *loop) measure(r *Result, do func() error) error {
	used := func() (u Usage, err error) {
		if l.job.PID != 0 {
			u, err = Used(l.job.PID)
		}
		return u, err
	}
	before, err := used()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := do(); err != nil {
		return err
	}
	r.Took = time.Since(begin)
	after, err := used()
	if err != nil {
		return err
	}
	r.CPU = after.CPU - before.CPU
	r.Requests = int(l.times.Count())
	r.P50, r.P99, r.Max = l.times.Quantile(0.5), l.times.Quantile(0.99), l.times.max
	return nil
}

// ask sends n requests and waits for all answers.
func (l *loop) ask(n int) error {
	l.may = n
	for i := range l.conns {
		if err := l.send(i); err != nil {
			return err
		}
	}
	for l.waiting > 0 {
		if err := l.turn(); err != nil {
			return err
		}
	}
	return nil
}

// askFor asks on all connections until the time is over; it leaves the last answers on their way.
func (l *loop) askFor(d time.Duration) error {
	l.may = int(^uint(0) >> 1)
	for i := range l.conns {
		if !l.conns[i].waiting {
			if err := l.send(i); err != nil {
				return err
			}
		}
	}
	for end := time.Since(l.start) + d; time.Since(l.start) < end; {
		if err := l.turn(); err != nil {
			return err
		}
	}
	return nil
}

// bursts lets all connections ask for the same target at once, and for another the next time. Before that each asks for a quick one,
// so that the server has accepted them all.
func (l *loop) bursts(r *Result) error {
	slow := l.choose
	quick := l.job.Targets
	quick.Order, quick.Delay = One, 0
	var err error
	if l.choose, err = newChooser(quick); err != nil {
		return err
	}
	for _, n := range []int{1, len(l.conns)} { // the first stores it
		if err := l.ask(n); err != nil {
			return err
		}
	}
	l.choose, l.times = slow, Histogram{}
	slow.Order = One
	l.burst = make([]time.Duration, 0, len(l.conns))
	return l.measure(r, func() error {
		for range l.job.Bursts {
			slow.First++
			l.burst = l.burst[:0]
			if err := l.ask(len(l.conns)); err != nil {
				return err
			}
			slices.Sort(l.burst)
			n := len(l.burst)
			r.Bursts = append(r.Bursts, Burst{l.burst[n/2], l.burst[n*99/100], l.burst[n-1]})
		}
		return nil
	})
}

// turn handles what the sockets have, or waits for something.
func (l *loop) turn() error {
	events, err := l.poll.wait(1000)
	if err != nil {
		return err
	}
	if len(events) == 0 && time.Since(l.start)-l.answered > patience {
		return fmt.Errorf("no answer for %v, %d connections wait", patience, l.waiting)
	}
	for i := range events {
		if err := l.receive(int(events[i].Fd)); err != nil {
			return err
		}
	}
	return nil
}

// send sends the next request, where there may be one.
func (l *loop) send(i int) error {
	if l.may == 0 {
		return nil
	}
	l.may--
	c := &l.conns[i]
	request, length := l.choose.next()
	c.length, c.waiting, c.sent = length, true, time.Since(l.start)
	l.waiting++
	if n, err := c.write(request); err != nil || n < len(request) {
		return fmt.Errorf("connection %d took %d of %d bytes of a request: %v", i, n, len(request), err)
	}
	return nil
}

// receive takes what a connection has, and goes on with the next request where the answer is whole.
func (l *loop) receive(i int) error {
	c := &l.conns[i]
	whole, err := c.advance(l.buf)
	if err != nil {
		return fmt.Errorf("connection %d, after %d requests, the last for %q: %w", i, l.choose.asked, l.choose.buf, err)
	}
	if !whole {
		return nil
	}
	c.waiting = false
	l.waiting--
	l.answered = time.Since(l.start)
	took := l.answered - c.sent
	l.times.Add(took)
	if l.burst != nil {
		l.burst = append(l.burst, took)
	}
	return l.send(i)
}
