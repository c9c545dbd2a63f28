package rules

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// View is a request, seen from any front door. Fields are those that the client sent.
type View interface {
	rfc9111.Fields
	Method() string
	Target() *rfc9111.Target
	Client() netip.Addr
}

// Table is the compiled routes. It is immutable and safe for concurrent use.
type Table struct {
	routes []*Route // the default route last
	index  index
}

// Routes returns the routes in order, the default route last. The slice must not be changed.
func (t *Table) Routes() []*Route { return t.routes }

// Match returns the first route that fits; the default route where none does: its Name is "default", its Index the
// number of routes configured, and its Upstream "" where there is no default upstream (the answer is then 404).
//
// Candidates are judged in the order of the routes, so that no condition of a route behind the one that fits is
// evaluated. No allocation where no candidate has a condition.
func (t *Table) Match(v View) *Route {
	r, _ := t.match(v, true)
	return r
}

// MatchPlain is Match for those who cannot evaluate conditions: ok is false where the answer depends on one. It does not allocate.
func (t *Table) MatchPlain(v View) (r *Route, ok bool) { return t.match(v, false) }

func (t *Table) match(v View, conditions bool) (r *Route, ok bool) {
	target := v.Target()
	var stack [24][]candidate
	lists := t.index.appendCandidates(stack[:0], hostname(target.Host), target.Path)
	var refused *Route // its other conditions do not hold; another of its path globs need not be tried
	for {
		c, ok := nextCandidate(lists)
		switch {
		case !ok:
			return t.routes[len(t.routes)-1], true
		case c.route == refused || !matches(c.path, target.Path):
		case !c.route.match.holds(v):
			refused = c.route
		case c.route.match.when == nil:
			return c.route, true
		case !conditions:
			return nil, false
		case c.route.match.when.evaluate(v, 0, nil, false):
			return c.route, true
		default:
			refused = c.route
		}
	}
}

// Reaching returns the routes that some request for t may take, whatever its method and fields, and the default route. It is for
// those who look for all that may be stored of a URL; it allocates.
func (t *Table) Reaching(target *rfc9111.Target) []*Route {
	lists := t.index.appendCandidates(nil, hostname(target.Host), target.Path)
	var reaching []*Route
	for {
		c, ok := nextCandidate(lists)
		if !ok {
			return append(reaching, t.routes[len(t.routes)-1])
		}
		if matches(c.path, target.Path) && (len(reaching) == 0 || reaching[len(reaching)-1] != c.route) {
			reaching = append(reaching, c.route)
		}
	}
}

// nextCandidate takes the first candidate, in the order of the routes, off the lists.
func nextCandidate(lists [][]candidate) (c candidate, ok bool) {
	first := -1
	for i, l := range lists {
		if len(l) > 0 && (first < 0 || l[0].route.Index < lists[first][0].route.Index) {
			first = i
		}
	}
	if first < 0 {
		return candidate{}, false
	}
	c = lists[first][0]
	lists[first] = lists[first][1:]
	return c, true
}

// hostname is host without its port.
func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host[i:], ']') < 0 {
		return host[:i]
	}
	return host
}

// matcher is what a route asks of a request beside host and path. The zero value asks nothing.
type matcher struct {
	methods []string
	headers []valueMatcher
	query   []valueMatcher
	when    *condition
}

// valueMatcher asks for a value of one field or parameter. present: any value will do.
type valueMatcher struct {
	name    string
	present bool
	globs   []*glob
}

// holds says whether all is so but for the condition.
func (m *matcher) holds(v View) bool {
	return m.methodHolds(v.Method()) && m.headersHold(v) && m.queryHolds(v.Target().Query)
}

// methodHolds lets GET stand for HEAD too, which shares its key (RFC 9110, 9.3.2).
func (m *matcher) methodHolds(method string) bool {
	return len(m.methods) == 0 || slices.Contains(m.methods, method) ||
		method == "HEAD" && slices.Contains(m.methods, "GET")
}

func (m *matcher) headersHold(f rfc9111.Fields) bool {
	for i := range m.headers {
		h := &m.headers[i]
		value, lines := f.Field(h.name)
		if lines == 0 || !h.present && !h.fieldHolds(value) {
			return false
		}
	}
	return true
}

// fieldHolds compares with the whole value and with each member, should it be a list (RFC 9110, 5.6.1).
func (m *valueMatcher) fieldHolds(value string) bool {
	if m.holds(value) {
		return true
	}
	for more := strings.Contains(value, ","); more; {
		var member string
		member, value, more = strings.Cut(value, ",")
		if m.holds(strings.Trim(member, " \t")) {
			return true
		}
	}
	return false
}

func (m *valueMatcher) holds(value string) bool {
	for _, g := range m.globs {
		if matches(g, value) {
			return true
		}
	}
	return false
}

func (m *matcher) queryHolds(query string) bool {
	for i := range m.query {
		if !m.query[i].paramHolds(query) {
			return false
		}
	}
	return true
}

func (m *valueMatcher) paramHolds(query string) bool {
	for more := query != ""; more; {
		var param string
		param, query, more = strings.Cut(query, "&")
		name, value, _ := strings.Cut(param, "=")
		if !equalDecoded(name, m.name) {
			continue
		}
		if m.present || matchesAnyDecoded(m.globs, value) {
			return true
		}
	}
	return false
}
