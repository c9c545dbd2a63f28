package upstream

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// A connection of HTTP/2 that many requests share may die without a word. It is
// asked whether it lives, so that the requests on it do not wait for their own
// time-outs, and further ones get another connection.
func TestSilentConnectionOfHTTP2IsGivenUp(t *testing.T) { // RFC 9113, section 6.7
	synctest.Test(t, func(t *testing.T) {
		o := DefaultOptions("h2c://10.0.0.1")
		o.Timeout = Timeouts{Connect: time.Hour, ResponseHeader: time.Hour, Idle: time.Hour}
		a, err := o.Targets[0].parse()
		if err != nil {
			t.Fatal(err)
		}
		p := newPool(&dialer{address: a, timeout: o.Timeout}, &o)
		var serving sync.WaitGroup
		defer serving.Wait()
		defer p.close()
		dials := 0
		p.multi.DialContext = func(context.Context, string, string) (net.Conn, error) {
			dials++
			ours, theirs := net.Pipe()
			serving.Go(func() { fallSilent(theirs) })
			return ours, nil
		}
		for n := range 2 {
			begin := time.Now()
			r, err := http.NewRequestWithContext(t.Context(), "GET", "http://10.0.0.1/", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := p.roundTrip(r)
			if err == nil {
				response.Body.Close()
				t.Fatal("a silent connection gave an answer")
			}
			if took := time.Since(begin); took > pingAfter+pingTimeout {
				t.Errorf("given up after %v: %v", took, err)
			}
			if dials != n+1 {
				t.Errorf("after %d requests there were %d connections", n+1, dials)
			}
		}
	})
}

// fallSilent opens a connection of HTTP/2 and then takes all that comes, and says
// nothing.
func fallSilent(c net.Conn) {
	defer c.Close()
	go http2.NewFramer(c, nil).WriteSettings() // where it fails there is nobody to fall silent for
	_, _ = io.Copy(io.Discard, c)              // until the other end closes
}
