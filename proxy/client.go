package proxy

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/cacheproxy/cacheproxy/proxy/forwarded"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// identify notes the socket's peer and the address that counts as the client's: the peer, or, where trusted proxies stand in
// between, the nearest address that is not one of theirs.
func (x *exchange) identify() {
	if ap, err := netip.ParseAddrPort(x.r.RemoteAddr); err == nil {
		x.peer = ap.Addr().Unmap()
	}
	x.client = x.peer
	if !x.fromTrusted() {
		return
	}
	if list, lines := rfc9111.Header(x.r.Header).Field("X-Forwarded-For"); lines > 0 {
		x.client = forwarded.Client(x.peer, list, x.plan.TrustedProxies)
		return
	}
	elements := splitQuoted(strings.Join(x.r.Header["Forwarded"], ","), ',')
	for i := len(elements) - 1; i >= 0; i-- {
		hop, ok := forwarded.Hop(forwardedParameter(elements[i], "for"))
		if !ok {
			return
		}
		x.client = hop
		if !forwarded.Trusts(x.plan.TrustedProxies, hop) {
			return
		}
	}
}

// fromTrusted reports whether the peer's word about the client is believed.
func (x *exchange) fromTrusted() bool { return forwarded.Trusts(x.plan.TrustedProxies, x.peer) }

// origin returns scheme and authority of the request: those of the connection, or what a trusted proxy says of the connection
// that it received.
func (x *exchange) origin() (scheme, authority string) {
	scheme, authority = "http", x.r.Host
	if x.r.TLS != nil {
		scheme = "https"
	}
	if !x.fromTrusted() {
		return scheme, authority
	}
	h := x.r.Header
	if host := nearest(h, "X-Forwarded-Host", "host"); host != "" {
		authority = host
	}
	return forwarded.Scheme(nearest(h, "X-Forwarded-Proto", "proto"), scheme), authority
}

// nearest returns the last member of an X-Forwarded-* field, which the nearest proxy added, or else the parameter of the last
// element of Forwarded (RFC 7239).
func nearest(h http.Header, field, parameter string) string {
	if list, lines := rfc9111.Header(h).Field(field); lines > 0 {
		return forwarded.Nearest(list)
	}
	if lines := h["Forwarded"]; len(lines) > 0 {
		elements := splitQuoted(lines[len(lines)-1], ',')
		return forwardedParameter(elements[len(elements)-1], parameter)
	}
	return ""
}

func forwardedParameter(element, name string) string {
	for _, pair := range splitQuoted(element, ';') {
		k, v, _ := strings.Cut(pair, "=")
		if strings.EqualFold(strings.TrimSpace(k), name) {
			return strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return ""
}

// splitQuoted splits at sep, but not inside quoted strings.
func splitQuoted(s string, sep byte) []string {
	var parts []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}
