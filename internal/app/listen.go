package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/cacheproxy/cacheproxy/internal/config"
	"github.com/cacheproxy/cacheproxy/proxy/fastlane"
)

// listener is one of the main listeners, open.
type listener struct {
	options config.Listener
	tcp     net.Listener
	udp     net.PacketConn // of HTTP/3, or nil
	certs   *certificates  // nil: no TLS
	http3   *http3Server   // nil: no HTTP/3
}

// close gives back what a listener took that does not serve.
func (l *listener) close() {
	l.tcp.Close() // nobody has used it
	if l.http3 != nil {
		l.http3.abandon()
	}
	if l.udp != nil {
		l.udp.Close()
	}
	if l.certs != nil {
		l.certs.close()
	}
}

// listen opens the listeners: those that a service manager has opened are taken, in order; the others are opened here.
func (a *App) listen(cfg *config.Config) error {
	a.gate, a.guards = newGate(connectionLimit(cfg)), &guards{log: a.log}
	passed, err := inherit()
	if err != nil {
		return err
	}
	defer passed.close()
	for _, o := range cfg.Listen {
		if err := a.open(o, passed); err != nil {
			return err
		}
	}
	if n := passed.left(); n > 0 {
		return fmt.Errorf("the service manager has passed %d sockets more than listen has use for", n)
	}
	if a.side, err = net.Listen("tcp", cfg.Admin.Address); err != nil {
		return fmt.Errorf("listen on %s for the administration API: %w", cfg.Admin.Address, err)
	}
	return a.openCertificates(cfg)
}

// open opens one listener.
func (a *App) open(o config.Listener, passed *inherited) (err error) {
	l := &listener{options: o}
	if l.tcp, err = passed.stream(o.Address); err != nil {
		return fmt.Errorf("listen on %s: %w", o.Address, err)
	}
	a.main = append(a.main, l)
	if o.HTTP3 {
		if l.udp, err = passed.packets(l.tcp.Addr().String()); err != nil {
			return fmt.Errorf("listen on %s for HTTP/3: %w", o.Address, err)
		}
	}
	return nil
}

// openCertificates loads the certificates. It comes after all listeners are open, because ACME answers on them.
func (a *App) openCertificates(cfg *config.Config) error {
	for _, l := range a.main {
		o := l.options.TLS
		if o == nil {
			continue
		}
		var authority *authority
		if o.ACME != nil {
			if err := a.openDataDir(cfg); err != nil {
				return err
			}
			authority = newAuthority(o.ACME, cfg.DataDir, renewalInterval, l, a.plainListener(l), a.log)
		}
		var err error
		if l.certs, err = newCertificates(o, authority, a.log.With("listener", l.tcp.Addr().String())); err != nil {
			return fmt.Errorf("certificates of %s: %w", l.options.Address, err)
		}
	}
	return nil
}

// openHTTP3 begins to listen for HTTP/3. It comes after the proxy has been built.
func (a *App) openHTTP3(cfg *config.Config) (err error) {
	for _, l := range a.main {
		if l.udp == nil {
			continue
		}
		if l.http3, err = a.newHTTP3(l, &cfg.Limits); err != nil {
			return fmt.Errorf("listen on %s for HTTP/3: %w", l.options.Address, err)
		}
	}
	return nil
}

// plainListener returns the first listener without TLS on the same host as l, or nil.
func (a *App) plainListener(l *listener) *listener {
	for _, other := range a.main {
		if other.options.TLS == nil && hostOf(other.tcp.Addr()) == hostOf(l.tcp.Addr()) {
			return other
		}
	}
	return nil
}

func hostOf(a net.Addr) string {
	host, _, _ := net.SplitHostPort(a.String()) // "" for what has none
	return host
}

const (
	// maxStreams is how many requests there may be at once on a connection of HTTP/2 or HTTP/3.
	maxStreams = 250
	// pingAfter is how long a connection of HTTP/2 may be silent before it is asked whether it is still there, and pingTimeout how long
	// it may take over the answer. A header section that does not come to its end is silence: nothing else may be sent meanwhile, not
	// even that answer. net/http has no other bound for it.
	pingAfter   = 30 * time.Second
	pingTimeout = 15 * time.Second
	// writeTimeout bounds an answer whose client reads nothing. The proxy puts it off for as long as the client takes something.
	writeTimeout = time.Minute
	// silence is how long the network may take none of the bytes that wait for a connection of HTTP/2.
	silence = 20 * time.Second
)

// startMain starts the servers of the main listeners, which stop together: none takes requests while another waits for its last. HTTP/2
// without TLS is spoken with clients that begin with it.
func (a *App) startMain(run *runner) {
	start := starter(run.start)
	for _, l := range a.main {
		wrapped, lane := a.wrap(l)
		a.serve(start, "listener "+l.tcp.Addr().String(), wrapped, a.mainServer(l), lane)
		start = run.startBeside
		if l.http3 != nil {
			start("HTTP/3 listener "+l.udp.LocalAddr().String(), l.http3.run, l.http3.stop)
		}
	}
	run.start("certificates", a.followCertificates, nil)
	for _, l := range a.main {
		if l.certs != nil && l.certs.authority != nil { // it answers challenges on the listeners
			run.start("ACME", l.certs.authority.run, nil)
		}
	}
}

// wrap puts before a listener what its connections go through: the limit, the PROXY protocol, TLS, the fast lane, and the guard. lane is
// nil where the listener has none.
func (a *App) wrap(l *listener) (wrapped net.Listener, lane *fastlane.Listener) {
	limits := &a.current.Load().cfg.Limits
	wrapped = a.gate.wrap(l.tcp, l.certs != nil)
	if l.options.ProxyProtocol {
		wrapped = &proxyproto.Listener{Listener: wrapped, ConnPolicy: a.proxyPolicy, ReadHeaderTimeout: limits.HeaderTimeout}
	}
	if l.certs != nil {
		wrapped = newHandshaker(wrapped, l.certs.serverConfig(), limits.HeaderTimeout, a.log)
	}
	if l.options.FastLane {
		lane = a.lane.Listen(wrapped, a.laneOptions(l))
		wrapped = lane
	}
	return a.guards.wrap(wrapped, int(limits.HeaderBytes)), lane
}

// laneOptions says what handler does beside the proxy.
func (a *App) laneOptions(l *listener) (o fastlane.ListenerOptions) {
	if a.challenged(l) {
		o.Except = challengePath
	}
	if l.udp != nil {
		o.AltSvc = altSvc(l.udp.LocalAddr())
	}
	return o
}

// proxyPolicy says whether the header of the PROXY protocol that a peer may send is believed.
func (a *App) proxyPolicy(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
	peer, err := netip.ParseAddrPort(o.Upstream.String())
	if err == nil {
		for _, trusted := range a.current.Load().cfg.TrustedProxies {
			if trusted.Contains(peer.Addr().Unmap()) {
				return proxyproto.USE, nil
			}
		}
	}
	return proxyproto.IGNORE, nil
}

func (a *App) mainServer(l *listener) *http.Server {
	limits := a.current.Load().cfg.Limits
	s := &http.Server{
		Handler:           a.handler(l),
		ReadHeaderTimeout: limits.HeaderTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       limits.IdleTimeout,
		MaxHeaderBytes:    int(limits.HeaderBytes),
		Protocols:         new(http.Protocols),
		ConnState:         followState,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			SendPingTimeout:      pingAfter,
			PingTimeout:          pingTimeout,
			WriteByteTimeout:     silence,
		},
	}
	s.Protocols.SetHTTP1(true)
	if l.certs != nil {
		s.Protocols.SetHTTP2(true)
	} else {
		s.Protocols.SetUnencryptedHTTP2(true)
	}
	return s
}

// handler returns the proxy with what only this listener needs before it.
func (a *App) handler(l *listener) http.Handler {
	var h http.Handler = a.proxy
	if a.challenged(l) {
		for _, other := range a.main {
			if other.certs != nil && other.certs.authority != nil {
				h = other.certs.authority.challenges(h)
			}
		}
	}
	if l.udp != nil {
		h = announceHTTP3(h, l.udp.LocalAddr())
	}
	return h
}

// challenged reports whether an authority may ask this listener for a proof.
func (a *App) challenged(l *listener) bool {
	return l.certs == nil && slices.ContainsFunc(a.main, func(other *listener) bool {
		return other.certs != nil && other.certs.authority != nil
	})
}

// The administration API has no long calls: a minute is for a slow client.
const adminTimeout = time.Minute

func (a *App) startAdmin(run *runner) {
	a.serve(run.start, "administration listener", a.guards.wrap(a.side, http.DefaultMaxHeaderBytes), &http.Server{
		Handler:           a.admin,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       adminTimeout,
		WriteTimeout:      adminTimeout,
		IdleTimeout:       2 * time.Minute,
	}, nil)
}

// starter is runner.start, or its kin.
type starter func(name string, run, end func(context.Context) error)

// serve runs a server on l, above a lane or nil. Stopping it closes the listener at once and the connections as their requests end; when
// the time is up it closes them all.
func (a *App) serve(start starter, name string, l net.Listener, s *http.Server, lane *fastlane.Listener) {
	s.ErrorLog = slog.NewLogLogger(a.log.Handler(), slog.LevelWarn)
	start(name, func(context.Context) error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}, func(ctx context.Context) error {
		err := s.Shutdown(ctx)
		if err != nil {
			err = errors.Join(err, s.Close())
		}
		if lane != nil {
			err = errors.Join(err, lane.Shutdown(ctx))
		}
		return err
	})
}
