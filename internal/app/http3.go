package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

const (
	// keepAlive is how often a QUIC connection is kept from falling silent: one with a long request must not end. One without
	// requests ends after limits.idle_timeout all the same, because the sweep looks at requests, not at packets.
	keepAlive = 20 * time.Second
	// sweepInterval is how often idle connections are looked for, and drainInterval how often when the server stops.
	sweepInterval = time.Second
	drainInterval = 50 * time.Millisecond
	// lingering is how long a connection stays open after its last request when the server stops: what has been written may still be
	// on its way, or lost and to be sent again.
	lingering = 500 * time.Millisecond
	// altSvcAge is how many seconds clients remember that HTTP/3 is spoken here (RFC 7838).
	altSvcAge = "86400"
)

var errFull = errors.New("too many connections")

// http3Server serves HTTP/3 on a UDP socket. Its connections go through the same gate as those of TCP.
type http3Server struct {
	gate      *gate
	transport *quic.Transport
	server    *http3.Server
	listener  *quic.Listener
	idle      time.Duration
	served    chan struct{} // closed when no more connections are accepted

	mu    sync.Mutex // guards the following
	conns map[*quic.Conn]*usage
}

// usage is what goes on on a connection.
type usage struct {
	requests int       // under way
	since    time.Time // when the last one ended, or the connection began
}

// usageKey is the context key under which a request finds the usage of its connection.
type usageKey struct{}

// newHTTP3 begins to listen for HTTP/3 on the socket of l.
func (a *App) newHTTP3(l *listener, limits *config.Limits) (*http3Server, error) {
	h := &http3Server{gate: a.gate, idle: limits.IdleTimeout, served: make(chan struct{}), conns: map[*quic.Conn]*usage{}}
	h.server = &http3.Server{
		Handler:        h.counted(announceHTTP3(a.proxy, l.udp.LocalAddr())),
		MaxHeaderBytes: int(limits.HeaderBytes),
		ConnContext:    h.track,
		Logger:         slog.New(warnings{a.log.Handler()}),
	}
	h.transport = &quic.Transport{Conn: l.udp, ConnContext: h.enter}
	var err error
	if h.listener, err = h.transport.Listen(http3.ConfigureTLSConfig(l.certs.serverConfig()), quicConfig(limits)); err != nil {
		return nil, err
	}
	return h, nil
}

// quicConfig leaves early data (0-RTT) off: it could be sent again by somebody else.
func quicConfig(limits *config.Limits) *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout: limits.HeaderTimeout,
		MaxIdleTimeout:       max(limits.IdleTimeout, 2*keepAlive),
		KeepAlivePeriod:      keepAlive,
		MaxIncomingStreams:   maxStreams,
	}
}

// enter lets a connection in before its handshake, where there is room, and counts it until it is closed.
func (h *http3Server) enter(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	if !h.gate.enter() {
		return nil, errFull
	}
	context.AfterFunc(ctx, h.gate.leave)
	return ctx, nil
}

// track notes a connection until it is closed.
func (h *http3Server) track(ctx context.Context, c *quic.Conn) context.Context {
	u := &usage{since: time.Now()}
	h.mu.Lock()
	h.conns[c] = u
	h.mu.Unlock()
	context.AfterFunc(c.Context(), func() {
		h.mu.Lock()
		delete(h.conns, c)
		h.mu.Unlock()
	})
	return context.WithValue(ctx, usageKey{}, u)
}

// counted counts the requests of each connection.
func (h *http3Server) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := r.Context().Value(usageKey{}).(*usage)
		h.add(u, 1)
		defer h.add(u, -1)
		next.ServeHTTP(w, r)
	})
}

func (h *http3Server) add(u *usage, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	u.requests += n
	u.since = time.Now()
}

// run serves until stop, or ctx, ends it.
func (h *http3Server) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var sweeping sync.WaitGroup
	sweeping.Go(func() { h.sweep(ctx) })
	defer sweeping.Wait()
	defer cancel()
	defer close(h.served)
	if err := h.server.ServeListener(h.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// sweep closes connections that have had no request for long. A client that does not get as far as a request is among them.
func (h *http3Server) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			h.closeIdle(h.idle)
		}
	}
}

// closeIdle closes the connections that have had no request for a time, and returns how many are left.
func (h *http3Server) closeIdle(limit time.Duration) (left int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c, u := range h.conns {
		if u.requests == 0 && time.Since(u.since) >= limit {
			_ = c.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "") // it is gone either way
			delete(h.conns, c)
		}
	}
	return len(h.conns)
}

// abandon ends a server that has not run.
func (h *http3Server) abandon() {
	h.listener.Close() // nobody has used it
	h.transport.Close()
}

// stop takes no more connections and requests, tells the clients so, and waits until the requests under way have ended. When ctx
// ends it closes what is left.
func (h *http3Server) stop(ctx context.Context) error {
	h.listener.Close()
	<-h.served
	ended := make(chan error, 1)
	go func() { ended <- h.server.Shutdown(ctx) }() // waits for clients to hang up, which the idle ones need not do
	err := h.drain(ctx, ended)
	// The transport closes the connections without a word, and leaves the socket open.
	return errors.Join(err, h.transport.Close(), h.transport.Conn.Close())
}

func (h *http3Server) drain(ctx context.Context, ended <-chan error) error {
	tick := time.NewTicker(drainInterval)
	defer tick.Stop()
	begin := time.Now()
	for {
		select {
		case err := <-ended:
			return err
		case <-tick.C:
			if time.Since(begin) >= lingering {
				h.closeIdle(lingering)
			}
		}
	}
}

// announceHTTP3 says in all responses that HTTP/3 is spoken on the port of addr. What the origin says about alternatives to itself
// is not true of us.
func announceHTTP3(h http.Handler, addr net.Addr) http.Handler {
	value := []string{altSvc(addr)}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&announcer{ResponseWriter: w, value: value}, r)
	})
}

// altSvc is what Alt-Svc says of HTTP/3 on the port of addr.
func altSvc(addr net.Addr) string {
	_, port, _ := net.SplitHostPort(addr.String()) // of a UDP socket, so it has the form
	return `h3=":` + port + `"; ma=` + altSvcAge
}

// announcer adds Alt-Svc to a response. Unwrap lets http.ResponseController see through it.
type announcer struct {
	http.ResponseWriter
	value []string
}

// WriteHeader implements http.ResponseWriter.
func (w *announcer) WriteHeader(status int) {
	if status >= 200 {
		w.Header()["Alt-Svc"] = w.value
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap returns the writer of the server.
func (w *announcer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// warnings is a handler that takes no lines below warnings: those of http3.Server show whole URLs.
type warnings struct{ slog.Handler }

// Enabled implements slog.Handler.
func (w warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && w.Handler.Enabled(ctx, l)
}
