package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// zone is a name server of a test.
type zone struct {
	mu        sync.Mutex
	addresses []netip.Addr
	err       error
	asked     int
}

func (z *zone) set(err error, addresses ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.err, z.addresses = err, nil
	for _, a := range addresses {
		z.addresses = append(z.addresses, netip.MustParseAddr(a))
	}
}

func (z *zone) lookup(_ context.Context, host string) ([]netip.Addr, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked++
	if host != "shop.test" {
		return nil, errors.New("unknown name " + host)
	}
	return append([]netip.Addr(nil), z.addresses...), z.err
}

// on starts a server at an address and a port, 0 for any, that says where it is.
// /long says "more" when gate is closed.
func on(t *testing.T, address, port string, h2c bool, gate <-chan struct{}) *httptest.Server {
	t.Helper()
	l := listenOn(t, address+":"+port)
	s := protocolServer(t, l, func(p *http.Protocols) {
		p.SetHTTP1(!h2c)
		p.SetUnencryptedHTTP2(h2c)
	})
	s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(address)) // the client says whether it came
		if r.URL.Path == "/long" {
			w.(http.Flusher).Flush()
			<-gate
			w.Write([]byte(" and more")) // likewise
		}
	})
	return s
}

// A target whose name has new addresses is followed, although its old
// connections are alive and in use.
func TestNameIsFollowed(t *testing.T) {
	for _, scheme := range []string{"http", "h2c"} {
		t.Run(scheme, func(t *testing.T) {
			gate := make(chan struct{})
			one := on(t, "127.0.0.1", "0", scheme == "h2c", gate)
			where, err := url.Parse(one.URL)
			if err != nil {
				t.Fatal(err)
			}
			on(t, "127.0.0.2", where.Port(), scheme == "h2c", gate)
			z := &zone{}
			z.set(nil, "127.0.0.1")
			u := reach(t, scheme+"://shop.test:"+where.Port())
			u.targets[0].dialer.name.lookup = z.lookup
			u.resolveEvery = 20 * time.Millisecond
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() {
				if err := u.Run(ctx); err != nil {
					t.Errorf("Run returned %v", err)
				}
			})
			defer wg.Wait()
			defer stop()
			at := func() string {
				_, body, err := get(t, u, "/")
				if err != nil {
					t.Error(err)
				}
				return body
			}
			if got := at(); got != "127.0.0.1" {
				t.Fatalf("the first request went to %s", got)
			}
			long, err := u.RoundTrip(request(t, "GET", "/long", nil))
			if err != nil {
				t.Fatal(err)
			}
			z.set(nil, "127.0.0.1", "127.0.0.2")
			for range 3 {
				if got := at(); got != "127.0.0.1" {
					t.Errorf("with a further address a request went to %s, although a connection was kept", got)
				}
			}
			z.set(nil, "127.0.0.2")
			await(t, "requests go to the new address", func() bool { return at() == "127.0.0.2" })
			z.set(errors.New("the name server is away"))
			u.renew(u.targets[0]) // so that a connection must be opened
			if got := at(); got != "127.0.0.2" {
				t.Errorf("without a name server a request went to %s", got)
			}
			close(gate)
			if body, err := io.ReadAll(long.Body); string(body) != "127.0.0.1 and more" {
				t.Errorf("the request that was under way got %q, %v", body, err)
			}
			long.Body.Close()
			await(t, "the old connection is closed", func() bool { return u.Stats().Targets[0].Connections == 1 })
		})
	}
}

// An address that does not answer leaves time for the next.
func TestFurtherAddressesAreTried(t *testing.T) {
	s := on(t, "127.0.0.1", "0", false, nil)
	where, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{}
	u := reach(t, "http://shop.test:"+where.Port())
	u.targets[0].dialer.name.lookup = z.lookup
	z.set(nil, "127.0.0.9", "::ffff:127.0.0.1") // nobody listens on the first
	if _, body, err := get(t, u, "/"); err != nil || body != "127.0.0.1" {
		t.Errorf("got %q, %v", body, err)
	}
	for _, err := range []error{errors.New("the name server is away"), nil} {
		z.set(err)
		u := reach(t, "http://shop.test:"+where.Port())
		u.targets[0].dialer.name.lookup = z.lookup
		_, _, got := get(t, u, "/")
		wantError(t, u, got, Connect, 502)
		if err == nil && !strings.Contains(got.Error(), "no addresses") {
			t.Errorf("the error is %v", got)
		}
	}
}

func listenOn(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
