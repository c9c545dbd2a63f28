package app_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/cacheproxy/cacheproxy/internal/app"
)

// ca is a certificate authority of a test.
type ca struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	pem  []byte
}

func newCA(t *testing.T) *ca {
	t.Helper()
	c := &ca{t: t, pool: x509.NewCertPool(), key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "a test's authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	c.cert, c.pem = c.sign(template, template, c.key)
	c.pool.AddCert(c.cert)
	return c
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (c *ca) sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey) (*x509.Certificate, []byte) {
	c.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue returns a certificate for names, and for 127.0.0.1, with its key, in PEM.
func (c *ca) issue(names ...string) (cert, key []byte) {
	c.t.Helper()
	k := newKey(c.t)
	_, cert = c.sign(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, c.cert, k)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		c.t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// write puts a certificate for name into NAME.crt and NAME.key of dir.
func (c *ca) write(dir, name string) {
	c.t.Helper()
	cert, key := c.issue(name)
	writeFile(c.t, filepath.Join(dir, name+".crt"), cert)
	writeFile(c.t, filepath.Join(dir, name+".key"), key)
}

func writeFile(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// front is an instance with a plain listener and one with TLS and HTTP/3, in front of an origin.
type front struct {
	*instance
	ca     *ca
	dir    string // of a.crt and a.key
	plain  string // HOST:PORT
	secure string
}

// listenersOf is the listen part of a front's configuration.
func listenersOf(dir string) string {
	return fmt.Sprintf(`
listen:
  - address: 127.0.0.1:0
  - address: 127.0.0.1:0
    tls: { cert_file: %[1]s/a.crt, key_file: %[1]s/a.key }
    http3: true
`, dir)
}

func upstreamOf(origin string) string {
	return "upstreams: { origin: { targets: [{ url: '" + origin + "' }] } }\n"
}

// startFront starts a front. more is further configuration.
func startFront(t *testing.T, origin http.Handler, more string) *front {
	t.Helper()
	server := httptest.NewServer(origin)
	t.Cleanup(server.Close)
	f := &front{ca: newCA(t), dir: t.TempDir()}
	f.ca.write(f.dir, "a")
	f.instance = start(t, listenersOf(f.dir)+upstreamOf(server.URL)+more, withoutListenFlag)
	f.plain, f.secure = f.Addrs()[0].String(), f.Addrs()[1].String()
	return f
}

func withoutListenFlag(o *app.Options) { o.Config.Flags.Listen = "" }

// protocol is a way to ask.
type protocol struct {
	name   string
	scheme string
	client func(f *front) *http.Client
	proto  string // what the client must have spoken
}

var protocols = []protocol{
	{"HTTP/1.1", "http", func(f *front) *http.Client { return f.over(nil, nil) }, "HTTP/1.1"},
	{"h2c", "http", func(f *front) *http.Client { return f.over(nil, protocolsOf((*http.Protocols).SetUnencryptedHTTP2)) }, "HTTP/2.0"},
	{"HTTP/1.1 with TLS", "https", func(f *front) *http.Client {
		return f.over(f.ca.clientConfig(), protocolsOf((*http.Protocols).SetHTTP1))
	}, "HTTP/1.1"},
	{"HTTP/2", "https", func(f *front) *http.Client {
		return f.over(f.ca.clientConfig(), protocolsOf((*http.Protocols).SetHTTP2))
	}, "HTTP/2.0"},
	{"HTTP/3", "https", func(f *front) *http.Client { return f.overQUIC(f.ca.clientConfig()) }, "HTTP/3.0"},
}

func protocolsOf(set func(*http.Protocols, bool)) *http.Protocols {
	p := new(http.Protocols)
	set(p, true)
	return p
}

func (c *ca) clientConfig() *tls.Config { return &tls.Config{RootCAs: c.pool, ServerName: "a"} }

// over returns a client of its own that is closed when the test ends.
func (f *front) over(c *tls.Config, p *http.Protocols) *http.Client {
	t := &http.Transport{TLSClientConfig: c, Protocols: p, DisableCompression: true}
	f.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: 20 * time.Second}
}

func (f *front) overQUIC(c *tls.Config) *http.Client {
	t := &http3.Transport{TLSClientConfig: c, DisableCompression: true, QUICConfig: &quic.Config{}}
	f.t.Cleanup(func() { t.Close() })
	return &http.Client{Transport: t, Timeout: 20 * time.Second}
}

// url returns the address of a path for a protocol.
func (f *front) url(p protocol, path string) string {
	if p.scheme == "http" {
		return "http://" + f.plain + path
	}
	return "https://" + f.secure + path
}

// eachProtocol runs a test once for each protocol, against one front.
func eachProtocol(t *testing.T, f *front, test func(t *testing.T, p protocol, c *http.Client)) {
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) { test(t, p, p.client(f)) })
	}
}

// do sends a request and reads the whole response.
func do(t *testing.T, c *http.Client, method, url string, body io.Reader, fields ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return res, string(text)
}

// A hit has the same fields and the same body whichever protocol it goes out by. quic-go, other than net/http, reads the header map
// after WriteHeader has returned.
func TestHitIsTheSameOverAllProtocols(t *testing.T) {
	sizes := map[string]int{"/empty": 0, "/small": 10, "/page": 5000, "/large": 700_000}
	f := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=100")
		w.Header().Set("Content-Type", "text/x-test")
		w.Header()["X-Several"] = []string{"one", "two"}
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Alt-Svc", `h3=":1"`)
		io.WriteString(w, strings.Repeat("x", sizes[r.URL.Path]))
	}), "")
	for path, size := range sizes {
		do(t, client, "GET", "http://"+f.plain+path, nil)
		do(t, protocols[3].client(f), "GET", "https://"+f.secure+path, nil)
		eachProtocol(t, f, func(t *testing.T, p protocol, c *http.Client) {
			for range 2 {
				res, body := do(t, c, "GET", f.url(p, path), nil)
				if res.Proto != p.proto {
					t.Fatalf("spoken: %s, want %s", res.Proto, p.proto)
				}
				wantFields(t, res, "Content-Type", "text/x-test", "Etag", `"v1"`, "Content-Length", fmt.Sprint(size), "Cache-Control", "max-age=100")
				if got := res.Header["X-Several"]; len(got) != 2 || got[0] != "one" || got[1] != "two" {
					t.Errorf("X-Several: %q", got)
				}
				if got := res.Header.Get("Cache-Status"); !strings.HasPrefix(got, "cacheproxy; hit; ttl=") {
					t.Errorf("Cache-Status: %q", got)
				}
				if res.Header.Get("Age") == "" || res.Header.Get("Date") == "" {
					t.Errorf("no Age or Date: %v", res.Header)
				}
				if body != strings.Repeat("x", size) {
					t.Errorf("body of %d bytes, want %d", len(body), size)
				}
				wantAltSvc(t, f, p, res)
			}
			res, body := do(t, c, "HEAD", f.url(p, path), nil)
			wantFields(t, res, "Content-Length", fmt.Sprint(size), "Etag", `"v1"`)
			if body != "" {
				t.Errorf("HEAD has a body of %d bytes", len(body))
			}
			res, _ = do(t, c, "GET", f.url(p, path), nil, "If-None-Match", `"v1"`)
			if res.StatusCode != http.StatusNotModified || res.Header.Get("Etag") != `"v1"` {
				t.Errorf("validation: status %d, %v", res.StatusCode, res.Header)
			}
			if size > 0 {
				res, body = do(t, c, "GET", f.url(p, path), nil, "Range", "bytes=0-4")
				if res.StatusCode != http.StatusPartialContent || body != "xxxxx" {
					t.Errorf("range: status %d, %q", res.StatusCode, body)
				}
			}
		})
	}
}

// wantAltSvc: HTTP/3 is announced where it is spoken, and what the origin says of itself is not passed on there.
func wantAltSvc(t *testing.T, f *front, p protocol, res *http.Response) {
	t.Helper()
	_, port, _ := net.SplitHostPort(f.secure)
	want := `h3=":` + port + `"; ma=86400`
	if p.scheme == "http" {
		want = `h3=":1"`
	}
	if got := res.Header["Alt-Svc"]; len(got) != 1 || got[0] != want {
		t.Errorf("Alt-Svc: %q, want %q", got, want)
	}
}

func wantFields(t *testing.T, res *http.Response, fields ...string) {
	t.Helper()
	for i := 0; i < len(fields); i += 2 {
		if got := res.Header.Get(fields[i]); got != fields[i+1] {
			t.Errorf("%s: %q, want %q", fields[i], got, fields[i+1])
		}
	}
}

// Errors of our own look the same too, and CONNECT is refused over each protocol.
func TestErrorsOverAllProtocols(t *testing.T) {
	f := startFront(t, http.NotFoundHandler(), "limits: { url_bytes: 1KiB, header_bytes: 8KiB }\n")
	eachProtocol(t, f, func(t *testing.T, p protocol, c *http.Client) {
		res, body := do(t, c, "GET", f.url(p, "/"+strings.Repeat("a", 2000)), nil)
		if res.StatusCode != http.StatusRequestURITooLong || body != "Request URI Too Long (limit)\n" {
			t.Errorf("a long URL: status %d, %q", res.StatusCode, body)
		}
		wantFields(t, res, "Cache-Status", "cacheproxy; detail=limit", "Content-Type", "text/plain; charset=utf-8", "Content-Length", fmt.Sprint(len(body)))
		r, err := http.NewRequest("GET", f.url(p, "/"), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Long", strings.Repeat("a", 20<<10))
		if res, err := c.Do(r); err == nil { // some clients know the limit and send nothing
			res.Body.Close()
			if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("a long header: status %d", res.StatusCode)
			}
		}
	})
}
