package app_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A connection whose handshake never comes does not keep others from theirs, and ends with the instance or after the time limit.
func TestHandshakesDoNotWaitForOneAnother(t *testing.T) {
	f := startFront(t, http.HandlerFunc(hello), "limits: { header_timeout: 1s }\n")
	var silent []net.Conn
	for range 20 {
		c, err := net.Dial("tcp", f.secure)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		silent = append(silent, c)
	}
	if res, body := do(t, protocols[2].client(f), "GET", "https://"+f.secure+"/", nil); body != "hello" {
		t.Errorf("%d, %q", res.StatusCode, body)
	}
	for _, c := range silent {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after the time limit: %v", err)
		}
	}
}

// A client that speaks HTTP where TLS is spoken is told so.
func TestPlainRequestToTLS(t *testing.T) {
	f := startFront(t, http.HandlerFunc(hello), "")
	c, err := net.Dial("tcp", f.secure)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusBadRequest {
		t.Errorf("%v, %v", res, err)
	}
}

// The guard stands above TLS too, and what it refuses is counted. A client without ALPN is served HTTP/1.
func TestGuardAboveTLS(t *testing.T) {
	f := startFront(t, http.HandlerFunc(hello), "")
	for i, text := range []string{"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n"} {
		c, err := tls.Dial("tcp", f.secure, &tls.Config{RootCAs: f.ca.pool, ServerName: "a"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, text)
		answer, _ := io.ReadAll(c) // the end may come without a close_notify
		if want := []string{"HTTP/1.1 200 OK\r\n", "HTTP/1.1 400 Bad Request\r\n"}[i]; !strings.HasPrefix(string(answer), want) {
			t.Errorf("%q: %q", text, answer)
		}
	}
	res, err := http.Get("http://" + f.AdminAddr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(text), "\ncacheproxy_malformed_requests_total 1\n") {
		t.Errorf("the refusal was not counted: %v", err)
	}
}
