package security

import (
	"bytes"
	"compress/gzip"
	"io"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
)

// bomb is 64 MiB that gzip has made small.
func bomb(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	zeros := make([]byte, 1<<20)
	for range 64 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What comes compressed stays so: from the origin, for clients that take it and for
// those that do not, and from clients. Nothing is decompressed, so nothing grows.
func TestDecompressionBomb(t *testing.T) {
	small := bomb(t)
	h := newHouse(t, "")
	var got string
	h.origin.SetHandler(func(c *badorigin.Conn, r *badorigin.Request) {
		if r.Method == "POST" {
			got = string(r.Body)
		}
		c.Respond(200, small, "Content-Encoding: gzip", "Cache-Control: max-age=3600")
	})
	h.ask(get("/warm"))
	before := h.figure(residentMemory)
	for _, fields := range [][]string{nil, {"Accept-Encoding: gzip"}, {"Accept-Encoding: identity"}, {"TE: gzip"}, {"Range: bytes=0-99"}} {
		for range 20 {
			a := h.ask(get("/bomb", fields...))
			if want := small; a.status == 200 && a.body != want || a.status == 206 && a.body != want[:100] || a.header.Get("Content-Encoding") != "gzip" {
				t.Fatalf("%v: %d with %d bytes, %v", fields, a.status, len(a.body), a.header)
			}
		}
	}
	h.ask(request("POST", "/bomb", "Host: a", "Content-Encoding: gzip", "Content-Length: "+strconv.Itoa(len(small))) + small)
	if got != small {
		t.Errorf("the origin got %d bytes, want the %d that were sent", len(got), len(small))
	}
	if grown := h.figure(residentMemory) - before; grown > 32<<20 {
		t.Errorf("memory has grown by %.0f MiB", grown/(1<<20))
	}
}

// A few bytes of HPACK can stand for a header section of many MiB.
func TestHeaderCompressionBomb(t *testing.T) {
	h := newHouse(t, "")
	h.alive()
	before := h.figure(residentMemory)
	seen := len(h.origin.Requests())
	a := newAttacker(t, h)
	go io.Copy(io.Discard, a.conn)
	pairs := plain("/bomb")
	for range 10_000 {
		pairs = append(pairs, "x", strings.Repeat("v", 3900)) // in the table after the first
	}
	block := a.encode(pairs...)
	first := block[:min(len(block), 16_000)]
	if err := a.frame.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndStream: true, EndHeaders: len(first) == len(block)}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes stand for %d", len(block), 10_000*3900)
	h.alive()
	h.seen(seen)
	if grown := h.figure(residentMemory) - before; grown > 32<<20 {
		t.Errorf("memory has grown by %.0f MiB", grown/(1<<20))
	}
}
