package upstream

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Options says how an upstream is reached. Every value must be set;
// [DefaultOptions] has those that a configuration begins with.
type Options struct {
	Targets        []Target `yaml:"targets" required:"true" doc:"Where the upstream is: exactly one target."`
	Host           string   `yaml:"host" default:"preserve" enum:"preserve,target" doc:"The Host that the upstream sees: the client's (preserve), or that of the target's URL (target)."`
	Timeout        Timeouts `yaml:"timeout" doc:"How long the upstream is waited for."`
	MaxConnections int      `yaml:"max_connections" default:"512" min:"1" doc:"Connections at once; a request that finds all of them busy waits at most timeout.connect, then gets 503 with Retry-After."`
}

// Target is one server of an upstream.
type Target struct {
	URL string `yaml:"url" required:"true" doc:"http://HOST:PORT or https://HOST:PORT."`
}

// Timeouts bounds the waits for an upstream.
type Timeouts struct {
	Connect        time.Duration `yaml:"connect" default:"2s" min:"1ms" doc:"For a connection, TLS handshake included."`
	ResponseHeader time.Duration `yaml:"response_header" default:"30s" min:"1ms" doc:"For the head of the response, once the request was sent; then 504."`
	Idle           time.Duration `yaml:"idle" default:"90s" min:"1ms" doc:"For the next bytes of a body, either way; and how long a connection is kept without a request."`
}

// The values of Options.Host.
const (
	HostPreserve = "preserve"
	HostTarget   = "target"
)

// DefaultOptions returns the defaults, with one target.
func DefaultOptions(target string) Options {
	return Options{
		Targets:        []Target{{URL: target}},
		Host:           HostPreserve,
		Timeout:        Timeouts{Connect: 2 * time.Second, ResponseHeader: 30 * time.Second, Idle: 90 * time.Second},
		MaxConnections: 512,
	}
}

// OptionError is one mistake in Options. Path leads to the value that is wrong,
// by the names of the configuration: ["targets", "0", "url"].
type OptionError struct {
	Path []string
	Msg  string
}

func (e *OptionError) Error() string { return strings.Join(e.Path, ".") + ": " + e.Msg }

// Validate returns all mistakes, in the order of the fields.
func (o *Options) Validate() []*OptionError {
	var faults []*OptionError
	fault := func(msg string, path ...string) {
		faults = append(faults, &OptionError{Path: path, Msg: msg})
	}
	switch len(o.Targets) {
	case 0:
		fault("an upstream needs a target", "targets")
	case 1:
	default:
		fault(fmt.Sprintf("an upstream has exactly one target, here are %d: balancing over several targets is not built yet", len(o.Targets)), "targets")
	}
	for i, t := range o.Targets {
		if _, err := t.parse(); err != nil {
			fault(err.Error(), "targets", strconv.Itoa(i), "url")
		}
	}
	if o.Host != HostPreserve && o.Host != HostTarget {
		fault(fmt.Sprintf("%q is neither %s nor %s", o.Host, HostPreserve, HostTarget), "host")
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"connect", o.Timeout.Connect}, {"response_header", o.Timeout.ResponseHeader}, {"idle", o.Timeout.Idle}} {
		if d.value <= 0 {
			fault("must be longer than 0s", "timeout", d.name)
		}
	}
	if o.MaxConnections < 1 {
		fault("must be at least 1", "max_connections")
	}
	return faults
}

// parse returns the origin that the URL names (RFC 9110, section 4.3.1), or what
// is wrong with it. The error does not repeat the URL, which may hold a password.
func (t Target) parse() (*url.URL, error) {
	if t.URL == "" {
		return nil, errors.New("the URL is empty; it should look like http://HOST:PORT")
	}
	u, err := url.Parse(t.URL)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return nil, fmt.Errorf("not a URL: %w", err)
	}
	switch u.Scheme {
	case "http", "https":
	case "h2c", "unix":
		return nil, fmt.Errorf("the scheme %s is not built yet; http and https are", u.Scheme)
	default:
		return nil, errors.New("the URL should begin with http:// or https://")
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case u.Hostname() == "":
		return nil, errors.New("the URL has no host")
	case u.Port() == "" && strings.HasSuffix(u.Host, ":"):
		return nil, errors.New("the URL has a colon without a port")
	case u.Port() != "" && (err != nil || port == 0):
		return nil, fmt.Errorf("the port %s is not between 1 and 65535", u.Port())
	case u.User != nil:
		return nil, errors.New("the URL has a user; credentials belong into headers.request of a route")
	case u.Path != "" && u.Path != "/":
		return nil, errors.New("the URL has a path; that belongs into rewrite.add_prefix of a route")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("the URL has a query or a fragment; a target has none")
	}
	return u, nil
}
