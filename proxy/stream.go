package proxy

import (
	"context"
	"errors"
	"io"
	"time"
)

const (
	// windowSize is how far the slowest reader of a body that is too large to be kept may be behind the origin.
	windowSize = 1 << 20
	// windowPiece is how much a reader of the window is given at a time.
	windowPiece = 32 << 10
	// chunkSize is the size of the pieces in which a body of unknown length grows. The first of them begins with firstSize and doubles
	// up to it: most bodies are small.
	chunkSize = 64 << 10
	firstSize = 4 << 10
	// exactLimit is up to which announced length the body's memory is taken at once: one who announces much and sends little must
	// not hold much.
	exactLimit = 256 << 10
)

var errStalled = errors.New("the client reads too slowly")

// stream is the body of a fill while it grows. Bytes are only ever added behind those that readers may see, so a reader reads
// without a lock what it was given under the lock. All fields are guarded by the fill's mu.
type stream struct {
	limit    int64    // up to which size everything is kept
	chunks   [][]byte // those from base on
	base     int64    // offset of the first chunk
	size     int64    // of all that has come
	first    int      // capacity that the first chunk begins with
	windowed bool     // what all readers have read is let go
	readers  map[*reader]struct{}
	moved    chan struct{} // closed when a reader moves or leaves; nil where nobody waits for that
	deadline *time.Timer   // ends the fill where nobody reads
}

// reader is one client's place in a stream.
type reader struct {
	at      int64
	taken   int // bytes of the last piece, which count as read when the next one is asked for
	moved   time.Time
	stalled bool
}

func (s *stream) init(limit int64) {
	s.limit, s.first = limit, firstSize
	s.readers = make(map[*reader]struct{})
}

func (s *stream) expect(length int64) {
	if length > 0 && length <= exactLimit {
		s.first = int(length)
	}
}

func (s *stream) window() { s.windowed = true }

// bytes returns the whole body, in one piece. The stream must not have let anything go, and must not grow any more.
func (s *stream) bytes() []byte {
	if len(s.chunks) == 1 {
		return s.chunks[0][:len(s.chunks[0]):len(s.chunks[0])]
	}
	all := make([]byte, 0, s.size)
	for _, c := range s.chunks {
		all = append(all, c...)
	}
	return all
}

func (s *stream) grow(p []byte) {
	if s.windowed {
		s.pardon(time.Now())
	}
	s.size += int64(len(p))
	for len(p) > 0 {
		last := len(s.chunks) - 1
		switch {
		case last < 0 && s.base == 0:
			s.chunks = append(s.chunks, make([]byte, 0, s.first))
			last = 0
		case last < 0 || len(s.chunks[last]) == cap(s.chunks[last]) && (s.base > 0 || last > 0 || cap(s.chunks[0]) >= chunkSize):
			s.chunks = append(s.chunks, make([]byte, 0, chunkSize))
			last++
		case len(s.chunks[last]) == cap(s.chunks[last]): // readers keep what they have of the smaller one
			s.chunks[0] = append(make([]byte, 0, min(2*cap(s.chunks[0]), chunkSize)), s.chunks[0]...)
		}
		c := s.chunks[last]
		n := min(len(p), cap(c)-len(c))
		s.chunks[last] = append(c, p[:n]...)
		p = p[n:]
	}
}

// pardon starts the clock anew for the readers that have read all there was: they have waited for the origin, not the other way round.
func (s *stream) pardon(now time.Time) {
	for r := range s.readers {
		if r.at+int64(r.taken) >= s.size {
			r.moved = now
		}
	}
}

// slowest returns the reader that is farthest behind; nil where there is none.
func (s *stream) slowest() *reader {
	var slow *reader
	for r := range s.readers {
		if slow == nil || r.at < slow.at {
			slow = r
		}
	}
	return slow
}

// trim lets go of the chunks that everybody has read.
func (s *stream) trim() {
	slow := s.slowest()
	if !s.windowed || slow == nil {
		return
	}
	for len(s.chunks) > 0 && s.base+int64(len(s.chunks[0])) <= slow.at {
		s.base += int64(len(s.chunks[0]))
		s.chunks[0] = nil
		s.chunks = s.chunks[1:]
	}
}

// at returns what there is to read at offset.
func (s *stream) at(offset int64) []byte {
	if offset >= s.size || len(s.chunks) == 0 {
		return nil
	}
	i, start := 0, s.base
	if beyond := offset - s.base - int64(len(s.chunks[0])); beyond >= 0 { // all behind the first are full, but for the last
		i = 1 + int(beyond/chunkSize)
		start += int64(len(s.chunks[0])) + int64(i-1)*chunkSize
	}
	c := s.chunks[i]
	end := len(c)
	if s.windowed {
		end = min(end, int(offset-start)+windowPiece) // so that a slow reader is seen to move
	}
	return c[offset-start : end : end]
}

// append adds p to the body. A body that outgrows the limit is not kept any more: its readers share a window, and the origin waits
// for the slowest of them. A body that has reached its announced length is stored before its last bytes are shown: whoever has
// the whole answer finds it in the cache.
func (f *fill) append(p []byte) error {
	if !f.stream.windowed && f.stream.size+int64(len(p)) > f.stream.limit { // only this goroutine changes these
		f.outgrow()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stream.grow(p)
	if f.stream.size == f.final.length {
		f.commit() // under mu: a reader on its way must not see the end before
	}
	if f.gather == nil || f.stream.size >= f.final.length {
		f.broadcast()
	}
	if !f.stream.windowed {
		return nil
	}
	return f.awaitReaders()
}

// awaitReaders waits until the window has room again. It closes readers that have not moved for stallLimit. mu is held.
func (f *fill) awaitReaders() error {
	for {
		f.stream.trim()
		slow := f.stream.slowest()
		if slow == nil {
			return errUnread
		}
		if f.stream.size-slow.at <= windowSize {
			return nil
		}
		rest := time.Until(slow.moved.Add(stallLimit))
		if rest <= 0 {
			slow.stalled = true
			delete(f.stream.readers, slow)
			f.broadcast()
			continue
		}
		if err := f.awaitMove(rest); err != nil {
			return err
		}
	}
}

// awaitMove waits for a reader to move, at most for rest. mu is held, but not while it waits.
func (f *fill) awaitMove(rest time.Duration) error {
	moved := make(chan struct{})
	f.stream.moved = moved
	f.mu.Unlock()
	defer f.mu.Lock()
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-moved:
	case <-timer.C:
	case <-f.request.Context().Done():
		return f.request.Context().Err()
	}
	return nil
}

func (s *stream) noteMove() {
	if s.moved != nil {
		close(s.moved)
		s.moved = nil
	}
}

// attach adds a reader at the beginning of the body, and reports whether that is still there. mu is held.
func (f *fill) attach(now time.Time) (*reader, bool) {
	if f.stream.base > 0 {
		return nil, false
	}
	r := &reader{moved: now}
	f.stream.readers[r] = struct{}{}
	if f.stream.deadline != nil {
		f.stream.deadline.Stop()
		f.stream.deadline = nil
	}
	return r, true
}

// detach removes a reader. The last one to leave may end the fill.
func (f *fill) detach(r *reader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.stream.readers, r)
	f.stream.noteMove()
	f.abandonIfUnread()
}

// abandonIfUnread ends a fill that nobody reads: at once where its response will not be stored, else after abandonedLimit. mu is held.
func (f *fill) abandonIfUnread() {
	if f.done || len(f.stream.readers) > 0 {
		return
	}
	if f.stream.windowed {
		f.cancel()
		return
	}
	if f.stream.deadline == nil {
		f.stream.deadline = time.AfterFunc(abandonedLimit, f.cancel)
	}
}

// next returns the next piece of the body for r, which r may read until it asks again. It waits where there is none yet, and calls
// idle before it does. io.EOF is the end of a complete body; any other error means that the body is not complete.
func (f *fill) next(ctx context.Context, r *reader, idle func()) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.taken > 0 {
		r.at += int64(r.taken)
		r.taken, r.moved = 0, time.Now()
		f.stream.noteMove()
	}
	for idled := false; ; {
		switch piece := f.stream.at(r.at); {
		case r.stalled:
			return nil, errStalled
		case len(piece) > 0:
			r.taken = len(piece)
			r.moved = time.Now()
			return piece, nil
		case f.head != nil && r.at == f.head.length && len(f.head.header["Trailer"]) == 0:
			return nil, io.EOF // all that was announced: no need to wait for the handler's end
		case f.done && f.err != nil:
			return nil, f.err
		case f.done:
			return nil, io.EOF
		}
		if !idled {
			f.mu.Unlock()
			idle()
			f.mu.Lock()
			idled = true
			continue
		}
		w := f.waiters.enter()
		f.mu.Unlock()
		err := w.wait(ctx, nil)
		f.mu.Lock()
		if err != nil {
			f.waiters.leave(w)
			return nil, err
		}
	}
}
