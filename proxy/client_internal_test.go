package proxy

import (
	"net/http"
	"net/netip"
	"testing"
)

// Who asked, and for which URL, is what trusted proxies say: in X-Forwarded-*, or else in Forwarded (RFC 7239).
func TestIdentify(t *testing.T) {
	plan := &Plan{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for _, tt := range []struct {
		peer                      string
		header                    http.Header
		client, scheme, authority string
	}{
		{"10.0.0.1:1", nil, "10.0.0.1", "http", "internal"},
		{"192.0.2.9:1", http.Header{"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Proto": {"https"}, "Forwarded": {"host=b"}}, "192.0.2.9", "http", "internal"},
		{"10.0.0.1:1", http.Header{"X-Forwarded-For": {"198.51.100.1, 192.0.2.1", "10.0.0.2"}}, "192.0.2.1", "http", "internal"},
		{"10.0.0.1:1", http.Header{"X-Forwarded-Proto": {"http", "HTTPS"}, "X-Forwarded-Host": {"b, a"}}, "10.0.0.1", "https", "a"},
		{"10.0.0.1:1", http.Header{"Forwarded": {`for=198.51.100.1, for="[2001:db8::1]:80";host=b`, "for=10.0.0.2;Proto=https;host=\"a:1\""}}, "2001:db8::1", "https", "a:1"},
		{"10.0.0.1:1", http.Header{"Forwarded": {"for=192.0.2.1, for=_hidden, for=10.0.0.2"}}, "10.0.0.2", "http", "internal"},
		{"10.0.0.1:1", http.Header{"Forwarded": {`for="192.0.2.1, 10.0.0.2"`}}, "10.0.0.1", "http", "internal"},
		// A quotation mark that the client leaves open does not hide what the nearest proxy says in a line of its own.
		{"10.0.0.1:1", http.Header{"Forwarded": {`for="`, "for=192.0.2.1;proto=https;host=a"}}, "10.0.0.1", "https", "a"},
		{"10.0.0.1:1", http.Header{"X-Forwarded-For": {"192.0.2.1"}, "Forwarded": {"for=192.0.2.2;proto=https"}}, "192.0.2.1", "https", "internal"},
	} {
		x := &exchange{plan: plan, r: &http.Request{RemoteAddr: tt.peer, Host: "internal", Header: tt.header}}
		x.identify()
		if scheme, authority := x.origin(); x.client.String() != tt.client || scheme != tt.scheme || authority != tt.authority {
			t.Errorf("%s, %q: %v, %s, %s; want %s, %s, %s", tt.peer, tt.header, x.client, scheme, authority, tt.client, tt.scheme, tt.authority)
		}
	}
}
