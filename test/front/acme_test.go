package front_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"github.com/cacheproxy/cacheproxy/test/process"
)

// authority is an ACME server. All names lead to 127.0.0.1 for it.
type authority struct {
	directory string
	trust     string         // file with the certificate of its own HTTPS
	roots     *x509.CertPool // of what it issues
	close     func()
}

// startAuthority starts pebble, Let's Encrypt's small server for tests. It wants
// domains to be proven by the given kind of challenge, on the given port.
func startAuthority(t *testing.T, challenge string, port int) *authority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	logger := log.New(&bytes.Buffer{}, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(logger, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: 86400}})
	prover := va.New(logger, port, port, false, startDNS(t), store)
	front := wfe.New(logger, store, prover, issuer, []string{"test"}, false, false, 1, 1)
	dir, cert := files(t)
	server := httptest.NewUnstartedServer(only(challenge, front.Handler()))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	block, _ := pem.Decode(issuer.GetRootCert(0).PEM())
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots.AddCert(root)
	return &authority{server.URL + wfe.DirectoryPath, filepath.Join(dir, "tls.crt"), roots, server.Close}
}

// only takes the challenges of other kinds out of what an ACME server offers.
func only(kind string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		body := answer.Body.Bytes()
		var authorization map[string]any
		if json.Unmarshal(body, &authorization) == nil {
			if offered, ok := authorization["challenges"].([]any); ok {
				authorization["challenges"] = slices.DeleteFunc(offered, func(c any) bool { return c.(map[string]any)["type"] != kind })
				body, _ = json.Marshal(authorization) // it was JSON
			}
		}
		maps.Copy(w.Header(), answer.Header())
		w.Header().Del("Content-Length")
		w.WriteHeader(answer.Code)
		_, _ = w.Write(body) // a client that is gone needs none
	})
}

// startDNS starts a server to which every name is 127.0.0.1.
func startDNS(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // pebble asks by TCP
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		if question := q.Question[0]; question.Qtype == dns.TypeA {
			answer.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1),
			}}
		}
		_ = w.WriteMsg(answer) // who does not get it asks again
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ActivateAndServe() // ends by Shutdown
	}()
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
	return l.Addr().String()
}

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
	a := startAuthority(t, "tls-alpn-01", port(t, addr))
	dir := t.TempDir()
	config := acmeConfig("  - address: "+addr+"\n    tls: { acme: { email: ops@shop.example, domains: [shop.example, www.shop.example], directory: %q } }\n", a.directory, origin(t))
	o := process.Options{Env: []string{"SSL_CERT_FILE=" + a.trust}}
	p := serve(t, dir, config, o)
	first := await(t, p, addr, "shop.example", a.roots)
	if other := await(t, p, addr, "www.shop.example", a.roots); other.Equal(first) {
		t.Error("two names have one certificate")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: a.roots, ServerName: "shop.example"}}}
	res, err := client.Get("https://" + addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if info, err := os.Stat(filepath.Join(dir, "data", "acme")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory: %v, %v; want 0700", info, err)
	}
	p.Stop()

	a.close()
	p = serve(t, dir, config, o)
	if again := await(t, p, addr, "shop.example", a.roots); !again.Equal(first) {
		t.Error("another certificate after the restart")
	}
	p.Stop()
}

// Where a listener without TLS is on the same host, names can be proven there too.
func TestACMEByHTTP(t *testing.T) {
	addrs := process.FreeAddrs(t, 2)
	a := startAuthority(t, "http-01", port(t, addrs[0]))
	config := acmeConfig("  - address: "+addrs[0]+"\n  - address: "+addrs[1]+"\n    tls: { acme: { domains: [shop.example], directory: %q } }\n", a.directory, origin(t))
	p := serve(t, t.TempDir(), config, process.Options{Env: []string{"SSL_CERT_FILE=" + a.trust}})
	await(t, p, addrs[1], "shop.example", a.roots)
	p.Stop()
}
