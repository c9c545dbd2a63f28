package proxy

import (
	"net/http"

	"github.com/cacheproxy/cacheproxy/cache"
)

// Question is a request whose treatment is to be explained.
type Question struct {
	Method string
	URL    string
	Header http.Header // of the request
	// Response and Status describe an answer of the origin; Status 0 and an empty Response: none is known. What hangs on it is then
	// named, not guessed.
	Response http.Header
	Status   int
}

// Explanation is what would be done with a request, and why. It is the body of the admin API's answer.
type Explanation struct {
	Route  string   `json:"route"`
	Key    string   `json:"key"`
	URL    string   `json:"url"`
	Result string   `json:"result"` // hit, stale, miss, revalidate, pass, bypass, denied, error
	Reason string   `json:"reason"`
	TTL    float64  `json:"ttl"` // seconds
	Age    float64  `json:"age"` // seconds
	Tags   []string `json:"tags"`
	Steps  []Step   `json:"steps"`
}

// Step is one step of the walk.
type Step struct {
	N      int    `json:"n"`
	What   string `json:"what"`
	Result string `json:"result"`
}

// Explain walks the request through the plan without doing anything. c may be nil: nothing is known of what is stored then. The
// error names what is wrong with the question.
func (p *Plan) Explain(c *cache.Cache, q Question) (*Explanation, error) {
	panic("unwritten")
}
