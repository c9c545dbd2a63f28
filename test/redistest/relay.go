package redistest

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Relay stands between a client and a server, and spoils what the server
// answers when it is told to. Its methods are safe for concurrent use.
type Relay struct {
	Addr string

	to      string
	delay   atomic.Int64 // of each piece of an answer, in nanoseconds
	garbage atomic.Bool

	mu    sync.Mutex // guards conns
	conns map[net.Conn]struct{}
}

// StartRelay starts a relay to addr that ends with the test.
func StartRelay(t testing.TB, addr string) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Addr: l.Addr().String(), to: addr, conns: map[net.Conn]struct{}{}}
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
		r.mu.Lock()
		for c := range r.conns {
			c.Close()
		}
		r.mu.Unlock()
		work.Wait()
	})
	return r
}

// Slow delays each answer from now on.
func (r *Relay) Slow(d time.Duration) { r.delay.Store(int64(d)) }

// Garble replaces the bytes of answers by others from now on, or not.
func (r *Relay) Garble(on bool) { r.garbage.Store(on) }

func (r *Relay) serve(client net.Conn) {
	defer r.close(client)
	server, err := net.Dial("tcp", r.to)
	if err != nil {
		client.Close()
		return
	}
	defer r.close(server)
	r.mu.Lock()
	r.conns[client], r.conns[server] = struct{}{}, struct{}{}
	r.mu.Unlock()
	var up sync.WaitGroup
	up.Go(func() {
		io.Copy(server, client) // it ends when either does
		server.Close()
	})
	r.answer(client, server)
	client.Close()
	up.Wait()
}

// answer passes on what the server says.
func (r *Relay) answer(client, server net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := server.Read(b)
		if err != nil {
			return
		}
		if d := r.delay.Load(); d > 0 {
			time.Sleep(time.Duration(d))
		}
		if r.garbage.Load() {
			for i := range n {
				b[i] = byte(rand.Uint32())
			}
		}
		if _, err := client.Write(b[:n]); err != nil {
			return
		}
	}
}

func (r *Relay) close(c net.Conn) {
	c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}
