// Package front_test asks the built binary over each protocol with clients that
// share no code with it.
package front_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/quic-go/quic-go/http3"

	"github.com/cacheproxy/cacheproxy/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }

// files makes a directory with a self-signed certificate for "localhost" and
// 127.0.0.1 in tls.crt and tls.key.
func files(t *testing.T) (dir string, cert tls.Certificate) {
	t.Helper()
	dir = t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	write(t, filepath.Join(dir, "tls.crt"), certPEM)
	write(t, filepath.Join(dir, "tls.key"), keyPEM)
	if cert, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return dir, cert
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// serve runs the binary in dir with a configuration that names its listeners.
func serve(t *testing.T, dir, config string, o process.Options) *process.Process {
	t.Helper()
	o.Dir, o.Configured = dir, true
	write(t, filepath.Join(dir, "cacheproxy.yaml"), []byte(config))
	return process.Serve(t, o, "--config", "cacheproxy.yaml")
}

// origin answers with what can be cached, and echoes what is sent to it.
func origin(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			w.Write(body)
			return
		}
		w.Header().Set("Cache-Control", "max-age=100")
		fmt.Fprintf(w, "page for %s\n", r.Header.Get("X-Forwarded-Proto"))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed; make test installs it", name)
	}
	var out bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out.String())
	}
	return out.String()
}

// two starts the binary with a plain listener and one with TLS, whose
// certificate pool vouches for, in front of the origin at url.
func two(t *testing.T, url string) (p *process.Process, plain, secure string, pool *x509.CertPool) {
	t.Helper()
	dir, cert := files(t)
	pool = x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	addrs := process.FreeAddrs(t, 2)
	p = serve(t, dir, fmt.Sprintf(`
listen:
  - address: %s
  - address: %s
    tls: { cert_file: tls.crt, key_file: tls.key }
    http3: true
upstreams: { origin: { targets: [{ url: "%s" }] } }
log: { access: false }
`, addrs[0], addrs[1], url), process.Options{})
	return p, "http://" + addrs[0], "https://" + addrs[1], pool
}

func TestCurl(t *testing.T) {
	p, plain, secure, _ := two(t, origin(t))
	large := filepath.Join(t.TempDir(), "large")
	write(t, large, bytes.Repeat([]byte("0123456789abcdef"), 1<<16))
	for _, c := range []struct {
		name, url, version string
		flags              []string
	}{
		{"HTTP/1.0", plain, "1", []string{"--http1.0"}},
		{"HTTP/1.1", plain, "1.1", []string{"--http1.1"}},
		{"h2c with prior knowledge", plain, "2", []string{"--http2-prior-knowledge"}},
		{"HTTP/1.1 with TLS", secure, "1.1", []string{"-k", "--http1.1"}},
		{"HTTP/2", secure, "2", []string{"-k", "--http2"}},
		{"TLS 1.2", secure, "2", []string{"-k", "--tls-max", "1.2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ask := append([]string{"-sS", "-i", "--max-time", "20", "-w", "\nspoken: %{http_version}\n"}, c.flags...)
			scheme, _, _ := strings.Cut(c.url, ":")
			for _, want := range []string{"", "cacheproxy; hit"} { // the second time from the cache
				got := run(t, "curl", append(ask, c.url+"/")...)
				if !strings.Contains(got, "page for "+scheme+"\n") || !strings.Contains(got, "spoken: "+c.version+"\n") || !strings.Contains(strings.ToLower(got), "cache-status: "+want) {
					t.Errorf("%s\nwant %q and version %s", got, want, c.version)
				}
			}
			// A body over 1 KiB makes curl wait for 100 with HTTP/1.1.
			upload := append(append([]string{"-sS", "--max-time", "20", "--expect100-timeout", "15", "--data-binary", "@" + large}, c.flags...), c.url+"/")
			if got := run(t, "curl", upload...); len(got) != 1<<20 {
				t.Errorf("%d bytes came back, want %d", len(got), 1<<20)
			}
		})
	}
	p.Stop()
}

// A client that has asked by HTTP/2 finds HTTP/3 where Alt-Svc says it is.
func TestQUIC(t *testing.T) {
	p, _, secure, pool := two(t, origin(t))
	got := run(t, "curl", "-sS", "-k", "-i", "--max-time", "20", secure+"/")
	host, port, err := net.SplitHostPort(strings.TrimPrefix(secure, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.ToLower(got), "\nalt-svc: h3=\":"+port+"\"; ma=86400\r") {
		t.Errorf("no Alt-Svc for port %s in\n%s", port, got)
	}
	askQUIC(t, pool, net.JoinHostPort(host, port))
	p.Stop()
}

// A WebSocket goes through both listeners.
func TestWebSocket(t *testing.T) {
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	}))
	t.Cleanup(echo.Close)
	p, plain, secure, pool := two(t, echo.URL)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	for _, url := range []string{plain, secure} {
		c, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			t.Fatal(err)
		}
		c.SetReadLimit(1 << 20)
		for _, text := range []string{"one", strings.Repeat("x", 100_000)} {
			if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if _, got, err := c.Read(ctx); string(got) != text {
				t.Errorf("%s: %.20q, %v", url, got, err)
			}
		}
		if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
			t.Errorf("%s: close: %v", url, err)
		}
	}
	p.Stop()
}

// h2load asks many times at once. Not one request may fail.
func TestH2load(t *testing.T) {
	p, plain, secure, _ := two(t, origin(t))
	for name, c := range map[string][]string{
		"h2c":      {plain + "/"},
		"HTTP/2":   {secure + "/"},
		"HTTP/1.1": {"--h1", secure + "/"},
	} {
		t.Run(name, func(t *testing.T) {
			out := run(t, "h2load", append([]string{"-n", "2000", "-c", "10", "-m", "20"}, c...)...)
			if !strings.Contains(out, "2000 succeeded, 0 failed, 0 errored, 0 timeout") || !strings.Contains(out, "2000 2xx") {
				t.Error(out)
			}
		})
	}
	p.Stop()
}

// passable makes two sockets for TCP and one for UDP, at the address of the
// second, as a service manager would pass them.
func passable(t *testing.T) (sockets []*os.File, addrs []string) {
	t.Helper()
	pass := func(socket interface{ File() (*os.File, error) }) {
		f, err := socket.File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		sockets = append(sockets, f)
	}
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		pass(l.(*net.TCPListener))
		addrs = append(addrs, l.Addr().String())
	}
	u, err := net.ListenPacket("udp", addrs[1])
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close() // unlike the others it has a queue of its own, where nobody would look
	pass(u.(*net.UDPConn))
	return sockets, addrs
}

// As systemd does it: the process is to find its own id in LISTEN_PID.
func passing(sockets []*os.File) process.Options {
	return process.Options{Files: sockets, Env: []string{fmt.Sprint("LISTEN_FDS=", len(sockets))}, Shell: `LISTEN_PID=$$ exec "$@"`}
}

// A service manager such as systemd opens the sockets: they are taken in order,
// whatever addresses the configuration names, and it may restart the program
// without a client that is refused.
func TestSocketActivation(t *testing.T) {
	dir, cert := files(t)
	passed, addrs := passable(t)
	config := fmt.Sprintf(`
listen:
  - address: 127.0.0.1:1
  - address: 127.0.0.1:2
    tls: { cert_file: tls.crt, key_file: tls.key }
    http3: true
upstreams: { origin: { targets: [{ url: "%s" }] } }
`, origin(t))
	o := passing(passed)
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool}}}
	for range 2 { // the second takes the same sockets over
		p := serve(t, dir, config, o)
		for i, scheme := range []string{"http", "https"} {
			res, err := client.Get(scheme + "://" + addrs[i] + "/")
			if err != nil {
				t.Fatalf("%v\n%s", err, p.Output())
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if string(body) != "page for "+scheme+"\n" {
				t.Errorf("%s: %q", scheme, body)
			}
		}
		askQUIC(t, pool, addrs[1])
		p.Stop()
	}
}

// More sockets than listeners are a mistake in the unit, which must not go
// unnoticed: a client would wait for ever on the one that nobody serves.
func TestSocketsTooMany(t *testing.T) {
	passed, _ := passable(t)
	dir, o := t.TempDir(), passing(passed)
	write(t, filepath.Join(dir, "cacheproxy.yaml"), fmt.Appendf(nil, "listen: [{ address: '127.0.0.1:1' }]\nupstreams: { origin: { targets: [{ url: '%s' }] } }\n", origin(t)))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", o.Shell, "sh", process.Binary(t), "serve", "--admin", "127.0.0.1:0", "--config", "cacheproxy.yaml")
	cmd.Dir, cmd.Env, cmd.ExtraFiles = dir, append(os.Environ(), o.Env...), passed
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "2 sockets more than listen has use for") {
		t.Errorf("%v: %s", err, out)
	}
}

// askQUIC asks by HTTP/3.
func askQUIC(t *testing.T, pool *x509.CertPool, addr string) {
	t.Helper()
	transport := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.Close()
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	res, err := client.Get("https://" + addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); res.Proto != "HTTP/3.0" || string(body) != "page for https\n" || err != nil {
		t.Errorf("%s: %q, %v", res.Proto, body, err)
	}
}
