package rules

import (
	"strings"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// The kinds of a key's parts. A key is a sequence of length-delimited parts; each thing in it is a kind followed by as
// many parts as that kind has, so that no two requests which differ in what is keyed share bytes.
const (
	kindScheme  = "s" // value
	kindHost    = "h" // value, port included
	kindRoute   = "r" // name
	kindPath    = "p" // value
	kindParam   = "q" // one parameter as it stands in the query
	kindField   = "f" // name, value; absent fields have no part
	kindCookie  = "c" // name, value; one for each cookie of that name
	kindCookies = "C" // all Cookie lines, where there are several (see appendCookies)
	kindVersion = "v" // value
)

// keyRule says what of a request is in the key.
type keyRule struct {
	host, route bool
	query       queryRule
	headers     []string // canonical
	cookies     []string
	version     string
}

// stackParams is how many parameters of a query are handled without allocating.
const stackParams = 32

// AppendKey appends the key's text to buf and returns the key; Key.Text is what was appended, in buf's array. Its parts are the
// scheme, host, route name, path, query, header fields, cookies and version, as far as the route asks for them. Header
// fields enter it normalised (see Normalize): what the origin gets is what the key sees.
//
// It does not allocate where buf is large enough, the query has at most 32 parameters and no field needs rewriting.
func (r *Route) AppendKey(buf []byte, v View) rfc9111.Key {
	t := v.Target()
	k := &r.key
	begin := len(buf)
	buf = append2(buf, kindScheme, t.Scheme)
	if k.host {
		buf = append2(buf, kindHost, t.Host)
	}
	if k.route {
		buf = append2(buf, kindRoute, r.Name)
	}
	buf = append2(buf, kindPath, t.Path)
	var stack [stackParams]string
	for _, param := range k.query.appendKeyed(stack[:0], t.Query) {
		buf = append2(buf, kindParam, param)
	}
	for _, name := range k.headers {
		if value, lines := v.Field(name); lines > 0 {
			buf = append2(buf, kindField, name)
			buf = rfc9111.AppendPart(buf, r.Normalize(name, value))
		}
	}
	if len(k.cookies) > 0 {
		buf = k.appendCookies(buf, v)
	}
	if k.version != "" {
		buf = append2(buf, kindVersion, k.version)
	}
	return rfc9111.NewKey(buf[begin:])
}

// KeyIsURI reports whether the key follows from the target alone: whoever purges the target knows it.
func (r *Route) KeyIsURI() bool { return len(r.key.headers) == 0 && len(r.key.cookies) == 0 }

// appendCookies appends the cookies that are in the key. A request has one Cookie line (RFC 6265, 5.4; HTTP/2 joins
// its crumbs). Origins disagree about several lines, so that a cookie could be hidden from the key in a second one:
// then all of them are in the key, whole.
func (k *keyRule) appendCookies(buf []byte, f rfc9111.Fields) []byte {
	value, lines := f.Field("Cookie")
	if lines > 1 {
		return append2(buf, kindCookies, value)
	}
	for _, want := range k.cookies {
		for rest := value; rest != ""; {
			var name, v string
			if name, v, rest = nextCookie(rest, ";"); name == want {
				buf = append2(buf, kindCookie, name)
				buf = rfc9111.AppendPart(buf, v)
			}
		}
	}
	return buf
}

// nextCookie takes the first cookie off a Cookie field value. separators is ";", or ";," for several combined lines.
func nextCookie(s, separators string) (name, value, rest string) {
	pair := s
	if i := strings.IndexAny(s, separators); i >= 0 {
		pair, rest = s[:i], s[i+1:]
	}
	name, value, _ = strings.Cut(pair, "=")
	return strings.Trim(name, " \t"), strings.Trim(value, " \t"), rest
}

func append2(buf []byte, kind, value string) []byte {
	return rfc9111.AppendPart(rfc9111.AppendPart(buf, kind), value)
}

// AppendURI appends the URI by which a purge finds what this route stores for t: "scheme://host/path?query", the query
// as it is in the key, and the host left out ("scheme:///path") where it is not in the key.
func (r *Route) AppendURI(buf []byte, t *rfc9111.Target) []byte {
	buf = append(buf, t.Scheme...)
	buf = append(buf, "://"...)
	if r.key.host {
		buf = append(buf, t.Host...)
	}
	buf = append(buf, t.Path...)
	var stack [stackParams]string
	separator := byte('?')
	for _, param := range r.key.query.appendKeyed(stack[:0], t.Query) {
		buf = append(append(buf, separator), param...)
		separator = '&'
	}
	return buf
}

// ForwardURI is the request URI for the upstream: the path rewritten, and the query in the client's order without what
// the key ignores, unless the route says forward.
func (r *Route) ForwardURI(t *rfc9111.Target) (path, query string) {
	return r.rewrite.apply(t.Path), r.key.query.forwarded(t.Query)
}

// apply rewrites a path. The prefixes are "" or begin with "/" and end without one. "*", the target of a server-wide
// OPTIONS (RFC 9112, 3.2.4), is no path and stays.
func (w *Rewrite) apply(path string) string {
	if !strings.HasPrefix(path, "/") {
		return path
	}
	if rest, ok := strings.CutPrefix(path, w.StripPrefix); ok && (rest == "" || rest[0] == '/') {
		path = rest
	}
	if w.AddPrefix != "" {
		return w.AddPrefix + path
	}
	if path == "" {
		return "/"
	}
	return path
}
