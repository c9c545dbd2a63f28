package rules

import "strings"

// index finds the routes that may fit a request. It is two radix trees deep: the first holds host globs by their
// literal ending (read backwards), and each of those the path globs of its routes by their literal beginning. What a
// walk down both trees passes is a candidate; how many routes there are beside its way does not matter.
type index struct{ hosts branch[*hostIndex] }

// hostIndex holds the paths of all routes that name one host glob.
type hostIndex struct {
	host  *glob
	paths branch[candidate]
}

// candidate is a route that fits if path matches and the route's other conditions hold.
type candidate struct {
	path  *glob
	route *Route
}

// anything is the glob of a route that names no host, or no path.
var anything = newGlob("**", '/')

// add must be called in the order of the routes: the candidates of each branch are then in that order too.
func (x *index) add(r *Route, hosts, paths []*glob) {
	if len(hosts) == 0 {
		hosts = []*glob{anything}
	}
	if len(paths) == 0 {
		paths = []*glob{anything}
	}
	for _, host := range hosts {
		h := x.host(host)
		for _, path := range paths {
			b := h.paths.at(path.prefix())
			b.values = append(b.values, candidate{path, r})
		}
	}
}

func (x *index) host(g *glob) *hostIndex {
	b := x.hosts.at(string(appendReversed(nil, g.suffix())))
	for _, h := range b.values {
		if h.host.pattern == g.pattern {
			return h
		}
	}
	h := &hostIndex{host: g}
	b.values = append(b.values, h)
	return h
}

// appendCandidates appends lists of candidates, each in the order of the routes.
func (x *index) appendCandidates(lists [][]candidate, host, path string) [][]candidate {
	var buf [256]byte // a host name has at most 253 characters
	backwards := appendReversed(buf[:0], host)
	for b := &x.hosts; b != nil; b, backwards = down(b, backwards) {
		for _, h := range b.values {
			if matches(h.host, host) {
				lists = appendPaths(lists, &h.paths, path)
			}
		}
	}
	return lists
}

func appendPaths(lists [][]candidate, b *branch[candidate], path string) [][]candidate {
	for ; b != nil; b, path = down(b, path) {
		if len(b.values) > 0 {
			lists = append(lists, b.values)
		}
	}
	return lists
}

// branch is a node of a radix tree: values belong to the text that the labels from the root spell.
type branch[V any] struct {
	label  string
	values []V
	first  string // the first byte of each label in next
	next   []*branch[V]
}

// at returns the branch of key, which it makes where there is none.
func (b *branch[V]) at(key string) *branch[V] {
	if key == "" {
		return b
	}
	i := strings.IndexByte(b.first, key[0])
	if i < 0 {
		b.first += key[:1]
		b.next = append(b.next, &branch[V]{label: key})
		return b.next[len(b.next)-1]
	}
	n := b.next[i]
	same := 1
	for same < len(key) && same < len(n.label) && key[same] == n.label[same] {
		same++
	}
	if same < len(n.label) {
		upper := &branch[V]{label: n.label[:same], first: n.label[same : same+1], next: []*branch[V]{n}}
		n.label = n.label[same:]
		b.next[i] = upper
		n = upper
	}
	return n.at(key[same:])
}

// down takes one step along rest: the branch below b whose label rest begins with, or nil, and what is left of rest.
func down[V any, T text](b *branch[V], rest T) (*branch[V], T) {
	if len(rest) == 0 {
		return nil, rest
	}
	i := strings.IndexByte(b.first, rest[0])
	if i < 0 {
		return nil, rest
	}
	n := b.next[i]
	if len(rest) < len(n.label) || string(rest[:len(n.label)]) != n.label {
		return nil, rest
	}
	return n, rest[len(n.label):]
}

func appendReversed(buf []byte, s string) []byte {
	for i := len(s) - 1; i >= 0; i-- {
		buf = append(buf, s[i])
	}
	return buf
}
