package framing

import (
	"bytes"
	"encoding/binary"
)

// Fault says why a request cannot be read in one way only.
type Fault string

// Error implements error.
func (f Fault) Error() string { return "malformed request: " + string(f) }

// The faults of a head.
const (
	BareLF           Fault = "a line that ends with a bare LF"
	BadByte          Fault = "a control byte"
	BadRequestLine   Fault = "a request line that is not METHOD TARGET VERSION"
	BadVersion       Fault = "a version that is neither HTTP/1.0 nor HTTP/1.1"
	BadField         Fault = "a field line that is not NAME: VALUE"
	Folded           Fault = "a folded field line"
	BadHost          Fault = "not exactly one Host"
	BadLength        Fault = "a Content-Length that is no number"
	TwoLengths       Fault = "several Content-Length"
	BadCoding        Fault = "a transfer coding that is not chunked"
	TwoCodings       Fault = "several Transfer-Encoding"
	OldCoding        Fault = "a Transfer-Encoding in HTTP/1.0"
	LengthWithCoding Fault = "a Content-Length with a Transfer-Encoding"
)

// Head is the head of a request, as far as it has been read: what it says about
// where the request ends. The zero value has read nothing. It belongs to one
// goroutine.
type Head struct {
	Length  int64 // Content-Length; 0 where there is none
	Chunked bool  // the content comes in chunks

	begun, blank, old  bool // the request line was read; an empty line before it; HTTP/1.0
	sized, coded, host bool // the fields that were seen
}

// Next reads the whole lines at the beginning of buf. It returns how many bytes
// they are, and whether the head ends with them; what follows then is content or
// another request. Where it does not end, what is left of buf begins a line, and
// is handed in again with what comes after it. With an error, which is a [Fault],
// n is the number of bytes before the line that is at fault. buf is not kept.
func (h *Head) Next(buf []byte) (n int, done bool, err error) {
	for {
		end := bytes.IndexByte(buf[n:], '\n')
		if end < 0 {
			return n, false, nil
		}
		line, err := wholeLine(buf[n : n+end+1])
		if err != nil {
			return n, false, err
		}
		switch {
		case !h.begun:
			err = h.requestLine(line)
		case len(line) == 0:
			if err = h.complete(); err == nil {
				return n + end + 1, true, nil
			}
		default:
			err = h.field(line)
		}
		if err != nil {
			return n, false, err
		}
		n += end + 1
	}
}

// wholeLine returns the line without its CRLF.
func wholeLine(line []byte) ([]byte, error) {
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return nil, BareLF
	}
	line = line[:len(line)-2]
	if !clean(line) {
		return nil, BadByte
	}
	return line, nil
}

func (h *Head) requestLine(line []byte) error {
	if len(line) == 0 && !h.blank {
		h.blank = true
		return nil
	}
	method := bytes.IndexByte(line, ' ')
	version := bytes.LastIndexByte(line, ' ')
	if method <= 0 || version <= method+1 || !isToken(line[:method]) {
		return BadRequestLine
	}
	if target := line[method+1 : version]; bytes.IndexByte(target, ' ') >= 0 || bytes.IndexByte(target, '\t') >= 0 {
		return BadRequestLine
	}
	switch string(line[version+1:]) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		h.old = true
	default:
		return BadVersion
	}
	h.begun = true
	return nil
}

func (h *Head) field(line []byte) error {
	if line[0] == ' ' || line[0] == '\t' {
		return Folded
	}
	colon := 0
	for colon < len(line) && tokens[line[colon]] {
		colon++
	}
	if colon == 0 || colon == len(line) || line[colon] != ':' {
		return BadField
	}
	name := line[:colon]
	switch len(name) {
	case len("Host"):
		if equalFold(name, "host") {
			return h.setHost()
		}
	case len("Content-Length"):
		if equalFold(name, "content-length") {
			return h.setLength(trim(line[colon+1:]))
		}
	case len("Transfer-Encoding"):
		if equalFold(name, "transfer-encoding") {
			return h.setCoding(trim(line[colon+1:]))
		}
	}
	return nil
}

func (h *Head) setHost() error {
	if h.host {
		return BadHost
	}
	h.host = true
	return nil
}

// maxDigits bounds a Content-Length, so that it fits into an int64.
const maxDigits = 18

func (h *Head) setLength(value []byte) error {
	if h.sized {
		return TwoLengths
	}
	if len(value) == 0 || len(value) > maxDigits {
		return BadLength
	}
	h.sized = true
	for _, c := range value {
		if c < '0' || c > '9' {
			return BadLength
		}
		h.Length = h.Length*10 + int64(c-'0')
	}
	return nil
}

func (h *Head) setCoding(value []byte) error {
	switch {
	case h.coded:
		return TwoCodings
	case !equalFold(value, "chunked"):
		return BadCoding
	}
	h.coded, h.Chunked = true, true
	return nil
}

// complete judges the head as a whole.
func (h *Head) complete() error {
	switch {
	case h.sized && h.coded:
		return LengthWithCoding
	case h.coded && h.old:
		return OldCoding
	case !h.host && !h.old:
		return BadHost
	}
	return nil
}

// clean reports whether the line has no control byte but HTAB. It looks at eight
// bytes at a time: heads are most of what passes here.
func clean(line []byte) bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	for len(line) >= 8 {
		w := binary.LittleEndian.Uint64(line)
		del := w ^ 0x7f*ones
		// The high bit of each byte that is below 0x20, or 0x7f; it may be that
		// of a byte after such a one too.
		if ((w-0x20*ones)&^w|(del-ones)&^del)&highs != 0 && !cleanBytes(line[:8]) {
			return false
		}
		line = line[8:]
	}
	return cleanBytes(line)
}

func cleanBytes(line []byte) bool {
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// tokens says which bytes a token may have (RFC 9110, section 5.6.2).
var tokens = func() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" {
		t[c] = true
	}
	return t
}()

func isToken(b []byte) bool {
	for _, c := range b {
		if !tokens[c] {
			return false
		}
	}
	return len(b) > 0
}

// trim cuts optional white space off (RFC 9110, section 5.6.3).
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// equalFold reports whether b is s, which is in lower case, in any case of ASCII
// letters. bytes.EqualFold would take a Kelvin sign for a k.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != s[i] {
			return false
		}
	}
	return true
}
