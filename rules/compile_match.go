package rules

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

func (c *routeCompiler) match() (hosts, paths []*glob) {
	m := &c.spec.Match
	hosts = c.globs(m.Hosts, at("match", "hosts"), hostGlob)
	paths = c.globs(m.Paths, at("match", "paths"), pathGlob)
	for i, method := range m.Methods {
		switch {
		case !isToken(method):
			c.errorf(element(at("match", "methods"), i), "%q is no method", method)
		case method != strings.ToUpper(method):
			c.errorf(element(at("match", "methods"), i), "methods are case-sensitive; write %s", strings.ToUpper(method))
		}
	}
	c.route.match = matcher{
		methods: m.Methods,
		headers: c.headerMatchers(m.Headers),
		query:   c.queryMatchers(m.Query),
		when:    c.condition(m.When, at("match", "when"), false),
	}
	return hosts, paths
}

func (c *routeCompiler) globs(patterns []string, path []string, compile func(string) (*glob, error)) []*glob {
	var globs []*glob
	for i, pattern := range patterns {
		g, err := compile(pattern)
		if err != nil {
			c.errorf(element(path, i), "%v", err)
			continue
		}
		globs = append(globs, g)
	}
	return globs
}

func (c *routeCompiler) headerMatchers(headers map[string]OneOrMany) []valueMatcher {
	var matchers []valueMatcher
	seen := map[string]bool{}
	for _, name := range sorted(headers) {
		path := at("match", "headers", name)
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !isToken(name):
			c.errorf(path, "%q is no field name", name)
		case canonical == "Host":
			c.errorf(path, "the host is matched by match.hosts")
		case seen[canonical]:
			c.errorf(path, "%s is given twice; write one list", canonical)
		}
		seen[canonical] = true
		matchers = append(matchers, c.valueMatcher(canonical, headers[name], path))
	}
	return matchers
}

func (c *routeCompiler) queryMatchers(query map[string]OneOrMany) []valueMatcher {
	var matchers []valueMatcher
	for _, name := range sorted(query) {
		matchers = append(matchers, c.valueMatcher(name, query[name], at("match", "query", name)))
	}
	return matchers
}

func (c *routeCompiler) valueMatcher(name string, patterns OneOrMany, path []string) valueMatcher {
	m := valueMatcher{name: name}
	if len(patterns) == 0 {
		c.errorf(path, `names no value; "*" is presence`)
	}
	for i, pattern := range patterns {
		if strings.ContainsAny(pattern, "\r\n\x00") {
			c.errorf(oneOf(path, i, patterns), "can never match: it has a line break or a zero byte")
		}
		m.present = m.present || pattern == "*"
		m.globs = append(m.globs, newGlob(pattern, '/'))
	}
	return m
}

// hostGlob compiles a glob over hosts, in the normal form of rfc9111.Target but for the port.
func hostGlob(pattern string) (*glob, error) {
	host := strings.TrimSuffix(strings.ToLower(pattern), ".")
	if strings.HasPrefix(host, "[") {
		return literalHost(host)
	}
	switch {
	case host == "":
		return nil, errors.New("is empty; leave it out to match any host")
	case strings.Contains(host, "://"):
		return nil, errors.New("is a URL; write the host alone")
	case strings.Contains(host, "/"):
		return nil, errors.New("has a path; paths are matched by match.paths")
	case strings.Contains(host, ":"):
		return nil, errors.New("has a port; hosts are compared without their port (IPv6 addresses stand in brackets)")
	case strings.HasPrefix(host, "."):
		return nil, fmt.Errorf("can never match: a host begins with no dot; write **%s for all names below", host)
	case strings.Contains(host, ".."):
		return nil, errors.New("can never match: a host has no two dots in a row")
	}
	for _, r := range host {
		if r > 0x7e {
			return nil, errors.New("is no ASCII; write the host as it is sent (xn--...)")
		}
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-._*", r) {
			return nil, fmt.Errorf("can never match: %q does not occur in a host", r)
		}
	}
	return newGlob(host, '.'), nil
}

func literalHost(host string) (*glob, error) {
	address, closed := strings.CutSuffix(host[1:], "]")
	ip, err := netip.ParseAddr(address)
	if !closed || err != nil || !ip.Is6() || ip.Zone() != "" {
		return nil, errors.New("is no IPv6 address in brackets; a port does not belong here")
	}
	return newGlob("["+ip.String()+"]", '.'), nil
}

// pathGlob compiles a glob over paths, in the normal form of rfc9111.Target.
func pathGlob(pattern string) (*glob, error) {
	normal, err := normalPath(pattern)
	if err != nil {
		return nil, err
	}
	return newGlob(normal, '/'), nil
}

// normalPath brings a path of the configuration into the normal form that requests are compared in. "*" stands for
// itself in a path (RFC 3986, 3.3) and so comes out as it went in. An error says why nothing could ever match it.
func normalPath(path string) (string, error) {
	switch {
	case path == "":
		return "", errors.New("is empty; a path begins with /")
	case path[0] == '*':
		return "", fmt.Errorf("can never match: a path begins with /; write /**%s", strings.TrimLeft(path, "*"))
	case path[0] != '/':
		return "", errors.New("can never match: a path begins with /")
	case strings.ContainsAny(path, "?#"):
		return "", errors.New("can never match: a path ends before the query, which match.query matches")
	}
	for segment := range strings.SplitSeq(path, "/") {
		if dots := strings.ReplaceAll(strings.ToLower(segment), "%2e", "."); dots == "." || dots == ".." {
			return "", fmt.Errorf("can never match: %s is resolved before paths are compared", segment)
		}
	}
	t, err := rfc9111.ParseTarget("http", "localhost", path)
	if odd := (*rfc9111.TargetError)(nil); errors.As(err, &odd) {
		return "", fmt.Errorf("can never match: %s at byte %d", odd.Why, odd.Offset)
	}
	return t.Path, err
}

// isToken says whether s is a token (RFC 9110, 5.6.2): a method, a field name, a cookie name.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isAlphanumeric(s[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
