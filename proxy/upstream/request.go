package upstream

import (
	"net/http"
	"net/url"

	"golang.org/x/net/http/httpguts"
)

// isUsual reports whether the request can be written by appendRequest as it is.
// What is to be changed or refused is left to net/http.
func isUsual(req *http.Request) bool {
	if _, ok := req.Header["Upgrade"]; ok {
		return false
	}
	for name, values := range req.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return false
		}
		for _, value := range values {
			if !isText(value) {
				return false
			}
		}
	}
	u := req.URL
	return u.Opaque == "" && isAuthority(req.Host) && isPrintable(u.RawQuery) && isPrintable(u.EscapedPath())
}

// isText reports whether a field's value has no character that ends or hides it
// (RFC 9110, section 5.5).
func isText(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// isPrintable reports whether s can stand in a request's target.
func isPrintable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// isAuthority reports whether host can be sent as it is: neither empty, nor with
// letters that are to be encoded, nor with the zone of an address.
func isAuthority(host string) bool {
	for i := range len(host) {
		switch c := host[i]; {
		case c <= ' ', c >= 0x7f, c == '%', c == '/', c == '@', c == '?', c == '#', c == '\\', c == ',':
			return false
		}
	}
	return host != ""
}

// appendRequest appends the head of a request without content, for which isUsual
// must have been true. The fields stand in no particular order, as they do in an
// http.Header; lines of one name keep theirs.
func appendRequest(b []byte, req *http.Request, host string) []byte {
	b = append(b, req.Method...)
	b = append(b, ' ')
	b = appendTarget(b, req.URL)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\n"...)
	for name, values := range req.Header {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer": // they are not what the header says
			continue
		case "User-Agent": // one that is empty is how httputil.ReverseProxy says that there is none
			if len(values) == 0 || values[0] == "" {
				continue
			}
		}
		for _, value := range values {
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, value...)
			b = append(b, "\r\n"...)
		}
	}
	return append(b, "\r\n"...)
}

// appendTarget appends the origin form of a URL (RFC 9112, section 3.2.1).
func appendTarget(b []byte, u *url.URL) []byte {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	b = append(b, path...)
	if u.ForceQuery || u.RawQuery != "" {
		b = append(b, '?')
		b = append(b, u.RawQuery...)
	}
	return b
}
