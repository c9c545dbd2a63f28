package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
)

// Site is a route with what it needs to be served.
type Site struct {
	Route  *rules.Route
	Origin http.Handler // nil where the route has no upstream: such requests get 404
}

// Limits bound what one request may ask for. Zero means no limit.
type Limits struct {
	URLBytes          int // over it: 414
	QueryParams       int // over it: 400
	ConcurrentFetches int // requests under way to the origins; over it: 503 with Retry-After
}

// Plan is all that a reload may change. It is immutable and swapped whole; a request takes it once, when it begins.
type Plan struct {
	Table *rules.Table
	Sites []Site // Sites[route.Index]

	CacheName      string         // in Cache-Status
	TrustedProxies []netip.Prefix // whose X-Forwarded-* and Forwarded are believed
	PurgeAllow     []netip.Prefix // networks that may PURGE without a token; the socket's peer counts
	// MayPurge reports whether a bearer token has the scope purge. It compares in constant time.
	MayPurge   func(token string) bool
	HitForMiss time.Duration // how long a response that could not be stored is remembered
	Limits     Limits

	hits interned // Cache-Status of plain hits, by their ttl
}

// Proxy serves requests from the cache and from origins. It is an http.Handler, safe for concurrent use.
type Proxy struct {
	plan      atomic.Pointer[Plan]
	cache     *cache.Cache
	purger    *invalidation.Purger
	observers []cache.Observer
	log       *slog.Logger

	dependencies *invalidation.Dependencies // what responses have declared
	drops        drops                      // what smart purges have done here

	fills     fills
	refreshes refreshes
	asked     asked // for one of many variants
	encoder   encoder
	fetches   atomic.Int64 // requests under way to origins
	collapsed atomic.Uint64
	panics    atomic.Uint64

	// closing ends what runs beside requests; work counts it.
	closing context.Context
	close   context.CancelFunc
	work    sync.WaitGroup
}

// New returns a proxy that serves by plan. Shutdown must be called when no more requests come.
func New(plan *Plan, c *cache.Cache, purger *invalidation.Purger, log *slog.Logger, observers ...cache.Observer) *Proxy {
	p := &Proxy{cache: c, purger: purger, log: log, observers: observers}
	p.closing, p.close = context.WithCancel(context.Background())
	p.dependencies = invalidation.NewDependencies(maxDeclarations)
	p.fills.byKey = make(map[[16]byte]*fill)
	p.encoder.init(c, p.closing, &p.work, func(coding rfc9111.Coding, fault any) {
		p.panics.Add(1)
		p.log.Error("encoder panicked", "coding", coding.String(), "panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
	})
	p.refreshes.failed = make(map[[16]byte]time.Time)
	p.plan.Store(plan)
	return p
}

// Use makes plan the one that requests from now on are served by. Requests under way finish by theirs.
func (p *Proxy) Use(plan *Plan) { p.plan.Store(plan) }

// Plan returns the plan in use.
func (p *Proxy) Plan() *Plan { return p.plan.Load() }

// Stats are the figures that only the proxy knows.
type Stats struct {
	Fetches   int64  // requests under way to origins
	Collapsed uint64 // requests that were answered by a fetch another one had begun
	Panics    uint64 // handlers and encoders that panicked
	Encoding  EncodingStats
}

// Stats returns the figures as they are now.
func (p *Proxy) Stats() Stats {
	return Stats{Fetches: p.fetches.Load(), Collapsed: p.collapsed.Load(), Panics: p.panics.Load(), Encoding: p.encoder.stats()}
}

// Shutdown waits for the fetches and encodings that still run beside requests. When ctx ends it cancels them, and waits for them to
// notice. Refreshes and encodings that have not begun do not begin any more.
func (p *Proxy) Shutdown(ctx context.Context) error {
	p.refreshes.stop()
	p.encoder.stop()
	done := make(chan struct{})
	go func() {
		p.work.Wait()
		close(done)
	}()
	defer p.close()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		p.close()
		<-done
		return ctx.Err()
	}
}

// ServeHTTP answers one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor > 1 { // each request has a goroutine of its own, whose stack would grow again and again
		growStack()
	}
	x := p.begin(w, r)
	defer x.end()
	if !x.accept() || !x.match() {
		return
	}
	switch {
	case isPurge(r.Method):
		x.purge()
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		x.write()
	case isUpgrade(r):
		x.pass(rfc9111.ReasonUpgrade)
	case x.route.Off:
		x.pass(rfc9111.ReasonPatternOff)
	case x.route.Bypass(&x.view):
		x.pass(rfc9111.ReasonBypass)
	default:
		x.find()
		x.act()
	}
}

// act does what the verdict on the stored response says.
func (x *exchange) act() {
	switch d := &x.outcome.Decision; d.Action {
	case rfc9111.Serve:
		x.hit(x.outcome.Entry)
	case rfc9111.ServeStale:
		if d.Refresh {
			x.refresh()
		}
		x.hit(x.outcome.Entry)
	case rfc9111.Unsatisfiable:
		x.refuse(http.StatusGatewayTimeout, d.Reason)
	default:
		x.fetch()
	}
}
