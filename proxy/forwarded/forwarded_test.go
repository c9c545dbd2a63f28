package forwarded_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/proxy/forwarded"
)

var trusted = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func TestClient(t *testing.T) {
	for _, tt := range []struct{ list, want string }{
		{"", "10.0.0.1"},
		{"192.0.2.1", "192.0.2.1"},
		{"198.51.100.1, 192.0.2.1", "192.0.2.1"}, // the left one may be invented
		{"192.0.2.1, 10.0.0.2", "192.0.2.1"},
		{"192.0.2.1,10.0.0.2 ,\t10.0.0.3", "192.0.2.1"},
		{"10.0.0.2, 10.0.0.3", "10.0.0.2"},
		{"192.0.2.1, unknown", "10.0.0.1"},
		{"192.0.2.1, unknown, 10.0.0.2", "10.0.0.2"},
		{"192.0.2.1, , 10.0.0.2", "10.0.0.2"},
		{"192.0.2.1,", "10.0.0.1"},
		{",192.0.2.1", "192.0.2.1"},
		{"192.0.2.1:80, fd00::1", "192.0.2.1"},
		{"[2001:db8::1]:443", "2001:db8::1"},
		{"[2001:db8::1], [fd00::1]", "2001:db8::1"},
		{"::ffff:192.0.2.1, ::ffff:10.0.0.2", "192.0.2.1"},
	} {
		if got := forwarded.Client(netip.MustParseAddr("10.0.0.1"), tt.list, trusted); got.String() != tt.want {
			t.Errorf("%q: %v, want %s", tt.list, got, tt.want)
		}
	}
}

func TestClientAllocatesNothing(t *testing.T) {
	peer := netip.MustParseAddr("10.0.0.1")
	if n := testing.AllocsPerRun(100, func() { forwarded.Client(peer, "192.0.2.1, 10.0.0.2", trusted) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestScheme(t *testing.T) {
	for proto, want := range map[string]string{
		"http": "http", "https": "https", "HTTPS": "https", "": "own", "ws": "own", "https ": "own", "httpſ": "own", "http, https": "own",
	} {
		if got := forwarded.Scheme(proto, "own"); got != want {
			t.Errorf("%q: %q, want %q", proto, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	for list, want := range map[string]string{"": "", "a": "a", "a, b ": "b", "a,": "", ",a": "a"} {
		if got := forwarded.Nearest(list); got != want {
			t.Errorf("%q: %q, want %q", list, got, want)
		}
	}
}

// FuzzClient: the client's address is the peer's or stands in the list, all that stands right of it is trusted, and what is put before
// it changes nothing, unless it is a trusted proxy's itself.
func FuzzClient(f *testing.F) {
	f.Add("192.0.2.1, 10.0.0.2", "10.0.0.3")
	f.Add("unknown, 10.0.0.2", "[fd00::1]:80")
	f.Fuzz(func(t *testing.T, list, before string) {
		peer := netip.MustParseAddr("10.0.0.1")
		client := forwarded.Client(peer, list, trusted)
		if longer := forwarded.Client(peer, before+","+list, trusted); longer != client && !forwarded.Trusts(trusted, client) {
			t.Errorf("%v, and %v with %q before it", client, longer, before)
		}
		if client == peer {
			return
		}
		members := strings.Split(list, ",")
		for i := len(members) - 1; ; i-- {
			hop, ok := forwarded.Hop(members[i])
			if ok && hop == client {
				return
			}
			if !ok || !forwarded.Trusts(trusted, hop) {
				t.Fatalf("%v, past %q", client, members[i])
			}
		}
	})
}
