package proxy

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rules"
)

// MiddlewareOptions say what a Middleware is made of. The zero value caches in memory what RFC 9111 lets a shared cache store.
type MiddlewareOptions struct {
	// Routes say how requests are cached; the first that matches wins. What none matches follows the handler's own Cache-Control. Their
	// Upstream stays empty: the handler is what they lead to.
	Routes []rules.Spec
	// Cache is where responses are kept. Default: 64 MiB of memory, 32 variants of each. For its tier in Redis see tiers.OverRedis.
	Cache cache.Options
	// Name stands in Cache-Status. Default: cacheproxy.
	Name string

	// DefaultTTL is the lifetime of a cacheable response that says nothing of its own; 0: RFC 9111's heuristics. No response is kept
	// longer than MaxLifetime (1 day), stale time included, none larger than MaxObjectBytes (8 MiB) at all, and one that could not be
	// stored is remembered for HitForMiss (30 s), so that nobody waits in line for it.
	DefaultTTL, MaxLifetime time.Duration
	MaxObjectBytes          int64
	HitForMiss              time.Duration
	// TagHeaders are the response fields that hold tags, which TrustedProxies alone get to see. Default: Surrogate-Key, Cache-Tag, xkey.
	TagHeaders []string
	// Encode says which encoded forms are made of stored responses. The zero value: none.
	Encode rules.EncodeSpec
	// Limits bound what a request may ask for. The zero value: URLs of 8 KiB, 1,000 query parameters, 1,024 fetches at once.
	Limits Limits

	// TrustedProxies are those whose X-Forwarded-* and Forwarded are believed. From others the handler does not get these fields.
	TrustedProxies []netip.Prefix
	// PurgeAllow are the networks whose PURGE requests are obeyed, and MayPurge whether a bearer token gives leave to. Default: none.
	PurgeAllow []netip.Prefix
	MayPurge   func(token string) bool

	// Purges is the log of purges that all who share a Redis share, such as invalidation.NewRedisLog: without it they find what others
	// have stored there, but nobody can say whether it was purged, and it is validated before it is used. Lease is how long answers may
	// be given after it was read (2 s). Default: a log of this program alone.
	Purges invalidation.Log
	Lease  time.Duration

	// Log is told what somebody should look at, such as a panic of the handler. Default: slog.Default().
	Log *slog.Logger
	// Observers are told of each request.
	Observers []cache.Observer
}

// Middleware is the HTTP cache in front of the handler of a Go program. It is safe for concurrent use.
type Middleware struct {
	o     MiddlewareOptions
	cache *cache.Cache
	proxy *Proxy
	token string // by which Purge comes through the door
	next  atomic.Pointer[http.Handler]

	upkeep sync.WaitGroup
	stop   context.CancelFunc
}

// handlerName is the upstream that all routes have.
const handlerName = "handler"

// NewMiddleware returns a Middleware and starts the upkeep of its cache: Close must be called in the end. The error names all that is
// wrong with the options.
func NewMiddleware(o MiddlewareOptions) (*Middleware, error) {
	o.setDefaults()
	spec := rules.Options{
		DefaultUpstream: handlerName, Upstreams: []string{handlerName}, DefaultTTL: o.DefaultTTL, MaxLifetime: o.MaxLifetime,
		TargetedFields: []string{"Cdn-Cache-Control", "Surrogate-Control"}, MaxObjectBytes: o.MaxObjectBytes, Encode: o.Encode,
		TagHeaders: o.TagHeaders, MaxTags: maxTags,
	}
	var wrong []error
	mistakes := o.Encode.Check()
	var table *rules.Table
	if len(mistakes) == 0 {
		table, _, mistakes = rules.Compile(o.Routes, spec)
	}
	for _, m := range mistakes {
		wrong = append(wrong, m)
	}
	if o.Cache.MaxBytes < 0 || o.Cache.MaxVariants < 0 || o.MaxObjectBytes < 0 || o.DefaultTTL < 0 || o.MaxLifetime < 0 || o.HitForMiss < 0 {
		wrong = append(wrong, errors.New("a size or a time is negative"))
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	state := invalidation.NewState(maxPurges)
	m := &Middleware{o: o, cache: cache.New(o.Cache, state), token: rand.Text()}
	follow := invalidation.FollowerOptions{OnApply: func(r invalidation.Record) int { return m.proxy.Applied(r) }}
	var log invalidation.Log = invalidation.NewMemLog()
	if o.Purges != nil {
		log, follow.Lease = o.Purges, o.Lease
	}
	purger := invalidation.NewFollower(log, state, follow).Purger(nil)
	plan := &Plan{
		Table: table, CacheName: o.Name, TrustedProxies: o.TrustedProxies, PurgeAllow: o.PurgeAllow, MayPurge: m.mayPurge,
		HitForMiss: o.HitForMiss, Limits: o.Limits,
	}
	for _, route := range table.Routes() {
		plan.Sites = append(plan.Sites, Site{Route: route, Origin: served{m}})
	}
	m.proxy = New(plan, m.cache, purger, o.Log, o.Observers...)
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	m.upkeep.Go(func() { _ = m.cache.Run(ctx) }) // it ends with its context, and without an error of its own
	m.upkeep.Go(func() { m.prune(ctx) })
	if o.Purges != nil {
		m.upkeep.Go(func() { _ = purger.Run(ctx) }) // likewise
	}
	return m, nil
}

// maxTags is how many tags a response may have: one with more is not stored.
const maxTags = 256

// maxPurges is how many purges are remembered one by one.
const maxPurges = 100_000

func (o *MiddlewareOptions) setDefaults() {
	o.Cache.MaxBytes = cmp.Or(o.Cache.MaxBytes, 64<<20)
	o.Cache.MaxVariants = cmp.Or(o.Cache.MaxVariants, 32)
	o.Name = cmp.Or(o.Name, "cacheproxy")
	if o.TagHeaders == nil {
		o.TagHeaders = []string{"Surrogate-Key", "Cache-Tag", "xkey"}
	}
	o.MaxLifetime = cmp.Or(o.MaxLifetime, 24*time.Hour)
	o.MaxObjectBytes = cmp.Or(o.MaxObjectBytes, 8<<20)
	o.HitForMiss = cmp.Or(o.HitForMiss, 30*time.Second)
	o.Limits = cmp.Or(o.Limits, Limits{URLBytes: 8 << 10, QueryParams: 1000, ConcurrentFetches: 1024})
	o.Lease = cmp.Or(o.Lease, 2*time.Second)
	o.Log = cmp.Or(o.Log, slog.Default())
}

// Handler returns next with the cache before it. next is called where the cache has no answer, for a miss in a goroutine of its own:
// the request that it gets has the values of the first client's context, but does not end with it, because others may wait for the
// same. Whatever of it a router takes back when a handler has returned is not there any more then, so next should be the whole
// router and not stand inside it. A response that is not stored, and a request that cannot be, such as a POST or an upgrade, meet next
// as they would without a cache.
//
// It may be called once: what is stored under a URL is the answer of one handler. Before several stands a mux.
func (m *Middleware) Handler(next http.Handler) http.Handler {
	if !m.next.CompareAndSwap(nil, &next) {
		panic("proxy: a Middleware stands before one handler; put a mux between it and several")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch moved, ok := movedURL(r); {
		case !ok && (r.Method == http.MethodGet || r.Method == http.MethodHead): // a write must still be seen
			next.ServeHTTP(w, r)
		case moved != nil:
			m.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), movedKey{}, moved)))
		default:
			m.proxy.ServeHTTP(w, r)
		}
	})
}

func (m *Middleware) mayPurge(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(m.token)) == 1 || m.o.MayPurge != nil && m.o.MayPurge(token)
}

// Invalidate ends whatever the order names: URLs, keys, tags, patterns, groups or everything, softly or at once. It ends what other
// programs hold as well where they share a log of purges. The error is a *OrderError where the order is wrong, and matches
// invalidation.ErrFull where the log cannot be reached; nothing was done then.
func (m *Middleware) Invalidate(ctx context.Context, o *Order) (*Receipt, error) {
	return m.proxy.Invalidate(ctx, o)
}

// Purge ends whatever is stored for an absolute URL, in all its variants and under both schemes, as a PURGE request does. It reaches as
// far as Invalidate.
func (m *Middleware) Purge(ctx context.Context, rawURL string) error {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("purge %q: the URL must be absolute, such as https://shop.example.com/products/1", rawURL)
	}
	r, err := http.NewRequestWithContext(ctx, "PURGE", rawURL, nil)
	if err != nil {
		return fmt.Errorf("purge %q: %w", rawURL, err)
	}
	r.Header.Set("Authorization", "Bearer "+m.token)
	w := &answer{header: http.Header{}}
	m.proxy.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		return fmt.Errorf("purge %q: %s", rawURL, w.body)
	}
	return nil
}

// answer is a response for the program itself.
type answer struct {
	header http.Header
	status int
	body   []byte
}

func (a *answer) Header() http.Header    { return a.header }
func (a *answer) WriteHeader(status int) { a.status = status }
func (a *answer) Write(b []byte) (int, error) {
	a.body = append(a.body, b...)
	return len(b), nil
}

// Explain says what would be done with a request, and why; see Plan.Explain.
func (m *Middleware) Explain(ctx context.Context, q Question) (*Explanation, error) {
	return m.proxy.Plan().Explain(ctx, m.cache, q)
}

// Stats are the figures of the cache.
func (m *Middleware) Stats() cache.Stats { return m.cache.Stats() }

// Close waits for the fetches that still run beside requests and for what is queued for Redis. When ctx ends it cancels them. No
// request may come any more: shut the server down before.
func (m *Middleware) Close(ctx context.Context) error {
	err := cmp.Or(m.proxy.Shutdown(ctx), m.cache.FlushRemote(ctx))
	m.stop()
	m.upkeep.Wait()
	return err
}

// pruneEvery is how often purges are forgotten that are older than anything stored.
const pruneEvery = time.Minute

func (m *Middleware) prune(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			m.cache.State().Prune(now.Add(-m.o.MaxLifetime))
		}
	}
}
