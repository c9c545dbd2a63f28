package fastlane

import (
	"net/netip"
	"testing"
)

// Who the client is reaches rules by View alone, which the lane asks for no answer so far; so no comparison of answers shows it.
func TestIdentify(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for _, tt := range []struct {
		peer, field, want string
	}{
		{"10.0.0.1", "", "10.0.0.1"},
		{"10.0.0.1", "X-Forwarded-For: 198.51.100.1, 192.0.2.1\r\nX-forwarded-for: 10.0.0.2\r\n", "192.0.2.1"},
		{"192.0.2.2", "X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.2"},
	} {
		var r request
		trusted := networks[0].Contains(netip.MustParseAddr(tt.peer))
		if k := r.parse([]byte("GET / HTTP/1.1\r\nHost: a\r\n"+tt.field+"\r\n"), trusted); k != plain {
			t.Errorf("%q is not plain", tt.field)
		}
		if r.identify(&from{client: netip.MustParseAddr(tt.peer)}, networks, trusted); r.Client().String() != tt.want {
			t.Errorf("%s, %q: %v, want %s", tt.peer, tt.field, r.Client(), tt.want)
		}
	}
}
