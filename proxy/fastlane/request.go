package fastlane

import (
	"bytes"
	"net/netip"
	"strings"
	"unsafe"

	"github.com/cacheproxy/cacheproxy/proxy/forwarded"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
)

// kind says what can be done with a request.
type kind uint8

const (
	plain   kind = iota // it may be answered here
	framed              // the server gets it, and nothing that follows
	foreign             // the server gets the connection for good
)

// maxFields is how many field lines a plain request may have.
const maxFields = 64

// request is a plain request. It implements rules.View. Its strings are parts of the head that it was read from, and mean something as
// long as that does not change.
type request struct {
	method string
	raw    string // the request target
	host   string // the Host field
	target rfc9111.Target
	client netip.Addr
	route  *rules.Route
	fields [maxFields]field
	count  int
}

type field struct{ name, value string }

// Field implements rfc9111.Fields. It allocates where several lines are joined.
func (r *request) Field(name string) (value string, lines int) {
	if name == "Host" {
		return r.host, 1
	}
	for i := range r.fields[:r.count] {
		f := &r.fields[i]
		if len(f.name) != len(name) || f.name != name && !rfc9111.EqualFold(f.name, name) {
			continue
		}
		if lines++; lines == 1 {
			value = f.value
		} else {
			value += ", " + f.value
		}
	}
	return value, lines
}

// Method implements rules.View.
func (r *request) Method() string { return r.method }

// Target implements rules.View.
func (r *request) Target() *rfc9111.Target { return &r.target }

// Client implements rules.View.
func (r *request) Client() netip.Addr { return r.client }

// selecting is a request whose fields are normalised as its route asks.
type selecting request

// Field implements rfc9111.Fields.
func (s *selecting) Field(name string) (string, int) {
	return s.route.Selecting((*request)(s), name, s.route.Policy.Encode != nil)
}

// parse reads the head of a request without content, in which framing has found no fault: every line ends with CRLF, has no other
// control byte than HTAB, and a field line has a name. It says what net/http and the handler could do with the request beside asking the
// rules: that makes it framed or foreign. All other fields, known or not, are for the rules to read.
func (r *request) parse(head []byte, trusted bool) kind {
	line, rest := cutLine(head)
	method, raw, kind := parseLine(line)
	r.method, r.raw, r.host = method, raw, ""
	for r.count = 0; kind != foreign; {
		if line, rest = cutLine(rest); line == "" {
			break
		}
		colon := strings.IndexByte(line, ':')
		name, value := line[:colon], trim(line[colon+1:])
		kind = max(kind, r.judge(name, value, trusted))
		if r.count == len(r.fields) {
			kind = max(kind, framed)
			continue
		}
		r.fields[r.count] = field{name, value}
		r.count++
	}
	return kind
}

// parseLine reads the request line. An empty one, which may stand before a request (RFC 9112, 2.2), is not for us.
func parseLine(line string) (method, raw string, k kind) {
	method, rest, _ := strings.Cut(line, " ")
	raw, version, _ := strings.Cut(rest, " ")
	switch method {
	case "GET", "HEAD":
	case "", "CONNECT", "POST": // after a POST net/http takes more for the beginning of a request than after others
		return "", "", foreign
	default:
		return "", "", framed
	}
	if version != "HTTP/1.1" || raw[0] != '/' {
		return "", "", framed
	}
	return method, raw, plain
}

// judge says what a field makes of the request, and notes Host.
func (r *request) judge(name, value string, trusted bool) kind {
	switch len(name) {
	case len("Te"):
		return isA(name, "te", framed)
	case len("Host"):
		if rfc9111.EqualFold(name, "host") {
			r.host = value
		}
	case len("Range"):
		return isA(name, "range", framed)
	case len("Expect"):
		return isA(name, "expect", foreign)
	case len("Upgrade"):
		return max(isA(name, "upgrade", foreign), isA(name, "trailer", framed))
	case len("Connection"):
		if rfc9111.EqualFold(name, "connection") && !rfc9111.EqualFold(value, "keep-alive") {
			return framed // it ends the connection, or hides fields
		}
		return isA(name, "keep-alive", framed) // Connection: keep-alive hides it
	case len("Content-Length"):
		return isA(name, "content-length", framed)
	case len("Forwarded"):
		if trusted { // few proxies write it, and it is long to read
			return isA(name, "forwarded", framed)
		}
	}
	return plain
}

func isA(name, lower string, k kind) kind {
	if rfc9111.EqualFold(name, lower) {
		return k
	}
	return plain
}

// normal reads the target, and reports whether it has the form that the rules compare and net/http accepts. What a trusted proxy says
// of scheme and authority counts.
func (r *request) normal(f *from, trusted bool) bool {
	scheme, authority := f.scheme, r.host
	if trusted {
		proto, _ := r.Field("X-Forwarded-Proto")
		scheme = forwarded.Scheme(forwarded.Nearest(proto), scheme)
		if host, _ := r.Field("X-Forwarded-Host"); forwarded.Nearest(host) != "" {
			authority = forwarded.Nearest(host)
			if _, err := rfc9111.ParseTarget(scheme, r.host, "/"); err != nil { // net/http looks at Host all the same
				return false
			}
		}
	}
	t, err := rfc9111.ParseTarget(scheme, authority, r.raw)
	if err != nil {
		return false
	}
	r.target = t
	path, query, asked := strings.Cut(r.raw, "?")
	return t.Path == path && t.Query == query && asked == (query != "")
}

// identify notes the address that counts as the client's.
func (r *request) identify(f *from, networks []netip.Prefix, trusted bool) {
	r.client = f.client
	if !trusted {
		return
	}
	if list, lines := r.Field("X-Forwarded-For"); lines > 0 {
		r.client = forwarded.Client(f.client, list, networks)
	}
}

// cutLine returns the first line without its CRLF as a string that shares its bytes.
func cutLine(b []byte) (line string, rest []byte) {
	end := bytes.IndexByte(b, '\n')
	if end < 1 {
		return "", nil
	}
	return unsafe.String(unsafe.SliceData(b), end-1), b[end+1:]
}

// trim cuts optional white space off (RFC 9110, 5.6.3).
func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}
