package upstream

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// replayable is how much of a request's body is kept so that it can be sent
// again to another target.
const replayable = 64 << 10

// upload is the body of a request, however often it is sent. It keeps the error
// of its source, because that is the client's failure and not the upstream's.
type upload struct {
	source  io.ReadCloser
	reading sync.Mutex // held while source is read: an attempt that was given up may still do so when the next begins

	mu    sync.Mutex // guards the following
	again bool       // what is read is kept
	kept  []byte     // what was read, from the beginning
	over  bool       // kept is not the whole of it
	err   error      // of the source, io.EOF too
	last  *sending   // the newest attempt
	final bool       // there will be no further attempt: when the last ends the source is closed
	ended bool       // the source was closed
}

// newUpload returns the body of req; nil where it has none. again says whether
// it should be possible to send it more than once.
func newUpload(req *http.Request, again bool) *upload {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	return &upload{source: req.Body, again: again}
}

// sending is the body as one attempt sends it.
type sending struct {
	*upload
	idle    time.Duration
	untaken *time.Timer // runs while the attempt takes nothing; nil where nobody looks at that

	at     int  // how much of kept it has sent; guarded by upload.mu
	closed bool // likewise
}

// open returns the body for an attempt. The attempt before it must have failed.
// Where untaken is not nil it is called when the attempt takes nothing of the
// body for the idle time.
func (u *upload) open(idle time.Duration, untaken func()) *sending {
	s := &sending{upload: u, idle: idle}
	if untaken != nil {
		s.untaken = time.AfterFunc(idle, untaken)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.last = s
	return s
}

// Read reads what was kept, and then from the source.
func (s *sending) Read(p []byte) (n int, err error) {
	if s.untaken != nil {
		s.untaken.Stop()
		defer s.rearm()
	}
	if n, err, ok := s.fromKept(p); ok {
		return n, err
	}
	s.reading.Lock()
	defer s.reading.Unlock()
	if n, err, ok := s.fromKept(p); ok { // an attempt that was given up has read meanwhile
		return n, err
	}
	n, err = s.source.Read(p)
	s.keep(p[:n], err)
	return n, err
}

func (s *sending) fromKept(p []byte) (n int, err error, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return 0, http.ErrBodyReadAfterClose, true
	case s.at < len(s.kept):
		n = copy(p, s.kept[s.at:])
		s.at += n
		return n, nil, true
	}
	return 0, s.err, s.err != nil
}

// keep notes what came from the source. What an attempt that was given up has
// read is kept in any case, for the next would miss it.
func (s *sending) keep(p []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.again || s != s.last {
		s.kept = append(s.kept, p...)
		s.at = len(s.kept)
	}
	if len(s.kept) > replayable {
		s.again = false
	}
	s.over = s.over || !s.again && len(p) > 0
	if err != nil {
		s.err = err
	}
}

func (s *sending) rearm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.err == nil {
		s.untaken.Reset(s.idle)
	}
}

// Close ends the attempt's use of the body.
func (s *sending) Close() error {
	if s.untaken != nil {
		s.untaken.Stop()
	}
	s.mu.Lock()
	s.closed = true
	end := s.final && s == s.last
	s.mu.Unlock()
	if end {
		s.end()
	}
	return nil
}

// mayRepeat reports whether a further attempt would send the same.
func (u *upload) mayRepeat() bool {
	if u == nil {
		return true
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return !u.over && (u.err == nil || u.err == io.EOF)
}

// settle says that there will be no further attempt.
func (u *upload) settle() {
	if u == nil {
		return
	}
	u.mu.Lock()
	u.final, u.again = true, false
	end := u.last == nil || u.last.closed
	u.mu.Unlock()
	if end {
		u.end()
	}
}

// end closes the source, once.
func (u *upload) end() {
	u.mu.Lock()
	first := !u.ended
	u.ended = true
	u.mu.Unlock()
	if first {
		u.source.Close() // as a RoundTripper must; there is nobody to tell an error
	}
}

// failure returns the error of the source, or nil.
func (u *upload) failure() error {
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err == io.EOF {
		return nil
	}
	return u.err
}
