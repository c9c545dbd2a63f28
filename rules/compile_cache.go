package rules

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// explicitOnly are the statuses that describe the request they answer, and are stored by the origin's explicit
// freshness alone.
var explicitOnly = []int{400, 412, 416, 417, 431}

func (c *routeCompiler) cache(s *CacheSpec) {
	r := c.route
	c.pattern(s.Pattern)
	c.tiers(s.Tiers)
	c.policy(s)
	c.dangers(s)
	r.key = c.key(&s.Key)
	r.vary = c.vary(&s.Vary)
	c.tags(s)
	r.MaxTags = c.options.MaxTags
	for _, name := range c.options.TagHeaders {
		r.TagHeaders = append(r.TagHeaders, http.CanonicalHeaderKey(name))
	}
	r.admits = c.condition(s.When, at("cache", "when"), true)
	r.bypass = c.condition(s.Bypass, at("cache", "bypass"), false)
	r.CompleteRanges = s.CompleteRanges
	r.CollapseWait = valueOr(s.Collapse.Wait, defaultWait)
	if r.CollapseWait < 0 {
		c.errorf(at("cache", "collapse", "wait"), "is negative; 0s does not wait at all")
	}
	r.AcrossInstances = s.Collapse.AcrossInstances && r.CollapseWait > 0
	if s.Collapse.AcrossInstances && !r.Remote {
		c.errorf(at("cache", "collapse", "across_instances"), "needs the tier that instances have in common; write tiers: [l1, l2]")
	}
	r.MaxObjectBytes = valueOr(s.MaxObjectBytes, c.options.MaxObjectBytes)
	if s.MaxObjectBytes != nil && r.MaxObjectBytes < 1 {
		c.errorf(at("cache", "max_object_bytes"), "must be more than 0; to cache nothing write pattern: off")
	}
}

func (c *routeCompiler) pattern(pattern string) {
	switch pattern {
	case "", "cache-aside":
	case "off":
		c.route.Off = true
	case "refresh-ahead", "audit":
		c.errorf(at("cache", "pattern"), "%s is not built yet; write cache-aside or off", pattern)
	default:
		c.errorf(at("cache", "pattern"), "%q is no pattern; write cache-aside or off", pattern)
	}
}

func (c *routeCompiler) tiers(tiers []string) {
	if tiers != nil && len(tiers) == 0 {
		c.errorf(at("cache", "tiers"), "names no tier; to cache nothing write pattern: off")
	}
	for i, tier := range tiers {
		path := element(at("cache", "tiers"), i)
		switch {
		case tier != "l1" && tier != "l2":
			c.errorf(path, "%q is no tier; write [l1], or [l1, l2], or leave tiers out", tier)
		case slices.Contains(tiers[:i], tier):
			c.errorf(path, "%s is named twice", tier)
		}
	}
	if slices.Contains(tiers, "l2") && !slices.Contains(tiers, "l1") {
		c.errorf(at("cache", "tiers"), "l2 stands behind memory; write [l1, l2]")
	}
	c.route.Remote = tiers == nil || slices.Contains(tiers, "l2")
}

func (c *routeCompiler) policy(s *CacheSpec) {
	p := rfc9111.Policy{
		HasTTL:               s.TTL != nil,
		TTL:                  c.duration(s.TTL, 0, "ttl"),
		DefaultTTL:           c.options.DefaultTTL,
		MaxLifetime:          c.options.MaxLifetime,
		StaleWhileRevalidate: c.duration(s.StaleWhileRevalidate, -1, "stale_while_revalidate"),
		StaleIfError:         c.duration(s.StaleIfError, -1, "stale_if_error"),
		StatusTTL:            s.StatusTTL,
		IgnoreOrigin:         !valueOr(s.RespectOrigin, true),
		StoreCookies:         s.Store.SetCookie,
		StoreAuthorized:      s.Store.Authorized,
		StoreUnkeyedCORS:     s.Store.UnkeyedCORS,
		StorePost:            s.Store.Post,
		Encode:               c.encoding(&s.Encode),
	}
	for _, name := range c.options.TargetedFields {
		p.Targeted = append(p.Targeted, http.CanonicalHeaderKey(name))
	}
	for _, status := range sorted(s.StatusTTL) {
		ttl := s.StatusTTL[status]
		path := []string{"status_ttl", strconv.Itoa(status)}
		c.duration(&ttl, 0, path...)
		switch {
		case status < 200 || status > 599:
			c.errorf(below(at("cache"), path...), "is no status of a final response; write one from 200 to 599")
		case status == http.StatusNotModified:
			c.errorf(below(at("cache"), path...), "a 304 is never stored: it renews what is")
		case slices.Contains(explicitOnly, status):
			c.errorf(below(at("cache"), path...), "answers one request alone and is stored by the origin's explicit freshness only")
		}
	}
	c.route.Policy = p
}

// duration checks a duration below cache and gives its value, or absent.
func (c *routeCompiler) duration(d *time.Duration, absent time.Duration, path ...string) time.Duration {
	path = below(at("cache"), path...)
	switch limit := c.options.MaxLifetime; {
	case d == nil:
		return absent
	case *d < 0:
		c.errorf(path, "is negative; write 0s or more")
	case limit > 0 && *d > limit:
		c.warnf(path, "is longer than cache.max_lifetime, which cuts it to %v", limit)
	}
	return *d
}

// dangers warns of what can hand one user's response to another.
func (c *routeCompiler) dangers(s *CacheSpec) {
	for _, danger := range []struct {
		chosen bool
		path   []string
		msg    string
	}{
		{!valueOr(s.RespectOrigin, true), at("cache", "respect_origin"),
			"responses that the origin marks as private or not to be stored are stored and shared"},
		{s.Store.SetCookie, at("cache", "store", "set_cookie"),
			"responses are stored with their cookies, which every client then gets"},
		{s.Store.Authorized, at("cache", "store", "authorized"),
			"responses to requests with Authorization are stored and shared; key.headers can tell users apart"},
		{s.Store.UnkeyedCORS, at("cache", "store", "unkeyed_cors"),
			"responses that allow one origin are stored and sent to all origins"},
		{s.Store.Post, at("cache", "store", "post"),
			"responses to POST are stored and answer later GET requests"},
	} {
		if danger.chosen {
			c.warnf(danger.path, "%s", danger.msg)
		}
	}
}

func (c *routeCompiler) key(s *KeySpec) keyRule {
	k := keyRule{
		host:    valueOr(s.Host, true),
		route:   valueOr(s.Route, true),
		query:   c.query(&s.Query),
		version: s.Version,
	}
	seen := map[string]bool{}
	unkeyed := guard("is in the key by key.host", "Host")
	for i, name := range s.Headers {
		path := element(at("cache", "key", "headers"), i)
		switch canonical, ok := c.fieldName(name, path, unkeyed, seen); {
		case ok && canonical == "Accept-Encoding" && c.route.Policy.Encode != nil:
			c.warnf(path, "is left out of the key: the route encodes responses itself (cache.encode), and asks for none that are encoded")
		case ok:
			k.headers = append(k.headers, canonical)
		}
	}
	for i, name := range s.Cookies {
		path := element(at("cache", "key", "cookies"), i)
		switch {
		case !isToken(name):
			c.errorf(path, "%q is no cookie name", name)
		case slices.Contains(k.cookies, name):
			c.errorf(path, "%s is named twice", name)
		default:
			k.cookies = append(k.cookies, name)
		}
	}
	slices.Sort(k.headers) // the order in which they are configured makes no other key
	slices.Sort(k.cookies)
	return k
}

func (c *routeCompiler) query(s *QuerySpec) queryRule {
	q := queryRule{sort: valueOr(s.Sort, true), forward: s.Forward}
	switch s.Mode {
	case "", "all":
		q.mode = queryAll
	case "none":
		q.mode = queryNone
	case "allow":
		q.mode = queryAllow
	case "ignore":
		q.mode = queryIgnore
	default:
		c.errorf(at("cache", "key", "query", "mode"), "%q is no mode; write all, none, allow or ignore", s.Mode)
		return q
	}
	if len(s.Names) > 0 && q.mode != queryAllow && q.mode != queryIgnore {
		c.errorf(at("cache", "key", "query", "names"), "has a meaning only with mode: allow or mode: ignore")
	}
	for _, name := range s.Names {
		q.names = append(q.names, newGlob(name, '/'))
	}
	return q
}

// unnormalized are fields whose normal form is not a route's to choose.
var unnormalized = merge(guard(ownFraming, framing...), guard("is always normalised", "Accept-Encoding"),
	guard("says who is asking and is passed on as it is", "Authorization", "Cookie", "Host", "Proxy-Authorization"))

func (c *routeCompiler) vary(s *VarySpec) varyRule {
	var v varyRule
	seen := map[string]bool{}
	for _, name := range sorted(s.Normalize) {
		path := at("cache", "vary", "normalize", name)
		canonical, ok := c.fieldName(name, path, unnormalized, seen)
		if !ok {
			continue
		}
		allowed := s.Normalize[name]
		if len(allowed) == 0 {
			c.errorf(path, "names no value; the first is what all others become")
			continue
		}
		for i, value := range allowed {
			if value == "" || !isFieldValue(value) || canonical == "Accept-Language" && strings.ContainsAny(value, ",;* ") {
				c.errorf(element(path, i), "%q is no value of %s", value, canonical)
			}
		}
		if v.normalize == nil {
			v.normalize = map[string][]string{}
		}
		v.normalize[canonical] = allowed
	}
	for i, name := range s.Sort {
		if canonical, ok := c.fieldName(name, element(at("cache", "vary", "sort"), i), unnormalized, seen); ok {
			v.sort = append(v.sort, canonical)
		}
	}
	slices.Sort(v.sort)
	v.names = append(slices.Concat(sorted(v.normalize), v.sort), "Accept-Encoding")
	slices.Sort(v.names)
	return v
}

func valueOr[T any](p *T, absent T) T {
	if p == nil {
		return absent
	}
	return *p
}
