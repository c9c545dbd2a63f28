package proxy

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
)

// Order asks for an invalidation: of all that any of its lists names. It is the body of POST /v1/invalidate.
type Order struct {
	// URLs are absolute; one without scheme means both.
	URLs     []string `json:"urls"`
	Keys     []string `json:"keys"` // as explain shows them
	Tags     []string `json:"tags"`
	Patterns []string `json:"patterns"`
	// Groups are names of groups at all origins, or of one: "https://shop.example.com NAME".
	Groups   []string `json:"groups"`
	All      bool     `json:"all"`
	Strategy string   `json:"strategy"` // "" is immediate
	Refresh  bool     `json:"refresh"`  // what is named by URL is fetched anew at once
	Wait     string   `json:"wait"`     // none, local or all; "" is all
	Timeout  string   `json:"timeout"`  // of the waiting, a duration; "": as long as it takes, which is bounded
}

// asking is an order that came on the main listener, where it may be a ban too.
type asking struct {
	Order
	ban invalidation.Ban
}

// OrderError says what is wrong with an order.
type OrderError struct{ Detail string }

func (e *OrderError) Error() string { return e.Detail }

func orderErrorf(format string, args ...any) error { return &OrderError{fmt.Sprintf(format, args...)} }

// target is a URL that an order names, with one scheme or both.
type target struct {
	rfc9111.Target
	both bool
}

// named is what an order has come to, before it is known what else depends on it.
type named struct {
	purge   invalidation.Purge
	targets []target
	keys    [][16]byte // named by themselves
	refresh bool
}

// compile reads an order. The error is an *OrderError.
func (o *Order) compile(p *Plan) (n named, err error) {
	if n.purge.Strategy, n.purge.TTL, err = invalidation.ParseStrategy(o.Strategy); err != nil {
		return n, orderErrorf("strategy: %v", err)
	}
	if n.purge.Wait, err = invalidation.ParseWait(o.Wait); err != nil {
		return n, orderErrorf("wait: %v", err)
	}
	if o.Timeout != "" {
		if n.purge.Timeout, err = time.ParseDuration(o.Timeout); err != nil || n.purge.Timeout <= 0 {
			return n, orderErrorf("timeout: %q is no duration above 0, such as 5s", o.Timeout)
		}
	}
	if n.refresh = o.Refresh; o.Refresh && len(o.URLs) == 0 {
		return n, orderErrorf("refresh: what is fetched anew must be named by URL")
	}
	for _, text := range o.URLs {
		t, err := parseOrderURL(text)
		if err != nil {
			return n, err
		}
		n.addTarget(p, t)
	}
	for _, key := range o.Keys {
		n.addKey(key)
	}
	for _, tag := range o.Tags {
		if len(tag) > rules.MaxTag || strings.ContainsFunc(tag, separatesTags) {
			return n, orderErrorf("tags: %.100q has a space, a comma or a control character, or more than %d bytes; no response can have it", tag, rules.MaxTag)
		}
		n.add(invalidation.KindTag, tag)
	}
	for _, pattern := range o.Patterns {
		n.add(invalidation.KindPattern, pattern)
	}
	for _, group := range o.Groups {
		n.add(invalidation.KindGroup, groupValue(group))
	}
	if o.All {
		n.add(invalidation.KindAll, "")
	}
	return n, nil
}

// compile reads the order and the ban.
func (o *asking) compile(p *Plan) (named, error) {
	n, err := o.Order.compile(p)
	if o.ban != (invalidation.Ban{}) {
		n.purge.Selectors = append(n.purge.Selectors, o.ban.Selector())
	}
	return n, err
}

func (n *named) add(kind invalidation.Kind, value string) {
	s := invalidation.Selector{Kind: kind, Value: value}
	if !slices.Contains(n.purge.Selectors, s) {
		n.purge.Selectors = append(n.purge.Selectors, s)
	}
}

// addTarget names a URL under all addresses that responses to requests for it may be stored by.
func (n *named) addTarget(p *Plan, t target) {
	n.targets = append(n.targets, t)
	for _, uri := range p.uris(&t.Target) {
		if t.both {
			_, uri, _ = strings.Cut(uri, ":")
		}
		n.add(invalidation.KindURL, uri)
	}
}

// addKey names a key. What is no key is left for the log to refuse.
func (n *named) addKey(text string) {
	text = strings.ToLower(text)
	n.add(invalidation.KindKey, text)
	if key, ok := rfc9111.ParseKeyHash(text); ok {
		n.keys = append(n.keys, key)
	}
}

// parseOrderURL reads "http://host/path", "//host/path" or "host/path".
func parseOrderURL(text string) (t target, err error) {
	switch {
	case strings.HasPrefix(text, "http://"), strings.HasPrefix(text, "https://"):
		t.Target, err = rfc9111.ParseURL(text)
	case text == "", strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//"):
		return t, orderErrorf("urls: %q has no host; write a URL such as http://shop.example.com/products/1, or a pattern such as /products/1", text)
	default:
		t.both = true
		t.Target, err = rfc9111.ParseURL("http://" + strings.TrimPrefix(text, "//"))
	}
	if err != nil {
		return t, orderErrorf("urls: %q: %v", text, err)
	}
	return t, nil
}

// anyOrigin stands for every origin in the name of a group.
const anyOrigin = "*://*"

// groupValue is the value of a selector for a group. One without an origin is that of all origins.
func groupValue(group string) string {
	if origin, _, found := strings.Cut(group, " "); found && strings.Contains(origin, "://") {
		return group
	}
	if group == "" {
		return ""
	}
	return anyOrigin + " " + group
}

func separatesTags(r rune) bool { return r <= ' ' || r == ',' || r == 0x7f }

// Fields of a PURGE that name tags, and those that do so for a soft purge.
var (
	tagFields     = []string{"Surrogate-Key", "Xkey", "Xkey-Purge", "Cache-Tag", "X-Cache-Tags"}
	softTagFields = []string{"Xkey-Softpurge"}
)

// parseOrder reads the fields of a PURGE or one of its kin, as the clients of Varnish with xkey, Fastly, Cloudflare, FOSHttpCache,
// Magento and WordPress send them. What names nothing by its fields means the URL of the request, which is t. The error is an
// *OrderError.
func parseOrder(method string, h http.Header, t *rfc9111.Target) (o asking, err error) {
	o.Strategy, o.Wait, o.Timeout = h.Get("X-Purge-Strategy"), h.Get("X-Purge-Wait"), h.Get("X-Purge-Timeout")
	for _, name := range []string{"X-Purge-Strategy", "X-Purge-Wait", "X-Purge-Timeout", "Fastly-Soft-Purge"} {
		if lines, ok := h[name]; ok && (len(lines) != 1 || lines[0] == "") {
			return o, orderErrorf("%s has no value, or several", name)
		}
	}
	soft, err := softFields(h)
	if err != nil {
		return o, err
	}
	if soft && o.Strategy == "" {
		o.Strategy = "soft"
	}
	switch method {
	case "BAN":
		return o, o.parseBan(h)
	case "REFRESH":
		o.Refresh = true
	}
	if h["X-Magento-Tags-Pattern"] != nil {
		return o, o.parseBan(h)
	}
	if err := o.parseNames(h); err != nil {
		return o, err
	}
	if o.All, err = clears(h); err != nil {
		return o, err
	}
	regular, err := isRegular(h)
	switch {
	case err != nil:
	case method == "REFRESH":
		o.URLs = []string{"//" + t.Host + t.RequestURI()}
	case len(o.Tags)+len(o.Patterns) > 0 || o.All:
	case method != "PURGE":
		err = orderErrorf("a %s needs a field that names tags, such as xkey-purge", method)
	case regular:
		o.ban = regularURL(t)
	default:
		o.URLs = []string{"//" + t.Host + t.RequestURI()}
	}
	return o, err
}

// regularURL selects what the regular expression in a URL matches, from its beginning on: of its host, and of routes that keep the host
// out of the key.
func regularURL(t *rfc9111.Target) invalidation.Ban {
	host := t.Host
	if port := strings.LastIndexByte(host, ':'); port > strings.LastIndexByte(host, ']') {
		host = host[:port]
	}
	return invalidation.Ban{URL: "^" + t.RequestURI(), Host: "^(" + regexp.QuoteMeta(host) + ")?$"}
}

// clears reads the field by which the client of FOSHttpCache for Symfony asks for everything to go.
func clears(h http.Header) (all bool, err error) {
	switch lines := h["Clear-Cache"]; {
	case len(lines) == 0:
		return false, nil
	case len(lines) > 1 || !strings.EqualFold(lines[0], "true"):
		return false, orderErrorf("Clear-Cache is not true")
	}
	return true, nil
}

// isRegular reads the field by which plugins of WordPress say that the URL of a PURGE is a regular expression.
func isRegular(h http.Header) (bool, error) {
	switch lines := h["X-Purge-Method"]; {
	case len(lines) == 0:
		return false, nil
	case len(lines) > 1:
		return false, orderErrorf("X-Purge-Method has several values")
	default:
		switch strings.ToLower(lines[0]) {
		case "regex":
			return true, nil
		case "default", "exact":
			return false, nil
		}
		return false, orderErrorf("X-Purge-Method: %q is neither regex nor exact nor default", lines[0])
	}
}

// softFields reports whether one of the fields asks for a soft purge.
func softFields(h http.Header) (soft bool, err error) {
	switch value := h.Get("Fastly-Soft-Purge"); value {
	case "", "0":
	case "1":
		soft = true
	default:
		return false, orderErrorf("Fastly-Soft-Purge: %q is neither 0 nor 1", value)
	}
	for _, name := range softTagFields {
		_, given := h[name]
		soft = soft || given
	}
	return soft, nil
}

// parseNames reads the fields that name tags and patterns. One that is there must name something: a client that has computed no tag
// does not mean the URL.
func (o *Order) parseNames(h http.Header) error {
	for _, name := range slices.Concat(tagFields, softTagFields) {
		lines, given := h[name]
		before := len(o.Tags)
		for _, line := range lines {
			o.Tags = appendTags(o.Tags, line)
		}
		if given && len(o.Tags) == before && !namesAny(lines) {
			return orderErrorf("%s names no tag", name)
		}
	}
	lines, given := h["X-Purge-Pattern"]
	for _, line := range lines {
		o.Patterns = append(o.Patterns, patternsOf(line)...)
	}
	if given && len(o.Patterns) == 0 {
		return orderErrorf("X-Purge-Pattern names no pattern")
	}
	return nil
}

// namesAny reports whether the lines name a tag, be it one that another field has named already.
func namesAny(lines []string) bool {
	return slices.ContainsFunc(lines, func(line string) bool { return len(appendTags(nil, line)) > 0 })
}

// patternsOf takes a list of patterns apart. A regular expression may have commas in it, and so is the rest of its line.
func patternsOf(line string) (patterns []string) {
	for rest := strings.TrimSpace(line); rest != ""; rest = strings.TrimSpace(rest) {
		pattern := rest
		if strings.HasPrefix(rest, "re:") {
			rest = ""
		} else {
			pattern, rest, _ = strings.Cut(rest, ",")
		}
		if pattern = strings.TrimSpace(pattern); pattern != "" {
			patterns = append(patterns, pattern)
		}
	}
	return patterns
}

// parseBan reads the regular expressions of a BAN, all of which must match. One that matches everything is none; where all do,
// everything is meant.
func (o *asking) parseBan(h http.Header) error {
	given := false
	for name, into := range map[string]*string{
		"X-Url": &o.ban.URL, "X-Host": &o.ban.Host, "X-Cache-Tags": &o.ban.Tags, "X-Magento-Tags-Pattern": &o.ban.Tags, "X-Content-Type": nil,
	} {
		lines := h[name]
		if len(lines) == 0 {
			continue
		}
		given = true
		switch expression := lines[0]; {
		case len(lines) > 1 || expression == "":
			return orderErrorf("%s has no value, or several", name)
		case expression == ".*" || expression == "^.*$":
		case into == nil:
			return orderErrorf("%s: what is stored cannot be selected by its media type", name)
		default:
			*into = expression
		}
	}
	if !given {
		return orderErrorf("a BAN needs X-Url, X-Host or X-Cache-Tags")
	}
	o.All = o.ban == (invalidation.Ban{})
	return nil
}
