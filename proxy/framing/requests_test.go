package framing_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/proxy/framing"
)

const (
	get     = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
)

func follow() *framing.Requests { return &framing.Requests{MaxLine: 1 << 20} }

func TestRequests(t *testing.T) {
	tests := []struct {
		name  string
		good  string // may be passed on
		bad   string // may not
		error error
	}{
		{"one after the other", get + get, "", nil},
		{"a body between", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n\x00\n\r\x00x" + get, "", nil},
		{"chunks between", chunked + "5\r\n\x00\n\r\x00x\r\nA;a=b\r\n0123456789\r\n0\r\nX: y\r\n\r\n" + get, "", nil},
		{"an empty line after a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx\r\n" + get, "", nil},
		{"byte by byte", chunked + strings.Repeat("1\r\nx\r\n", 5000) + "0\r\n\r\n" + get, "", nil},
		{"a signature in each chunk", chunked + strings.Repeat("400;sig="+strings.Repeat("f", 64)+"\r\n"+strings.Repeat("x", 0x400)+"\r\n", 500) + "0\r\n\r\n", "", nil},

		{"what follows is no request", get, "\x00\x00\r\n\r\n", framing.BadByte},
		{"a bad second request", get + "GET / HTTP/1.1\r\n", "Host: a\n\r\n", framing.BareLF},
		{"a chunk with a bare LF", chunked, "5\nabcde\r\n0\r\n\r\n", framing.BareLF},
		{"an extension with a bare LF", chunked, "5;a\nabcde\r\n0\r\n\r\n", framing.BareLF},
		{"an extension with a bare CR", chunked, "5;a\rb\r\nabcde\r\n0\r\n\r\n", framing.BadByte},
		{"a chunk with 0x", chunked, "0x5\r\nabcde\r\n0\r\n\r\n", framing.BadChunk},
		{"a negative chunk", chunked, "-5\r\nabcde\r\n0\r\n\r\n", framing.BadChunk},
		{"an empty size", chunked, "\r\nabcde\r\n0\r\n\r\n", framing.BadChunk},
		{"a space after the size", chunked, "5 \r\nabcde\r\n0\r\n\r\n", framing.BadChunk},
		{"a size that overflows", chunked, "10000000000000005\r\nabcde\r\n0\r\n\r\n", framing.BadChunk},
		{"a chunk that is longer", chunked + "5\r\nabcde", "f\r\n0\r\n\r\n", framing.BadChunk},
		{"a chunk that ends with LF", chunked + "5\r\nabcde", "\n0\r\n\r\n", framing.BareLF},
		{"a long extension", chunked, "5;" + strings.Repeat("a", 1<<10) + "\r\nabcde\r\n0\r\n\r\n", framing.LongChunk},
		{"a trailer that frames", chunked + "0\r\n", "Content-Length: 5\r\n\r\n", framing.BadTrailer},
		{"a trailer that routes", chunked + "0\r\n", "Host: b\r\n\r\n", framing.BadTrailer},
		{"a folded trailer", chunked + "0\r\nX: a\r\n", " b\r\n\r\n", framing.Folded},
		{"a preface that is not allowed", "", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", framing.BadVersion},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 7, 64, 1 << 20} {
				passed, err := feed(follow(), tt.good+tt.bad, size)
				if err != tt.error {
					t.Fatalf("%d bytes at a time: error %v, want %v", size, err, tt.error)
				}
				// Pieces of the line that is at fault may have passed before its end was seen.
				if passed < len(tt.good) || tt.bad == "" && passed != len(tt.good) {
					t.Errorf("%d bytes at a time: %d passed, want %d", size, passed, len(tt.good))
				}
				if tt.bad != "" && size > len(tt.good+tt.bad) && passed != len(tt.good) {
					t.Errorf("at once: %d passed, want %d", passed, len(tt.good))
				}
			}
		})
	}
}

// Many small extensions are as bad as a long one.
func TestExtensionsTogether(t *testing.T) {
	text := chunked + strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 20)
	if _, err := feed(follow(), text, 1<<20); err != framing.LongChunk {
		t.Errorf("20 KiB of extensions for 20 bytes: %v", err)
	}
	text = chunked + "0\r\n" + strings.Repeat("X: "+strings.Repeat("a", 1000)+"\r\n", 20)
	if _, err := feed(follow(), text, 1<<20); err != framing.BadTrailer {
		t.Errorf("20 KiB of trailers: %v", err)
	}
}

func TestLineLimit(t *testing.T) {
	r := &framing.Requests{MaxLine: 100}
	if n, err := feed(r, "GET /"+strings.Repeat("a", 1000), 64); err != framing.LineTooLong {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestPreface(t *testing.T) {
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for _, size := range []int{1, 5, 1 << 10} {
		r := &framing.Requests{MaxLine: 100, Preface: true}
		if n, err := feed(r, preface+"\x00\n\r\x7f", size); err != nil || n != len(preface)+4 {
			t.Errorf("%d bytes at a time: %d, %v", size, n, err)
		}
		r = &framing.Requests{MaxLine: 100, Preface: true}
		if _, err := feed(r, "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", size); err != framing.BadPreface {
			t.Errorf("%d bytes at a time: %v", size, err)
		}
		r = &framing.Requests{MaxLine: 100, Preface: true}
		if _, err := feed(r, get+preface, size); err != framing.BadVersion {
			t.Errorf("%d bytes at a time, after a request: %v", size, err)
		}
	}
}

func TestTunnel(t *testing.T) {
	r := follow()
	if _, err := feed(r, get+"\x81\x05", 1<<10); err != nil { // the first bytes may come before the answer
		t.Fatal(err)
	}
	r.Tunnel()
	if n, err := feed(r, "\n\n\r\x00", 1); err != nil || n != 4 {
		t.Errorf("%d bytes passed, %v", n, err)
	}
}

// feed hands text in, size bytes at a time, and returns how much was passed on.
func feed(r *framing.Requests, text string, size int) (passed int, err error) {
	for len(text) > 0 {
		part := text[:min(size, len(text))]
		n, err := r.Check([]byte(part))
		if passed += n; err != nil {
			return passed, err
		}
		text = text[len(part):]
	}
	return passed, nil
}

// What is accepted net/http reads in the same way: as many requests, the same
// content. And it does not matter in which pieces it comes.
func FuzzRequestsAgreeWithNetHTTP(f *testing.F) {
	for _, seed := range []string{
		get, get + get, chunked + "5\r\nabcde\r\n0\r\n\r\n" + get, chunked + "0\r\nX: y\r\n\r\n" + get,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\r\n" + get,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + get,
		"GET / HTTP/1.1\nHost: a\n\n", "PUT http://b/?x=%0a HTTP/1.0\r\n\r\n", chunked + "1;a=\"\\\"\"\r\nx\r\n0\r\n\r\n",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		passed, err := follow().Check(text)
		apart := 0
		for r, rest := follow(), text; len(rest) > 0; {
			part := rest[:min(int(size)+1, len(rest))]
			n, e := r.Check(part)
			if apart += n; e != nil {
				if err != e {
					t.Fatalf("in pieces: %v, at once: %v", e, err)
				}
				break
			}
			rest = rest[len(part):]
		}
		if err == nil && apart != passed || apart < passed {
			t.Fatalf("in pieces %d bytes pass, at once %d", apart, passed)
		}
		if err != nil {
			return
		}
		compare(t, text)
	})
}

// compare reads text by net/http and by a framing.Head, request by request.
func compare(t *testing.T, text []byte) {
	src := bytes.NewReader(text)
	br := bufio.NewReader(src)
	for rest := text; ; {
		var h framing.Head
		n, done, err := h.Next(rest)
		if err != nil || !done {
			return
		}
		if bytes.HasPrefix(rest, []byte("\r\n")) {
			br.Discard(2)
		}
		req, err := http.ReadRequest(br)
		if err != nil {
			return // net/http refuses more than we do: what becomes of the target, for example
		}
		if h.Chunked != (len(req.TransferEncoding) > 0) || !h.Chunked && req.ContentLength != h.Length {
			t.Fatalf("%q: %+v, net/http reads length %d, coding %q", rest[:n], h, req.ContentLength, req.TransferEncoding)
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			if ends(rest) {
				t.Fatalf("%q: whole, but net/http says of the content: %v", rest, err)
			}
			return
		}
		if !h.Chunked && (!bytes.HasPrefix(rest[n:], body) || int64(len(body)) != h.Length) {
			t.Fatalf("%q: net/http reads the content %q", rest, body)
		}
		end := len(text) - src.Len() - br.Buffered()
		if message := rest[:len(rest)-len(text)+end]; !ends(message) {
			t.Fatalf("%q: net/http reads %q as one request", rest, message)
		}
		rest = text[end:]
	}
}

// ends reports whether a request ends where text does. If it does, what comes
// next should be a request line; elsewhere it would be at fault for another
// reason, or for none.
func ends(text []byte) bool {
	passed, err := feed(follow(), string(text)+"(\r\n", 1<<20)
	return err == framing.BadRequestLine && passed == len(text)
}
