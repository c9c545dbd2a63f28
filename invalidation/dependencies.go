package invalidation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// Dependencies is the graph of what has said that it is made of something else.
// A node is "tag:NAME" or "url:" and a URI without its scheme; an edge leads from
// what is depended on to the URI of what depends on it.
//
// It is there for what a purge names only by way of something else. What a thing
// depends on itself is among its own hashes, see [Subject], so that a purge that
// comes while it is on its way hits it, whether the graph knows it yet or not.
//
// It is safe for concurrent use.
type Dependencies struct {
	max    int // declarations
	edges  Edges
	shared chan telling // what is to be told to edges

	mu         sync.RWMutex // guards the following
	declared   map[string]declaration
	dependents map[string]map[string]bool // node -> URIs
}

// declaration is what a URI depends on, until it is not stored any more.
type declaration struct {
	on    []string
	until time.Time
}

// Edges keep what instances have declared in common. Its methods do not wait for
// long.
type Edges interface {
	// Declare notes that uri depends on the nodes until the given time, or longer
	// where it was declared so before.
	Declare(ctx context.Context, uri string, nodes []string, until time.Time) error
	// Dependents returns the URIs that depend on each of the nodes now.
	Dependents(ctx context.Context, nodes []string) ([][]string, error)
}

// telling is a declaration on its way to Edges.
type telling struct {
	uri string
	declaration
}

// maxTold is how many declarations may wait. What comes beyond is known to this
// instance alone: what depends on it directly is hit all the same.
const maxTold = 4096

// MaxClosure is how many nodes a purge may reach.
const MaxClosure = 5000

// ErrTooMany is returned for a purge that reaches more than MaxClosure nodes,
// and where more is declared than can be remembered. Nothing was done.
var ErrTooMany = fmt.Errorf("too many dependencies")

// NewDependencies returns an empty graph that holds what at most limit URIs
// declare.
func NewDependencies(limit int) *Dependencies {
	return &Dependencies{max: limit, declared: map[string]declaration{}, dependents: map[string]map[string]bool{}}
}

// Share makes edges known to other instances, and those of others to this one.
// It must be called before anything else, and Run be running.
func (d *Dependencies) Share(edges Edges) {
	d.edges, d.shared = edges, make(chan telling, maxTold)
}

// Run tells others what is declared here, until ctx ends. It need not be run
// where nothing is shared.
func (d *Dependencies) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-d.shared:
			_ = d.edges.Declare(ctx, t.uri, t.on, t.until) // see maxTold
		}
	}
}

// Declare notes that what is stored for uri, which has no scheme, depends on the
// nodes, until the given time. It takes the place of what was declared for uri
// before; nodes of an earlier declaration stay until that one would have ended,
// because its bearer may still be stored elsewhere, or in another variant. The
// error matches ErrTooMany: then nothing that depends on them may be stored.
func (d *Dependencies) Declare(uri string, on []string, until time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	old, known := d.declared[uri]
	if !known && len(d.declared) >= d.max {
		d.prune(time.Now())
		if len(d.declared) >= d.max {
			return fmt.Errorf("%w: %d URLs have declared some already", ErrTooMany, d.max)
		}
	}
	next := declaration{until: until}
	if next.on = on; old.until.After(time.Now()) {
		next.on = slices.Clone(on)
		for _, node := range old.on {
			if !slices.Contains(next.on, node) && len(next.on) < MaxClosure {
				next.on = append(next.on, node)
			}
		}
		if old.until.After(until) {
			next.until = old.until
		}
	}
	if d.edges != nil {
		select {
		case d.shared <- telling{uri, next}:
		default:
		}
	}
	d.forget(uri, old)
	d.declared[uri] = next
	for _, node := range next.on {
		if d.dependents[node] == nil {
			d.dependents[node] = map[string]bool{}
		}
		d.dependents[node][uri] = true
	}
	return nil
}

// forget removes the edges of a declaration. The caller holds the lock.
func (d *Dependencies) forget(uri string, of declaration) {
	delete(d.declared, uri)
	for _, node := range of.on {
		if delete(d.dependents[node], uri); len(d.dependents[node]) == 0 {
			delete(d.dependents, node)
		}
	}
}

// Prune forgets what was declared until now or before.
func (d *Dependencies) Prune(now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.prune(now)
}

func (d *Dependencies) prune(now time.Time) {
	for uri, of := range d.declared {
		if !of.until.After(now) {
			d.forget(uri, of)
		}
	}
}

// Len returns how many URIs have declared something.
func (d *Dependencies) Len() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.declared)
}

// Wanted reports whether anything has declared that it depends on the node.
func (d *Dependencies) Wanted(node string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.dependents[node]) > 0
}

// Of returns what was declared for a URI without its scheme.
func (d *Dependencies) Of(uri string) []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.declared[uri].on
}

// Dependents returns the URIs that have declared that they depend on the node, in
// order.
func (d *Dependencies) Dependents(node string) []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.Sorted(maps.Keys(d.dependents[node]))
}

// Close returns the selectors with those of all that depends on what they name:
// breadth first, each node once, so that cycles do no harm. more reports whether
// that was any. What other instances have declared is asked for where it is
// shared and can be reached. The error matches ErrTooMany.
func (d *Dependencies) Close(ctx context.Context, selectors []Selector) (closed []Selector, more bool, err error) {
	closed = slices.Clone(selectors)
	seen := map[string]bool{}
	var level []string
	for _, s := range selectors {
		if node := nodeOf(s); node != "" && !seen[node] {
			seen[node] = true
			level = append(level, node)
		}
	}
	edges := d.edges
	for len(level) > 0 {
		found := d.here(level)
		if edges != nil {
			elsewhere, err := edges.Dependents(ctx, level)
			if err != nil {
				edges = nil // it is not asked once for each level
			}
			for _, uris := range elsewhere {
				found = append(found, uris...)
			}
		}
		level = nil
		for _, uri := range found {
			node := "url:" + uri
			if seen[node] {
				continue
			}
			if seen[node] = true; len(seen) > MaxClosure {
				return nil, false, fmt.Errorf("%w: more than %d things depend on what was named; purge everything, or fewer at once", ErrTooMany, MaxClosure)
			}
			level = append(level, node)
			closed = append(closed, Selector{KindURL, uri})
			more = true
		}
	}
	return closed, more, nil
}

// here returns the URIs that have declared here that they depend on any of the
// nodes, in order for each.
func (d *Dependencies) here(nodes []string) (uris []string) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, node := range nodes {
		uris = append(uris, slices.Sorted(maps.Keys(d.dependents[node]))...)
	}
	return uris
}

// nodeOf returns the node that a selector names; "" where it names none.
func nodeOf(s Selector) string {
	switch s.Kind {
	case KindTag:
		return "tag:" + s.Value
	case KindURL:
		return "url:" + string(withoutScheme([]byte(s.Value)))
	}
	return ""
}
