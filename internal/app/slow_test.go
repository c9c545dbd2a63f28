package app

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

// one is a listener that gives out one connection, in memory, so that a server runs in fake time.
type one struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (l *one) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *one) Close() error   { close(l.closed); return nil }
func (l *one) Addr() net.Addr { return &net.TCPAddr{} }

// A connection of HTTP/2 on which a header section does not come to its end is closed within 45 seconds, however much of it trickles in
// and although another request is under way; without such a header section it stays.
func TestUnfinishedHeaderOfHTTP2(t *testing.T) { // RFC 9113, 6.10
	for name, half := range map[string]bool{"half a header section": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &App{}
				a.current.Store(&generation{cfg: &config.Config{Limits: config.Limits{HeaderTimeout: 10 * time.Second, IdleTimeout: time.Hour}}})
				server, asked := a.mainServer(&listener{}), make(chan struct{}, 1)
				server.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					asked <- struct{}{}
					<-r.Context().Done()
				})
				server.WriteTimeout = 0 // the proxy puts it off
				client, accepted := net.Pipe()
				l := &one{make(chan net.Conn, 1), make(chan struct{})}
				l.conn <- accepted
				var running sync.WaitGroup
				running.Go(func() { _ = server.Serve(l) }) // it ends by Close
				defer running.Wait()
				defer server.Close()

				w := &writer{framer: http2.NewFramer(client, nil)}
				closed := make(chan time.Time, 1)
				running.Go(func() {
					w.answer(client)
					closed <- time.Now()
				})
				w.begin(t, client)
				<-asked
				begin := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				if half {
					running.Go(func() { w.trickle(ctx) })
				}
				select {
				case at := <-closed:
					if took := at.Sub(begin); !half || took > pingAfter+pingTimeout {
						t.Errorf("closed after %v", took)
					}
				case <-ctx.Done():
					if half {
						t.Error("it is still open after five minutes")
					}
				}
			})
		})
	}
}

// writer writes frames, of which no two at once.
type writer struct {
	mu     sync.Mutex
	framer *http2.Framer
	half   bool // a header section has begun: nothing else may be sent
}

// begin opens the connection and sends a request.
func (w *writer) begin(t *testing.T, c io.Writer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var block bytes.Buffer
	fields := hpack.NewEncoder(&block)
	for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "a"}, {Name: ":path", Value: "/"}} {
		if err := fields.WriteField(f); err != nil {
			t.Fatal(err)
		}
	}
	_, err := io.WriteString(c, http2.ClientPreface)
	if err := errors.Join(err, w.framer.WriteSettings(), w.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true,
	})); err != nil {
		t.Fatal(err)
	}
}

// trickle sends a header section that never ends, until ctx or the connection does.
func (w *writer) trickle(ctx context.Context) {
	w.mu.Lock()
	w.half = true
	err := w.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: []byte{0x82}})
	w.mu.Unlock()
	for err == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
			err = w.framer.WriteContinuation(3, false, nil)
		}
	}
}

// answer reads what comes, and answers what wants an answer, until the connection ends.
func (w *writer) answer(c io.Reader) {
	in := http2.NewFramer(nil, c)
	for {
		frame, err := in.ReadFrame()
		if err != nil {
			return
		}
		w.mu.Lock()
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() && !w.half {
				_ = w.framer.WriteSettingsAck() // where it fails the next read does
			}
		case *http2.PingFrame:
			if !f.IsAck() && !w.half {
				_ = w.framer.WritePing(true, f.Data)
			}
		}
		w.mu.Unlock()
	}
}
