package proxy

import (
	"sync"
	"time"
)

const (
	// maxRefreshes bounds the refreshes that run at once beside the requests.
	maxRefreshes = 128
	// refreshPause is how long a key is left alone after a refresh that failed: an origin that is down is not asked at every hit.
	refreshPause = time.Second
	// maxFailed bounds how many failures are remembered.
	maxFailed = 4096
)

// refreshes keeps count of the background refreshes: at most one for a key (its fill), and a bounded number at all.
type refreshes struct {
	mu      sync.Mutex // guards the following
	failed  map[[16]byte]time.Time
	running int
	stopped bool
}

// begin reports whether a refresh of key may run now. Who is told so calls end.
func (s *refreshes) begin(key [16]byte, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if until, ok := s.failed[key]; ok {
		if now.Before(until) {
			return false
		}
		delete(s.failed, key)
	}
	if s.stopped || s.running >= maxRefreshes {
		return false
	}
	s.running++
	return true
}

func (s *refreshes) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
}

// fail notes that a fetch of key failed.
func (s *refreshes) fail(key [16]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failed) >= maxFailed {
		clear(s.failed)
	}
	s.failed[key] = time.Now().Add(refreshPause)
}

func (s *refreshes) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

// refresh renews the stored response behind the client's back, unless that is being done already. The job is a fill without a
// client: it validates where it can, stores what it gets, and has as long for it as a fill whose readers have gone.
func (x *exchange) refresh() {
	hash := x.fillHash()
	if f := x.registerRefresh(hash); f != nil {
		f.start()
	}
}

// registerRefresh returns the fill that renews the response, or nil where one is under way, or where it must wait.
func (x *exchange) registerRefresh(hash [16]byte) *fill {
	x.p.fills.mu.Lock()
	defer x.p.fills.mu.Unlock()
	if x.p.fills.byKey[hash] != nil || !x.p.refreshes.begin(x.query.Key.Hash, x.now) {
		return nil
	}
	if !x.mayFetch() {
		x.p.refreshes.end()
		return nil
	}
	f := x.newFill(hash, wanted{selected: x.outcome.Entry})
	f.ended = x.p.refreshes.end
	f.look = f.share != nil // another instance may have renewed it
	f.mu.Lock()
	f.abandonIfUnread()
	f.mu.Unlock()
	x.p.fills.byKey[hash] = f
	return f
}
