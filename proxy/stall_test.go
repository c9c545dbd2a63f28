package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener in memory, so that a whole server runs in fake time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// inFakeTime runs a test against a server of the protocol, whose write time-out is a minute, as that of the program is.
func inFakeTime(t *testing.T, set func(*http.Protocols, bool), origin http.HandlerFunc, test func(t *testing.T, c *http.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		protocol := new(http.Protocols)
		set(protocol, true)
		p, _ := inProcess(t, nil, origin)
		l := newPipes()
		server := &http.Server{Handler: p, Protocols: protocol, WriteTimeout: time.Minute}
		var serving sync.WaitGroup
		serving.Go(func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		})
		transport := &http.Transport{Protocols: protocol, DialContext: l.dial}
		test(t, &http.Client{Transport: transport})
		transport.CloseIdleConnections()
		server.Close()
		serving.Wait()
		if err := p.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

var bothProtocols = map[string]func(*http.Protocols, bool){
	"HTTP/1.1": (*http.Protocols).SetHTTP1, "HTTP/2": (*http.Protocols).SetUnencryptedHTTP2,
}

// A stream of which nothing comes for a long time goes on: what bounds a client that reads nothing must not meet one that waits.
func TestQuietStreamsStay(t *testing.T) {
	for name, set := range bothProtocols {
		for _, method := range []string{"GET", "POST"} { // by a fill, and passed
			t.Run(name+" "+method, func(t *testing.T) {
				origin := func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(70 * time.Second) // longer than the server's write time-out
					w.Header().Set("Cache-Control", "no-store")
					for i := range 3 {
						fmt.Fprintln(w, i)
						_ = http.NewResponseController(w).Flush()
						time.Sleep(2 * time.Minute)
					}
				}
				inFakeTime(t, set, origin, func(t *testing.T, c *http.Client) {
					r, err := http.NewRequest(method, "http://shop.example/", nil)
					if err != nil {
						t.Fatal(err)
					}
					res, err := c.Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					defer res.Body.Close()
					if got, err := io.ReadAll(res.Body); string(got) != "0\n1\n2\n" || err != nil {
						t.Errorf("got %q, %v", got, err)
					}
				})
			})
		}
	}
}

// An upload for which the origin takes its time goes on too.
func TestSlowOriginsGetUploads(t *testing.T) {
	const size = 8 << 20 // more than is buffered on the way
	for name, set := range bothProtocols {
		t.Run(name, func(t *testing.T) {
			origin := func(w http.ResponseWriter, r *http.Request) {
				var all int64
				for {
					time.Sleep(20 * time.Second)
					n, err := io.CopyN(io.Discard, r.Body, 1<<20)
					all += n
					if err != nil {
						fmt.Fprint(w, all, " ", err)
						return
					}
				}
			}
			inFakeTime(t, set, origin, func(t *testing.T, c *http.Client) {
				res, err := c.Post("http://shop.example/", "text/plain", io.LimitReader(zeros{}, size))
				if err != nil {
					t.Error(err)
					return
				}
				defer res.Body.Close()
				if got, _ := io.ReadAll(res.Body); string(got) != fmt.Sprint(size, " EOF") {
					t.Errorf("got %q", got)
				}
			})
		})
	}
}

// Both ways of an exchange may be quiet once the origin has begun to answer, and those of a gRPC call even before: the body of the
// request is no upload that hangs then.
func TestQuietExchangesStay(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*http.Protocols, bool)
		kind string
	}{
		"HTTP/1.1": {(*http.Protocols).SetHTTP1, "text/plain"},
		"HTTP/2":   {(*http.Protocols).SetUnencryptedHTTP2, "text/plain"},
		"gRPC":     {(*http.Protocols).SetUnencryptedHTTP2, "application/grpc+proto"},
	} {
		t.Run(name, func(t *testing.T) {
			origin := func(w http.ResponseWriter, r *http.Request) {
				if name != "gRPC" { // a service answers when it has something to say
					w.WriteHeader(http.StatusOK)
					_ = http.NewResponseController(w).Flush()
				}
				got, err := io.ReadAll(r.Body)
				fmt.Fprintf(w, "%s, %v", got, err)
			}
			inFakeTime(t, c.set, origin, func(t *testing.T, client *http.Client) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				body, in := io.Pipe()
				var writing sync.WaitGroup
				defer writing.Wait()
				defer body.Close()
				writing.Go(func() {
					defer in.Close()
					for range 3 {
						time.Sleep(5 * time.Minute)
						fmt.Fprint(in, "ping ")
					}
				})
				r, err := http.NewRequestWithContext(ctx, "POST", "http://shop.example/", body)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Content-Type", c.kind)
				res, err := client.Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				defer res.Body.Close()
				if got, err := io.ReadAll(res.Body); string(got) != "ping ping ping , <nil>" || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
			})
		})
	}
}

// A client whose upload hangs before there is an answer is left, and so is its request to the origin.
func TestUploadsThatHangAreLeft(t *testing.T) {
	for name, set := range bothProtocols {
		t.Run(name, func(t *testing.T) {
			var took atomic.Int64 // nanoseconds, once the origin's request has ended
			origin := func(w http.ResponseWriter, r *http.Request) {
				begin := time.Now()
				_, _ = io.Copy(io.Discard, r.Body)
				took.Store(int64(time.Since(begin)))
			}
			inFakeTime(t, set, origin, func(t *testing.T, c *http.Client) {
				body, in := io.Pipe()
				go fmt.Fprint(in, "a piece")
				begin := time.Now()
				res, err := c.Post("http://shop.example/", "text/plain", body)
				if err == nil {
					res.Body.Close()
				}
				if d := time.Since(begin); d > time.Minute {
					t.Errorf("the client was left after %v", d)
				}
				time.Sleep(time.Second)
				in.Close()
				if d := time.Duration(took.Load()); d == 0 || d > time.Minute {
					t.Errorf("the origin was left after %v", d)
				}
			})
		})
	}
}

// A client that stops reading is left, however it was served, and its handler ends.
func TestClientsThatStopReadingAreLeft(t *testing.T) {
	for name, set := range bothProtocols {
		t.Run(name, func(t *testing.T) {
			var took atomic.Int64 // nanoseconds, once the handler has ended
			origin := func(w http.ResponseWriter, r *http.Request) {
				begin := time.Now()
				_, _ = io.Copy(w, io.LimitReader(zeros{}, 64<<20))
				took.Store(int64(time.Since(begin)))
			}
			inFakeTime(t, set, origin, func(t *testing.T, c *http.Client) {
				res, err := c.Post("http://shop.example/", "text/plain", nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer res.Body.Close()
				time.Sleep(2 * time.Minute)
				if d := time.Duration(took.Load()); d == 0 || d > time.Minute {
					t.Errorf("left after %v", d)
				}
				if n, err := io.Copy(io.Discard, bufio.NewReader(res.Body)); err == nil {
					t.Errorf("the body of %d bytes looks whole", n)
				}
			})
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
