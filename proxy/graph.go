package proxy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
)

// Graph is what depends on something, and what that depends on. A node is one of [invalidation.Dependencies], or "route:NAME": all
// responses of a route.
type Graph struct {
	Of        string   `json:"of"`
	DependsOn []string `json:"depends_on"` // as far as a response has declared it here, and the tags and groups by which it goes
	Edges     []Edge   `json:"edges"`      // of all that depends on it, the nearest first
}

// Edge says that a node depends on another.
type Edge struct {
	Node      string `json:"node"`
	DependsOn string `json:"depends_on"`
	Source    string `json:"source"` // rule or response
}

// The values of Edge.Source.
const (
	fromRule     = "rule"
	fromResponse = "response"
)

// Graph returns the dependencies of a node: "tag:NAME", or "url:URL". The error is an *OrderError, or matches
// [invalidation.ErrTooMany].
func (p *Proxy) Graph(ctx context.Context, of string) (*Graph, error) {
	plan := p.plan.Load()
	g := &Graph{Of: of, DependsOn: []string{}, Edges: []Edge{}}
	queue, err := plan.nodesOf(of)
	if err != nil {
		return nil, err
	}
	for _, node := range queue {
		for _, on := range p.dependencies.Of(strings.TrimPrefix(node, "url:")) {
			if !slices.Contains(g.DependsOn, on) {
				g.DependsOn = append(g.DependsOn, on)
			}
		}
	}
	seen := map[string]bool{}
	for _, node := range queue {
		seen[node] = true
	}
	for from := 0; from < len(queue); {
		level := queue[from:]
		from = len(queue)
		dependents := p.dependencies.DependentsOf(ctx, level)
		for i, on := range level {
			for _, r := range plan.Table.Routes() {
				if slices.ContainsFunc(r.DependsOn, func(d rules.Dependency) bool { return dependsOnNode(d, on) }) {
					g.Edges = append(g.Edges, Edge{"route:" + r.Name, on, fromRule})
				}
			}
			for _, uri := range dependents[i] {
				node := "url:" + uri
				g.Edges = append(g.Edges, Edge{node, on, fromResponse})
				if !seen[node] {
					seen[node] = true
					queue = append(queue, node)
				}
			}
		}
		if len(g.Edges) > invalidation.MaxClosure {
			return nil, fmt.Errorf("%w: more than %d edges", invalidation.ErrTooMany, invalidation.MaxClosure)
		}
	}
	return g, nil
}

// dependsOnNode reports whether a dependency of a rule may name the node: without a host it does so on each.
func dependsOnNode(d rules.Dependency, node string) bool {
	if d.Kind == rules.DependsOnTag {
		return d.String() == node
	}
	uri, isURL := strings.CutPrefix(node, "url://")
	if !isURL {
		return false
	}
	base := rfc9111.Target{Scheme: "http", Host: uri, Path: "/"}
	base.Host, _, _ = strings.Cut(uri, "/")
	at, err := base.Resolve(d.Value)
	return err == nil && at.Host+at.RequestURI() == uri
}

// nodesOf reads the name of a node. A URL may have several, because routes treat host and query in their own ways.
func (p *Plan) nodesOf(of string) (nodes []string, err error) {
	if url, isURL := strings.CutPrefix(of, "url:"); isURL {
		t, err := parseOrderURL(url)
		if err != nil {
			return nil, err
		}
		for _, uri := range p.bareURIs(&t.Target) {
			nodes = append(nodes, "url:"+uri)
		}
		return nodes, nil
	}
	if tag, isTag := strings.CutPrefix(of, "tag:"); !isTag || tag == "" {
		return nil, orderErrorf("%q is neither tag:NAME nor url:URL", of)
	}
	return []string{of}, nil
}
