package security

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A message is a request as the strict reader of these tests understands it.
type message struct {
	method string
	target string
	fields map[string]bool // "name: value", the name in lower case
	body   string
}

// frames reads requests one after the other as RFC 9112 has them, and stops where
// text leaves the smallest doubt. It shares no code with the proxy.
func frames(text string) (all []message) {
	for {
		text = strings.TrimPrefix(text, "\r\n")
		head, rest, ok := strings.Cut(text, "\r\n\r\n")
		if !ok {
			return all
		}
		first, fields, _ := strings.Cut(head, "\r\n")
		words := strings.Split(first, " ")
		if strings.ContainsAny(strings.ReplaceAll(head, "\r\n", ""), "\r\n\x00") || len(words) != 3 {
			return all
		}
		var lengths, codings []string
		m := message{method: words[0], target: words[1], fields: map[string]bool{}}
		for line := range strings.SplitSeq(fields, "\r\n") {
			name, value, _ := strings.Cut(line, ":")
			m.fields[field(name, value)] = true
			switch strings.ToLower(name) {
			case "content-length":
				lengths = append(lengths, strings.Trim(value, " \t"))
			case "transfer-encoding":
				codings = append(codings, strings.ToLower(strings.Trim(value, " \t")))
			}
		}
		switch {
		case len(lengths)+len(codings) > 1:
			return all
		case len(lengths) == 1:
			n, err := strconv.ParseUint(lengths[0], 10, 31)
			if err != nil || int(n) > len(rest) {
				return all
			}
			m.body, rest = rest[:n], rest[n:]
		case len(codings) == 1:
			if m.body, rest, ok = chunks(rest); !ok || codings[0] != "chunked" {
				return all
			}
		}
		all, text = append(all, m), rest
	}
}

func chunks(text string) (body, rest string, ok bool) {
	for {
		line, after, ok := strings.Cut(text, "\r\n")
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseUint(size, 16, 31)
		if !ok || err != nil || strings.ContainsAny(line, "\r\n") {
			return "", "", false
		}
		if n == 0 {
			for {
				line, after, ok = strings.Cut(after, "\r\n")
				if !ok || line == "" {
					return body, after, ok
				}
			}
		}
		if uint64(len(after)) < n+2 || after[n:n+2] != "\r\n" {
			return "", "", false
		}
		body, text = body+after[:n], after[n+2:]
	}
}

// field writes a field line in one way.
func field(name, value string) string {
	return strings.ToLower(name) + ": " + strings.Trim(value, " \t")
}

// ours are the fields that a proxy makes itself.
var ours = map[string]bool{
	"host": true, "via": true, "x-forwarded-for": true, "x-forwarded-host": true, "x-forwarded-proto": true, "forwarded": true,
	"accept-encoding": true, "connection": true, "content-length": true, "transfer-encoding": true, "max-forwards": true, "te": true,
	"trailer": true, "upgrade": true, "if-match": true,
}

// invented returns a field of what the origin saw that the client has not sent.
func (m *message) invented(head []byte) string {
	_, lines, _ := strings.Cut(string(head), "\r\n")
	for line := range strings.SplitSeq(strings.TrimSuffix(lines, "\r\n\r\n"), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if !ours[strings.ToLower(name)] && !m.fields[field(name, value)] {
			return line
		}
	}
	return ""
}

// means reports whether two targets ask for the same: apart from the form, from
// escapes that need not be, and from dot segments (RFC 3986, section 6.2.2).
func means(a, b string) bool { return plainest(a) == plainest(b) }

func plainest(target string) string {
	if _, rest, ok := strings.Cut(target, "://"); ok && !strings.HasPrefix(target, "/") {
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			target = rest[i:]
		} else {
			target = "/"
		}
	}
	target, _, _ = strings.Cut(target, "#")
	at, query, asked := strings.Cut(target, "?")
	if decoded, err := url.PathUnescape(at); err == nil {
		at = decoded
	}
	slash := strings.HasSuffix(at, "/") || strings.HasSuffix(at, "/.") || strings.HasSuffix(at, "/..")
	if at = path.Clean("/" + at); slash && at != "/" {
		at += "/"
	}
	if decoded, err := url.QueryUnescape(query); err == nil {
		query = decoded
	}
	if asked {
		return at + "?" + query
	}
	return at
}

// Whatever a client sends, the origin sees no request that is not one of those that
// a strict reader finds in it, with the same content and in the same order; what it
// sees has one meaning; and a client that comes afterwards gets its own answer.
func FuzzRequestPath(f *testing.F) {
	for _, s := range smuggled {
		f.Add([]byte(s.text))
	}
	f.Add([]byte(get("/a") + get("/b", "Accept: x")))
	f.Add([]byte("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + get("/b")))
	f.Add([]byte("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n" + get("/b")))
	f.Add([]byte("GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + get("/b")))
	f.Add([]byte("PUT http://b/%61;x?y HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx"))

	// Nothing is cached: what the origin sees belongs to the request that is under way.
	h := newHouse(f, "routes: [{ name: all, cache: { pattern: \"off\" } }]\n")
	cached := newHouse(f, "routes: [{ name: all, cache: { ttl: 1h } }]\n")
	var serial atomic.Int64
	f.Fuzz(func(t *testing.T, text []byte) {
		h.t, cached.t = t, t
		before := len(h.origin.Requests())
		end := fmt.Sprintf("/end/%d", serial.Add(1))
		whole := string(text) + get(end, "Connection: close")
		c := h.dial()
		converse(c, whole, end)
		c.Close()
		if a := h.ask(get(end+"/innocent", "Connection: close")); !strings.HasPrefix(a.body, "GET "+end+"/innocent\n") {
			t.Fatalf("after %q the innocent client got %v", whole, a)
		}

		framed := frames(whole)
		for _, r := range h.origin.Requests()[before:] {
			if r.Target == end+"/innocent" {
				continue
			}
			if why := twofold(r.Raw); why != "" {
				t.Fatalf("%q: the origin saw %s: %q", whole, why, r.Raw)
			}
			at := 0
			for at < len(framed) && (framed[at].method != r.Method || framed[at].body != string(r.Body) || !means(framed[at].target, r.Target)) {
				at++
			}
			if at == len(framed) {
				t.Fatalf("%q: the origin saw a request that is not in it: %q, content %q", whole, r.Raw, r.Body)
			}
			if line := framed[at].invented(r.Raw); line != "" {
				t.Fatalf("%q: the origin saw %q, which nobody had sent", whole, line)
			}
			framed = framed[at+1:]
		}

		// The same through a cache: what comes afterwards on another connection is for
		// another path, and stays so.
		c = cached.dial()
		converse(c, whole, end)
		c.Close()
		for range 2 {
			if a := cached.ask(get(end+"/innocent", "Connection: close")); !strings.HasPrefix(a.body, "GET "+end+"/innocent\n") {
				t.Fatalf("after %q the innocent client of the cache got %v", whole, a)
			}
		}
	})
}

// converse sends text and reads until the answer to end has come, the proxy has
// closed the connection, or nothing happens for a while.
func converse(c net.Conn, text, end string) {
	c.SetDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := io.WriteString(c, text); err != nil {
		return
	}
	br := bufio.NewReader(c)
	for {
		line, err := br.ReadString('\n')
		if err != nil || strings.HasPrefix(line, "GET "+end+"\n") {
			return
		}
	}
}

// twofold says what in a request head could be read in two ways.
func twofold(head []byte) string {
	bare := bytes.ReplaceAll(head, []byte("\r\n"), nil)
	lower := strings.ToLower(string(head))
	lengths, codings := strings.Count(lower, "\r\ncontent-length:"), strings.Count(lower, "\r\ntransfer-encoding:")
	switch {
	case bytes.ContainsAny(bare, "\r\n\x00"):
		return "a bare line end or a zero byte"
	case lengths+codings > 1:
		return "several lengths"
	case codings == 1 && !strings.Contains(lower, "\r\ntransfer-encoding: chunked\r\n"):
		return "an odd coding"
	case strings.Count(lower, "\r\nhost:") != 1:
		return "not one Host"
	case strings.Contains(lower, "\r\n ") || strings.Contains(lower, "\r\n\t"):
		return "a folded line"
	}
	return ""
}
