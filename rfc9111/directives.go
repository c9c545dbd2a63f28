package rfc9111

import (
	"strings"
	"time"
)

// maxDelta is what a delta-seconds value becomes that is too large (1.2.2): 2^31 seconds, about 68 years.
const maxDelta = (1 << 31) * time.Second

// directive is one member of Cache-Control (5.2).
type directive struct {
	name     string
	arg      string // without the quotes
	hasArg   bool
	badArg   bool // whitespace round "=", an unbalanced quote, or bytes after the closing one
	unclosed bool // the quoted string that begins here never ends
}

func (d *directive) is(name string) bool { return EqualFold(d.name, name) }

// nextDirective cuts the first directive off a Cache-Control value; ok is false at its end. It never fails: what breaks the grammar
// comes out as a directive with badArg. A quote that never closes is read as any other byte, so that it cannot hide the directives
// that follow it. It allocates only where a quoted string has an escape.
func nextDirective(s string) (d directive, rest string, ok bool) {
	for s != "" && (s[0] == ' ' || s[0] == '\t' || s[0] == ',') {
		s = s[1:]
	}
	if s == "" {
		return directive{}, "", false
	}
	i := 0
	for i < len(s) && s[i] != '=' && s[i] != ',' {
		i++
	}
	d.name = trim(s[:i])
	if i == len(s) || s[i] == ',' {
		return d, s[i:], true
	}
	d.hasArg, d.badArg = true, d.name != s[:i]
	s = s[i+1:]
	if unspaced := trim(s); unspaced != "" && unspaced[0] == '"' {
		if arg, after, closed := cutQuoted(unspaced); closed {
			d.badArg = d.badArg || s[0] != '"'
			return d.withQuoted(arg, after)
		}
		d.unclosed = true
	}
	arg, after, _ := strings.Cut(s, ",")
	d.arg = trim(arg)
	d.badArg = d.badArg || d.unclosed || arg != "" && (arg[0] == ' ' || arg[0] == '\t')
	return d, after, true
}

// withQuoted finishes a directive whose argument was a quoted string; after is what follows the closing quote.
func (d directive) withQuoted(arg, after string) (directive, string, bool) {
	tail, rest, _ := strings.Cut(after, ",")
	d.arg, d.badArg = arg, d.badArg || trim(tail) != ""
	return d, rest, true
}

// cutQuoted takes the quoted string (RFC 9110, 5.6.4) off the front of s, which begins with a quote.
func cutQuoted(s string) (content, rest string, closed bool) {
	escaped := false
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			if content = s[1:i]; escaped {
				content = unescape(content)
			}
			return content, s[i+1:], true
		}
	}
	return "", "", false
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// delta is a directive whose argument is a number of seconds.
type delta struct {
	value time.Duration
	set   bool
}

// parseDelta parses delta-seconds (1.2.2): digits only; a number too large to hold becomes maxDelta.
func parseDelta(s string) (d time.Duration, ok bool) {
	if s == "" {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, false
		}
		if n < 1<<31 {
			n = n*10 + int64(s[i]-'0')
		}
	}
	return min(time.Duration(min(n, 1<<31))*time.Second, maxDelta), true
}

// first takes the directive's argument unless one was there before: of directives with different arguments the first counts (4.2.1).
// An argument that is no number counts as 0: a response with invalid freshness information is stale (4.2.1).
func (t *delta) first(d *directive) {
	if t.set {
		return
	}
	t.set = true
	if v, ok := parseDelta(d.arg); ok && d.hasArg && !d.badArg {
		t.value = v
	}
}

// responseDirectives are the cache directives of a response (5.2.2), from Cache-Control or from a targeted field (RFC 9213).
type responseDirectives struct {
	noStore, noCache, private, public bool
	mustRevalidate, proxyRevalidate   bool
	mustUnderstand, immutable         bool
	noTransform                       bool

	maxAge, sMaxAge                    delta
	staleWhileRevalidate, staleIfError delta // unset where their argument is no number

	noCacheFields, privateFields []string // canonical names of the qualified forms
	targeted                     bool     // from a targeted field: Expires means nothing either
}

// parseResponseDirectives parses the combined value of Cache-Control. It is not a structured field.
func parseResponseDirectives(value string) responseDirectives {
	var r responseDirectives
	unclosed := false
	for d, rest, ok := nextDirective(value); ok; d, rest, ok = nextDirective(rest) {
		r.add(&d)
		unclosed = unclosed || d.unclosed
	}
	if unclosed {
		// Nobody can tell which directives were meant to stand within the quotes: those that forbid count, those that permit do not.
		r.public = false
		r.maxAge, r.sMaxAge = delta{set: true}, delta{set: r.sMaxAge.set}
		r.staleWhileRevalidate, r.staleIfError = delta{}, delta{}
	}
	return r
}

func (r *responseDirectives) add(d *directive) {
	switch {
	case d.is("max-age"):
		r.maxAge.first(d)
	case d.is("s-maxage"):
		r.sMaxAge.first(d)
	case d.is("no-store"):
		r.noStore = true
	case d.is("no-cache"):
		r.noCacheFields = qualify(d, r.noCacheFields, &r.noCache)
	case d.is("private"):
		r.privateFields = qualify(d, r.privateFields, &r.private)
	case d.is("public"):
		r.public = true
	case d.is("must-revalidate"):
		r.mustRevalidate = true
	case d.is("proxy-revalidate"):
		r.proxyRevalidate = true
	case d.is("must-understand"):
		r.mustUnderstand = true
	case d.is("immutable"):
		r.immutable = true
	case d.is("no-transform"):
		r.noTransform = true
	case d.is("stale-while-revalidate"):
		permit(&r.staleWhileRevalidate, d)
	case d.is("stale-if-error"):
		permit(&r.staleIfError, d)
	}
}

// permit is for directives that permit something: an argument that is no number permits nothing.
func permit(t *delta, d *directive) {
	if v, ok := parseDelta(d.arg); ok && !d.badArg && !t.set {
		*t = delta{v, true}
	}
}

// qualify adds the field names of no-cache="..." or private="..." to names. Without names, or with one that is none, the directive
// counts as unqualified, which forbids more (5.2.2.4, 5.2.2.7).
func qualify(d *directive, names []string, unqualified *bool) []string {
	if !d.hasArg || d.badArg {
		*unqualified = true
		return names
	}
	found, ok := fieldNames(d.arg)
	if !ok || len(found) == 0 {
		*unqualified = true
		return names
	}
	return append(names, found...)
}

// requestDirectives are the cache directives of a request (5.2.1; RFC 5861, 4). An argument that is no number makes a directive
// mean nothing.
type requestDirectives struct {
	noCache, noStore, onlyIfCached bool
	maxAge, minFresh, staleIfError delta
	maxStale                       delta // maxDelta where it has no argument: any staleness
}

// requestDirectivesOf reads Cache-Control, or Pragma where there is no Cache-Control (5.4). It does not allocate for single lines.
func requestDirectivesOf(req Fields) requestDirectives {
	var r requestDirectives
	value, lines := req.Field("Cache-Control")
	if lines == 0 {
		r.noCache = pragmaNoCache(req)
		return r
	}
	for d, rest, ok := nextDirective(value); ok; d, rest, ok = nextDirective(rest) {
		switch {
		case d.is("no-cache"):
			r.noCache = true
		case d.is("no-store"):
			r.noStore = true
		case d.is("only-if-cached"):
			r.onlyIfCached = true
		case d.is("max-age"):
			permit(&r.maxAge, &d)
		case d.is("min-fresh"):
			permit(&r.minFresh, &d)
		case d.is("stale-if-error"):
			permit(&r.staleIfError, &d)
		case d.is("max-stale"):
			if !d.hasArg {
				r.maxStale = delta{maxDelta, true}
			} else {
				permit(&r.maxStale, &d)
			}
		}
	}
	return r
}

func pragmaNoCache(req Fields) bool {
	value, _ := req.Field("Pragma")
	for d, rest, ok := nextDirective(value); ok; d, rest, ok = nextDirective(rest) {
		if d.is("no-cache") {
			return true
		}
	}
	return false
}
