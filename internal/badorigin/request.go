package badorigin

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
)

// A Request is what the origin received. It does not change after it was made.
type Request struct {
	Raw    []byte      // the head as it came, with the empty line
	Method string      //
	Target string      // as it stands in the request line
	Path   string      // Target without the query
	Proto  string      // such as "HTTP/1.1"
	Header http.Header // names in canonical form; Host is in it like any other field
	Body   []byte      // without its transfer coding
	Number int         // 1 for the first request of this origin
	Conn   int         // 1 for the first connection of this origin
}

// maxHead is more than any test sends; past it the client is at fault.
const maxHead = 8 << 20

// readRequest reads one request with its body. A client that waits for 100
// (Continue) gets it.
func readRequest(br *bufio.Reader, w io.Writer) (*Request, error) {
	var raw []byte
	for !bytes.HasSuffix(raw, []byte("\r\n\r\n")) {
		line, err := br.ReadSlice('\n')
		raw = append(raw, line...)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if len(raw) > maxHead {
			return nil, fmt.Errorf("a request head of more than %d bytes", maxHead)
		}
	}
	line, fields, _ := strings.Cut(string(raw), "\r\n")
	method, rest, _ := strings.Cut(line, " ")
	target, proto, ok := strings.Cut(rest, " ")
	if !ok {
		return nil, fmt.Errorf("no request line: %q", line)
	}
	h, err := textproto.NewReader(bufio.NewReader(strings.NewReader(fields))).ReadMIMEHeader()
	if err != nil {
		return nil, fmt.Errorf("request head: %w", err)
	}
	path, _, _ := strings.Cut(target, "?")
	r := &Request{Raw: raw, Method: method, Target: target, Path: path, Proto: proto, Header: http.Header(h)}
	if strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		if _, err := io.WriteString(w, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return nil, err
		}
	}
	r.Body, err = readBody(br, r.Header)
	return r, err
}

func readBody(br *bufio.Reader, h http.Header) ([]byte, error) {
	if h.Get("Transfer-Encoding") != "" {
		return readChunked(br)
	}
	length := h.Get("Content-Length")
	if length == "" {
		return nil, nil
	}
	n, err := strconv.Atoi(length)
	if err != nil {
		return nil, fmt.Errorf("content-length: %w", err)
	}
	body := make([]byte, n)
	_, err = io.ReadFull(br, body)
	return body, err
}

func readChunked(br *bufio.Reader) ([]byte, error) {
	var body []byte
	tr := textproto.NewReader(br)
	for {
		line, err := tr.ReadLine()
		if err != nil {
			return nil, err
		}
		size, _, _ := strings.Cut(line, ";")
		n, err := strconv.ParseUint(strings.TrimSpace(size), 16, 31)
		if err != nil {
			return nil, fmt.Errorf("chunk size: %w", err)
		}
		if n == 0 {
			_, err := tr.ReadMIMEHeader() // the trailer section, which no test asks for
			return body, err
		}
		chunk := make([]byte, n+2) // with its CRLF
		if _, err := io.ReadFull(br, chunk); err != nil {
			return nil, err
		}
		body = append(body, chunk[:n]...)
	}
}
