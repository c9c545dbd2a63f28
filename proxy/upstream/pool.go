package upstream

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxHeadBytes bounds a response's head. A bad origin may send one without end.
	maxHeadBytes = 256 << 10
	// streamBuffer is how much of one response is taken over HTTP/2 before its
	// client has: the default of net/http would allow 4 MiB for each of hundreds.
	streamBuffer = 512 << 10
	// pingAfter is how long an HTTP/2 connection may be silent before it is asked
	// whether it still lives, and pingTimeout how long that may take.
	pingAfter   = 15 * time.Second
	pingTimeout = 5 * time.Second
)

// pool holds the connections to one target at the addresses that its name had
// when the pool was made.
type pool struct {
	direct *direct         // HTTP/1.1 without content; nil where that is not for this target
	plain  *http.Transport // HTTP/1.1
	multi  *http.Transport // HTTP/2; nil where the target's URL rules it out

	// onlyPlain is set when a TLS target was offered HTTP/2 and did not choose it.
	onlyPlain atomic.Bool

	users  atomic.Int64 // requests under way
	closed atomic.Bool

	mu     sync.Mutex     // guards shared
	shared map[*conn]bool // the open connections of multi
}

func newPool(d *dialer, o *Options) *pool {
	// Of several targets each may keep its share of connections that are not in
	// use, so that together they are no more than those that are. A single one is
	// held to the number exactly: its transport counts the connections that are
	// being opened and closed too, which places does not see.
	kept, limit := (o.MaxConnections+len(o.Targets)-1)/len(o.Targets), 0
	if len(o.Targets) == 1 {
		limit = o.MaxConnections
	}
	transport := func() *http.Transport {
		return &http.Transport{
			DisableCompression:     true, // it would decode behind the cache's back
			ResponseHeaderTimeout:  o.Timeout.ResponseHeader,
			IdleConnTimeout:        o.Timeout.Idle,
			MaxIdleConnsPerHost:    kept,
			MaxResponseHeaderBytes: maxHeadBytes,
			Protocols:              new(http.Protocols),
		}
	}
	p := &pool{plain: transport(), shared: map[*conn]bool{}}
	p.plain.DialContext, p.plain.DialTLSContext = d.plain, d.plain
	p.plain.MaxConnsPerHost = limit
	p.plain.Protocols.SetHTTP1(true)
	if directly && (d.address.scheme == "http" || d.address.scheme == "unix") {
		p.addDirect(d, o, kept, limit)
	}
	if d.address.scheme == "h2c" || d.address.scheme == "https" {
		// A transport for HTTP/2 with prior knowledge, also where TLS is below: the
		// dialer has made sure of the protocol, and so its connections can count.
		p.multi = transport()
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dialShared(ctx, d) }
		p.multi.DialContext, p.multi.DialTLSContext = dial, dial
		p.multi.Protocols.SetUnencryptedHTTP2(true)
		p.multi.HTTP2 = &http.HTTP2Config{
			MaxReceiveBufferPerStream: streamBuffer,
			SendPingTimeout:           pingAfter,
			PingTimeout:               pingTimeout,
		}
	}
	return p
}

// addDirect adds the connections of direct. Where there is a limit to their number,
// those of the transport count too: no more requests are under way than there may be
// connections, so it is enough that one side gives up what it does not use before
// the other opens more.
func (p *pool) addDirect(d *dialer, o *Options, kept, limit int) {
	p.direct = newDirect(func(ctx context.Context) (*conn, error) { return d.dial(ctx, "http/1.1") }, o, kept, limit)
	if limit == 0 {
		return
	}
	p.direct.full = func(own int) {
		if d.open.Load() >= int64(limit) || own+1 >= limit {
			p.plain.CloseIdleConnections()
		}
	}
	p.plain.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if d.open.Load() >= int64(limit) {
			p.direct.closeUnused()
		}
		return d.plain(ctx, network, address)
	}
}

// choose returns the transport for a request, and whether it speaks HTTP/2. An
// upgrade (RFC 9110, section 7.8) is one of HTTP/1.1.
func (p *pool) choose(upgrade bool) (t *http.Transport, multiplexed bool) {
	if p.multi == nil || upgrade || p.onlyPlain.Load() {
		return p.plain, false
	}
	return p.multi, true
}

// enter and leave count a request that uses the pool.
func (p *pool) enter() { p.users.Add(1) }

func (p *pool) leave() {
	if p.users.Add(-1) == 0 && p.closed.Load() {
		p.close()
	}
}

// close closes the connections that no request uses now, and when the last
// request has ended the others.
func (p *pool) close() {
	p.closed.Store(true)
	p.plain.CloseIdleConnections()
	if p.direct != nil {
		p.direct.close(p.users.Load() == 0)
	}
	if p.multi == nil {
		return
	}
	p.multi.CloseIdleConnections()
	if p.users.Load() > 0 {
		return
	}
	// A stream of HTTP/2 ends a little after its response has been read. Until then
	// its connection does not count as idle, and would be kept for nobody.
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.shared {
		c.Close() // it is of no use whatever the error
	}
	clear(p.shared)
}

// dialShared opens a connection for HTTP/2.
func (p *pool) dialShared(ctx context.Context, d *dialer) (net.Conn, error) {
	c, err := d.dial(ctx, "h2", "http/1.1")
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for old := range p.shared {
		if old.closed.Load() {
			delete(p.shared, old)
		}
	}
	p.shared[c] = true
	return c, nil
}
