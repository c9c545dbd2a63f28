package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/cacheproxy/cacheproxy/rules"
)

// Listener is one address of the main listener.
type Listener struct {
	Address       string `yaml:"address" required:"true" format:"address" doc:"HOST:PORT, or :PORT for all addresses. Without tls HTTP/1.1 and h2c, with it HTTP/1.1 and HTTP/2."`
	TLS           *TLS   `yaml:"tls" doc:"Certificates. Changed files are taken within 10 s; a broken pair keeps the old one."`
	HTTP3         bool   `yaml:"http3" default:"false" doc:"Whether HTTP/3 is spoken too, on the same port of UDP. Needs tls."`
	ProxyProtocol bool   `yaml:"proxy_protocol" default:"false" doc:"Whether connections may begin with a header of the PROXY protocol. It is believed from trusted_proxies only, read and dropped from others."`
	FastLane      bool   `yaml:"fast_lane" default:"true" doc:"Whether plain hits of HTTP/1.1 are answered by a short loop of their own, and not by Go's HTTP server. The answers are the same; the loop takes less processor time."`
}

// TLS is what a listener shows of itself, and asks of clients.
type TLS struct {
	CertFile     rules.OneOrMany `yaml:"cert_file" doc:"PEM file with the certificate and its chain. Of several, a client gets the one for the name that it asks for (SNI), or the first."`
	KeyFile      rules.OneOrMany `yaml:"key_file" doc:"PEM file with the key of each certificate, in the same order."`
	ACME         *ACME           `yaml:"acme" doc:"Certificates that are fetched and renewed by themselves. Stored under data_dir."`
	ClientCAFile string          `yaml:"client_ca_file" doc:"PEM file with the authorities whose client certificates are accepted; then every client needs one (mutual TLS)."`
}

// ACME says which certificates are fetched from where (RFC 8555). To set it is to agree to the terms of the authority.
type ACME struct {
	Email     string   `yaml:"email" doc:"Where the authority can reach you."`
	Domains   []string `yaml:"domains" required:"true" doc:"Host names or IP addresses; each gets a certificate. They must lead to this listener on port 443, or to one without TLS on port 80."`
	Directory string   `yaml:"directory" doc:"URL of the authority's directory; empty: Let's Encrypt."`
}

// checkListeners refuses listeners that could not be opened, or could serve nobody.
func (l *loader) checkListeners() {
	if len(l.cfg.Listen) == 0 && !l.isBroken("listen") {
		l.refuse(location{"listen"}, "at least one address is needed")
	}
	for i, a := range l.cfg.Listen {
		at := location{"listen", strconv.Itoa(i)}
		l.checkAddress(i, a.Address, in(at, "address"))
		if a.TLS != nil {
			l.checkTLS(a.TLS, in(at, "tls"))
		}
		switch {
		case a.HTTP3 && a.TLS == nil && !l.isBroken(fmt.Sprintf("listen[%d].tls", i)):
			l.refuse(in(at, "http3"), "HTTP/3 is always encrypted: give the listener tls")
		case a.HTTP3 && a.ProxyProtocol:
			l.refuse(in(at, "http3"), "the PROXY protocol is for TCP: clients of HTTP/3 would come past it; leave one of the two out")
		}
		if a.ProxyProtocol && len(l.cfg.TrustedProxies) == 0 && !l.isBroken("trusted_proxies") {
			l.warn(in(at, "proxy_protocol"), "no header is believed, because trusted_proxies is empty")
		}
	}
}

// in is the location of a key in what stands at loc.
func in(loc location, key ...string) location { return append(loc[:len(loc):len(loc)], key...) }

// checkAddress refuses addresses that could not be opened side by side.
func (l *loader) checkAddress(i int, address string, loc location) {
	for j, b := range l.cfg.Listen[:i] {
		if collide(address, b.Address) {
			l.refuse(loc, fmt.Sprintf("%s is taken by listen[%d], %s", address, j, b.Address))
		}
	}
	if collide(address, l.cfg.Admin.Address) && !l.isBroken("admin.address") {
		l.refuse(loc, fmt.Sprintf("%s is taken by the administration listener, %s", address, l.cfg.Admin.Address))
	}
}

// collide reports whether two addresses cannot both be listened on. Port 0 is another port each time.
func collide(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || isWildcard(hostA) || isWildcard(hostB)
}

func isWildcard(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "" || err == nil && a.IsUnspecified()
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// checkTLS looks into the files: a pair that does not fit would turn every client away.
func (l *loader) checkTLS(t *TLS, loc location) {
	switch {
	case len(t.CertFile) != len(t.KeyFile):
		l.refuse(loc, fmt.Sprintf("each certificate needs its key: cert_file names %d files, key_file %d", len(t.CertFile), len(t.KeyFile)))
	case len(t.CertFile) == 0 && t.ACME == nil:
		l.refuse(loc, "no certificate: name cert_file and key_file, or acme")
	default:
		for i, file := range t.CertFile {
			_, err := tls.LoadX509KeyPair(file, t.KeyFile[i])
			l.refuseFile(in(loc, "cert_file"), err)
		}
	}
	if t.ClientCAFile != "" {
		_, err := LoadAuthorities(t.ClientCAFile)
		l.refuseFile(in(loc, "client_ca_file"), err)
	}
	if t.ACME != nil {
		l.checkACME(t.ACME, in(loc, "acme"))
	}
}

// refuseFile reports what is wrong with a file. One that is absent may be there where the configuration will run.
func (l *loader) refuseFile(loc location, err error) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.refuseOrWarn(loc, err.Error())
	case err != nil:
		l.refuse(loc, err.Error())
	}
}

// LoadAuthorities reads a PEM file of certificates.
func LoadAuthorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate in PEM", file)
	}
	return pool, nil
}

func (l *loader) checkACME(a *ACME, loc location) {
	if len(a.Domains) == 0 {
		l.refuse(in(loc, "domains"), "at least one domain is needed")
	}
	for i, d := range a.Domains {
		if !isDomain(d) {
			l.refuse(in(loc, "domains", strconv.Itoa(i)), fmt.Sprintf("not a host name such as shop.example.com, or an IP address: %q", d))
		}
	}
	if u, err := url.Parse(a.Directory); a.Directory != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		l.refuse(in(loc, "directory"), fmt.Sprintf("not an https URL: %q", a.Directory))
	}
}

// isDomain reports whether s can be proven by answering on its own port. A wildcard cannot.
func isDomain(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			return false
		}
	}
	return len(s) <= 253
}
