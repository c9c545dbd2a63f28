package rules

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// DefaultName is the name of the route that takes what no other does. No route may be named so.
const DefaultName = "default"

// defaultWait is how long a request waits for another's fetch, where a route does not say.
const defaultWait = 10 * time.Second

// Options are the defaults that a route inherits. They are taken as they are: whether DefaultUpstream is one of
// Upstreams is for the caller to check.
type Options struct {
	DefaultUpstream string   // takes what no route matches, and routes that name none; "": none (404)
	Upstreams       []string // the names that exist
	DefaultTTL      time.Duration
	MaxLifetime     time.Duration // 0: none
	TargetedFields  []string      // RFC 9213, most specific first
	MaxObjectBytes  int64
	Encode          EncodeSpec // checked
	TagHeaders      []string   // response fields that hold tags
	MaxTags         int        // of a response; 0: no limit
}

// Error is one mistake in a route.
type Error struct {
	Route int      // index into the specs
	Path  []string // of the value that is wrong, such as "match", "when" or "cache", "status_ttl", "404"; empty: the route
	Msg   string   // what is wrong and what would be right; reads on from the path
}

// Error implements error: "routes[1].match.hosts[0]: has a port ...".
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "routes[%d]", e.Route)
	for _, step := range e.Path {
		if _, err := strconv.Atoi(step); err == nil {
			b.WriteString("[" + step + "]")
		} else {
			b.WriteString("." + step)
		}
	}
	return b.String() + ": " + e.Msg
}

// Warning is a legal but dangerous choice, or one without effect.
type Warning = Error

// Route is one compiled route. It is immutable and safe for concurrent use; what it points to must not be changed.
type Route struct {
	Index           int
	Name            string
	Upstream        string // "" for a default route without upstream: the answer is 404
	Policy          rfc9111.Policy
	Off             bool   // pattern off: nothing is read from or written to the cache
	Rule            uint64 // fingerprint of the storing rules: the same rules give the same value in every process
	MaxObjectBytes  int64
	CollapseWait    time.Duration
	AcrossInstances bool // one instance fetches for all
	CompleteRanges  bool
	DependsOn       []Dependency // of all its responses
	Invalidates     Invalidation
	TagHeaders      []string    // names in canonical form
	MaxTags         int         // of a response; more: it is not stored; 0: no limit
	Remote          bool        // responses are kept in the remote tier too, where there is one
	Request         HeaderRules // names in canonical form
	Response        HeaderRules // names in canonical form
	Spec            *Spec       // as configured; of the default route: only name and upstream

	match   matcher
	rewrite Rewrite // in normal form
	key     keyRule
	vary    varyRule
	tags    []template
	bypass  *condition // nil: never
	admits  *condition // nil: always
}

// Compile compiles specs, or returns all mistakes at once, in the order of the routes. Warnings come in either case.
func Compile(specs []Spec, o Options) (*Table, []*Warning, []*Error) {
	c := &compiler{options: &o, named: map[string]int{}}
	t := &Table{}
	for i := range specs {
		spec := specs[i]
		rc := &routeCompiler{compiler: c, spec: &spec, route: &Route{Index: i, Spec: &spec}}
		hosts, paths := rc.compile()
		t.routes = append(t.routes, rc.route)
		t.index.add(rc.route, hosts, paths)
	}
	if len(c.errors) > 0 {
		return nil, c.warnings, c.errors
	}
	t.routes = append(t.routes, defaultRoute(len(specs), &o))
	return t, c.warnings, nil
}

// defaultRoute follows the origin, as a route without cache does.
func defaultRoute(index int, o *Options) *Route {
	spec := &Spec{Name: DefaultName, Upstream: o.DefaultUpstream}
	r := &Route{Index: index, Name: DefaultName, Upstream: o.DefaultUpstream, Spec: spec}
	rc := &routeCompiler{compiler: &compiler{options: o}, spec: spec, route: r}
	rc.cache(&CacheSpec{})
	r.Rule = fingerprint(r)
	return r
}

// compiler is what the routes of one table share while they are compiled.
type compiler struct {
	options  *Options
	named    map[string]int // route by name
	errors   []*Error
	warnings []*Warning
}

// routeCompiler compiles one route and collects what is wrong with it.
type routeCompiler struct {
	*compiler
	spec  *Spec
	route *Route
}

func (c *routeCompiler) compile() (hosts, paths []*glob) {
	c.upstream()
	c.name()
	hosts, paths = c.match()
	c.rewrite()
	c.route.Request = c.headerRules(c.spec.Headers.Request, at("headers", "request"), requestFields)
	c.route.Response = c.headerRules(c.spec.Headers.Response, at("headers", "response"), responseFields)
	cache := c.spec.Cache
	if cache == nil {
		cache = &CacheSpec{}
	}
	c.cache(cache)
	c.write(&c.spec.Write)
	c.route.Rule = fingerprint(c.route)
	return hosts, paths
}

func (c *routeCompiler) upstream() {
	name := cmp.Or(c.spec.Upstream, c.options.DefaultUpstream)
	c.route.Upstream = name
	exist := "none is configured"
	if len(c.options.Upstreams) > 0 {
		exist = "there are " + strings.Join(slices.Sorted(slices.Values(c.options.Upstreams)), ", ")
	}
	switch {
	case name == "":
		c.errorf(at("upstream"), "is missing, and there is no default_upstream; %s", exist)
	case c.spec.Upstream != "" && !slices.Contains(c.options.Upstreams, name):
		c.errorf(at("upstream"), "there is no upstream %q; %s", name, exist)
	}
}

// name also finds routes without a name that ask for the same: the later one would never be reached.
func (c *routeCompiler) name() {
	name := c.spec.Name
	if name == "" {
		name = defaultRouteName(&c.spec.Match, c.route.Upstream)
	}
	c.route.Name = name
	switch earlier, taken := c.named[name]; {
	case name == DefaultName:
		c.errorf(at("name"), "%q is reserved for what no route matches; choose another name", name)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(name) > 100:
		c.errorf(at("name"), "a name has at most 100 bytes and no control characters")
	case taken && c.spec.Name == "":
		c.errorf(at("match"), "is the same as that of routes[%d], so that this route is never reached; remove one of them", earlier)
	case taken:
		c.errorf(at("name"), "%q is also the name of routes[%d]; names are unique", name, earlier)
	default:
		c.named[name] = c.route.Index
	}
}

func (c *routeCompiler) rewrite() {
	c.route.rewrite = Rewrite{
		StripPrefix: c.prefix(c.spec.Rewrite.StripPrefix, at("rewrite", "strip_prefix")),
		AddPrefix:   c.prefix(c.spec.Rewrite.AddPrefix, at("rewrite", "add_prefix")),
	}
}

// prefix brings a path prefix into normal form: "" or "/a/b".
func (c *routeCompiler) prefix(prefix string, path []string) string {
	if prefix == "" {
		return ""
	}
	if strings.Contains(prefix, "*") {
		c.errorf(path, "is a plain path; * is no wildcard here")
		return ""
	}
	normal, err := normalPath(prefix)
	if err != nil {
		c.errorf(path, "%v", err)
	}
	return strings.TrimRight(normal, "/")
}

// condition compiles a CEL condition; nil where there is none.
func (c *routeCompiler) condition(source string, path []string, withResponse bool) *condition {
	if strings.TrimSpace(source) == "" {
		return nil
	}
	compiled, err := compileCondition(source, withResponse)
	if err != nil {
		c.errorf(path, "%v", err)
	}
	return compiled
}

func (c *routeCompiler) errorf(path []string, format string, args ...any) {
	c.errors = append(c.errors, &Error{Route: c.route.Index, Path: path, Msg: fmt.Sprintf(format, args...)})
}

func (c *routeCompiler) warnf(path []string, format string, args ...any) {
	c.warnings = append(c.warnings, &Warning{Route: c.route.Index, Path: path, Msg: fmt.Sprintf(format, args...)})
}

// at is the path of a value.
func at(path ...string) []string { return path }

// below is the path of a value within another.
func below(path []string, steps ...string) []string { return slices.Concat(path, steps) }

// element is the path of an element of a list.
func element(path []string, i int) []string { return below(path, strconv.Itoa(i)) }

// oneOf is the path of an element of a OneOrMany, which may stand there without a list.
func oneOf(path []string, i int, values OneOrMany) []string {
	if len(values) == 1 {
		return path
	}
	return element(path, i)
}

// sorted gives mistakes the same order in each run.
func sorted[M ~map[K]V, K cmp.Ordered, V any](m M) []K { return slices.Sorted(maps.Keys(m)) }
