package rules

import "strings"

// text is what a glob is matched against: strings, and decoded values that live in a buffer.
type text interface{ ~string | ~[]byte }

// glob is a compiled glob. Its inner form is the text as written; wildcards are told apart from the separator only.
type glob struct {
	pattern string
	sep     byte   // what "*" does not match
	self    string // pattern without a final "/**", which also matches; only where hasSelf
	hasSelf bool
	literal bool // the pattern has no wildcard: comparing is enough
	any     bool // the pattern matches every text
}

func newGlob(pattern string, sep byte) *glob {
	g := &glob{pattern: pattern, sep: sep, literal: !strings.Contains(pattern, "*")}
	if sep == '/' {
		g.self, g.hasSelf = strings.CutSuffix(pattern, "/**")
	}
	g.any = pattern != "" && strings.Trim(pattern, "*") == "" && len(pattern) > 1
	return g
}

// prefix is what every text that the glob matches begins with.
func (g *glob) prefix() string {
	literal, _, _ := strings.Cut(g.pattern, "*")
	if g.hasSelf && len(g.self) < len(literal) {
		return g.self // "/x/**" matches "/x", which does not begin with "/x/"
	}
	return literal
}

// suffix is what every text that the glob matches ends with. Only for globs without hasSelf.
func (g *glob) suffix() string {
	return g.pattern[strings.LastIndexByte(g.pattern, '*')+1:]
}

// matches says whether g matches the whole of s.
func matches[T text](g *glob, s T) bool {
	if g.literal {
		return string(s) == g.pattern
	}
	return g.any || matchStars(g.pattern, g.sep, s) || g.hasSelf && matchStars(g.self, g.sep, s)
}

// matchStars matches with one point to come back to for each kind of wildcard. When a wildcard is met, earlier ones of
// its kind need no second try: what they could take in addition, the later one can take as well. That makes the cost
// len(pattern) x len(s) at worst, whatever the pattern.
func matchStars[T text](pattern string, sep byte, s T) bool {
	const none = -1
	p, i := 0, 0
	one, oneAt := none, 0 // after the last "*", and how far it has run
	all, allAt := none, 0 // the same of the last "**"
	for i < len(s) || p < len(pattern) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			stars := p
			for p < len(pattern) && pattern[p] == '*' {
				p++
			}
			if p-stars == 1 {
				one, oneAt = p, i
			} else {
				all, allAt, one = p, i, none
			}
		case p < len(pattern) && i < len(s) && pattern[p] == s[i]:
			p++
			i++
		case one != none && oneAt < len(s) && s[oneAt] != sep:
			oneAt++
			p, i = one, oneAt
		case all != none && allAt < len(s):
			allAt++
			p, i = all, allAt // a "*" behind it that gave up has a separator or the end before it, and gives up again
		default:
			return false
		}
	}
	return true
}
