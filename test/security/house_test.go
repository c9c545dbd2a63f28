// Package security attacks the built binary through real sockets.
//
// A test does not ask which status an attack is answered with. It asks what the
// attacker gained: whether the next, innocent client gets the right answer, and
// how many requests the origin saw. docs/security.md lists the attacks.
package security

import (
	"bufio"
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
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
	"github.com/cacheproxy/cacheproxy/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }

// patience bounds what should come, on a busy machine.
const patience = 20 * time.Second

// A house is a running proxy with an origin behind it that answers whatever it
// is asked with what it was asked, for an hour: whoever can make it see something
// that is not in the key has poisoned the cache.
type house struct {
	t      testing.TB
	proxy  *process.Process
	origin *badorigin.Origin
	addr   string // of the proxy
}

// newHouse starts the proxy. The text is added to its configuration; ORIGIN in it
// is the origin's URL. Where it names no upstreams, there is the origin alone.
func newHouse(t testing.TB, config string) *house {
	t.Helper()
	h := &house{t: t, origin: badorigin.New(t, mirror)}
	file := filepath.Join(t.TempDir(), "cacheproxy.yaml")
	writeFile(t, file, "log: { level: error, access: false }\n"+strings.ReplaceAll(config, "ORIGIN", h.origin.URL))
	args := []string{"--config", file}
	if !strings.Contains(config, "upstreams:") {
		args = append(args, "--upstream", h.origin.URL)
	}
	h.proxy = process.Serve(t, process.Options{}, args...)
	h.addr = strings.TrimPrefix(h.proxy.URL, "http://")
	return h
}

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// mirror answers with the request.
func mirror(c *badorigin.Conn, r *badorigin.Request) {
	c.Respond(200, reflection(r), "Cache-Control: max-age=3600")
}

// reflection is what an origin that trusts every field would build into a page.
func reflection(r *badorigin.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", r.Method, r.Target)
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%s: %s\n", name, strings.Join(r.Header[name], ", "))
	}
	fmt.Fprintf(&b, "\n%s", r.Body)
	return b.String()
}

// An answer is a response that was read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %v %q", a.status, a.header, a.body) }

// hit reports whether the answer came from the cache.
func (a answer) hit() bool { return strings.Contains(a.header.Get("Cache-Status"), "; hit") }

// lines makes a request of its lines: a head, or a head with content.
func lines(l ...string) string { return strings.Join(l, "\r\n") }

// get is a plain request for a target, with more field lines.
func get(target string, fields ...string) string {
	return request("GET", target, append([]string{"Host: shop.example"}, fields...)...)
}

func request(method, target string, fields ...string) string {
	return lines(append([]string{method + " " + target + " HTTP/1.1"}, fields...)...) + "\r\n\r\n"
}

// dial opens a connection to the proxy.
func (h *house) dial() net.Conn {
	h.t.Helper()
	c, err := net.Dial("tcp", h.addr)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// ask sends one request on a connection of its own and returns the answer.
func (h *house) ask(text string) answer {
	h.t.Helper()
	c := h.dial()
	defer c.Close()
	send(h.t, c, text)
	method, _, _ := strings.Cut(text, " ")
	a, err := readAnswer(bufio.NewReader(c), method)
	if err != nil {
		h.t.Fatalf("%.200q: %v\n%s", text, err, h.proxy.Output())
	}
	return a
}

func send(t testing.TB, w io.Writer, text string) {
	t.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatalf("send %.200q: %v", text, err)
	}
}

// readAnswer reads a final response.
func readAnswer(br *bufio.Reader, method string) (answer, error) {
	var res *http.Response
	for res == nil || res.StatusCode < 200 {
		var err error
		if res, err = http.ReadResponse(br, &http.Request{Method: method}); err != nil {
			return answer{}, err
		}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(body)}, err
}

// exchange sends text and returns all answers until the proxy closes the
// connection. closed is false where it does not, and says nothing for as long as wait.
func (h *house) exchange(c net.Conn, text string, wait time.Duration) (answers []answer, closed bool) {
	h.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		h.t.Logf("the proxy took not all of it: %v", err)
	}
	br := bufio.NewReader(c)
	for {
		c.SetReadDeadline(time.Now().Add(wait))
		if _, err := br.Peek(1); err != nil {
			timeout, ok := err.(net.Error)
			return answers, !(ok && timeout.Timeout())
		}
		c.SetReadDeadline(time.Now().Add(patience))
		method, _, _ := strings.Cut(text, " ")
		a, err := readAnswer(br, method)
		if err != nil {
			h.t.Fatalf("%.200q: answer %d: %v", text, len(answers)+1, err)
		}
		answers = append(answers, a)
	}
}

// silence is after what time a connection counts as kept open, where it may be.
const silence = 300 * time.Millisecond

// innocent sends the request of somebody else and fails the test where the answer
// is another than the origin gives to it, or has something of the attacker's in it.
func (h *house) innocent(text string, evil ...string) answer {
	h.t.Helper()
	a := h.ask(text)
	method, rest, _ := strings.Cut(text, " ")
	target, _, _ := strings.Cut(rest, " ")
	if a.status != 200 || !strings.HasPrefix(a.body, method+" "+target+"\n") {
		h.t.Errorf("the innocent client asked for %.200q and got %v", text, a)
	}
	for _, e := range evil {
		if strings.Contains(strings.ToLower(fmt.Sprint(a)), strings.ToLower(e)) {
			h.t.Errorf("the innocent client asked for %.200q and got %q in %v", text, e, a)
		}
	}
	return a
}

// targets are the request lines that the origin saw since it had seen n requests,
// without the version.
func (h *house) targets(n int) (seen []string) {
	for _, r := range h.origin.Requests()[n:] {
		seen = append(seen, r.Method+" "+r.Target)
	}
	return seen
}

// seen fails the test where the origin did not see just these since it had seen n.
func (h *house) seen(n int, want ...string) {
	h.t.Helper()
	if got := h.targets(n); !slices.Equal(got, want) {
		h.t.Errorf("the origin saw %q, want %q", got, want)
	}
}

// alive fails the test where the proxy does not serve any more.
func (h *house) alive() {
	h.t.Helper()
	h.innocent(get("/alive"))
}

// unique is a path of the test's own.
func unique(t testing.TB) string {
	return "/" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '/' {
			return r
		}
		return '-'
	}, t.Name())
}

// certificate writes tls.crt and tls.key for 127.0.0.1 into dir, and returns what
// a client trusts then.
func certificate(t testing.TB, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	writeFile(t, filepath.Join(dir, "tls.crt"), string(text))
	writeFile(t, filepath.Join(dir, "tls.key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool
}

// newSecureHouse starts a proxy that speaks TLS, and returns what dials it by HTTP/1.1.
func newSecureHouse(t testing.TB) (h *house, dial func() net.Conn) {
	t.Helper()
	dir := t.TempDir()
	pool := certificate(t, dir)
	h = &house{t: t, origin: badorigin.New(t, mirror), addr: process.FreeAddrs(t, 1)[0]}
	file := filepath.Join(dir, "cacheproxy.yaml")
	writeFile(t, file, fmt.Sprintf("log: { level: error, access: false }\nlisten: [{ address: %q, tls: { cert_file: %s/tls.crt, key_file: %s/tls.key } }]\n", h.addr, dir, dir))
	h.proxy = process.Serve(t, process.Options{Configured: true}, "--upstream", h.origin.URL, "--config", file)
	return h, func() net.Conn {
		c, err := tls.Dial("tcp", h.addr, &tls.Config{RootCAs: pool, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		return c
	}
}
