package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/cacheproxy/cacheproxy/rules"
)

// adviseTokenLength is the length under which a token is warned of: it could be guessed.
const adviseTokenLength = 16

// check looks at what one value says about another.
func (l *loader) check() {
	l.checkListeners()
	l.checkTokens()
	l.checkAdmin()
	l.checkCache()
	l.checkRedis()
	l.checkUpstreams()
	l.checkRoutes()
}

func (l *loader) isBroken(path string) bool { return slices.Contains(l.broken, path) }

func (l *loader) checkTokens() {
	names, secrets := map[string]int{}, map[Secret]int{}
	for i, t := range l.cfg.Admin.Tokens {
		loc := func(key string) location { return location{"admin", "tokens", strconv.Itoa(i), key} }
		if t.Name == "" {
			l.refuse(loc("name"), "a token needs a name")
		} else if j, ok := names[t.Name]; ok {
			l.refuse(loc("name"), fmt.Sprintf("admin.tokens[%d] has the name %q already", j, t.Name))
		}
		if j, ok := secrets[t.Token]; ok && t.Token != "" {
			l.refuse(loc("token"), fmt.Sprintf("the same token as that of admin.tokens[%d]", j))
		}
		if len(t.Token) < adviseTokenLength {
			l.warn(loc("token"), fmt.Sprintf("shorter than %d characters: it could be guessed", adviseTokenLength))
		}
		if len(t.Scopes) == 0 {
			l.refuse(loc("scopes"), "a token needs a scope to be of use")
		}
		names[t.Name], secrets[t.Token] = i, i
	}
}

// checkAdmin: whoever reaches the administration listener from elsewhere must show a token, so there must be one.
func (l *loader) checkAdmin() {
	a := l.cfg.Admin
	if len(a.Tokens) > 0 || l.isBroken("admin.tokens") {
		return
	}
	switch {
	case l.isBroken("admin.address"):
	case !isLoopback(a.Address):
		l.refuseOrWarn(location{"admin", "address"}, fmt.Sprintf(
			"%s is not a loopback address, so a token is needed: set admin.tokens or %s, or write 127.0.0.1:8081", a.Address, tokenName))
	case a.RequireToken:
		l.refuseOrWarn(location{"admin", "require_token"}, "a token is required, but there is none: set admin.tokens or "+tokenName)
	}
}

func (l *loader) checkCache() {
	c := l.cfg.Cache
	if c.L1.MaxObjectBytes > c.L1.MaxBytes {
		l.refuse(location{"cache", "l1", "max_object_bytes"}, fmt.Sprintf("more than cache.l1.max_bytes, which is %s", FormatSize(c.L1.MaxBytes)))
	}
	if c.DefaultTTL > c.MaxLifetime {
		l.warn(location{"cache", "default_ttl"}, fmt.Sprintf("cut to cache.max_lifetime, which is %s", FormatDuration(c.MaxLifetime)))
	}
	encode := c.Encode.spec()
	for _, mistake := range encode.Check() {
		l.refuse(append(location{"cache", "encode"}, mistake.Path...), mistake.Msg)
	}
	l.checkOnce(location{"cache", "targeted_fields"}, c.TargetedFields)
	l.checkOnce(location{"cache", "tag_headers"}, c.TagHeaders)
}

// checkOnce refuses field names that stand in a list twice.
func (l *loader) checkOnce(loc location, names []string) {
	seen := map[string]int{}
	for i, name := range names {
		if j, ok := seen[fold(name)]; ok {
			l.refuse(in(loc, strconv.Itoa(i)), fmt.Sprintf("stands here twice, first as number %d", j+1))
		}
		seen[fold(name)] = i
	}
}

func (l *loader) checkUpstreams() {
	names := sortedKeys(l.cfg.Upstreams)
	for _, name := range names {
		if err := checkUpstreamName(name); err != nil {
			l.refuse(location{"upstreams", name}, fmt.Sprintf("%v: %q", err, name))
		}
		o := l.cfg.Upstreams[name]
		for _, e := range o.Validate() {
			l.refuse(append(location{"upstreams", name}, e.Path...), e.Msg)
		}
		for _, e := range o.CheckFiles() {
			loc := append(location{"upstreams", name}, e.Path...)
			if e.Absent {
				l.refuseOrWarn(loc, e.Msg)
			} else {
				l.refuse(loc, e.Msg)
			}
		}
	}
	switch d := l.cfg.DefaultUpstream; {
	case l.isBroken("upstreams"):
	case len(names) == 0:
		l.refuseOrWarn(nil, "no upstream: name one in upstreams, or with --upstream URL")
	case d == "" && len(names) == 1:
		l.cfg.DefaultUpstream = names[0]
	case d != "" && !slices.Contains(names, d):
		l.refuse(location{"default_upstream"}, fmt.Sprintf("no upstream has the name %q%s", d, didYouMean(d, names)))
	}
}

// checkUpstreamName: the name is a label in metrics and a word in logs.
func checkUpstreamName(s string) error {
	for i, r := range s {
		if !isTokenRune(r, "") && (i == 0 || r != '-' && r != '_' && r != '.') {
			return errors.New("a name is of letters and digits, and of . - _ after the first")
		}
	}
	if s == "" {
		return errors.New("a name is needed")
	}
	return nil
}

// checkRoutes compiles the routes, which finds what is wrong with them, and keeps the result.
func (l *loader) checkRoutes() {
	o := l.cfg.RouteOptions()
	if l.isBroken("upstreams") { // then the names are not known: any may be right
		for _, r := range l.cfg.Routes {
			o.Upstreams = append(o.Upstreams, r.Upstream)
		}
	}
	table, warnings, mistakes := rules.Compile(l.cfg.Routes, o)
	for _, e := range mistakes {
		l.refuse(routeLocation(e), e.Msg)
	}
	for _, w := range warnings {
		l.warn(routeLocation(w), w.Msg)
	}
	for i, r := range l.cfg.Routes {
		if r.Cache != nil && r.Cache.MaxObjectBytes != nil && *r.Cache.MaxObjectBytes > l.cfg.Cache.L1.MaxBytes {
			l.refuse(location{"routes", strconv.Itoa(i), "cache", "max_object_bytes"},
				fmt.Sprintf("more than cache.l1.max_bytes, which is %s", FormatSize(l.cfg.Cache.L1.MaxBytes)))
		}
	}
	for i, r := range l.cfg.Routes {
		if r.Cache != nil && r.Cache.Collapse.AcrossInstances && !l.cfg.HasL2() {
			l.warn(location{"routes", strconv.Itoa(i), "cache", "collapse", "across_instances"}, "has no effect without a Redis that instances share")
		}
	}
	l.cfg.table = table
}

func routeLocation(e *rules.Error) location {
	return append(location{"routes", strconv.Itoa(e.Route)}, e.Path...)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
