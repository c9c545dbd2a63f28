package rules

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// MaxTag is how many bytes a tag may have.
const MaxTag = 1 << 10

// template is a text with references to the request: "product:{path.1}". The zero value is the empty text.
type template struct {
	pattern string
	parts   []templatePart
}

// templatePart is a literal, or what stands in braces.
type templatePart struct {
	kind    partKind
	literal string // of a literal; else the name of a parameter or field
	segment int    // of the path
}

type partKind uint8

const (
	partLiteral partKind = iota
	partPath
	partQuery
	partHost
	partHeader
	partRoute
)

// parts is what may stand in braces, for those who get it wrong.
const templateParts = "{path.N}, {query.NAME}, {host}, {header.NAME} and {route}"

// template compiles a template, or reports what is wrong with it.
func (c *routeCompiler) template(text string, path []string) template {
	t := template{pattern: text}
	if text == "" {
		c.errorf(path, "is empty")
	}
	if strings.ContainsFunc(text, separates) {
		c.errorf(path, "%q has a space, a comma or a control character, by which tags are separated", text)
	}
	for rest := text; rest != ""; {
		literal, after, found := strings.Cut(rest, "{")
		if literal != "" {
			t.parts = append(t.parts, templatePart{literal: literal})
		}
		if !found {
			break
		}
		var name string
		if name, rest, found = strings.Cut(after, "}"); !found {
			c.errorf(path, "%q has an opening brace and no closing one", text)
			break
		}
		part, ok := partOf(name)
		if !ok {
			c.errorf(path, "{%s} is nothing that a request has; there are %s", name, templateParts)
		}
		t.parts = append(t.parts, part)
	}
	return t
}

func partOf(name string) (p templatePart, ok bool) {
	what, which, _ := strings.Cut(name, ".")
	switch {
	case name == "host":
		return templatePart{kind: partHost}, true
	case name == "route":
		return templatePart{kind: partRoute}, true
	case what == "path":
		n, err := strconv.Atoi(which)
		return templatePart{kind: partPath, segment: n}, err == nil && n >= 0 && which == strconv.Itoa(n)
	case what == "query":
		return templatePart{kind: partQuery, literal: which}, which != ""
	case what == "header":
		return templatePart{kind: partHeader, literal: http.CanonicalHeaderKey(which)}, isToken(which)
	}
	return p, false
}

// appendTo appends the text for a request, or reports false where a part is absent or empty.
func (t *template) appendTo(buf []byte, r *Route, v View, encode encoding) ([]byte, bool) {
	for i := range t.parts {
		p := &t.parts[i]
		if p.kind == partLiteral {
			buf = append(buf, p.literal...)
			continue
		}
		value, ok := p.value(r, v)
		if !ok || value == "" {
			return buf, false
		}
		buf = encode(buf, p.kind, value)
	}
	return buf, true
}

// value returns what the part stands for, as it stands in the request.
func (p *templatePart) value(r *Route, v View) (string, bool) {
	t := v.Target()
	switch p.kind {
	case partPath:
		return segment(t.Path, p.segment)
	case partQuery:
		return parameter(t.Query, p.literal)
	case partHost:
		return hostname(t.Host), true
	case partRoute:
		return r.Name, true
	default:
		value, lines := v.Field(p.literal)
		return r.Normalize(p.literal, value), lines > 0
	}
}

// segment returns the n-th segment of a path.
func segment(path string, n int) (string, bool) {
	rest := strings.TrimPrefix(path, "/")
	for more := true; more; n-- {
		var s string
		if s, rest, more = strings.Cut(rest, "/"); n == 0 {
			return s, true
		}
	}
	return "", false
}

// parameter returns the value of the first parameter of that name.
func parameter(query, name string) (string, bool) {
	for more := query != ""; more; {
		var param string
		param, query, more = strings.Cut(query, "&")
		if n, value, _ := strings.Cut(param, "="); equalDecoded(n, name) {
			return value, true
		}
	}
	return "", false
}

// encoding writes a value into the text that a template becomes.
type encoding func(buf []byte, kind partKind, value string) []byte

// appendTagValue decodes the value, and percent-encodes what separates tags from each other or cannot stand in a header field.
func appendTagValue(buf []byte, kind partKind, s string) []byte {
	switch kind {
	case partPath:
		if plain, err := url.PathUnescape(s); err == nil { // always, in a path in normal form
			s = plain
		}
	case partQuery:
		s = decoded(s)
	}
	for i := range len(s) {
		if c := s[i]; separates(rune(c)) {
			buf = append(buf, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
		} else {
			buf = append(buf, c)
		}
	}
	return buf
}

// separates reports whether the character cannot be part of a tag.
func separates(r rune) bool { return r <= ' ' || r == ',' || r == 0x7f }

// appendURLValue leaves what comes from a URL as it is there, in normal form.
func appendURLValue(buf []byte, kind partKind, s string) []byte {
	if kind == partHeader || kind == partRoute {
		s = url.PathEscape(s)
	}
	return append(buf, s...)
}

// AppendTags appends the tags that the route gives to the response to v. A tag of which a part is absent is left out. It is asked
// when a response is stored, never for a hit.
func (r *Route) AppendTags(tags []string, v View) []string {
	return r.appendTexts(tags, r.tags, v, appendTagValue)
}

func (r *Route) appendTexts(texts []string, from []template, v View, encode encoding) []string {
	for i := range from {
		if text, ok := from[i].appendTo(nil, r, v, encode); ok && !slices.Contains(texts, string(text)) {
			texts = append(texts, string(text))
		}
	}
	return texts
}

// Provides reports whether a tag may be one of those that the route gives: a part in braces may be any text.
func (r *Route) Provides(tag string) bool {
	return slices.ContainsFunc(r.tags, func(t template) bool { return t.mayBe(tag) })
}

// mayBe reports whether the template can become the text.
func (t *template) mayBe(text string) bool {
	for i, p := range t.parts {
		switch {
		case p.kind == partLiteral && i == 0:
			if !strings.HasPrefix(text, p.literal) {
				return false
			}
			text = text[len(p.literal):]
		case p.kind != partLiteral && i == len(t.parts)-1:
			return text != ""
		case p.kind == partLiteral && i == len(t.parts)-1: // behind a part that is any text, but not none
			return len(text) > len(p.literal) && strings.HasSuffix(text, p.literal)
		case p.kind == partLiteral:
			at := strings.Index(text[min(1, len(text)):], p.literal)
			if at < 0 {
				return false
			}
			text = text[1+at+len(p.literal):]
		}
	}
	return text == ""
}

// DependencyKind says what a dependency names.
type DependencyKind uint8

// The kinds of dependencies.
const (
	DependsOnTag DependencyKind = iota
	DependsOnURL
)

// Dependency is what responses depend on: whatever ends it ends them. The value is a tag, or an absolute http or https URL, or one
// without scheme ("//host/path") or host ("/path"), which is that of the response.
type Dependency struct {
	Kind  DependencyKind
	Value string
}

// ParseDependency reads "tag:NAME" or "url:URL", or says what is wrong.
func ParseDependency(text string) (d Dependency, wrong string) {
	kind, value, _ := strings.Cut(text, ":")
	switch {
	case kind == "tag" && value == "", kind == "url" && value == "":
		return d, "names nothing"
	case len(value) > MaxTag:
		return d, "has more than 1024 bytes"
	case kind == "tag" && strings.ContainsFunc(value, separates):
		return d, "is no tag: it has a space, a comma or a control character"
	case kind == "tag":
		return Dependency{DependsOnTag, value}, ""
	case kind == "url":
		base := rfc9111.Target{Scheme: "http", Host: "localhost", Path: "/"}
		if value[0] != '/' && !strings.Contains(value, "://") {
			return d, "is no URL: it begins neither with a slash nor with http:// or https://"
		}
		if _, err := base.Resolve(value); err != nil {
			return d, "is no URL: " + err.Error()
		}
		return Dependency{DependsOnURL, value}, ""
	}
	return d, "is neither tag:NAME nor url:URL"
}

// String returns the form that ParseDependency reads.
func (d Dependency) String() string {
	if d.Kind == DependsOnTag {
		return "tag:" + d.Value
	}
	return "url:" + d.Value
}

func (c *routeCompiler) tags(s *CacheSpec) {
	seen := map[string]bool{}
	for i, text := range s.Tags {
		path := element(at("cache", "tags"), i)
		if seen[text] {
			c.errorf(path, "%s is named twice", text)
		}
		seen[text] = true
		t := c.template(text, path)
		c.unkeyed(&t, path)
		c.route.tags = append(c.route.tags, t)
	}
	for i, text := range s.DependsOn {
		d, wrong := ParseDependency(text)
		if wrong != "" {
			c.errorf(element(at("cache", "depends_on"), i), "%q %s", text, wrong)
		}
		c.route.DependsOn = append(c.route.DependsOn, d)
	}
}

// unkeyed warns of a tag that hangs on something which is not in the key: whoever fetches first chooses the tag for everybody.
func (c *routeCompiler) unkeyed(t *template, path []string) {
	for _, p := range t.parts {
		k := &c.route.key
		switch {
		case p.kind == partHeader && !slices.Contains(k.headers, p.literal):
			c.warnf(path, "{header.%s} is not in the key: the first client that asks chooses the tag for all; key.headers puts it there", p.literal)
		case p.kind == partQuery && !k.query.keyed(p.literal):
			c.warnf(path, "{query.%s} is not in the key: the first client that asks chooses the tag for all", p.literal)
		case p.kind == partHost && !k.host:
			c.warnf(path, "{host} is not in the key: the first client that asks chooses the tag for all")
		}
	}
}

// Invalidation is what a successful request with an unsafe method ends beside its own URL.
type Invalidation struct {
	WaitAll  bool     // for all instances, before the client gets its answer
	Patterns []string // checked
	tags     []template
	urls     []template
}

// IsEmpty reports whether nothing is ended beside what RFC 9111 asks for.
func (i *Invalidation) IsEmpty() bool { return len(i.Patterns)+len(i.tags)+len(i.urls) == 0 }

// InvalidatedTags returns the tags that a write to the route ends.
func (r *Route) InvalidatedTags(v View) []string {
	return r.appendTexts(nil, r.Invalidates.tags, v, appendTagValue)
}

// InvalidatedURLs returns the URLs that a write to the route ends, as references that are to be resolved against its own.
func (r *Route) InvalidatedURLs(v View) []string {
	return r.appendTexts(nil, r.Invalidates.urls, v, appendURLValue)
}

func (c *routeCompiler) write(s *WriteSpec) {
	inv := &c.route.Invalidates
	switch s.Wait {
	case "", "local":
	case "all":
		inv.WaitAll = true
	default:
		c.errorf(at("write", "wait"), "%q is no distance; write local or all", s.Wait)
	}
	list := at("write", "invalidate")
	for i, text := range s.Invalidate.Tags {
		inv.tags = append(inv.tags, c.template(text, element(below(list, "tags"), i)))
	}
	for i, text := range s.Invalidate.URLs {
		path := element(below(list, "urls"), i)
		if !strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "http://") && !strings.HasPrefix(text, "https://") {
			c.errorf(path, "%q begins neither with a slash nor with http:// or https://", text)
		}
		inv.urls = append(inv.urls, c.template(text, path))
	}
	for i, text := range s.Invalidate.Patterns {
		if wrong := checkPattern(text); wrong != "" {
			c.errorf(element(below(list, "patterns"), i), "%q %s", text, wrong)
		}
		inv.Patterns = append(inv.Patterns, text)
	}
}

// checkPattern says what is wrong with a purge pattern; "": nothing. Braces are no references here: what a client sends must not
// become a wildcard.
func checkPattern(text string) string {
	if expression, ok := strings.CutPrefix(text, "re:"); ok {
		if _, err := regexp.Compile(expression); err != nil || expression == "" {
			return "is no regular expression of RE2"
		}
		return ""
	}
	if text == "" {
		return "is empty"
	}
	return ""
}
