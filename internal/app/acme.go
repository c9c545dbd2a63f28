package app

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

// authority fetches and renews the certificates of a listener by ACME (RFC 8555). It proves the domains on that listener
// (tls-alpn-01, RFC 8737) and, where there is one, on a listener without TLS (http-01).
type authority struct {
	domains         []string
	magic           *certmagic.Config
	cache           *certmagic.Cache
	issuer          *certmagic.ACMEIssuer
	challengeConfig *tls.Config // for the handshake of tls-alpn-01
	log             *slog.Logger
	stopped         sync.Once
}

// renewalInterval is how often it is seen whether a certificate is near its end: that is where two thirds of its life have passed, or
// less than five intervals are left, or when the authority says so (RFC 9773). Certificates of an authority of one's own may live for
// less than an hour, for which certmagic's ten minutes are too long.
const renewalInterval = time.Minute

// newAuthority prepares; run fetches, and renews what it finds near its end when it looks, every so often. l must be open. plain may
// be nil.
func newAuthority(o *config.ACME, dataDir string, every time.Duration, l, plain *listener, log *slog.Logger) *authority {
	a := &authority{domains: o.Domains, log: log}
	logger := zap.New(slogCore{log.Handler().WithAttrs([]slog.Attr{slog.String("part", "acme")})})
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return a.magic, nil },
		RenewCheckInterval: every,
		Logger:             logger,
	})
	a.magic = certmagic.New(a.cache, certmagic.Config{
		Storage:            &certmagic.FileStorage{Path: filepath.Join(dataDir, "acme")},
		DefaultServerName:  o.Domains[0],
		FallbackServerName: o.Domains[0],
		Logger:             logger,
	})
	template := certmagic.ACMEIssuer{
		CA: o.Directory, Email: o.Email, Agreed: true, Logger: logger,
		// certmagic opens listeners of its own where it finds none. It finds ours.
		ListenHost: hostOf(l.tcp.Addr()), AltTLSALPNPort: portOf(l.tcp.Addr()),
	}
	if plain != nil {
		template.AltHTTPPort = portOf(plain.tcp.Addr())
	} else {
		template.DisableHTTPChallenge = true
	}
	a.issuer = certmagic.NewACMEIssuer(a.magic, template)
	a.magic.Issuers = []certmagic.Issuer{a.issuer}
	a.challengeConfig = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{acmez.ACMETLS1Protocol},
		GetCertificate: a.magic.GetCertificate,
	}
	return a
}

func portOf(a net.Addr) int {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.Port
	}
	return 0
}

// run fetches what is missing, and renews what would expire, until ctx ends. What fails is logged and tried again.
func (a *authority) run(ctx context.Context) error {
	defer a.close()
	if err := a.magic.ManageAsync(ctx, a.domains); err != nil { // what else is served does not suffer from it
		a.log.Error("no certificates can be fetched", "error", err)
	}
	<-ctx.Done()
	return nil
}

func (a *authority) close() { a.stopped.Do(a.cache.Stop) }

// challengePath is where the paths begin that an authority asks for (RFC 8555, 8.3).
const challengePath = "/.well-known/acme-challenge/"

// challenges answers http-01 before h.
func (a *authority) challenges(h http.Handler) http.Handler { return a.issuer.HTTPChallengeHandler(h) }

// chooser returns a GetCertificate for the domains. What asks for none of them gets a certificate from a file where there are such,
// else that of the first domain.
func (a *authority) chooser(files bool) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		ours := slices.ContainsFunc(a.domains, func(d string) bool { return strings.EqualFold(d, hello.ServerName) })
		if files && !ours {
			return nil, nil
		}
		return a.magic.GetCertificate(hello)
	}
}

// slogCore lets certmagic, which logs by zap, write to our log.
type slogCore struct{ handler slog.Handler }

func slogLevel(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelWarn
	case l == zapcore.InfoLevel:
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

// Enabled implements zapcore.LevelEnabler.
func (c slogCore) Enabled(l zapcore.Level) bool {
	return c.handler.Enabled(context.Background(), slogLevel(l))
}

// With implements zapcore.Core.
func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{c.handler.WithAttrs(attributes(fields))}
}

// Check implements zapcore.Core.
func (c slogCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	r := slog.NewRecord(e.Time, slogLevel(e.Level), e.Message, 0)
	r.AddAttrs(attributes(fields)...)
	return c.handler.Handle(context.Background(), r)
}

// Sync implements zapcore.Core. Nothing is held back.
func (c slogCore) Sync() error { return nil }

func attributes(fields []zapcore.Field) []slog.Attr {
	attrs := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		values := zapcore.NewMapObjectEncoder()
		f.AddTo(values)
		for name, value := range values.Fields {
			attrs = append(attrs, slog.Any(name, value))
		}
	}
	return attrs
}
