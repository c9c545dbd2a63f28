package admin

import (
	"fmt"
	"strings"
	"time"

	"github.com/cacheproxy/cacheproxy/proxy"
)

// The types of the explain call are those of the room that explains.
type (
	Question    = proxy.Question
	Explanation = proxy.Explanation
)

// The values of Health.Status.
const (
	StatusOK       = "ok"
	StatusDegraded = "degraded" // ready, but something that is not needed is away
	StatusDraining = "draining"
	StatusStarting = "starting" // memory is being filled
)

// Health is the answer of /readyz.
type Health struct {
	Status string                `json:"status"`
	Parts  map[string]PartHealth `json:"parts"`
}

// PartHealth is the health of one part.
type PartHealth struct {
	Status string `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// Route is a compiled route.
type Route struct {
	Index           int                 `json:"index"`
	Name            string              `json:"name"`
	Upstream        string              `json:"upstream"`
	Hosts           []string            `json:"hosts"`
	Paths           []string            `json:"paths"`
	Methods         []string            `json:"methods"`
	Headers         map[string][]string `json:"headers"`
	Query           map[string][]string `json:"query"`
	When            string              `json:"when"`
	Pattern         string              `json:"pattern"`
	TTL             *float64            `json:"ttl"` // seconds; nil: the origin's say
	MaxObjectBytes  int64               `json:"max_object_bytes"`
	Rule            string              `json:"rule"` // fingerprint of the storing rules, hexadecimal
	ConditionErrors uint64              `json:"condition_errors"`
}

// Upstream is an upstream with its targets.
type Upstream struct {
	Name    string           `json:"name"`
	Targets []UpstreamTarget `json:"targets"`
}

// UpstreamTarget is how a target of an upstream stands.
type UpstreamTarget struct {
	URL         string    `json:"url"`
	State       string    `json:"state"` // healthy, unhealthy, ejected, half-open
	Weight      int       `json:"weight"`
	Connections int64     `json:"connections"` // open now
	Requests    uint64    `json:"requests"`
	Failures    uint64    `json:"failures"`
	Since       time.Time `json:"since"` // when the state began
}

// Instance is one of those that share the log of purges.
type Instance struct {
	ID      string `json:"id"`
	Self    bool   `json:"self"`  // the one that answers
	Epoch   string `json:"epoch"` // of the log
	Seq     uint64 `json:"seq"`   // of the last record that it has reported as applied
	IdleMS  int64  `json:"idle_ms"`
	LeaseMS int64  `json:"lease_ms"` // 0: it is alone and needs none
	Leased  bool   `json:"leased"`   // its lease may still run
}

// Page is a part of a list. Next is what to ask for with after to get the next part; "" at the end.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// Mistake is one mistake, or one warning, in a configuration.
type Mistake struct {
	File    string `json:"file"`
	Line    int    `json:"line"` // from 1; 0 where there is none
	Column  int    `json:"column"`
	Path    string `json:"path"` // the key
	Message string `json:"message"`
}

// String returns FILE:LINE:COL: PATH: MESSAGE, without the parts that are not known.
func (m Mistake) String() string {
	var b strings.Builder
	b.WriteString(m.File)
	for _, n := range []int{m.Line, m.Column} {
		if n > 0 {
			fmt.Fprintf(&b, ":%d", n)
		}
	}
	for _, s := range []string{m.Path, m.Message} {
		if s != "" {
			b.WriteString(": " + s)
		}
	}
	return b.String()
}

// Reloaded is the answer of a reload that was accepted.
type Reloaded struct {
	Warnings []Mistake `json:"warnings"`
}

// LogLevel asks for a level of the log: debug, info, warn or error.
type LogLevel struct {
	Level string `json:"level"`
}

// Problem is the answer to a call that failed (RFC 9457). It is an error.
type Problem struct {
	Type   string    `json:"type"`
	Title  string    `json:"title"`
	Status int       `json:"status"`
	Detail string    `json:"detail"`
	Errors []Mistake `json:"errors,omitempty"` // of a configuration that was refused
}

// Error returns title and detail, and the mistakes one per line.
func (p *Problem) Error() string {
	s := p.Title
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	for _, m := range p.Errors {
		s += "\n" + m.String()
	}
	return s
}
