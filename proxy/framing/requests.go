package framing

import "bytes"

// The faults of what follows a head.
const (
	BadChunk    Fault = "a chunk whose size is no hexadecimal number, or that does not end with CRLF"
	LongChunk   Fault = "chunk extensions of more than 1 KiB, or of 16 KiB more than the content"
	BadTrailer  Fault = "a trailer that frames a message, or more than 16 KiB of trailers"
	BadPreface  Fault = "an HTTP/2 preface that is none"
	LineTooLong Fault = "a line that is longer than a head may be"
)

const (
	// maxExtension bounds the line of a chunk's size. maxOverhead bounds by how much
	// those lines and the trailers of one request may be more than its content, but
	// for 16 bytes a chunk: a body may come byte by byte.
	maxExtension = 1 << 10
	maxOverhead  = 16 << 10
	freeOverhead = 16
	// keptLine is how large the memory may be that is kept for the beginnings of
	// lines.
	keptLine = 4 << 10
)

// Requests follows the bytes that a client sends on one connection. It belongs to
// one goroutine at a time.
type Requests struct {
	// MaxLine bounds what is kept of a line that has not come to its end, in bytes.
	// It must be set, to no less than the limit for heads that whoever reads the
	// requests has.
	MaxLine int
	// Preface is true where the connection may begin with HTTP/2 (RFC 9113,
	// section 3.4). What follows the preface is not looked at.
	Preface bool

	state    state
	head     Head
	left     int64 // of the content or the chunk
	overhead int64
	line     []byte // the beginning of a line that the bytes so far have ended with
	later    bool   // the connection has had a request
}

// state is what comes next.
type state uint8

const (
	inHead      state = iota
	inContent         // left bytes of it
	inSize            // of a chunk
	inChunk           // left bytes of it
	afterChunk        // its CRLF
	inTrailer         // or the empty line
	inPreface         // the rest of HTTP/2's preface, after its first line
	inPreface2        //
	inPreface3        //
	inOtherwise       // another protocol
)

// Check looks at the next bytes of the connection. It returns how many of them
// may be passed on, which are all where there is no error. With an error, which is
// a [Fault], nothing more may: the bytes that are left out complete a request that
// has more than one meaning. p is not kept.
func (r *Requests) Check(p []byte) (n int, err error) {
	for n < len(p) {
		switch r.state {
		case inOtherwise:
			return len(p), nil
		case inContent, inChunk:
			took := min(r.left, int64(len(p)-n))
			n += int(took)
			if r.left -= took; r.left == 0 {
				r.contentEnds()
			}
			continue
		}
		if len(r.line) > 0 {
			took, err := r.continueLine(p[n:])
			if err != nil {
				return n, err
			}
			n += took
			continue
		}
		took, err := r.lines(p[n:])
		if err != nil {
			return n + took, err
		}
		if took == 0 {
			took = len(p) - n
			if err := r.keep(p[n:]); err != nil {
				return n, err
			}
		}
		n += took
	}
	return n, nil
}

// Tunnel says that from now on the connection carries another protocol, to which
// it was upgraded.
func (r *Requests) Tunnel() { r.state, r.line = inOtherwise, nil }

func (r *Requests) contentEnds() {
	if r.state == inChunk {
		r.state = afterChunk
		return
	}
	r.next()
}

// next waits for another request.
func (r *Requests) next() { r.state, r.head, r.overhead, r.later = inHead, Head{}, 0, true }

// keep keeps the beginning of a line.
func (r *Requests) keep(part []byte) error {
	limit := r.MaxLine
	if r.state == inSize {
		limit = maxExtension
	}
	if len(r.line)+len(part) > limit {
		if r.state == inSize {
			return LongChunk
		}
		return LineTooLong
	}
	r.line = append(r.line, part...)
	return nil
}

// continueLine adds the beginning of p to the line that was kept, and reads that
// where it is whole now.
func (r *Requests) continueLine(p []byte) (n int, err error) {
	end := bytes.IndexByte(p, '\n')
	if end < 0 {
		return len(p), r.keep(p)
	}
	if err := r.keep(p[:end+1]); err != nil {
		return 0, err
	}
	_, err = r.lines(r.line)
	if r.line = r.line[:0]; cap(r.line) > keptLine {
		r.line = nil
	}
	return end + 1, err
}

// lines reads whole lines at the beginning of buf, one at least where there is
// one, and returns how many bytes they are; with an error, those before the line
// that is at fault.
func (r *Requests) lines(buf []byte) (n int, err error) {
	if r.state == inHead {
		if r.Preface && !r.later && r.head == (Head{}) && bytes.HasPrefix(buf, []byte("PRI * HTTP/2.0\r\n")) {
			r.state = inPreface
			return len("PRI * HTTP/2.0\r\n"), nil
		}
		n, done, err := r.head.Next(buf)
		if done {
			r.headEnds()
		}
		return n, err
	}
	end := bytes.IndexByte(buf, '\n')
	if end < 0 {
		return 0, nil
	}
	line, err := wholeLine(buf[:end+1])
	if err != nil {
		return 0, err
	}
	switch r.state {
	case inSize:
		err = r.size(line)
	case afterChunk:
		r.state = inSize
		if len(line) > 0 {
			err = BadChunk
		}
	case inTrailer:
		err = r.trailer(line)
	default:
		err = r.preface(line)
	}
	if err != nil {
		return 0, err
	}
	return end + 1, nil
}

func (r *Requests) headEnds() {
	switch {
	case r.head.Chunked:
		r.state = inSize
	case r.head.Length > 0:
		r.state, r.left = inContent, r.head.Length
	default:
		r.next()
	}
}

// maxSizeDigits bounds a chunk's size, so that it fits into an int64.
const maxSizeDigits = 15

func (r *Requests) size(line []byte) error {
	size := int64(0)
	digits := 0
	for ; digits < len(line); digits++ {
		value, ok := hexDigit(line[digits])
		if !ok {
			break
		}
		size = size<<4 | value
		if digits == maxSizeDigits {
			return BadChunk
		}
	}
	if digits == 0 || digits < len(line) && line[digits] != ';' {
		return BadChunk
	}
	r.overhead = max(r.overhead+int64(len(line))-freeOverhead-size, 0)
	if len(line) > maxExtension || r.overhead > maxOverhead {
		return LongChunk
	}
	if r.state, r.left = inChunk, size; size == 0 {
		r.state = inTrailer
	}
	return nil
}

func hexDigit(c byte) (value int64, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return int64(c - '0'), true
	case 'a' <= c && c <= 'f':
		return int64(c-'a') + 10, true
	case 'A' <= c && c <= 'F':
		return int64(c-'A') + 10, true
	}
	return 0, false
}

func (r *Requests) trailer(line []byte) error {
	if len(line) == 0 {
		r.next()
		return nil
	}
	if r.overhead += int64(len(line)); r.overhead > maxOverhead {
		return BadTrailer
	}
	var h Head
	if err := h.field(line); err != nil {
		return err
	}
	if h.sized || h.coded || h.host {
		return BadTrailer
	}
	return nil
}

// preface reads what is left of HTTP/2's preface: "\r\n", "SM\r\n", "\r\n".
func (r *Requests) preface(line []byte) error {
	want := ""
	if r.state == inPreface2 {
		want = "SM"
	}
	if string(line) != want {
		return BadPreface
	}
	switch r.state {
	case inPreface:
		r.state = inPreface2
	case inPreface2:
		r.state = inPreface3
	default:
		r.state = inOtherwise
	}
	return nil
}
