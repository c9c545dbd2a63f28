package app_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func hello(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }

// shown returns the certificate that a listener shows to who asks for name, and what else the handshake led to.
func (f *front) shown(name string) (*x509.Certificate, tls.ConnectionState) {
	f.t.Helper()
	c, err := tls.Dial("tcp", f.secure, &tls.Config{RootCAs: f.ca.pool, ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0], c.ConnectionState()
}

// eventually waits until a condition holds.
func eventually(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// Changed files are taken within 10 s, without a restart or a reload; a broken pair keeps the old one and is logged; connections that
// are open stay.
func TestCertificatesFollowTheirFiles(t *testing.T) {
	f := startFront(t, http.HandlerFunc(hello), "")
	open := protocols[3].client(f)
	do(t, open, "GET", "https://"+f.secure+"/", nil)
	first, _ := f.shown("a")

	writeFile(t, filepath.Join(f.dir, "a.key"), []byte("broken"))
	eventually(t, 10*time.Second, "the broken pair is logged", func() bool {
		return strings.Contains(f.log.String(), "certificate refused; what was in force stays")
	})
	if got, _ := f.shown("a"); !got.Equal(first) {
		t.Error("a broken pair has taken the place of the old one")
	}

	f.ca.write(f.dir, "a")
	eventually(t, 10*time.Second, "the new pair is taken", func() bool {
		got, _ := f.shown("a")
		return !got.Equal(first)
	})
	eventually(t, 10*time.Second, "HTTP/3 shows it too", func() bool {
		res, _ := do(t, protocols[4].client(f), "GET", "https://"+f.secure+"/", nil)
		return !res.TLS.PeerCertificates[0].Equal(first)
	})
	res, _ := do(t, open, "GET", "https://"+f.secure+"/", nil)
	if !res.TLS.PeerCertificates[0].Equal(first) {
		t.Error("the open connection was not used any more")
	}
}

// A reload may name other files; what else of a listener changes needs a restart, and the reload says so.
func TestReloadNamesOtherCertificates(t *testing.T) {
	f := startFront(t, http.HandlerFunc(hello), "")
	first, _ := f.shown("a")
	f.ca.write(f.dir, "b")
	text := strings.NewReplacer("a.crt", "b.crt", "a.key", "b.key").Replace(listenersOf(f.dir)) + upstreamOf("http://127.0.0.1:1")
	f.write(text)
	warnings, err := f.Reload("test")
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 0 {
		t.Errorf("warnings: %v", warnings)
	}
	if got, _ := f.shown("a"); got.Equal(first) || got.Subject.CommonName != "b" {
		t.Errorf("shown: %s", got.Subject)
	}

	f.write(strings.Replace(text, "http3: true", "http3: false", 1))
	warnings, err = f.Reload("test")
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0].String(), "listen: was changed; it takes effect at the next restart") {
		t.Errorf("warnings: %v, error: %v", warnings, err)
	}

	f.write(strings.ReplaceAll(text, "b.crt", "absent.crt"))
	if _, err := f.Reload("test"); err == nil || !strings.Contains(err.Error(), "absent.crt: no such file") {
		t.Errorf("a reload with an absent file: %v", err)
	}
}

// A client gets the certificate for the name that it asks for, or the first.
func TestCertificateByName(t *testing.T) {
	f := &front{ca: newCA(t), dir: t.TempDir()}
	for _, name := range []string{"a", "b"} {
		f.ca.write(f.dir, name)
	}
	f.instance = start(t, fmt.Sprintf("listen: [{ address: '127.0.0.1:0', tls: { cert_file: [%[1]s/a.crt, %[1]s/b.crt], key_file: [%[1]s/a.key, %[1]s/b.key] } }]\n",
		f.dir)+upstreamOf("http://127.0.0.1:1"), withoutListenFlag)
	f.secure = f.Addr().String()
	for asked, want := range map[string]string{"a": "a", "b": "b", "c": "a", "": "a"} {
		if got, _ := f.shown(asked); got.Subject.CommonName != want {
			t.Errorf("%q gets the certificate of %s, want that of %s", asked, got.Subject.CommonName, want)
		}
	}
}

// TLS 1.2 is the least, sessions are resumed with both versions, and across a change of certificates.
func TestVersionsAndResumption(t *testing.T) {
	f := startFront(t, http.HandlerFunc(hello), "")
	dial := func(c *tls.Config) (tls.ConnectionState, error) {
		conn, err := tls.Dial("tcp", f.secure, c)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer conn.Close()
		// The tickets of TLS 1.3 come after the handshake, with the first answer.
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		_, err = io.ReadAll(conn)
		return conn.ConnectionState(), err
	}
	if _, err := dial(&tls.Config{RootCAs: f.ca.pool, ServerName: "a", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		c := &tls.Config{RootCAs: f.ca.pool, ServerName: "a", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		for i, resumed := range []bool{false, true, true} {
			state, err := dial(c)
			if err != nil || state.Version != version || state.DidResume != resumed {
				t.Errorf("%s, connection %d: version %s, resumed %t, %v; want %t", tls.VersionName(version), i+1, tls.VersionName(state.Version), state.DidResume, err, resumed)
			}
			if i == 1 {
				f.ca.write(f.dir, "a")
				if _, err := f.Reload("test"); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// With client_ca_file, a client without a certificate of that authority gets nothing, by TCP or QUIC.
func TestMutualTLS(t *testing.T) {
	f := &front{ca: newCA(t), dir: t.TempDir()}
	f.ca.write(f.dir, "a")
	clients, strangers := newCA(t), newCA(t)
	writeFile(t, filepath.Join(f.dir, "clients.crt"), clients.pem)
	f.instance = start(t, strings.Replace(listenersOf(f.dir), "a.key }", "a.key, client_ca_file: "+f.dir+"/clients.crt }", 1)+
		"routes: [{ match: { paths: ['/x'] }, cache: { ttl: 1m } }]\n"+upstreamOf("http://127.0.0.1:1"), withoutListenFlag)
	f.plain, f.secure = f.Addrs()[0].String(), f.Addrs()[1].String()
	ask := func(c *tls.Config) (over [2]error) {
		for i, client := range []*http.Client{f.over(c, protocolsOf((*http.Protocols).SetHTTP2)), f.overQUIC(c)} {
			client.Timeout = 5 * time.Second
			res, err := client.Get("https://" + f.secure + "/")
			if err == nil {
				res.Body.Close()
			}
			over[i] = err
		}
		return over
	}
	with := func(c *ca) *tls.Config {
		cfg := f.ca.clientConfig()
		pair, err := tls.X509KeyPair(c.issue("client"))
		if err != nil {
			t.Fatal(err)
		}
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(10)
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		return cfg
	}
	right := with(clients)
	if errs := ask(right); errs[0] != nil || errs[1] != nil {
		t.Errorf("with a right certificate: %v", errs)
	}
	if errs := ask(with(strangers)); errs[0] == nil || errs[1] == nil {
		t.Errorf("with a stranger's certificate: %v", errs)
	}
	if errs := ask(f.ca.clientConfig()); errs[0] == nil || errs[1] == nil {
		t.Errorf("without a certificate: %v", errs)
	}
	// Other authorities count from the next reload on.
	writeFile(t, filepath.Join(f.dir, "clients.crt"), strangers.pem)
	if _, err := f.Reload("test"); err != nil {
		t.Fatal(err)
	}
	if errs := ask(with(clients)); errs[0] == nil || errs[1] == nil {
		t.Errorf("with a certificate that was right before: %v", errs)
	}
	if errs := ask(right); errs[0] == nil || errs[1] == nil {
		t.Errorf("with a session from when it was right: %v", errs)
	}
	if errs := ask(with(strangers)); errs[0] != nil || errs[1] != nil {
		t.Errorf("with a certificate that is right now: %v", errs)
	}
}
