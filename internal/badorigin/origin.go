package badorigin

import (
	"bufio"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience bounds every wait of this package: long enough for a loaded machine
// under the race detector, short enough to name the line that hangs.
const patience = 30 * time.Second

// Handler answers one request. It runs in the goroutine of its connection and
// may block only in the methods of c, or until [Conn.Gone] is closed; the next
// request of the connection is read when it returns. It must not call FailNow
// or Fatal of the test.
type Handler func(c *Conn, r *Request)

// An Origin listens on a loopback port. Its methods are safe for concurrent use.
type Origin struct {
	URL  string // "http://127.0.0.1:PORT", without a slash at the end
	Addr string // "127.0.0.1:PORT"

	t        testing.TB
	listener net.Listener
	handler  atomic.Pointer[Handler]
	sent     atomic.Int64
	done     chan struct{} // closed first when the origin ends; releases every wait
	running  sync.WaitGroup

	mu       sync.Mutex // guards what follows
	changed  chan struct{}
	requests []*Request
	conns    map[net.Conn]bool
	accepted int
	closed   bool
}

// New starts an origin that answers with handle and ends with the test.
func New(t testing.TB, handle Handler) *Origin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("badorigin: %v", err)
	}
	o := &Origin{
		URL:      "http://" + l.Addr().String(),
		Addr:     l.Addr().String(),
		t:        t,
		listener: l,
		done:     make(chan struct{}),
		changed:  make(chan struct{}),
		conns:    make(map[net.Conn]bool),
	}
	o.SetHandler(handle)
	o.running.Go(o.accept)
	t.Cleanup(o.Close)
	return o
}

// SetHandler makes h answer every request that is read from now on.
func (o *Origin) SetHandler(h Handler) { o.handler.Store(&h) }

// Close ends the origin as a killed process would: the port refuses, open
// connections are closed. It returns when every handler has. Calling it again
// does nothing.
func (o *Origin) Close() {
	o.mu.Lock()
	if !o.closed {
		o.closed = true
		close(o.done)
		o.listener.Close() // the error would say that it is closed
		for c := range o.conns {
			c.Close() // likewise
		}
	}
	o.mu.Unlock()
	o.running.Wait()
}

// Count returns how many requests whose head came whole were for path (without
// the query), or, where path is empty, how many there were in all.
func (o *Origin) Count(path string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.count(path)
}

func (o *Origin) count(path string) int {
	n := 0
	for _, r := range o.requests {
		if path == "" || r.Path == path {
			n++
		}
	}
	return n
}

// Requests returns what was received so far, in the order of arrival.
func (o *Origin) Requests() []*Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]*Request(nil), o.requests...)
}

// Connections returns how many connections were accepted so far.
func (o *Origin) Connections() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.accepted
}

// BytesSent returns how many bytes were handed to the operating system so far:
// a reader that stops reading stops it soon after.
func (o *Origin) BytesSent() int64 { return o.sent.Load() }

// Await returns when Count(path) is at least n, and fails the test where that
// does not happen in time. Call it from the test's goroutine.
func (o *Origin) Await(path string, n int) {
	o.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		o.mu.Lock()
		got, changed := o.count(path), o.changed
		o.mu.Unlock()
		if got >= n {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			o.t.Fatalf("badorigin: %d requests for %q after %v, want %d", got, path, patience, n)
		}
	}
}

func (o *Origin) accept() {
	for number := 1; ; number++ {
		c, err := o.listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				o.t.Errorf("badorigin: accept: %v", err)
			}
			return
		}
		if !o.admit(c) {
			c.Close() // the origin ended meanwhile; nobody is told
			return
		}
		o.running.Go(func() { o.serve(c, number) })
	}
}

func (o *Origin) admit(c net.Conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.conns[c] = true
	o.accepted++
	return true
}

func (o *Origin) serve(nc net.Conn, number int) {
	defer func() {
		nc.Close() // most often closed already
		o.mu.Lock()
		delete(o.conns, nc)
		o.mu.Unlock()
	}()
	br := bufio.NewReader(nc)
	for {
		r, err := readRequest(br, nc)
		if err != nil {
			return
		}
		r.Conn = number
		o.record(r)

		c := &Conn{origin: o, conn: nc, gone: make(chan struct{})}
		// The body has been read, so the next byte is that of another request
		// or the end: waiting for it tells the handler when the peer is gone.
		peeked := make(chan struct{})
		go func() {
			defer close(peeked)
			if _, err := br.Peek(1); err != nil {
				close(c.gone)
			}
		}()
		(*o.handler.Load())(c, r)
		if c.closed {
			nc.Close() // closed by the handler already; this wakes the peek at the latest
		}
		<-peeked
		if c.closed {
			return
		}
	}
}

func (o *Origin) record(r *Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests = append(o.requests, r)
	r.Number = len(o.requests)
	close(o.changed)
	o.changed = make(chan struct{})
}
