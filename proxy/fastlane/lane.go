package fastlane

import (
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
)

// Options are what a lane is made of.
type Options struct {
	Cache     *cache.Cache
	Observers []cache.Observer // receive a report of each request that is answered here
	Log       *slog.Logger

	HeaderBytes   int           // heads that are larger are for the server to refuse
	HeaderTimeout time.Duration // how long a client may take to send a head
	IdleTimeout   time.Duration // how long it may wait before the next
	WriteTimeout  time.Duration // how long it may take to read an answer
	PieceTimeout  time.Duration // how long it may take to read a piece of an answer of more than 64 KiB
}

// Lane answers hits for any number of listeners. It is safe for concurrent use.
type Lane struct {
	o      Options
	plan   atomic.Pointer[Plan]
	panics atomic.Uint64
	idle   policy
	write  policy
	piece  policy
}

// New returns a lane that answers nothing before it has a plan.
func New(o Options) *Lane {
	return &Lane{o: o, idle: policyOf(o.IdleTimeout), write: policyOf(o.WriteTimeout), piece: policyOf(o.PieceTimeout)}
}

// Use makes plan the one that requests from now on are answered by. Requests under way finish by theirs.
func (l *Lane) Use(plan *Plan) { l.plan.Store(plan) }

// Panics returns how often answering panicked. The connection is closed then, and the process goes on.
func (l *Lane) Panics() uint64 { return l.panics.Load() }

// policy is a time limit whose deadline is not set for each request, which would cost as much as looking the response up: one that
// was set lately is good enough. It comes later by slack, so that no client has less time than it should.
type policy struct{ limit, slack time.Duration }

func policyOf(limit time.Duration) policy { return policy{limit, min(limit/4, time.Second)} }

// due returns the deadline to be set at now, where the one that was set last, at the time that last says, is too old. last is changed
// then.
func (p policy) due(last *time.Time, now time.Time) (deadline time.Time, due bool) {
	if p.limit <= 0 || !last.IsZero() && now.Sub(*last) < p.slack {
		return time.Time{}, false
	}
	*last = now
	return now.Add(p.limit + p.slack), true
}

// Plan is what a reload may change. It is immutable; a request takes it once.
type Plan struct {
	table     *rules.Table
	cacheName string
	hit       [2]string // Cache-Status of a plain hit, before its ttl and after
	trusted   []netip.Prefix
	urlBytes  int
	params    int
	routes    []route // by their index
}

// PlanOptions are what a plan is made of.
type PlanOptions struct {
	Table          *rules.Table
	CacheName      string         // in Cache-Status
	TrustedProxies []netip.Prefix // whose X-Forwarded-* are believed
	URLBytes       int            // longer targets are for the server to refuse; 0: no limit
	QueryParams    int            // likewise
}

// NewPlan makes a plan.
func NewPlan(o PlanOptions) *Plan {
	p := &Plan{table: o.Table, cacheName: o.CacheName, trusted: o.TrustedProxies, urlBytes: o.URLBytes, params: o.QueryParams}
	status := cache.PlainHit(0)
	before, after, _ := strings.Cut(string(rfc9111.AppendStatus(nil, o.CacheName, &status)), "ttl=0")
	p.hit = [2]string{before + "ttl=", after}
	for _, r := range o.Table.Routes() {
		p.routes = append(p.routes, routeOf(r))
	}
	return p
}

// route is what the lane has to know of a route beside what the rules say.
type route struct {
	open bool     // hits may be answered here
	drop []string // fields that are not sent as they are stored
	set  []byte   // lines that are sent instead
	// bare is set without what a 304 does not have.
	bare []byte
	age  bool // Age is not dropped
	date bool // Date is dropped, and not set: net/http would make one
}

func routeOf(r *rules.Route) route {
	to := route{open: r.Upstream != "" && !r.Off && !r.Bypasses(), age: true}
	for _, name := range r.Response.Remove {
		to.hide(name)
	}
	for name, value := range r.Response.Set {
		to.hide(name)
		line := name + ": " + strings.Trim(value, " \t") + "\r\n"
		to.set = append(to.set, line...)
		if name != "Content-Type" {
			to.bare = append(to.bare, line...)
		}
		if name == "Date" {
			to.date = false
		}
	}
	return to
}

func (to *route) hide(name string) {
	to.drop = append(to.drop, name)
	switch name {
	case "Age":
		to.age = false
	case "Date":
		to.date = true
	}
}
