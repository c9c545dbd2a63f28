package app

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/cacheproxy/cacheproxy/internal/config"
	"github.com/cacheproxy/cacheproxy/test/pebble"
)

// A certificate that nears its end is replaced while the listener serves, and connections that are open stay.
func TestCertificateIsRenewed(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	// It is renewed eight seconds after it was issued at the latest, and by chance before; ten are left for that on a busy machine.
	const every, lifetime = 2 * time.Second, 18 * time.Second
	ca := pebble.Start(t, "tls-alpn-01", tcp.Addr().(*net.TCPAddr).Port, lifetime)
	o := &config.ACME{Domains: []string{"shop.example"}, Directory: ca.Directory}
	a := newAuthority(o, t.TempDir(), every, &listener{tcp: tcp}, nil, slog.New(slog.DiscardHandler))
	a.issuer = certmagic.NewACMEIssuer(a.magic, certmagic.ACMEIssuer{ // the same, but that it knows this authority
		CA: ca.Directory, Agreed: true, Logger: a.issuer.Logger, TrustedRoots: ca.Trust,
		ListenHost: a.issuer.ListenHost, AltTLSALPNPort: a.issuer.AltTLSALPNPort, DisableHTTPChallenge: true,
	})
	a.magic.Issuers = []certmagic.Issuer{a.issuer}
	certs, err := newCertificates(&config.TLS{ACME: o}, a, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { greet(tcp, certs.serverConfig()) })
	defer serving.Wait()
	defer tcp.Close()
	ctx, cancel := context.WithCancel(t.Context())
	serving.Go(func() { _ = a.run(ctx) }) // it ends with ctx only
	defer cancel()

	client := &tls.Config{RootCAs: ca.Roots, ServerName: "shop.example"}
	end := time.Now().Add(2 * lifetime)
	var first, last *tls.Conn
	for time.Now().Before(end) {
		c, err := tls.Dial("tcp", tcp.Addr().String(), client)
		switch {
		case err != nil && first != nil:
			t.Fatalf("no certificate that holds: %v", err)
		case err == nil && first == nil:
			first = c
			defer first.Close()
		case err == nil:
			defer c.Close()
			if leaf := first.ConnectionState().PeerCertificates[0]; !c.ConnectionState().PeerCertificates[0].Equal(leaf) && last == nil {
				last = c
				if left := time.Until(leaf.NotAfter); left < 0 {
					t.Errorf("renewed %v after its end", -left)
				}
			}
		}
		if last != nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if last == nil {
		t.Fatal("the certificate was not replaced")
	}
	if _, err := first.Write([]byte{1}); err != nil {
		t.Errorf("the connection from before: %v", err)
	}
	if n, err := first.Read(make([]byte, 1)); n != 1 {
		t.Errorf("the connection from before: %v", err)
	}
}

// greet echoes what comes by TLS until l is closed.
func greet(l net.Listener, c *tls.Config) {
	var talking sync.WaitGroup
	defer talking.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		talking.Go(func() {
			defer conn.Close()
			encrypted, buf := tls.Server(conn, c), make([]byte, 1)
			for {
				if _, err := encrypted.Read(buf); err != nil {
					return
				}
				if _, err := encrypted.Write(buf); err != nil {
					return
				}
			}
		})
	}
}
