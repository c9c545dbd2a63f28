package app_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// dialRaw opens a connection that is closed when the test ends.
func dialRaw(t testing.TB, address string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c, bufio.NewReader(c)
}

// exchange sends bytes on a connection of its own and returns all that comes back.
func exchange(t testing.TB, address, request string) string {
	t.Helper()
	c, answer := dialRaw(t, address)
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	all, _ := io.ReadAll(answer) // a reset ends it too
	return string(all)
}

func headerOf(version byte, source string) string {
	h := proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(source)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.80:80")))
	text, err := h.Format()
	if err != nil {
		panic(err)
	}
	return string(text)
}

// The address that a header of the PROXY protocol names takes the place of the socket's peer, where the peer is trusted: for purging,
// for X-Forwarded-For and for who is a trusted proxy. From others the header is read and dropped.
func TestProxyProtocol(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "for=%q proto=%q", r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"))
	}))
	t.Cleanup(origin.Close)
	f := &front{ca: newCA(t), dir: t.TempDir()}
	f.ca.write(f.dir, "a")
	config := func(trusted string) string {
		return fmt.Sprintf(`
listen:
  - { address: '127.0.0.1:0', proxy_protocol: true }
  - { address: '127.0.0.1:0', proxy_protocol: true, tls: { cert_file: %[1]s/a.crt, key_file: %[1]s/a.key } }
trusted_proxies: [%[2]s]
purge: { allow: [203.0.113.0/24, 127.0.0.0/8] }
`, f.dir, trusted) + upstreamOf(origin.URL)
	}
	f.instance = start(t, config("127.0.0.0/8"), withoutListenFlag)
	f.plain, f.secure = f.Addrs()[0].String(), f.Addrs()[1].String()

	const get = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n"
	const purge = "PURGE /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	tests := []struct{ name, header, request, want string }{
		{"version 1", headerOf(1, "203.0.113.9:1000"), get, `for="203.0.113.9" proto="http"`},
		{"version 2", headerOf(2, "203.0.113.9:1000"), get, `for="203.0.113.9" proto="http"`},
		{"IPv6", headerOf(2, "[2001:db8::9]:1000"), get, `for="2001:db8::9" proto="http"`},
		{"a proxy before it", headerOf(2, "127.0.0.5:1000"), get, `for="198.51.100.1, 127.0.0.5" proto="http"`},
		{"version 1 by hand", "PROXY TCP4 203.0.113.9 192.0.2.80 1000 80\r\n", get, `for="203.0.113.9" proto="http"`},
		{"version 2 by hand", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\xc0\x00\x02\x50\x03\xe8\x00\x50", get, `for="203.0.113.9" proto="http"`},
		{"version 2, a check of the proxy's own", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", get, `for="198.51.100.1, 127.0.0.1" proto="http"`},
		{"unknown", "PROXY UNKNOWN\r\n", get, `for="198.51.100.1, 127.0.0.1" proto="http"`},
		{"none", "", get, `for="198.51.100.1, 127.0.0.1" proto="http"`},
		{"purge by who may", headerOf(1, "203.0.113.9:1000"), purge, "HTTP/1.1 200"},
		{"purge by who may not", headerOf(1, "198.51.100.9:1000"), purge, "HTTP/1.1 403"},
	}
	for _, c := range tests {
		if got := exchange(t, f.plain, c.header+c.request); !strings.Contains(got, c.want) {
			t.Errorf("%s: want %s in\n%s", c.name, c.want, got)
		}
	}

	c, _ := dialRaw(t, f.secure)
	io.WriteString(c, headerOf(2, "203.0.113.9:1000"))
	encrypted := tls.Client(c, f.ca.clientConfig())
	io.WriteString(encrypted, get)
	if got, err := io.ReadAll(encrypted); !strings.Contains(string(got), `for="203.0.113.9" proto="https"`) {
		t.Errorf("with TLS: %v\n%s", err, got)
	}

	if got := exchange(t, f.plain, "PROXY TCP4 not an address\r\n"+get); strings.Contains(got, "200") {
		t.Errorf("a broken header is answered: %q", got)
	}

	f.write(config("192.0.2.0/24"))
	if _, err := f.Reload("test"); err != nil {
		t.Fatal(err)
	}
	for _, version := range []byte{1, 2} {
		if got := exchange(t, f.plain, headerOf(version, "203.0.113.9:1000")+get); !strings.Contains(got, `for="127.0.0.1"`) {
			t.Errorf("version %d from who is not trusted: %s", version, got)
		}
	}
}
