package upstream

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Options says how an upstream is reached. Every value must be set;
// [DefaultOptions] has those that a configuration begins with.
type Options struct {
	Targets        []Target `yaml:"targets" required:"true" doc:"Where the upstream is: one target or several."`
	Balance        string   `yaml:"balance" default:"round-robin" enum:"round-robin,least-conn,hash" doc:"Which target a request goes to: each in turn (round-robin), the one with the fewest requests (least-conn), or always the same for the same cache key, unless that has much more to do than the others (hash). All go by the weights."`
	Host           string   `yaml:"host" default:"preserve" enum:"preserve,target" doc:"The Host that the upstream sees: the client's (preserve), or that of the target's URL (target)."`
	TLS            TLS      `yaml:"tls" doc:"For targets whose URL begins with https://."`
	Timeout        Timeouts `yaml:"timeout" doc:"How long the upstream is waited for."`
	Retries        int      `yaml:"retries" default:"1" min:"0" doc:"How often a request is sent to another target where one refuses the connection; and an idempotent one where a target loses it before the response's head, lets timeout.response_header pass, or answers 502, 503 or 504. Targets that refuse or lose the connection, or are known to fail by then, do not count."`
	RetryBudget    float64  `yaml:"retry_budget" default:"0.2" doc:"Retries in ten seconds, as a share of the requests; 20 more are always allowed. Retries of what a target failed that is ejected do not count. 0: no retries."`
	Health         Health   `yaml:"health" doc:"Active health checks."`
	Breaker        Breaker  `yaml:"breaker" doc:"The circuit breaker of each target."`
	MaxEjected     float64  `yaml:"max_ejected" default:"0.5" doc:"Share of the targets that breakers may take out at once; but always one, and never the last of several."`
	MaxConnections int      `yaml:"max_connections" default:"512" min:"1" doc:"Requests at once, each on a connection of its own or as a stream of HTTP/2; one that finds no room waits at most timeout.connect, then gets 503 with Retry-After."`
}

// Target is one server of an upstream.
type Target struct {
	URL    string `yaml:"url" required:"true" doc:"http://HOST:PORT, https://HOST:PORT (HTTP/2 where the server has it), h2c://HOST:PORT (HTTP/2 without TLS), or unix:///PATH of a socket."`
	Weight int    `yaml:"weight" default:"1" min:"1" doc:"Its share of the requests, relative to the other targets."`
}

// TLS says how the targets prove who they are, and how we do.
type TLS struct {
	CAFile             string `yaml:"ca_file" doc:"PEM file of the authorities that may sign the targets' certificates. Read again at a reload. Empty: those of the system."`
	CertFile           string `yaml:"cert_file" doc:"PEM file of the certificate that is shown to the targets. Read again when it changes."`
	KeyFile            string `yaml:"key_file" doc:"PEM file of its key."`
	ServerName         string `yaml:"server_name" doc:"The name that is asked for (SNI) and must be in the certificate. Empty: the host of the target's URL."`
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify" default:"false" doc:"Whether any certificate is taken. Whoever can come between may then read and change everything."`
}

// Timeouts bounds the waits for an upstream.
type Timeouts struct {
	Connect        time.Duration `yaml:"connect" default:"2s" min:"1ms" doc:"For a connection, TLS handshake included."`
	ResponseHeader time.Duration `yaml:"response_header" default:"30s" min:"1ms" doc:"For the head of the response, once the request was sent; then 504."`
	Idle           time.Duration `yaml:"idle" default:"90s" min:"1ms" doc:"For the next bytes of a body, either way; and how long a connection is kept without a request."`
}

// Health says how targets are asked whether they are well. A status code from
// 200 to 399 says yes.
type Health struct {
	Path           string        `yaml:"path" doc:"What is asked for with GET, such as /healthz. Empty: nothing is asked."`
	Interval       time.Duration `yaml:"interval" default:"5s" min:"10ms" doc:"Time between two checks of a target."`
	Timeout        time.Duration `yaml:"timeout" default:"1s" min:"1ms" doc:"How long a check may take."`
	UnhealthyAfter int           `yaml:"unhealthy_after" default:"2" min:"1" doc:"Failed checks in a row that take a target out."`
	HealthyAfter   int           `yaml:"healthy_after" default:"1" min:"1" doc:"Passed checks in a row that bring it back."`
}

// Breaker says when a target is left alone for its failures.
type Breaker struct {
	Failures int           `yaml:"failures" default:"5" min:"1" doc:"Failed requests in a row that open it: no connection, no head in time; where there are several targets also a lost connection and 502, 503, 504."`
	OpenFor  time.Duration `yaml:"open_for" default:"10s" min:"1ms" doc:"Time until one request tries the target again."`
}

// The values of Options.Host.
const (
	HostPreserve = "preserve"
	HostTarget   = "target"
)

// The values of Options.Balance.
const (
	RoundRobin = "round-robin"
	LeastConn  = "least-conn"
	Hash       = "hash"
)

// DefaultOptions returns the defaults, with one target.
func DefaultOptions(target string) Options {
	return Options{
		Targets:        []Target{{URL: target, Weight: 1}},
		Balance:        RoundRobin,
		Host:           HostPreserve,
		Timeout:        Timeouts{Connect: 2 * time.Second, ResponseHeader: 30 * time.Second, Idle: 90 * time.Second},
		Retries:        1,
		RetryBudget:    0.2,
		Health:         Health{Interval: 5 * time.Second, Timeout: time.Second, UnhealthyAfter: 2, HealthyAfter: 1},
		Breaker:        Breaker{Failures: 5, OpenFor: 10 * time.Second},
		MaxEjected:     0.5,
		MaxConnections: 512,
	}
}

// OptionError is one mistake in Options. Path leads to the value that is wrong,
// by the names of the configuration: ["targets", "0", "url"].
type OptionError struct {
	Path   []string
	Msg    string
	Absent bool // the file that is named does not exist
}

func (e *OptionError) Error() string { return strings.Join(e.Path, ".") + ": " + e.Msg }

// Validate returns all mistakes that can be seen without looking at files, in
// the order of the fields.
func (o *Options) Validate() []*OptionError {
	v := &validation{}
	o.validateTargets(v)
	v.enum(o.Balance, "balance", RoundRobin, LeastConn, Hash)
	v.enum(o.Host, "host", HostPreserve, HostTarget)
	o.validateTLS(v)
	v.positive(o.Timeout.Connect, "timeout", "connect")
	v.positive(o.Timeout.ResponseHeader, "timeout", "response_header")
	v.positive(o.Timeout.Idle, "timeout", "idle")
	v.least(o.Retries, 0, "retries")
	v.share(o.RetryBudget, "retry_budget")
	if p := o.Health.Path; p != "" && (p[0] != '/' || strings.ContainsAny(p, "# \r\n\t")) {
		v.fault("a path begins with / and has no spaces, such as /healthz", "health", "path")
	}
	v.positive(o.Health.Interval, "health", "interval")
	v.positive(o.Health.Timeout, "health", "timeout")
	v.least(o.Health.UnhealthyAfter, 1, "health", "unhealthy_after")
	v.least(o.Health.HealthyAfter, 1, "health", "healthy_after")
	v.least(o.Breaker.Failures, 1, "breaker", "failures")
	v.positive(o.Breaker.OpenFor, "breaker", "open_for")
	v.share(o.MaxEjected, "max_ejected")
	v.least(o.MaxConnections, 1, "max_connections")
	return v.faults
}

func (o *Options) validateTargets(v *validation) {
	if len(o.Targets) == 0 {
		v.fault("an upstream needs a target", "targets")
	}
	seen := map[string]int{}
	for i, t := range o.Targets {
		at := strconv.Itoa(i)
		a, err := t.parse()
		if err != nil {
			v.fault(err.Error(), "targets", at, "url")
		} else if j, ok := seen[a.String()]; ok {
			v.fault(fmt.Sprintf("the same target as targets[%d]; give that one more weight", j), "targets", at, "url")
		} else {
			seen[a.String()] = i
		}
		v.least(t.Weight, 1, "targets", at, "weight")
	}
}

func (o *Options) validateTLS(v *validation) {
	t := o.TLS
	secure := len(o.Targets) == 0
	for _, target := range o.Targets {
		a, err := target.parse()
		secure = secure || err != nil || a.secure()
	}
	switch {
	case t != (TLS{}) && !secure:
		v.fault("no target's URL begins with https://, so that nothing here has an effect", "tls")
	case t.CertFile == "" && t.KeyFile != "":
		v.fault("a key needs its certificate, cert_file", "tls", "key_file")
	case t.CertFile != "" && t.KeyFile == "":
		v.fault("a certificate needs its key, key_file", "tls", "cert_file")
	case t.InsecureSkipVerify && t.CAFile != "":
		v.fault("is of no use where insecure_skip_verify takes any certificate", "tls", "ca_file")
	}
}

// validation gathers mistakes.
type validation struct{ faults []*OptionError }

func (v *validation) fault(msg string, path ...string) {
	v.faults = append(v.faults, &OptionError{Path: path, Msg: msg})
}

func (v *validation) enum(value string, name string, known ...string) {
	for _, k := range known {
		if value == k {
			return
		}
	}
	v.fault(fmt.Sprintf("%q is not one of %s", value, strings.Join(known, ", ")), name)
}

func (v *validation) positive(d time.Duration, path ...string) {
	if d <= 0 {
		v.fault("must be longer than 0s", path...)
	}
}

func (v *validation) least(n, least int, path ...string) {
	if n < least {
		v.fault(fmt.Sprintf("must be at least %d", least), path...)
	}
}

func (v *validation) share(x float64, path ...string) {
	if !(x >= 0 && x <= 1) { // not a number is neither
		v.fault("must be a share from 0 to 1, such as 0.2", path...)
	}
}
