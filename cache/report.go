package cache

import (
	"time"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Result is how a request was answered. It is the metric label `result`; the set is closed.
type Result uint8

const (
	ResultError Result = iota
	ResultHit
	ResultStale
	ResultRevalidated
	ResultMiss
	ResultCollapsed
	ResultBypass
	ResultPass
	ResultDenied
	resultCount
)

var resultNames = [resultCount]string{"error", "hit", "stale", "revalidated", "miss", "collapsed", "bypass", "pass", "denied"}

// String returns the label.
func (r Result) String() string { return resultNames[r] }

// Results returns all results, for those who prepare a counter for each.
func Results() []Result {
	all := make([]Result, resultCount)
	for i := range all {
		all[i] = Result(i)
	}
	return all
}

// Report is what happened to one request. It is filled on the way and handed to the observers once, at the end; observers must not
// keep it or its strings' backing memory beyond the call.
type Report struct {
	Start    time.Time
	Duration time.Duration
	Route    string
	Index    int // of the route
	Method   string
	Host     string
	Path     string
	Status   int
	Result   Result
	Reason   rfc9111.Reason
	Tier     string // "l1", or "" where no stored response was used
	Key      rfc9111.Key
	Age, TTL time.Duration
	Stored   bool   // a stored response was used, so that Age and TTL mean something
	Upstream string // the upstream that was asked, or ""
	Attempt  int    // how many targets of it were asked
	Bytes    int64  // of the content sent to the client
	Panicked bool
}

// Observer receives the report of each request, on the goroutine that served it. It must be quick and must not block.
type Observer func(*Report)
