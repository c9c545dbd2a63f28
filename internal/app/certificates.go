package app

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mholt/acmez/v3"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

// certificateInterval is how often the files of certificates are looked at. They are small.
const certificateInterval = 2 * time.Second

// certificates are what a listener with TLS shows of itself and asks of clients. They follow the files: what is broken is logged,
// and what was in force before stays.
type certificates struct {
	authority *authority // nil: no ACME
	log       *slog.Logger
	current   atomic.Pointer[tls.Config]

	mu       sync.Mutex // guards the following
	options  *config.TLS
	contents map[string][sha256.Size]byte // of the files, when they were loaded last, broken or not
}

// newCertificates loads the files.
func newCertificates(o *config.TLS, authority *authority, log *slog.Logger) (*certificates, error) {
	c := &certificates{authority: authority, log: log, options: o, contents: contentsOf(filesOf(o))}
	cfg, err := c.load()
	if err != nil {
		c.close()
		return nil, err
	}
	c.current.Store(cfg)
	return c, nil
}

func (c *certificates) close() {
	if c.authority != nil {
		c.authority.close()
	}
}

func filesOf(o *config.TLS) []string {
	files := slices.Concat(o.CertFile, o.KeyFile)
	if o.ClientCAFile != "" {
		files = append(files, o.ClientCAFile)
	}
	return files
}

// use takes the files that o names from now on.
func (c *certificates) use(o *config.TLS) {
	c.mu.Lock()
	c.options = o
	c.mu.Unlock()
	c.refresh()
}

// refresh loads the files where their content has changed.
func (c *certificates) refresh() {
	c.mu.Lock()
	defer c.mu.Unlock()
	contents := contentsOf(filesOf(c.options))
	if maps.Equal(contents, c.contents) {
		return
	}
	c.contents = contents // what is loaded is never older than that: a change under our hands is seen the next time
	cfg, err := c.load()
	if err != nil {
		c.log.Error("certificate refused; what was in force stays", "error", err)
		return
	}
	c.current.Store(cfg)
	c.log.Info("certificates loaded", "files", filesOf(c.options))
}

// load makes a configuration of the files.
func (c *certificates) load() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}}
	for i, file := range c.options.CertFile {
		pair, err := tls.LoadX509KeyPair(file, c.options.KeyFile[i])
		if err != nil {
			return nil, err
		}
		cfg.Certificates = append(cfg.Certificates, pair)
	}
	if file := c.options.ClientCAFile; file != "" {
		pool, err := config.LoadAuthorities(file)
		if err != nil {
			return nil, err
		}
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, pool
	}
	if c.authority != nil {
		cfg.GetCertificate = c.authority.chooser(len(cfg.Certificates) > 0)
	}
	return cfg, nil
}

// serverConfig returns the configuration of a server, which asks for the current one at each handshake. The keys of session tickets
// are its own: crypto/tls renews them, and a change of certificates does not end sessions.
func (c *certificates) serverConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if c.authority != nil && slices.Equal(hello.SupportedProtos, []string{acmez.ACMETLS1Protocol}) {
				return c.authority.challengeConfig, nil
			}
			return c.current.Load(), nil
		},
	}
}

// followCertificates looks at the files of all listeners until ctx ends.
func (a *App) followCertificates(ctx context.Context) error {
	tick := time.NewTicker(certificateInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, l := range a.main {
			if l.certs != nil {
				l.certs.refresh()
			}
		}
	}
}

// useCertificates takes the files that cfg names, where the listeners are the same.
func (a *App) useCertificates(cfg *config.Config) {
	if !slices.Equal(fixedListeners(a.started), fixedListeners(cfg)) {
		return
	}
	for i, l := range a.main {
		if l.certs != nil {
			l.certs.use(cfg.Listen[i].TLS)
		}
	}
}

// fixedListener is what a reload cannot change of a listener: all but the files of its certificates.
type fixedListener struct {
	address                             string
	tls, http3, proxyProtocol, fastLane bool
	acme                                string
}

func fixedListeners(cfg *config.Config) []fixedListener {
	all := make([]fixedListener, len(cfg.Listen))
	for i, l := range cfg.Listen {
		all[i] = fixedListener{address: l.Address, tls: l.TLS != nil, http3: l.HTTP3, proxyProtocol: l.ProxyProtocol, fastLane: l.FastLane}
		if l.TLS != nil && l.TLS.ACME != nil {
			all[i].acme = fmt.Sprint(*l.TLS.ACME)
		}
	}
	return all
}
