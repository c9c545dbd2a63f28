package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"
)

// CheckFiles returns what is wrong with the files that the options name.
func (o *Options) CheckFiles() []*OptionError {
	v := &validation{}
	if o.TLS.CAFile != "" {
		_, err := readAuthorities(o.TLS.CAFile)
		v.file(err, "tls", "ca_file")
	}
	if o.TLS.CertFile == "" || o.TLS.KeyFile == "" {
		return v.faults
	}
	certificate, err := readPEM(o.TLS.CertFile)
	v.file(err, "tls", "cert_file")
	key, missing := readPEM(o.TLS.KeyFile)
	v.file(missing, "tls", "key_file")
	if err == nil && missing == nil {
		_, err = tls.X509KeyPair(certificate, key)
		v.file(err, "tls", "cert_file")
	}
	return v.faults
}

func (v *validation) file(err error, path ...string) {
	if err != nil {
		v.faults = append(v.faults, &OptionError{Path: path, Msg: err.Error(), Absent: errors.Is(err, fs.ErrNotExist)})
	}
}

// maxPEM bounds the size of a file: a bundle of all public authorities takes a
// fifth of it.
const maxPEM = 1 << 20

func readPEM(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", name)
	case info.Size() > maxPEM:
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxPEM)
	}
	return os.ReadFile(name)
}

func readAuthorities(name string) (*x509.CertPool, error) {
	text, err := readPEM(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", name)
	}
	return pool, nil
}

// sessions is how many TLS sessions with a target are kept for resumption.
const sessions = 64

// secured returns the TLS settings for a target of the given host. The protocols
// are left to the dialer.
func (t TLS) secured(host string) (*tls.Config, error) {
	c := &tls.Config{
		ServerName:         t.ServerName,
		InsecureSkipVerify: t.InsecureSkipVerify,
		MinVersion:         tls.VersionTLS12,
		ClientSessionCache: tls.NewLRUClientSessionCache(sessions),
	}
	if c.ServerName == "" {
		c.ServerName = host
	}
	if t.CAFile != "" {
		pool, err := readAuthorities(t.CAFile)
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
	}
	if t.CertFile != "" {
		pair := &keyPair{cert: t.CertFile, key: t.KeyFile}
		if err := pair.read(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = pair.get
	}
	return c, nil
}

// keyPair is a client certificate in files. It is read again when they change; a
// pair that does not fit together, as in the middle of a change, leaves the old
// one in use.
type keyPair struct {
	cert, key string

	mu      sync.Mutex // guards the following
	current *tls.Certificate
	times   [2]time.Time // of modification, of what was read last
}

func (k *keyPair) get(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if times, err := k.modified(); err == nil && times != k.times {
		_ = k.load(times) // where it fails the pair in use stays
	}
	return k.current, nil
}

func (k *keyPair) read() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	times, err := k.modified()
	if err != nil {
		return err
	}
	return k.load(times)
}

func (k *keyPair) load(times [2]time.Time) error {
	pair, err := tls.LoadX509KeyPair(k.cert, k.key)
	if err != nil {
		return err
	}
	k.current, k.times = &pair, times
	return nil
}

func (k *keyPair) modified() (times [2]time.Time, err error) {
	for i, name := range []string{k.cert, k.key} {
		info, err := os.Stat(name)
		if err != nil {
			return times, err
		}
		times[i] = info.ModTime()
	}
	return times, nil
}
