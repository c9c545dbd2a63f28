package rfc9111

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
)

// normalHost brings an authority into normal form: lower case, without the default port, without a dot at the end.
func normalHost(scheme, authority string) (string, error) {
	host, port, err := cutPort(authority)
	if err != nil {
		return "", err
	}
	if host, err = normalName(host); err != nil {
		return "", err
	}
	if port == "" {
		return host, nil
	}
	n, why := portNumber(port)
	if why != "" {
		return "", &TargetError{"port", 0, why}
	}
	if scheme == "http" && n == 80 || scheme == "https" && n == 443 {
		return host, nil
	}
	if strings.HasPrefix(authority, host) && port[0] != '0' && len(authority) == len(host)+1+len(port) {
		return authority, nil
	}
	return host + ":" + strconv.Itoa(n), nil
}

// cutPort splits an authority at the colon before the port.
func cutPort(authority string) (host, port string, err error) {
	if i := strings.IndexByte(authority, '@'); i >= 0 {
		return "", "", &TargetError{"host", i, "user information"}
	}
	end := strings.IndexByte(authority, ':')
	if strings.HasPrefix(authority, "[") {
		end = strings.IndexByte(authority, ']') + 1
		if end == 0 || end < len(authority) && authority[end] != ':' {
			return "", "", &TargetError{"host", len(authority), "an IP literal without its end"}
		}
		if end == len(authority) {
			end = -1
		}
	}
	if end < 0 {
		return authority, "", nil
	}
	return authority[:end], authority[end+1:], nil
}

func portNumber(port string) (n int, why string) {
	for i := range len(port) {
		if !isDigit(port[i]) {
			return 0, "not a number"
		}
		if n = n*10 + int(port[i]-'0'); n > 65535 {
			return 0, "above 65535"
		}
	}
	if n == 0 {
		return 0, "0"
	}
	return n, ""
}

// normalName brings a host name or an IP literal into normal form. Names consist of letters, digits, "-", "_" and "."; those in other
// scripts come in their ASCII form (RFC 5890).
func normalName(host string) (string, error) {
	if strings.HasPrefix(host, "[") {
		return normalIPv6(host)
	}
	host = strings.TrimSuffix(host, ".")
	if host == "" {
		return "", &TargetError{"host", 0, "empty"}
	}
	if len(host) > 253 {
		return "", &TargetError{"host", 253, "longer than 253 bytes"}
	}
	upper := false
	for i := range len(host) {
		switch c := host[i]; {
		case 'A' <= c && c <= 'Z':
			upper = true
		case 'a' <= c && c <= 'z' || isDigit(c) || c == '-' || c == '_':
		case c == '.':
			if i == 0 || host[i-1] == '.' || i == len(host)-1 {
				return "", &TargetError{"host", i, "an empty label"}
			}
		default:
			return "", &TargetError{"host", i, "a byte that no host name has"}
		}
	}
	if upper {
		host = strings.ToLower(host)
	}
	return host, nil
}

func normalIPv6(host string) (string, error) {
	address, err := netip.ParseAddr(host[1 : len(host)-1])
	if err != nil || !address.Is6() || address.Zone() != "" {
		return "", &TargetError{"host", 1, "not an IPv6 address"}
	}
	var buf [64]byte
	normal := append(address.AppendTo(append(buf[:0], '[')), ']')
	if string(normal) == host {
		return host, nil
	}
	return string(normal), nil
}

// Where a byte may stand as it is (RFC 3986, 3.3 and 3.4). All other bytes are escaped.
const (
	inPath  = 1 << iota // pchar and "/"
	inQuery             // pchar, "/" and "?"
	unreserved
)

var byteKinds = func() (kinds [256]uint8) {
	for c := range 256 {
		b := byte(c)
		if isAlpha(b) || isDigit(b) || strings.IndexByte("-._~", b) >= 0 {
			kinds[c] = unreserved | inPath | inQuery
		}
		if strings.IndexByte("!$&'()*+,;=:@/", b) >= 0 {
			kinds[c] = inPath | inQuery
		}
	}
	kinds['?'] = inQuery
	return kinds
}()

// normalPath brings a path, which begins with "/", into normal form.
func normalPath(path string) (string, error) {
	escaped, dotted := false, false
	plain := true // needs no rewriting of bytes
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '%':
			b, ok := escapedByte(path[i:])
			switch {
			case !ok:
				return "", &TargetError{"path", i, "an escape that is none"}
			case b == 0:
				return "", &TargetError{"path", i, "an escaped zero byte"}
			}
			escaped = true
			plain = plain && isNormalEscape(path[i:], b)
			i += 2
		case c == '\\':
			return "", &TargetError{"path", i, "a backslash"}
		case byteKinds[c]&inPath != 0:
			dotted = dotted || c == '.' && path[i-1] == '/'
		default:
			if why := unsafeByte(c); why != "" {
				return "", &TargetError{"path", i, why}
			}
			plain = false
		}
	}
	if !plain {
		path = rewrite(path, inPath)
	}
	if !plain || dotted {
		path = removeDotSegments(path)
	}
	if escaped || dotted {
		if i := hiddenDots(path); i >= 0 {
			return "", &TargetError{"path", i, "a dot segment or a zero byte behind escapes or parameters"}
		}
	}
	return path, nil
}

// normalQuery brings a query into normal form. "+" stays: only the origin knows whether it is a space.
func normalQuery(query string) (string, error) {
	plain := true
	for i := 0; i < len(query); i++ {
		c := query[i]
		switch {
		case c == '%':
			b, ok := escapedByte(query[i:])
			if ok && b == 0 {
				return "", &TargetError{"query", i, "an escaped zero byte"}
			}
			plain = plain && ok && isNormalEscape(query[i:], b)
			if ok {
				i += 2
			}
		case byteKinds[c]&inQuery != 0:
		default:
			if why := unsafeByte(c); why != "" {
				return "", &TargetError{"query", i, why}
			}
			plain = false
		}
	}
	if !plain {
		query = rewrite(query, inQuery)
	}
	return query, nil
}

// unsafeByte says why a byte may not stand in a target in any form; "" where it may.
func unsafeByte(c byte) string {
	switch {
	case c < ' ' || c == 0x7f:
		return "a control byte"
	case c == '#':
		return "a fragment"
	}
	return ""
}

// escapedByte decodes the escape at the beginning of s.
func escapedByte(s string) (b byte, ok bool) {
	if len(s) < 3 {
		return 0, false
	}
	high, okHigh := hexDigit(s[1])
	low, okLow := hexDigit(s[2])
	return high<<4 | low, okHigh && okLow
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case isDigit(c):
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// isNormalEscape reports whether the escape of b at the beginning of s stays as it is: needed, and in upper case.
func isNormalEscape(s string, b byte) bool {
	return byteKinds[b]&unreserved == 0 && s[1] < 'a' && s[2] < 'a'
}

// rewrite decodes escapes of unreserved characters, writes other escapes in upper case, and escapes what may not stand as it is. A "%"
// that begins no escape, which only a query has here, becomes one.
func rewrite(s string, allowed uint8) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.Grow(len(s) + 16)
	escape := func(c byte) {
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if decoded, ok := escapedByte(s[i:]); c == '%' && ok {
			if byteKinds[decoded]&unreserved != 0 {
				b.WriteByte(decoded)
			} else {
				escape(decoded)
			}
			i += 2
		} else if byteKinds[c]&allowed != 0 {
			b.WriteByte(c)
		} else {
			escape(c)
		}
	}
	return b.String()
}

// removeDotSegments resolves "." and ".." segments (RFC 3986, 5.2.4); ".." at the root stays there. It returns path itself where there
// is none.
func removeDotSegments(path string) string {
	if !hasDotSegment(path) {
		return path
	}
	out := make([]byte, 0, len(path))
	for rest := path; rest != ""; {
		end := strings.IndexByte(rest[1:], '/') + 1
		if end == 0 {
			end = len(rest)
		}
		segment, last := rest[:end], end == len(rest)
		rest = rest[end:]
		switch segment {
		case "/.":
		case "/..":
			out = out[:max(bytes.LastIndexByte(out, '/'), 0)]
		default:
			out = append(out, segment...)
			continue
		}
		if last {
			out = append(out, '/')
		}
	}
	return string(out)
}

func hasDotSegment(path string) bool {
	for i := range len(path) {
		if path[i] == '/' && isDots(path[i+1:]) {
			return true
		}
	}
	return false
}

// isDots reports whether s begins with a segment of one or two dots.
func isDots(s string) bool {
	n := 0
	for n < len(s) && s[n] == '.' {
		n++
	}
	return (n == 1 || n == 2) && (n == len(s) || s[n] == '/')
}

// hiddenDots returns where a path whose escapes are decoded, over and over, has a zero byte or a segment of one or two dots, with or
// without parameters after a ";"; -1 where it has none. "\" counts as "/". The offset is within the decoded path.
func hiddenDots(path string) int {
	var space [256]byte
	decoded := decodeAll(space[:0], path)
	dots, plain := 0, true // of the segment so far: its dots, and whether it has nothing else
	for i, c := range decoded {
		switch c {
		case 0:
			return i
		case '.':
			dots++
		case '/', '\\', ';':
			if plain && (dots == 1 || dots == 2) {
				return i - dots
			}
			// What follows a ";" is a parameter: its dots are its own.
			dots, plain = 0, c != ';'
		default:
			plain = false
		}
	}
	if plain && (dots == 1 || dots == 2) {
		return len(decoded) - dots
	}
	return -1
}

// decodeAll appends path to buf with its escapes decoded until none is left, in one pass: what decodes to the end of another escape
// decodes that too.
func decodeAll(buf []byte, path string) []byte {
	for i := range len(path) {
		buf = append(buf, path[i])
		for len(buf) >= 3 && buf[len(buf)-3] == '%' {
			n := len(buf)
			high, okHigh := hexDigit(buf[n-2])
			low, okLow := hexDigit(buf[n-1])
			if !okHigh || !okLow {
				break
			}
			buf = append(buf[:n-3], high<<4|low)
		}
	}
	return buf
}
