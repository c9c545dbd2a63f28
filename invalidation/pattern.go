package invalidation

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// matcher is a compiled selector of kind KindPattern or KindBan. Each of its
// expressions that is not nil must match. It is safe for concurrent use.
type matcher struct {
	host  *regexp.Regexp // the host, without a port
	path  *regexp.Regexp // the path, with the query where query says so
	whole *regexp.Regexp // host, path and query; of what has no host, all of it
	tag   *regexp.Regexp // any of the tags
	query bool
	// opaque says that whole is for what is no URL. All else is for URLs alone.
	opaque bool
}

// regularPrefix is what a pattern begins with that is a regular expression.
const regularPrefix = "re:"

// compile reads a selector of kind KindPattern or KindBan. The error matches
// ErrSelector.
func compile(s Selector) (*matcher, error) {
	if s.Kind == KindBan {
		return compileBan(s.Value)
	}
	if expression, ok := strings.CutPrefix(s.Value, regularPrefix); ok {
		re, err := compileRegular(expression)
		return &matcher{whole: re}, err
	}
	if !utf8.ValidString(s.Value) {
		return nil, fmt.Errorf("%w: %q is not UTF-8; write other bytes percent-encoded, as URLs have them", ErrSelector, s.Value)
	}
	host, path, opaque, err := split(s.Value)
	if err != nil {
		return nil, err
	}
	if opaque {
		return &matcher{whole: glob(s.Value, '/'), opaque: true}, nil
	}
	m := &matcher{path: glob(path, '/'), query: strings.Contains(path, "?")}
	if host != "" {
		m.host = glob(strings.ToLower(host), '.')
	}
	return m, nil
}

// compileRegular compiles an expression as RE2 has them; none is not one.
func compileRegular(expression string) (*regexp.Regexp, error) {
	if expression == "" {
		return nil, fmt.Errorf("%w: the regular expression is empty; the pattern for everything is **", ErrEmpty)
	}
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSelector, err)
	}
	return re, nil
}

// split takes a glob apart into that of the host and that of the path. One with
// a colon before its first slash is for what is no URL and has a name of its
// own, such as "user:*".
func split(pattern string) (host, path string, opaque bool, err error) {
	slash := strings.IndexByte(pattern, '/')
	colon := strings.IndexByte(pattern, ':')
	switch {
	case pattern == "**":
		return "", pattern, false, nil
	case strings.Contains(pattern, "://"):
		return "", "", false, fmt.Errorf("%w: a pattern has no scheme; write %q", ErrSelector, pattern[strings.Index(pattern, "://")+3:])
	case strings.HasPrefix(pattern, "["): // an address, with its colons
	case colon >= 0 && (slash < 0 || colon < slash):
		if slash >= 0 && digits(pattern[colon+1:slash]) {
			return "", "", false, fmt.Errorf("%w: hosts are compared without their port; write %q", ErrSelector, pattern[:colon]+pattern[slash:])
		}
		return "", "", true, nil
	}
	if slash < 0 {
		return "", "", false, fmt.Errorf("%w: %q names a host and no path; write %q", ErrSelector, pattern, pattern+"/**")
	}
	return pattern[:slash], pattern[slash:], false, nil
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// glob compiles a glob: * is any run of characters but separator, ** any run;
// what ends in /** also matches without it.
func glob(pattern string, separator byte) *regexp.Regexp {
	rest, below := pattern, false
	if separator == '/' && pattern != "/**" {
		rest, below = strings.CutSuffix(pattern, "/**")
	}
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for rest != "" {
		literal := rest
		if star := strings.IndexByte(rest, '*'); star >= 0 {
			literal = rest[:star]
		}
		b.WriteString(regexp.QuoteMeta(literal))
		after := strings.TrimLeft(rest[len(literal):], "*")
		switch stars := len(rest) - len(literal) - len(after); {
		case stars == 1:
			b.WriteString("[^" + regexp.QuoteMeta(string(separator)) + "]*")
		case stars > 1:
			b.WriteString(".*")
		}
		rest = after
	}
	if below {
		b.WriteString("(?:/.*)?")
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String()) // all but what is written here is quoted
}

// matches reports whether the matcher selects what has this URI and these tags,
// each followed by a line end.
func (m *matcher) matches(uri, tags []byte) bool {
	host, rest, isURL := cutURI(uri)
	switch {
	case m.host != nil && !(isURL && m.host.Match(host)):
		return false
	case m.path != nil && !(isURL && m.path.Match(m.target(rest))):
		return false
	case m.whole != nil && (m.opaque == isURL || !m.whole.Match(joined(uri, host, rest, isURL))):
		return false
	}
	return m.tag == nil || matchesLine(m.tag, tags)
}

// selects reports whether the matcher selects a node of dependencies: a URL, of
// which these tags are known, or a tag by itself.
func (m *matcher) selects(node, tags []byte) bool {
	if uri, isURL := bytes.CutPrefix(node, []byte("url:")); isURL {
		return m.matches(uri, tags)
	}
	tag, isTag := bytes.CutPrefix(node, []byte("tag:"))
	return isTag && m.tag != nil && m.host == nil && m.path == nil && m.whole == nil && m.tag.Match(tag)
}

// selectsAny reports whether the matcher selects any of the nodes, each followed
// by a line end.
func (m *matcher) selectsAny(nodes []byte) bool {
	for len(nodes) > 0 {
		node, rest, _ := bytes.Cut(nodes, []byte("\n"))
		if m.selects(node, nil) {
			return true
		}
		nodes = rest
	}
	return false
}

// target returns what the path is compared with: rest with or without its query.
func (m *matcher) target(rest []byte) []byte {
	if i := bytes.IndexByte(rest, '?'); i >= 0 && !m.query {
		return rest[:i]
	}
	return rest
}

// cutURI takes an absolute URI apart into its host, without a port, and what
// follows the authority.
func cutURI(uri []byte) (host, rest []byte, isURL bool) {
	bare := withoutScheme(uri)
	if !bytes.HasPrefix(bare, []byte("//")) {
		return nil, uri, false
	}
	bare = bare[2:]
	if i := bytes.IndexByte(bare, '/'); i >= 0 {
		host, rest = bare[:i], bare[i:]
	} else {
		host = bare
	}
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && bytes.IndexByte(host[i:], ']') < 0 {
		host = host[:i]
	}
	return host, rest, true
}

// joined returns host and rest one behind the other. They are copied only where
// a port is in between.
func joined(uri, host, rest []byte, isURL bool) []byte {
	if !isURL {
		return uri
	}
	if at := len(uri) - len(rest) - len(host); bytes.Equal(uri[at:at+len(host)], host) {
		return uri[at:]
	}
	return append(bytes.Clone(host), rest...)
}

func matchesLine(re *regexp.Regexp, lines []byte) bool {
	for len(lines) > 0 {
		line, rest, _ := bytes.Cut(lines, []byte("\n"))
		if re.Match(line) {
			return true
		}
		lines = rest
	}
	return false
}

// Ban holds up to three regular expressions (RE2), all of which must match:
// those for the path with its query, for the host without its port, and for any
// of the tags. An empty one matches everything.
type Ban struct{ URL, Host, Tags string }

// Selector returns the ban as a selector. A ban of three empty expressions is
// refused by Purge: everything is selected by KindAll.
func (b Ban) Selector() Selector {
	if b == (Ban{}) {
		return Selector{Kind: KindBan}
	}
	// None of them holds a line end that means itself: it can be written \n.
	return Selector{KindBan, strings.Join([]string{oneLine(b.URL), oneLine(b.Host), oneLine(b.Tags)}, "\n")}
}

func oneLine(expression string) string { return strings.ReplaceAll(expression, "\n", `\n`) }

func compileBan(value string) (*matcher, error) {
	parts := strings.Split(value, "\n")
	if len(parts) != 3 {
		return nil, fmt.Errorf("%w: a ban has three expressions, and this %d", ErrSelector, len(parts))
	}
	m := &matcher{query: true}
	for i, into := range []**regexp.Regexp{&m.path, &m.host, &m.tag} {
		if parts[i] == "" {
			continue
		}
		re, err := compileRegular(parts[i])
		if err != nil {
			return nil, err
		}
		*into = re
	}
	return m, nil
}
