package rules

import (
	"slices"
	"strings"
)

// queryRule says which parameters are in the key. The zero value keeps all, in the client's order.
//
// Parameters are separated by "&" alone; ";" is an ordinary character. They enter the key byte for byte. Only names
// are decoded, to be compared.
type queryRule struct {
	mode    queryMode
	names   []*glob
	sort    bool
	forward bool // what is not in the key is forwarded all the same
}

type queryMode uint8

const (
	queryAll queryMode = iota
	queryNone
	queryAllow
	queryIgnore
)

// keyed says whether a parameter is in the key.
func (q *queryRule) keyed(param string) bool {
	switch q.mode {
	case queryNone:
		return false
	case queryAll:
		return true
	}
	name, _, _ := strings.Cut(param, "=")
	return matchesAnyDecoded(q.names, name) == (q.mode == queryAllow)
}

// appendKeyed appends the parameters that are in the key, in the key's order.
func (q *queryRule) appendKeyed(params []string, query string) []string {
	begin := len(params)
	for more := query != ""; more; {
		var param string
		param, query, more = strings.Cut(query, "&")
		if q.keyed(param) {
			params = append(params, param)
		}
	}
	if q.sort {
		slices.SortStableFunc(params[begin:], compareNames)
	}
	return params
}

// forwarded is the query for the upstream, in the client's order. It allocates only where something is left out.
func (q *queryRule) forwarded(query string) string {
	if q.forward || q.mode == queryAll {
		return query
	}
	var b strings.Builder // used once a parameter is left out
	whole := true
	kept := 0 // bytes of the parameters kept so far, each with a separator
	for more, rest := query != "", query; more; {
		var param string
		param, rest, more = strings.Cut(rest, "&")
		switch keyed := q.keyed(param); {
		case whole && keyed:
			kept += len(param) + 1
		case whole:
			whole = false
			b.Grow(len(query))
			b.WriteString(query[:max(kept-1, 0)])
		case keyed:
			if kept > 0 {
				b.WriteByte('&')
			}
			b.WriteString(param)
			kept += len(param) + 1
		}
	}
	if whole {
		return query
	}
	return b.String()
}

// compareNames orders parameters by their decoded names. Names that are equal once decoded are equal here, however
// they are written, so that their order, which may matter to the origin, stays.
func compareNames(a, b string) int {
	a, _, _ = strings.Cut(a, "=")
	b, _, _ = strings.Cut(b, "=")
	if !escaped(a) && !escaped(b) {
		return strings.Compare(a, b)
	}
	for a != "" && b != "" {
		var x, y byte
		x, a = decodeByte(a)
		y, b = decodeByte(b)
		if x != y {
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

// decodeByte takes the first byte off s, which is not empty, decoded as in a form: "%XX", and "+" for a space. A "%"
// that begins no escape stands for itself.
func decodeByte(s string) (c byte, rest string) {
	if s[0] == '+' {
		return ' ', s[1:]
	}
	if s[0] == '%' && len(s) >= 3 {
		if hi, lo := unhex(s[1]), unhex(s[2]); hi < 16 && lo < 16 {
			return hi<<4 | lo, s[3:]
		}
	}
	return s[0], s[1:]
}

// unhex is the value of a hexadecimal digit, or 255.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

func escaped(s string) bool { return strings.IndexByte(s, '%') >= 0 || strings.IndexByte(s, '+') >= 0 }

func appendDecoded(buf []byte, s string) []byte {
	for s != "" {
		var c byte
		c, s = decodeByte(s)
		buf = append(buf, c)
	}
	return buf
}

func decoded(s string) string {
	if !escaped(s) {
		return s
	}
	return string(appendDecoded(nil, s))
}

func equalDecoded(s, want string) bool {
	if !escaped(s) {
		return s == want
	}
	for s != "" && want != "" {
		var c byte
		if c, s = decodeByte(s); c != want[0] {
			return false
		}
		want = want[1:]
	}
	return s == want
}

func matchesAnyDecoded(globs []*glob, s string) bool {
	if !escaped(s) {
		for _, g := range globs {
			if matches(g, s) {
				return true
			}
		}
		return false
	}
	var buf [128]byte
	b := appendDecoded(buf[:0], s)
	for _, g := range globs {
		if matches(g, b) {
			return true
		}
	}
	return false
}
