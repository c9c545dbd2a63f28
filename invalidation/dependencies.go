package invalidation

import (
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
	max int // declarations

	mu         sync.RWMutex // guards the following
	declared   map[string]declaration
	dependents map[string]map[string]bool // node -> URIs
}

// declaration is what a URI depends on, until it is not stored any more.
type declaration struct {
	on    []string
	until time.Time
}

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
// that was any. The error matches ErrTooMany.
func (d *Dependencies) Close(selectors []Selector) (closed []Selector, more bool, err error) {
	closed = slices.Clone(selectors)
	d.mu.RLock()
	defer d.mu.RUnlock()
	if len(d.declared) == 0 {
		return closed, false, nil
	}
	seen := map[string]bool{}
	for _, s := range selectors {
		seen[nodeOf(s)] = true
	}
	for i := 0; i < len(closed); i++ {
		for _, uri := range slices.Sorted(maps.Keys(d.dependents[nodeOf(closed[i])])) {
			if node := "url:" + uri; seen[node] {
				continue
			} else if seen[node] = true; len(seen) > MaxClosure {
				return nil, false, fmt.Errorf("%w: more than %d things depend on what was named; purge everything, or fewer at once", ErrTooMany, MaxClosure)
			}
			closed = append(closed, Selector{KindURL, uri})
			more = true
		}
	}
	return closed, more, nil
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
