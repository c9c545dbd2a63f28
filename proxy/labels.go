package proxy

import (
	"net/http"
	"slices"
	"strings"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
)

// Fields by which an origin speaks to this cache alone. No client sees them.
const (
	dependsOn      = "X-Cache-Depends-On"
	invalidateTags = "X-Invalidate-Tags"
)

// label returns the names by which a response to v with the fields h can be purged, and takes out of h what nobody else is to see.
// Where the reason is one there are too many, or one cannot be read, and the response must not be stored: it could not be purged by
// the names that it would have lost. old are the labels of the response that h freshens; nil: it is a new one. from knows other
// responses; nil: nothing is known of them.
func (p *Plan) label(v *view, h http.Header, old *cache.Labels, from *Proxy) (*cache.Labels, rfc9111.Reason) {
	l := &cache.Labels{Groups: rfc9111.Groups(rfc9111.Header(h), "Cache-Groups")}
	for i, group := range l.Groups {
		l.Groups[i] = rfc9111.GroupOf(&v.target, group)
	}
	for _, name := range v.route.TagHeaders {
		for _, line := range h[name] {
			l.Tags = appendTags(l.Tags, line)
		}
	}
	declared, read := dependencies(h[dependsOn])
	_, said := h[dependsOn]
	switch {
	case old == nil:
		l.Rule = v.route.AppendTags(nil, v)
		l.Depends = p.resolve(&v.target, slices.Concat(v.route.DependsOn, declared), from)
	case said:
		l.Rule, l.Depends = old.Rule, p.resolve(&v.target, slices.Concat(v.route.DependsOn, declared), from)
	default:
		l.Rule, l.Depends = old.Rule, old.Depends
	}
	delete(h, dependsOn)
	delete(h, invalidateTags)
	if !read || len(l.Depends) >= maxResolved || overLimits(l, len(v.route.DependsOn)+len(declared), v.route.MaxTags) {
		return l, rfc9111.ReasonTags
	}
	return l, rfc9111.ReasonNone
}

// labeller is label for a response that is freshened.
func (p *Plan) labeller(v *view, from *Proxy) func(http.Header, *cache.Labels) (*cache.Labels, http.Header, rfc9111.Reason) {
	return func(h http.Header, old *cache.Labels) (*cache.Labels, http.Header, rfc9111.Reason) {
		labels, over := p.label(v, h, old, from)
		return labels, cache.Conceal(h, v.route.TagHeaders), over
	}
}

// appendTags appends the tags of a field line that are not there yet. They are separated by spaces or commas.
func appendTags(tags []string, line string) []string {
	for tag := range strings.FieldsFuncSeq(line, func(r rune) bool { return r <= ' ' || r == ',' }) {
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return tags
}

// overLimits reports whether there are more than limit labels, or one that is too long. 0: there is no limit. Of what the response
// depends on, so many count as it was said to: what that is made of in turn is bounded by maxResolved.
func overLimits(l *cache.Labels, depends, limit int) bool {
	n := len(l.Rule) + len(l.Tags) + len(l.Groups) + depends
	for _, list := range [][]string{l.Rule, l.Tags, l.Groups} {
		if slices.ContainsFunc(list, func(label string) bool { return len(label) > maxLabel }) {
			return true
		}
	}
	longest := maxLabel + len("group:")
	return limit > 0 && n > limit || slices.ContainsFunc(l.Depends, func(node string) bool { return len(node) > longest })
}

// maxLabel is how long a label may be: a tag, with a word before it that says which kind it is.
const maxLabel = rules.MaxTag + len("url:")

// bareURIs returns the addresses, without their scheme, under which responses to requests for target may be stored.
func (p *Plan) bareURIs(target *rfc9111.Target) (bare []string) {
	for _, uri := range p.uris(target) {
		_, rest, _ := strings.Cut(uri, ":")
		bare = append(bare, rest)
	}
	return bare
}

// conceal takes out of the head of an answer what the client is not to see: tags are for trusted proxies, which may cache too.
func (x *exchange) conceal(h http.Header) {
	delete(h, dependsOn)
	delete(h, invalidateTags)
	for _, name := range x.route.TagHeaders {
		if len(h[name]) > 0 && !x.fromTrusted() {
			delete(h, name)
		}
	}
}

// reveal adds what is concealed of a stored response, for a client that may see it.
func (x *exchange) reveal(e *cache.Entry) {
	if !e.Conceals() || !x.fromTrusted() {
		return
	}
	h := x.w.Header()
	for name, value := range e.Concealed() {
		h[name] = append(h[name], value)
	}
}
