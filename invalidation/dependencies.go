package invalidation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Dependencies is the graph of what has said that it is made of something else.
// A node is "tag:NAME", "group:" and an origin, a space and a group, or "url:" and
// a URI without its scheme; an edge leads from what is depended on to the URI of
// what depends on it.
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
	untold     map[string]bool            // URIs whose declarations edges have not taken
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

const (
	// maxTold is how many declarations may wait to be told. Those that come beyond,
	// and those that edges did not take, are told again after tellAgain.
	maxTold   = 4096
	tellAgain = time.Second
)

// MaxClosure is how many nodes a purge may reach.
const MaxClosure = 5000

// ErrTooMany is returned for a purge that reaches more than MaxClosure nodes,
// and where more is declared than can be remembered. Nothing was done.
var ErrTooMany = fmt.Errorf("too many dependencies")

// NewDependencies returns an empty graph that holds what at most limit URIs
// declare.
func NewDependencies(limit int) *Dependencies {
	return &Dependencies{max: limit, declared: map[string]declaration{}, dependents: map[string]map[string]bool{}, untold: map[string]bool{}}
}

// Share makes edges known to other instances, and those of others to this one.
// It must be called before anything else, and Run be running.
func (d *Dependencies) Share(edges Edges) {
	d.edges, d.shared = edges, make(chan telling, maxTold)
}

// Run tells others what is declared here, until ctx ends. It need not be run
// where nothing is shared.
func (d *Dependencies) Run(ctx context.Context) error {
	again := time.NewTicker(tellAgain)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case t := <-d.shared:
			d.tell(ctx, t)
		case <-again.C:
			d.retell(ctx)
		}
	}
}

// tell tells others a declaration, and reports whether they know it now.
func (d *Dependencies) tell(ctx context.Context, t telling) bool {
	err := d.edges.Declare(ctx, t.uri, t.on, t.until)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil && d.declared[t.uri].on != nil {
		d.untold[t.uri] = true
	}
	return err == nil
}

// retell tells what others could not be told, up to the first that they still do
// not take.
func (d *Dependencies) retell(ctx context.Context) {
	d.mu.Lock()
	due := make([]telling, 0, min(len(d.untold), maxTold))
	for uri := range d.untold {
		if len(due) == maxTold {
			break
		}
		due = append(due, telling{uri, d.declared[uri]})
	}
	d.mu.Unlock()
	for _, t := range due {
		if !d.tell(ctx, t) {
			return
		}
		d.mu.Lock()
		if d.declared[t.uri].until.Equal(t.until) { // else it was declared anew meanwhile
			delete(d.untold, t.uri)
		}
		d.mu.Unlock()
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
			d.untold[uri] = true
		}
	}
	d.unlink(uri, old)
	d.declared[uri] = next
	for _, node := range next.on {
		if d.dependents[node] == nil {
			d.dependents[node] = map[string]bool{}
		}
		d.dependents[node][uri] = true
	}
	return nil
}

// forget removes a declaration. The caller holds the lock.
func (d *Dependencies) forget(uri string, of declaration) {
	delete(d.declared, uri)
	delete(d.untold, uri)
	d.unlink(uri, of)
}

// unlink removes the edges of a declaration. The caller holds the lock.
func (d *Dependencies) unlink(uri string, of declaration) {
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

// Closure is what a purge comes to.
type Closure struct {
	Selectors []Selector // what was named, and then what depends on it
	More      bool       // whether anything does
	// Unsure says that what other instances have declared could not be asked for:
	// what depends there on what depends on what was named may be missing.
	Unsure bool
}

// Close returns the selectors with those of all that depends on what they name,
// and on the further nodes in also: breadth first, each node once, so that cycles
// do no harm. What other instances have declared is asked for where it is shared
// and can be reached. The error matches ErrTooMany.
func (d *Dependencies) Close(ctx context.Context, selectors []Selector, also ...string) (c Closure, err error) {
	c.Selectors = slices.Clone(selectors)
	seen := map[string]bool{}
	var level []string
	for _, node := range append(d.nodesOf(selectors), also...) {
		if !seen[node] {
			seen[node] = true
			level = append(level, node)
		}
	}
	for len(level) > 0 {
		found, sure := d.dependentsOf(ctx, level, !c.Unsure) // where it failed it is not tried once for each level
		c.Unsure = c.Unsure || !sure
		level = nil
		for _, uris := range found {
			for _, uri := range uris {
				node := "url:" + uri
				if seen[node] {
					continue
				}
				if seen[node] = true; len(seen) > MaxClosure {
					return Closure{}, fmt.Errorf("%w: more than %d things depend on what was named; purge everything, or fewer at once", ErrTooMany, MaxClosure)
				}
				level = append(level, node)
				c.Selectors = append(c.Selectors, Selector{KindURL, uri})
				c.More = true
			}
		}
	}
	return c, nil
}

// DependentsOf returns for each of the nodes the URIs that depend on it, by what
// was declared here or elsewhere.
func (d *Dependencies) DependentsOf(ctx context.Context, nodes []string) [][]string {
	found, _ := d.dependentsOf(ctx, nodes, true)
	return found
}

// dependentsOf reports too whether the others have answered, where they are asked.
func (d *Dependencies) dependentsOf(ctx context.Context, nodes []string, ask bool) (found [][]string, sure bool) {
	found = make([][]string, len(nodes))
	for i, node := range nodes {
		found[i] = d.Dependents(node)
	}
	if d.edges == nil || !ask {
		return found, d.edges == nil
	}
	elsewhere, err := d.edges.Dependents(ctx, nodes)
	if err != nil {
		return found, false
	}
	for i, uris := range elsewhere {
		found[i] = append(found[i], uris...)
		slices.Sort(found[i])
		found[i] = slices.Compact(found[i])
	}
	return found, true
}

// nodesOf returns the nodes that the selectors name. Of patterns and bans these
// are the ones that something is known to depend on.
func (d *Dependencies) nodesOf(selectors []Selector) (nodes []string) {
	for _, s := range selectors {
		switch s.Kind {
		case KindTag:
			nodes = append(nodes, "tag:"+s.Value)
		case KindGroup:
			nodes = append(nodes, "group:"+s.Value)
		case KindURL:
			nodes = append(nodes, "url:"+string(withoutScheme([]byte(s.Value))))
		case KindPattern, KindBan:
			if m, err := compile(s); err == nil { // what is none is refused when it is purged
				nodes = append(nodes, d.matching(m)...)
			}
		}
	}
	return nodes
}

// matching returns the nodes that a pattern or a ban selects.
func (d *Dependencies) matching(m *matcher) (nodes []string) {
	type candidate struct {
		node string
		tags []byte // known of what a URL stands for, a line end behind each
	}
	var candidates []candidate
	d.mu.RLock()
	for node := range d.dependents {
		c := candidate{node: node}
		if uri, isURL := strings.CutPrefix(node, "url:"); isURL && m.tag != nil {
			for _, on := range d.declared[uri].on {
				if tag, isTag := strings.CutPrefix(on, "tag:"); isTag {
					c.tags = append(append(c.tags, tag...), '\n')
				}
			}
		}
		candidates = append(candidates, c)
	}
	d.mu.RUnlock()
	var text []byte
	for _, c := range candidates {
		if text = append(text[:0], c.node...); m.selects(text, c.tags) {
			nodes = append(nodes, c.node)
		}
	}
	slices.Sort(nodes)
	return nodes
}
