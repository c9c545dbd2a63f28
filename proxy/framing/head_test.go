package framing_test

import (
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/proxy/framing"
)

// lines makes a head of its lines.
func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n\r\n" }

func TestHead(t *testing.T) {
	tests := []struct {
		name string
		head string
		want framing.Head // Length and Chunked count
		err  error
	}{
		{"the least", lines("GET / HTTP/1.1", "Host: a"), framing.Head{}, nil},
		{"RFC 9112, 2.2: one empty line before", "\r\n" + lines("GET / HTTP/1.1", "Host: a"), framing.Head{}, nil},
		{"two empty lines before", "\r\n\r\n" + lines("GET / HTTP/1.1", "Host: a"), framing.Head{}, framing.BadRequestLine},
		{"HTTP/1.0 needs no Host", lines("GET / HTTP/1.0"), framing.Head{}, nil},
		{"absolute form", lines("GET http://a/ HTTP/1.1", "Host: a"), framing.Head{}, nil},
		{"an empty value", lines("GET / HTTP/1.1", "Host: a", "X:"), framing.Head{}, nil},
		{"HTAB in a value", lines("GET / HTTP/1.1", "Host: a", "X:\ta\tb\t"), framing.Head{}, nil},
		{"bytes above ASCII in a value", lines("GET / HTTP/1.1", "Host: a", "X: \xff\x80é"), framing.Head{}, nil},
		{"a length", lines("POST / HTTP/1.1", "Host: a", "Content-Length: \t42 "), framing.Head{Length: 42}, nil},
		{"the largest length", lines("POST / HTTP/1.1", "Host: a", "content-length: 999999999999999999"), framing.Head{Length: 999999999999999999}, nil},
		{"chunks", lines("POST / HTTP/1.1", "Host: a", "TRANSFER-ENCODING:Chunked"), framing.Head{Chunked: true}, nil},
		{"names that are as long", lines("GET / HTTP/1.1", "Host: a", "Hast: b", "Content-Lengthy: x", "Content-Langue: 5", "Transfer-Encodinc: x"), framing.Head{}, nil},

		{"a bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", framing.Head{}, framing.BareLF},
		{"a bare LF after a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", framing.Head{}, framing.BareLF},
		{"a bare LF as the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", framing.Head{}, framing.BareLF},
		{"a bare CR in a value", lines("GET / HTTP/1.1", "Host: a", "X: a\rContent-Length: 5"), framing.Head{}, framing.BadByte},
		{"CR CR LF", lines("GET / HTTP/1.1", "Host: a\r"), framing.Head{}, framing.BadByte},
		{"NUL", lines("GET / HTTP/1.1", "Host: a", "X: \x00"), framing.Head{}, framing.BadByte},
		{"DEL", lines("GET / HTTP/1.1", "Host: a", "X: 12345678\x7f"), framing.Head{}, framing.BadByte},
		{"VT for white space", lines("POST / HTTP/1.1", "Host: a", "Content-Length:\v5"), framing.Head{}, framing.BadByte},
		{"HTTP/0.9", "GET /\r\n\r\n", framing.Head{}, framing.BadRequestLine},
		{"two spaces", lines("GET  / HTTP/1.1", "Host: a"), framing.Head{}, framing.BadRequestLine},
		{"a space in the target", lines("GET /a b HTTP/1.1", "Host: a"), framing.Head{}, framing.BadRequestLine},
		{"HTAB for the space", lines("GET\t/ HTTP/1.1", "Host: a"), framing.Head{}, framing.BadRequestLine},
		{"no target", lines("GET HTTP/1.1", "Host: a"), framing.Head{}, framing.BadRequestLine},
		{"a space before the method", lines(" GET / HTTP/1.1", "Host: a"), framing.Head{}, framing.BadRequestLine},
		{"a method that is no token", lines("G(T / HTTP/1.1", "Host: a"), framing.Head{}, framing.BadRequestLine},
		{"HTTP/1.2", lines("GET / HTTP/1.2", "Host: a"), framing.Head{}, framing.BadVersion},
		{"HTTP/2.0", lines("PRI * HTTP/2.0"), framing.Head{}, framing.BadVersion},
		{"http/1.1", lines("GET / http/1.1", "Host: a"), framing.Head{}, framing.BadVersion},
		{"a space after the version", lines("GET / HTTP/1.1 ", "Host: a"), framing.Head{}, framing.BadRequestLine},
		{"RFC 9112, 5.2: folded", lines("GET / HTTP/1.1", "Host: a", "X: a", " b"), framing.Head{}, framing.Folded},
		{"the first field folded", lines("GET / HTTP/1.1", "\tHost: a"), framing.Head{}, framing.Folded},
		{"RFC 9112, 5.1: a space before the colon", lines("POST / HTTP/1.1", "Host: a", "Content-Length : 5"), framing.Head{}, framing.BadField},
		{"no colon", lines("GET / HTTP/1.1", "Host: a", "X"), framing.Head{}, framing.BadField},
		{"no name", lines("GET / HTTP/1.1", "Host: a", ": x"), framing.Head{}, framing.BadField},
		{"no Host", lines("GET / HTTP/1.1", "X: a"), framing.Head{}, framing.BadHost},
		{"two Host", lines("GET / HTTP/1.1", "Host: a", "Host: a"), framing.Head{}, framing.BadHost},
		{"two Host in HTTP/1.0", lines("GET / HTTP/1.0", "Host: a", "hOST: b"), framing.Head{}, framing.BadHost},
		{"RFC 9112, 6.3: two lengths", lines("POST / HTTP/1.1", "Host: a", "Content-Length: 5", "Content-Length: 6"), framing.Head{}, framing.TwoLengths},
		{"the same length twice", lines("POST / HTTP/1.1", "Host: a", "Content-Length: 5", "Content-Length: 5"), framing.Head{}, framing.TwoLengths},
		{"a list of lengths", lines("POST / HTTP/1.1", "Host: a", "Content-Length: 5, 5"), framing.Head{}, framing.BadLength},
		{"a sign", lines("POST / HTTP/1.1", "Host: a", "Content-Length: +5"), framing.Head{}, framing.BadLength},
		{"a hexadecimal length", lines("POST / HTTP/1.1", "Host: a", "Content-Length: 0x5"), framing.Head{}, framing.BadLength},
		{"an empty length", lines("POST / HTTP/1.1", "Host: a", "Content-Length:"), framing.Head{}, framing.BadLength},
		{"a length that overflows", lines("POST / HTTP/1.1", "Host: a", "Content-Length: 18446744073709551621"), framing.Head{}, framing.BadLength},
		{"RFC 9112, 6.1: both", lines("POST / HTTP/1.1", "Host: a", "Content-Length: 5", "Transfer-Encoding: chunked"), framing.Head{}, framing.LengthWithCoding},
		{"both, the other way round", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Content-Length: 0"), framing.Head{}, framing.LengthWithCoding},
		{"another coding", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: gzip, chunked"), framing.Head{}, framing.BadCoding},
		{"identity", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: identity"), framing.Head{}, framing.BadCoding},
		{"chunked twice", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked, chunked"), framing.Head{}, framing.BadCoding},
		{"xchunked", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: xchunked"), framing.Head{}, framing.BadCoding},
		{"in quotes", lines("POST / HTTP/1.1", "Host: a", `Transfer-Encoding: "chunked"`), framing.Head{}, framing.BadCoding},
		{"a Kelvin sign for the k", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chun\u212aed"), framing.Head{}, framing.BadCoding},
		{"two lines of codings", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), framing.Head{}, framing.TwoCodings},
		{"RFC 9112, 6.1: HTTP/1.0", lines("POST / HTTP/1.0", "Transfer-Encoding: chunked"), framing.Head{}, framing.OldCoding},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h framing.Head
			n, done, err := h.Next([]byte(tt.head + "next"))
			if err != tt.err || done != (tt.err == nil) {
				t.Fatalf("%q: done %v, error %v, want %v", tt.head, done, err, tt.err)
			}
			if err == nil && (n != len(tt.head) || h.Length != tt.want.Length || h.Chunked != tt.want.Chunked) {
				t.Errorf("%q: %d of %d bytes, %+v", tt.head, n, len(tt.head), h)
			}
		})
	}
}

// Every control byte but HTAB is refused wherever it stands, and no other byte.
func TestControlBytesAnywhere(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			value := []byte(strings.Repeat("\xffv ", 7)[:20])
			value[at] = byte(c)
			var h framing.Head
			_, done, err := h.Next([]byte(lines("GET / HTTP/1.1", "Host: a", "X: "+string(value))))
			allowed := c >= ' ' && c != 0x7f || c == '\t'
			if done != allowed || err == nil != allowed {
				t.Errorf("byte %#x at %d: done %v, error %v", c, at, done, err)
			}
		}
	}
}
