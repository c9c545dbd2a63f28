package redistest

import (
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Relay stands between a client and a server, and spoils what passes when it is
// told to. Its methods are safe for concurrent use.
type Relay struct {
	Addr string

	to      atomic.Pointer[string]
	delay   atomic.Int64 // of each piece of an answer, in nanoseconds
	garbage atomic.Bool
	silent  atomic.Bool
	refuses atomic.Bool

	mu    sync.Mutex // guards links
	links map[*link]struct{}
}

// link is a connection of a client, and that to the server which belongs to it.
type link struct {
	client, server net.Conn
	lost           atomic.Bool // what it carried is lost, and so is all that it would carry
}

func (l *link) close() {
	l.client.Close()
	l.server.Close()
}

// StartRelay starts a relay to addr that ends with the test.
func StartRelay(t testing.TB, addr string) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Addr: l.Addr().String(), links: map[*link]struct{}{}}
	r.to.Store(&addr)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.Refuse(true)
		work.Wait()
	})
	return r
}

// Slow delays each answer from now on.
func (r *Relay) Slow(d time.Duration) { r.delay.Store(int64(d)) }

// Garble replaces the bytes of answers by others from now on, or not.
func (r *Relay) Garble(on bool) { r.garbage.Store(on) }

// Silence swallows all bytes from now on, or no more. A connection that has lost
// some stays silent for ever: neither side is told, as where a router on the way
// has forgotten it.
func (r *Relay) Silence(on bool) { r.silent.Store(on) }

// Redirect leads all connections that come from now on to another server.
func (r *Relay) Redirect(addr string) { r.to.Store(&addr) }

// Cut closes all connections.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range r.links {
		l.close()
	}
}

// Refuse closes all connections, and each that comes from now on, or no more.
func (r *Relay) Refuse(on bool) {
	r.refuses.Store(on)
	if on {
		r.Cut()
	}
}

func (r *Relay) serve(client net.Conn) {
	server, err := net.Dial("tcp", *r.to.Load())
	if err != nil {
		client.Close()
		return
	}
	l := &link{client: client, server: server}
	defer l.close()
	r.mu.Lock()
	r.links[l] = struct{}{}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.links, l)
	}()
	if r.refuses.Load() { // not before it stands where Cut finds it
		return
	}
	var up sync.WaitGroup
	up.Go(func() { r.pass(l, server, client, false) })
	r.pass(l, client, server, true)
	up.Wait()
}

// pass passes on what one side says, until either has closed.
func (r *Relay) pass(l *link, to, from net.Conn, answers bool) {
	defer l.close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if d := r.delay.Load(); d > 0 && answers {
			time.Sleep(time.Duration(d))
		}
		if r.silent.Load() {
			l.lost.Store(true)
		}
		if l.lost.Load() {
			continue
		}
		if r.garbage.Load() && answers {
			for i := range n {
				b[i] = byte(rand.Uint32())
			}
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}
