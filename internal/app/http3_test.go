package app_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// dialQUIC opens a connection of HTTP/3 that sends nothing.
func (f *front) dialQUIC(ctx context.Context) (*quic.Conn, error) {
	c := &tls.Config{RootCAs: f.ca.pool, ServerName: "a", NextProtos: []string{"h3"}}
	return quic.DialAddr(ctx, f.secure, c, nil)
}

// Connections of QUIC count like those of TCP: one too many is refused, and one that is closed makes room.
func TestConnectionLimitCountsQUIC(t *testing.T) {
	f := startFront(t, http.HandlerFunc(hello), "limits: { connections: 2 }\n")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	first, err := f.dialQUIC(ctx)
	if err != nil {
		t.Fatal(err)
	}
	second, err := f.dialQUIC(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer second.CloseWithError(0x100, "")
	if c, err := f.dialQUIC(ctx); err == nil {
		c.CloseWithError(0x100, "")
		t.Error("a third connection was let in")
	}
	if got := f.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("a third connection, of TCP: %q", got)
	}
	first.CloseWithError(0x100, "")
	eventually(t, 10*time.Second, "there is room again", func() bool {
		c, err := f.dialQUIC(ctx)
		if err == nil {
			c.CloseWithError(0x100, "")
		}
		return err == nil
	})
}

// A connection of QUIC without requests ends after idle_timeout, and one with a request stays.
func TestIdleTimeoutOfQUIC(t *testing.T) {
	goOn := make(chan struct{})
	f := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-goOn:
		case <-r.Context().Done():
		}
		hello(w, r)
	}), "limits: { idle_timeout: 200ms }\n")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	busy := make(chan error, 1)
	c := protocols[4].client(f)
	go func() {
		res, err := c.Get("https://" + f.secure + "/")
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		busy <- err
	}()
	idle, err := f.dialQUIC(ctx)
	if err != nil {
		t.Fatal(err)
	}
	half, err := f.dialQUIC(ctx)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := half.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Write([]byte{1, 100, 0, 0, 0xd1}); err != nil { // HEADERS (RFC 9114, 7.2.2) of 100 bytes, of which there are 3
		t.Fatal(err)
	}
	for name, c := range map[string]*quic.Conn{"the idle connection": idle, "one with half a header section": half} {
		select {
		case <-c.Context().Done():
		case <-ctx.Done():
			t.Error(name + " stays")
		}
	}
	close(goOn)
	if err := <-busy; err != nil {
		t.Errorf("the connection with a request: %v", err)
	}
}

// A stop lets requests of HTTP/3 end, whole, and does not wait for clients that have nothing to do.
func TestStopFinishesHTTP3(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	want := strings.Repeat("x", 300_000)
	f := startFront(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(begun)
			select {
			case <-goOn:
			case <-r.Context().Done():
			}
		}
		io.WriteString(w, want)
	}), "shutdown_timeout: 20s\n")
	idle := protocols[4].client(f)
	do(t, idle, "GET", "https://"+f.secure+"/", nil)
	answer := make(chan error, 1)
	c := protocols[4].client(f)
	go func() {
		res, err := c.Get("https://" + f.secure + "/slow")
		if err == nil {
			var got []byte
			got, err = io.ReadAll(res.Body)
			if err == nil && string(got) != want {
				err = fmt.Errorf("%d bytes", len(got))
			}
			res.Body.Close()
		}
		answer <- err
	}()
	<-begun
	f.stop()
	eventually(t, 10*time.Second, "it stops", func() bool {
		c, err := net.Dial("tcp", f.plain)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(goOn)
	if err := <-answer; err != nil {
		t.Errorf("the request under way: %v", err)
	}
	begin := time.Now()
	if err := f.wait(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the stop took %v", took)
	}
}
