package upstream

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// protocolServer starts a server that speaks what is set in p and says what it
// was spoken to in.
func protocolServer(t *testing.T, l net.Listener, set func(*http.Protocols)) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %q %v", r.Proto, r.Method, r.Host, body, err)
	}))
	if l != nil {
		s.Listener.Close()
		s.Listener = l
	}
	s.Config.ErrorLog = discard
	s.Config.Protocols = new(http.Protocols)
	set(s.Config.Protocols)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func TestPriorKnowledgeOfHTTP2(t *testing.T) {
	s := protocolServer(t, nil, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) })
	u := reach(t, strings.Replace(s.URL, "http", "h2c", 1))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if status, body, err := get(t, u, "/"); err != nil || status != 200 || body != `HTTP/2.0 GET client.example "" <nil>` {
				t.Errorf("got %d %q, %v", status, body, err)
			}
		})
	}
	wg.Wait()
	response, err := u.RoundTrip(request(t, "POST", "/", struct{ io.Reader }{strings.NewReader("hello")}))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if want := `HTTP/2.0 POST client.example "hello" <nil>`; err != nil || string(body) != want {
		t.Errorf("got %q, %v, want %q", body, err, want)
	}
	stats := u.Stats()
	if stats.InFlight != 0 || stats.Targets[0].Connections < 1 {
		t.Errorf("the stats are %+v", stats)
	}
	u.Close()
	await(t, "no connection is left", func() bool { return u.Stats().Targets[0].Connections == 0 })
}

// await polls until ok, and fails the test where that does not come.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Failures over HTTP/2 have the same kinds as those over HTTP/1.1.
func TestFailuresOfHTTP2(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			<-r.Context().Done()
		case "/stall":
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/short":
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		case "/head":
			w.Header().Set("X-Long", strings.Repeat("x", 2*maxHeadBytes))
		}
	}))
	s.Config.ErrorLog = discard
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	url := strings.Replace(s.URL, "http", "h2c", 1)
	for _, tt := range []struct {
		path, method string
		kind         Kind
		status       int
	}{
		{"/slow", "GET", Timeout, 504},
		{"/stall", "GET", IdleTimeout, 504},
		{"/abort", "GET", Broken, 502},
		{"/short", "GET", Broken, 502},
		{"/head", "GET", Broken, 502},
		{"/slow", "POST", IdleTimeout, 504}, // it takes as much as its window lets it, and then nothing
	} {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			u := reach(t, url, func(o *Options) {
				if tt.kind != Broken {
					o.Timeout.Idle = 200 * time.Millisecond
					o.Timeout.ResponseHeader = 200 * time.Millisecond
				}
			})
			var body io.Reader
			if tt.method == "POST" {
				body = io.LimitReader(zeros{}, 1<<30)
			}
			response, err := u.RoundTrip(request(t, tt.method, tt.path, body))
			if err == nil {
				_, err = io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
			wantError(t, u, err, tt.kind, tt.status)
		})
	}
}

// The idle time is for the origin: a client may be as slow as the proxy lets it.
func TestSlowUploadOverHTTP2(t *testing.T) {
	s := protocolServer(t, nil, func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) })
	u := reach(t, strings.Replace(s.URL, "http", "h2c", 1), func(o *Options) { o.Timeout.Idle = 50 * time.Millisecond })
	r, w := io.Pipe()
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, part := range []string{"one ", "two"} {
			io.WriteString(w, part)            // its reader says whether it came
			time.Sleep(200 * time.Millisecond) // a slow client is what this is
		}
		w.Close()
	})
	response, err := u.RoundTrip(request(t, "POST", "/", r))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	wg.Wait()
	if want := `HTTP/2.0 POST client.example "one two" <nil>`; err != nil || string(body) != want {
		t.Errorf("got %q, %v, want %q", body, err, want)
	}
}

func TestUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "sock") // t.TempDir may be longer than a socket's path can be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "app.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	protocolServer(t, l, func(p *http.Protocols) { p.SetHTTP1(true) })
	for host, want := range map[string]string{HostPreserve: "client.example", HostTarget: "localhost"} {
		u := reach(t, "unix://"+path, func(o *Options) { o.Host = host })
		for range 3 {
			if _, body, err := get(t, u, "/"); err != nil || body != `HTTP/1.1 GET `+want+` "" <nil>` {
				t.Errorf("got %q, %v", body, err)
			}
		}
		if s := u.Stats().Targets[0]; s.URL != "unix://"+path || s.Connections != 1 {
			t.Errorf("the target is %+v, want it with the one connection that is kept", s)
		}
	}
	u := reach(t, "unix://"+path+".absent")
	_, _, err = get(t, u, "/")
	wantError(t, u, err, Connect, 502)
}

// authority is a certificate authority of a test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, "ca")
	return a
}

// file returns the path of a file of the authority: NAME.crt or NAME.key.
func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// sign makes a certificate and writes it and its key to files.
func (a *authority) sign(c *x509.Certificate, name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.must(err)
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	a.must(err)
	made, err := x509.ParseCertificate(der)
	a.must(err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	a.must(err)
	a.must(os.WriteFile(a.file(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	a.must(os.WriteFile(a.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return made, key
}

func (a *authority) must(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

// server starts a TLS server with a certificate for shop.test that wants one of
// the client, where want says so. It answers with the protocol, the name that was
// asked for, and the client's name.
func (a *authority) server(want tls.ClientAuthType, protocols ...string) *httptest.Server {
	a.t.Helper()
	a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "shop.test"}, DNSNames: []string{"shop.test"}}, "server")
	pair, err := tls.LoadX509KeyPair(a.file("server.crt"), a.file("server.key"))
	a.must(err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "echo" {
			echo(w)
			return
		}
		client := ""
		for _, c := range r.TLS.PeerCertificates {
			client = c.Subject.CommonName
		}
		fmt.Fprintf(w, "%s %s %s", r.Proto, r.TLS.ServerName, client)
	}))
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: want, ClientCAs: pool, NextProtos: protocols}
	s.Config.ErrorLog = discard
	s.EnableHTTP2 = len(protocols) == 0 || protocols[0] == "h2"
	s.StartTLS()
	a.t.Cleanup(s.Close)
	return s
}

// echo switches protocols and sends back one line.
func echo(w http.ResponseWriter) {
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", "echo")
	w.WriteHeader(http.StatusSwitchingProtocols)
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	line, err := rw.ReadString('\n')
	if err == nil {
		io.WriteString(c, "echo "+line) // the client says whether it came
	}
}

func TestTLSOptions(t *testing.T) {
	a := newAuthority(t)
	a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "proxy"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, "client")
	other := newAuthority(t)
	tests := []struct {
		name string
		want tls.ClientAuthType
		tls  TLS
		body string // "" : it fails
	}{
		{"own authority and name", tls.NoClientCert, TLS{CAFile: a.file("ca.crt"), ServerName: "shop.test"}, "HTTP/2.0 shop.test "},
		{"no authority", tls.NoClientCert, TLS{ServerName: "shop.test"}, ""},
		{"another authority", tls.NoClientCert, TLS{CAFile: other.file("ca.crt"), ServerName: "shop.test"}, ""},
		{"another name", tls.NoClientCert, TLS{CAFile: a.file("ca.crt"), ServerName: "blog.test"}, ""},
		{"the name of the URL", tls.NoClientCert, TLS{CAFile: a.file("ca.crt")}, ""},
		{"any certificate", tls.NoClientCert, TLS{InsecureSkipVerify: true}, "HTTP/2.0  "},
		{"any certificate, with a name", tls.NoClientCert, TLS{InsecureSkipVerify: true, ServerName: "blog.test"}, "HTTP/2.0 blog.test "},
		{"client certificate", tls.RequireAndVerifyClientCert,
			TLS{CAFile: a.file("ca.crt"), ServerName: "shop.test", CertFile: a.file("client.crt"), KeyFile: a.file("client.key")}, "HTTP/2.0 shop.test proxy"},
		{"no client certificate", tls.RequireAndVerifyClientCert, TLS{CAFile: a.file("ca.crt"), ServerName: "shop.test"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u := reach(t, a.server(tt.want).URL, func(o *Options) { o.TLS = tt.tls })
			for range 2 {
				_, body, err := get(t, u, "/")
				var e *Error
				switch {
				case tt.body == "" && (!errors.As(err, &e) || e.Kind != Connect && e.Kind != Broken): // TLS 1.3 asks for the client's certificate after the handshake
					t.Errorf("got %q, %v, want a failure to connect", body, err)
				case tt.body != "" && (err != nil || body != tt.body):
					t.Errorf("got %q, %v, want %q", body, err, tt.body)
				}
			}
		})
	}
}

func TestProtocolIsNegotiated(t *testing.T) {
	a := newAuthority(t)
	plain := a.server(tls.NoClientCert, "http/1.1")
	trust := func(o *Options) { o.TLS = TLS{CAFile: a.file("ca.crt"), ServerName: "shop.test"} }
	u := reach(t, plain.URL, trust)
	for _, method := range []string{"GET", "POST", "PUT"} {
		response, err := u.RoundTrip(request(t, method, "/", strings.NewReader("content")))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(body) != "HTTP/1.1 shop.test " {
			t.Errorf("%s to a server of HTTP/1.1: got %q, %v", method, body, err)
		}
	}
	if n := u.Stats().Failures["connect"]; n != 0 {
		t.Errorf("finding out the protocol counts as %d failures", n)
	}

	// WebSocket and its kin are HTTP/1.1, whatever else the server speaks.
	for _, s := range []*httptest.Server{plain, a.server(tls.NoClientCert)} {
		u := reach(t, s.URL, trust)
		req := request(t, "GET", "/", nil)
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "echo")
		response, err := u.RoundTrip(req)
		if err != nil || response.StatusCode != 101 {
			t.Fatalf("got %v, %v, want 101", response, err)
		}
		io.WriteString(response.Body.(io.Writer), "hello\n") // its failure shows at once
		if line, err := bufio.NewReader(response.Body).ReadString('\n'); line != "echo hello\n" {
			t.Errorf("through the tunnel came %q, %v", line, err)
		}
		response.Body.Close()
	}
}

// A request that an HTTP/2 origin has read before it closed the connection is not
// sent to it again either.
func TestRequestThatWasReadIsNotRepeatedOverHTTP2(t *testing.T) {
	var mu sync.Mutex
	seen := 0
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/gone" {
			seen++
			r.Context().Value(connKey{}).(net.Conn).Close() // the client sees it close
		}
	}))
	s.Config.ErrorLog = discard
	s.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	for _, method := range []string{"GET", "POST", "PUT"} {
		seen = 0
		u := reach(t, strings.Replace(s.URL, "http", "h2c", 1))
		if _, _, err := get(t, u, "/first"); err != nil {
			t.Fatal(err)
		}
		_, err := u.RoundTrip(request(t, method, "/gone", nil))
		wantError(t, u, err, Broken, 502)
		mu.Lock()
		if seen != 1 {
			t.Errorf("the origin got the %s %d times, want once", method, seen)
		}
		mu.Unlock()
	}
}

type connKey struct{}

func TestClientCertificateIsReadAgain(t *testing.T) {
	a := newAuthority(t)
	client := func(name string) {
		a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, "client")
	}
	client("first")
	pair := &keyPair{cert: a.file("client.crt"), key: a.file("client.key")}
	if err := pair.read(); err != nil {
		t.Fatal(err)
	}
	want := func(name string) {
		t.Helper()
		c, err := pair.get(nil)
		if err != nil || c.Leaf.Subject.CommonName != name {
			t.Errorf("the certificate is %v, %v, want that of %s", c.Leaf.Subject, err, name)
		}
	}
	touch := func(d time.Duration) {
		for _, f := range []string{pair.cert, pair.key} {
			if err := os.Chtimes(f, time.Time{}, time.Now().Add(d)); err != nil {
				t.Fatal(err)
			}
		}
	}
	want("first")
	if err := os.WriteFile(pair.key, []byte("half a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch(time.Minute)
	want("first")
	client("second")
	touch(time.Hour)
	want("second")
	os.Remove(pair.key) // as in the middle of a change
	want("second")
}

func TestCheckFiles(t *testing.T) {
	a := newAuthority(t)
	other := newAuthority(t)
	good := TLS{CAFile: a.file("ca.crt"), CertFile: a.file("ca.crt"), KeyFile: a.file("ca.key")}
	tests := []struct {
		name   string
		change func(*TLS)
		want   string // path and a part of the message; "" : nothing is wrong
		absent bool
	}{
		{"all well", func(*TLS) {}, "", false},
		{"no authorities", func(o *TLS) { o.CAFile = a.file("absent") }, "tls.ca_file: stat", true},
		{"authorities in something else", func(o *TLS) { o.CAFile = a.file("ca.key") }, "holds no certificate", false},
		{"a folder", func(o *TLS) { o.CAFile = a.dir }, "no regular file", false},
		{"no certificate", func(o *TLS) { o.CertFile = a.file("absent") }, "tls.cert_file: stat", true},
		{"no key", func(o *TLS) { o.KeyFile = a.file("absent") }, "tls.key_file: stat", true},
		{"a key of another", func(o *TLS) { o.KeyFile = other.file("ca.key") }, "tls.cert_file: tls: private key does not match", false},
	}
	for _, tt := range tests {
		o := DefaultOptions("https://shop.test")
		o.TLS = good
		tt.change(&o.TLS)
		faults := o.CheckFiles()
		_, err := New("shop", o)
		if tt.want == "" {
			if len(faults) != 0 || err != nil {
				t.Errorf("%s: %v, %v", tt.name, faults, err)
			}
			continue
		}
		if len(faults) != 1 || !strings.Contains(faults[0].Error(), tt.want) || faults[0].Absent != tt.absent {
			t.Errorf("%s: the mistakes are %v, want one with %q", tt.name, faults, tt.want)
		}
		if err == nil {
			t.Errorf("%s: New takes it", tt.name)
		}
	}
}

// What runs in a tunnel, and for how long, says nothing about the target.
func TestTunnelsAndStreamsAreNoFailures(t *testing.T) {
	origin := badorigin.New(t, badorigin.Routes(map[string]badorigin.Handler{
		"/tunnel": func(c *badorigin.Conn, _ *badorigin.Request) {
			c.Head(101, "Connection: Upgrade", "Upgrade: echo")
			c.Reset()
		},
		"/stream": badorigin.Short(100, "half"),
	}))
	other := badorigin.New(t, badorigin.OK("fine")) // of a single target less would count
	u := several(t, []string{origin.URL, other.URL})
	for range 20 {
		for _, path := range []string{"/tunnel", "/stream"} {
			req := request(t, "GET", path, nil)
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "echo")
			response, err := u.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, response.Body) // it breaks off
			response.Body.Close()
		}
	}
	if s := u.Stats().Targets[0]; s.State != Healthy || s.Failures != 0 {
		t.Errorf("after streams that broke off the target is %+v", s)
	}
}
