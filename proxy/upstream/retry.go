package upstream

import (
	"net/http"
	"sync"
	"time"
)

// idempotent reports whether a request may be sent again although it may have
// been acted on (RFC 9110, section 9.2.2).
func idempotent(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// refuses reports whether a status code says that the target could not do it
// just now, and another one might.
func refuses(code int) bool {
	return code == http.StatusBadGateway || code == http.StatusServiceUnavailable || code == http.StatusGatewayTimeout
}

// transient reports whether an error of this kind may not meet another target.
func (k Kind) transient() bool {
	return k == Connect || k == Timeout || k == Broken || k == Malformed
}

const (
	budgetSlots   = 10 // seconds that are looked back on
	budgetReserve = 20 // retries in that time that are always allowed
)

// budget bounds the retries to a share of the requests, so that targets that
// fail are not sent twice the load. It looks back on the last ten seconds.
type budget struct {
	share float64

	mu       sync.Mutex // guards the following
	requests [budgetSlots]int
	retries  [budgetSlots]int
	second   int64 // of the newest slot
}

// deposit counts a request.
func (b *budget) deposit(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests[b.slot(now)]++
}

// withdraw counts a retry, if there may be one.
func (b *budget) withdraw(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	slot := b.slot(now)
	requests, retries := 0, 0
	for i := range budgetSlots {
		requests += b.requests[i]
		retries += b.retries[i]
	}
	if b.share == 0 || float64(retries) >= b.share*float64(requests)+budgetReserve {
		return false
	}
	b.retries[slot]++
	return true
}

// slot returns the slot of now, and forgets what is older than all slots.
func (b *budget) slot(now time.Time) int64 {
	second := now.Unix()
	for b.second < second {
		b.second = max(b.second+1, second-budgetSlots)
		b.requests[b.second%budgetSlots], b.retries[b.second%budgetSlots] = 0, 0
	}
	return b.second % budgetSlots
}
