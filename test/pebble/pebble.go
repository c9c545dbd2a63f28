package pebble

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// Authority is a running ACME server.
type Authority struct {
	Directory string         // its URL
	TrustFile string         // PEM file with the certificate of its own HTTPS
	Trust     *x509.CertPool // likewise
	Roots     *x509.CertPool // vouch for what it issues

	server *httptest.Server
}

// Start starts an ACME server that wants names to be proven by the given kind of
// challenge, on the given port, and issues certificates that live as long as
// lifetime, in whole seconds. It ends with the test.
func Start(t testing.TB, challenge string, port int, lifetime time.Duration) *Authority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	logger := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	profiles := map[string]ca.Profile{"default": {ValidityPeriod: uint64(lifetime / time.Second)}}
	issuer := ca.New(logger, store, "", "ecdsa", 0, 1, profiles)
	prover := va.New(logger, port, port, false, startDNS(t), store)
	front := wfe.New(logger, store, prover, issuer, []string{"test"}, false, false, 1, 1)
	a := &Authority{server: httptest.NewTLSServer(only(challenge, front.Handler()))}
	t.Cleanup(a.server.Close)
	a.Directory = a.server.URL + wfe.DirectoryPath
	a.TrustFile = filepath.Join(t.TempDir(), "acme.crt")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.server.Certificate().Raw})
	if err := os.WriteFile(a.TrustFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	a.Trust = pool(t, text)
	a.Roots = pool(t, issuer.GetRootCert(0).PEM())
	return a
}

// Close ends the server before the test does.
func (a *Authority) Close() { a.server.Close() }

func pool(t testing.TB, text []byte) *x509.CertPool {
	t.Helper()
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(text) {
		t.Fatal("no certificate in PEM")
	}
	return p
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
func startDNS(t testing.TB) string {
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
