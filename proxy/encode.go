package proxy

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

const (
	// maxEncodings is how many forms may wait to be made. A job keeps nothing alive but its name.
	maxEncodings = 1024
	// encodePiece is after how many bytes an encoder looks whether it is to end.
	encodePiece = 64 << 10
	// worthwhile is the share of a body that an encoded form must save: less is not worth the memory, nor the client's work.
	worthwhile = 16
)

// encoder makes encoded forms of stored responses, beside the requests: no request ever waits for it. Whoever misses a form asks for
// it and goes on with what is there. Each form is made once, however many ask; what does not come out smaller is remembered in the
// response, and not tried again.
type encoder struct {
	cache   *cache.Cache
	closing context.Context
	work    *sync.WaitGroup                        // counts the goroutines
	limit   int                                    // of goroutines
	broken  func(coding rfc9111.Coding, fault any) // told of a panic

	mu      sync.Mutex // guards the following
	waiting []cache.Form
	asked   map[cache.Form]struct{} // waiting, or being made
	running int
	stopped bool
	counts  EncodingCounts
}

// EncodingResult is what became of an encoded form that was asked for. It is the metric label `result`; the set is closed.
type EncodingResult uint8

// The results.
const (
	Encoded          EncodingResult = iota // made and stored
	EncodedTooLarge                        // not, or hardly, smaller than the response
	EncodedNoRoom                          // too large for the memory tier, together with the other forms
	EncodedGone                            // the response went, or was replaced, before
	EncodedDropped                         // too many were waiting; the next request asks again
	EncodedCancelled                       // the proxy was shut down
	EncodedFailed                          // the library failed
	EncodingResultCount
	// nothing was to be done, which is not counted: whoever asked had looked before the form was there.
	nothing = EncodingResultCount
)

var encodingResultNames = [EncodingResultCount]string{"stored", "not-smaller", "no-room", "gone", "dropped", "cancelled", "failed"}

// String returns the label.
func (r EncodingResult) String() string { return encodingResultNames[r] }

// EncodingCounts are how often each form of response was made, or not.
type EncodingCounts [rfc9111.CodingCount][EncodingResultCount]uint64

// EncodingStats are the figures of the encoders.
type EncodingStats struct {
	Waiting, Running int
	Counts           EncodingCounts
}

func (s *encoder) init(c *cache.Cache, closing context.Context, work *sync.WaitGroup, broken func(coding rfc9111.Coding, fault any)) {
	s.cache, s.closing, s.work, s.broken = c, closing, work, broken
	s.limit = max(runtime.GOMAXPROCS(0)/2, 1) // the other half is for requests
	s.asked = make(map[cache.Form]struct{})
}

func (s *encoder) stats() EncodingStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return EncodingStats{Waiting: len(s.waiting), Running: s.running, Counts: s.counts}
}

// stop lets what is under way end, and begins nothing more.
func (s *encoder) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.waiting = nil
}

// ask has the form made, unless that is being done already.
func (s *encoder) ask(f cache.Form) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.asked[f]; ok || s.stopped {
		return
	}
	if len(s.waiting) >= maxEncodings {
		s.counts[f.Coding][EncodedDropped]++
		return
	}
	s.asked[f] = struct{}{}
	s.waiting = append(s.waiting, f)
	if s.running < s.limit {
		s.running++
		s.work.Go(s.run)
	}
}

// run makes forms until none is waiting.
func (s *encoder) run() {
	for f, ok := s.next(); ok; f, ok = s.next() {
		s.done(f, s.make(f))
	}
}

func (s *encoder) next() (f cache.Form, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		s.running--
		s.waiting = nil // or the array would grow with all that ever waited
		return f, false
	}
	f, s.waiting = s.waiting[0], s.waiting[1:]
	return f, true
}

func (s *encoder) done(f cache.Form, r EncodingResult) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asked, f)
	if r != nothing {
		s.counts[f.Coding][r]++
	}
}

// make makes one form. What fails once for a response fails each time: it is not tried again.
func (s *encoder) make(f cache.Form) (result EncodingResult) {
	of := s.cache.Source(f)
	switch {
	case of != nil:
	case s.cache.Settled(f):
		return nothing
	default:
		return EncodedGone
	}
	defer func() {
		if fault := recover(); fault != nil { // of a library, at bytes that an origin has chosen: it must not end the process
			s.broken(f.Coding, fault)
			s.cache.RejectForm(f)
			result = EncodedFailed
		}
	}()
	body := of.Body()
	encoded, err := encode(s.closing, f.Coding, body, len(body)-len(body)/worthwhile)
	switch {
	case errors.Is(err, errTooLarge):
		result = EncodedTooLarge
	case s.closing.Err() != nil:
		return EncodedCancelled
	case err != nil:
		result = EncodedFailed
	case s.cache.AddForm(f, encoded):
		return Encoded
	case s.cache.Source(f) == nil:
		return EncodedGone
	default:
		result = EncodedNoRoom
	}
	s.cache.RejectForm(f)
	return result
}
