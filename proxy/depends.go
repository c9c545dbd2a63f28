package proxy

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
)

// maxDeclarations is how many URLs may have said what they depend on. Beyond it such responses are not stored.
const maxDeclarations = 100_000

// maxResolved bounds the nodes that one response depends on, directly or not. One that reaches it is not stored.
const maxResolved = 1000

// dependencies reads lines of X-Cache-Depends-On. ok is false where one of their members cannot be read.
func dependencies(lines []string) (ds []rules.Dependency, ok bool) {
	ok = true
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			if member = strings.TrimSpace(member); member == "" {
				continue
			}
			d, wrong := rules.ParseDependency(member)
			ok = ok && wrong == ""
			ds = append(ds, d)
		}
	}
	return ds, ok
}

// resolver finds all that a response depends on, directly or by way of what the routes and other responses say they depend on.
type resolver struct {
	plan  *Plan
	from  *Proxy           // knows other responses; nil: nothing is known of them
	nodes []string         // found, each once: "tag:NAME", or "url:" and a URI without scheme
	urls  []rfc9111.Target // whose own dependencies are still to be looked for
}

// resolve returns the nodes that a response for target depends on which declares ds itself. Cycles are harmless.
func (p *Plan) resolve(target *rfc9111.Target, ds []rules.Dependency, from *Proxy) []string {
	if len(ds) == 0 {
		return nil
	}
	r := &resolver{plan: p, from: from}
	r.addAll(target, ds)
	for next := 0; next < len(r.nodes) && len(r.nodes) < maxResolved; next++ {
		if tag, isTag := strings.CutPrefix(r.nodes[next], "tag:"); isTag {
			r.followTag(target, tag)
			continue
		}
		if from != nil {
			for _, node := range from.knownOf(p, target, strings.TrimPrefix(r.nodes[next], "url:")) {
				r.add(node)
			}
		}
		if len(r.urls) > 0 {
			at := r.urls[0]
			r.urls = r.urls[1:]
			r.followURL(&at)
		}
	}
	return r.nodes
}

func (r *resolver) addAll(target *rfc9111.Target, ds []rules.Dependency) {
	for _, d := range ds {
		if d.Kind == rules.DependsOnTag {
			r.add(d.String())
			continue
		}
		at, err := target.Resolve(d.Value)
		if err != nil {
			continue // it was read before, so this is none that any request could be for
		}
		known := len(r.nodes)
		for _, uri := range r.plan.bareURIs(&at) {
			r.add("url:" + uri)
		}
		if len(r.nodes) > known {
			r.urls = append(r.urls, at)
		}
	}
}

func (r *resolver) add(node string) {
	if !slices.Contains(r.nodes, node) {
		r.nodes = append(r.nodes, node)
	}
}

// followTag adds what the routes depend on that may give the tag to their responses.
func (r *resolver) followTag(target *rfc9111.Target, tag string) {
	for _, route := range r.plan.Table.Routes() {
		if len(route.DependsOn) > 0 && route.Provides(tag) {
			r.addAll(target, route.DependsOn)
		}
	}
}

// followURL adds the tags of what is asked for at a URL, as far as they follow from it, and what its routes depend on.
func (r *resolver) followURL(at *rfc9111.Target) {
	v := view{target: *at, method: "GET"}
	for _, v.route = range r.plan.Table.Reaching(at) {
		for _, tag := range v.route.AppendTags(nil, &v) {
			r.add("tag:" + tag)
		}
		r.addAll(at, v.route.DependsOn)
	}
}

// declare notes in the graph what a response for target that is to be stored depends on, and, where others depend on it, by which
// tags and groups it can be purged: whoever purges them purges the others too. Where the graph is full the reason says so.
func (p *Proxy) declare(plan *Plan, target *rfc9111.Target, l *cache.Labels, until time.Time) rfc9111.Reason {
	if len(l.Depends) == 0 && p.dependencies.Len() == 0 {
		return rfc9111.ReasonNone
	}
	for _, uri := range plan.bareURIs(target) {
		nodes := l.Depends
		if p.dependencies.Wanted("url:" + uri) {
			nodes = slices.Concat(nodes, l.Nodes())
		}
		if len(nodes) == 0 {
			continue
		}
		if err := p.dependencies.Declare(uri, nodes, until); err != nil {
			return rfc9111.ReasonTags
		}
	}
	return rfc9111.ReasonNone
}

// knownOf returns what the responses for uri, on which one for target depends, have declared that they depend on, and the tags and
// groups of those in memory: when they were stored nobody may have depended on them, so that they have not declared those.
func (p *Proxy) knownOf(plan *Plan, target *rfc9111.Target, uri string) []string {
	nodes, url := p.dependencies.Of(uri), uri
	if path, ok := strings.CutPrefix(uri, "///"); ok { // its route keeps the host out of the key
		url = "//" + target.Host + "/" + path
	}
	t, err := parseOrderURL(url)
	if err != nil {
		return nodes // no request can be for it
	}
	anybody := view{header: http.Header{}, method: http.MethodGet}
	for _, key := range plan.keysOf(&t, &anybody) {
		for _, e := range p.cache.Under(key) {
			labels := e.Labels()
			nodes = slices.Concat(nodes, labels.Nodes())
		}
	}
	return nodes
}

// Dependencies returns the graph of what responses have declared.
func (p *Proxy) Dependencies() *invalidation.Dependencies { return p.dependencies }
