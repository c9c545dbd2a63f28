package front_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/test/pebble"
	"github.com/cacheproxy/cacheproxy/test/process"
)

func port(t *testing.T, addr string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// await asks a listener with TLS until it shows a certificate for name that roots
// vouch for, and returns it.
func await(t *testing.T, p *process.Process, addr, name string, roots *x509.CertPool) *x509.Certificate {
	t.Helper()
	var err error
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		var c *tls.Conn
		if c, err = tls.Dial("tcp", addr, &tls.Config{RootCAs: roots, ServerName: name}); err == nil {
			defer c.Close()
			return c.ConnectionState().PeerCertificates[0]
		}
	}
	t.Fatalf("no certificate for %s: %v\n%s", name, err, p.Output())
	return nil
}

func acmeConfig(listeners, directory, upstream string) string {
	return fmt.Sprintf("data_dir: data\nlisten:\n%supstreams: { origin: { targets: [{ url: %q }] } }\n", fmt.Sprintf(listeners, directory), upstream)
}

// Certificates are fetched by proving the names on the listener itself, are kept
// in data_dir, and are there at once after a restart.
func TestACME(t *testing.T) {
	addr := process.FreeAddrs(t, 1)[0]
	a := pebble.Start(t, "tls-alpn-01", port(t, addr), 24*time.Hour)
	dir := t.TempDir()
	config := acmeConfig("  - address: "+addr+"\n    tls: { acme: { email: ops@shop.example, domains: [shop.example, www.shop.example], directory: %q } }\n", a.Directory, origin(t))
	o := process.Options{Env: []string{"SSL_CERT_FILE=" + a.TrustFile}}
	p := serve(t, dir, config, o)
	first := await(t, p, addr, "shop.example", a.Roots)
	if other := await(t, p, addr, "www.shop.example", a.Roots); other.Equal(first) {
		t.Error("two names have one certificate")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: a.Roots, ServerName: "shop.example"}}}
	res, err := client.Get("https://" + addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if info, err := os.Stat(filepath.Join(dir, "data", "acme")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v; want 0700", info, err)
	}
	p.Stop()

	a.Close()
	p = serve(t, dir, config, o)
	if again := await(t, p, addr, "shop.example", a.Roots); !again.Equal(first) {
		t.Error("another certificate after the restart")
	}
	p.Stop()
}

// Where a listener without TLS is on the same host, names can be proven there too.
func TestACMEByHTTP(t *testing.T) {
	addrs := process.FreeAddrs(t, 2)
	a := pebble.Start(t, "http-01", port(t, addrs[0]), 24*time.Hour)
	config := acmeConfig("  - address: "+addrs[0]+"\n  - address: "+addrs[1]+"\n    tls: { acme: { domains: [shop.example], directory: %q } }\n", a.Directory, origin(t))
	p := serve(t, t.TempDir(), config, process.Options{Env: []string{"SSL_CERT_FILE=" + a.TrustFile}})
	await(t, p, addrs[1], "shop.example", a.Roots)
	p.Stop()
}
