package upstream

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// address is where a target is and how it is spoken to.
type address struct {
	scheme string // of the target's URL
	host   string // authority, or the path of a socket
}

// parse returns the origin that the URL names (RFC 9110, section 4.3.1), or what
// is wrong with it. The error does not repeat the URL, which may hold a password.
func (t Target) parse() (address, error) {
	if t.URL == "" {
		return address{}, errors.New("the URL is empty; it should look like http://HOST:PORT")
	}
	u, err := url.Parse(t.URL)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return address{}, fmt.Errorf("not a URL: %w", err)
	}
	switch {
	case u.User != nil:
		return address{}, errors.New("the URL has a user; credentials belong into headers.request of a route")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return address{}, errors.New("the URL has a query or a fragment; a target has none")
	}
	switch u.Scheme {
	case "http", "https", "h2c":
		return address{u.Scheme, u.Host}, checkAuthority(u)
	case "unix":
		return address{u.Scheme, u.Path}, checkSocket(u)
	}
	return address{}, errors.New("the URL should begin with http://, https://, h2c:// or unix:///")
}

func checkAuthority(u *url.URL) error {
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case u.Hostname() == "":
		return errors.New("the URL has no host")
	case u.Port() == "" && strings.HasSuffix(u.Host, ":"):
		return errors.New("the URL has a colon without a port")
	case u.Port() != "" && (err != nil || port == 0):
		return fmt.Errorf("the port %s is not between 1 and 65535", u.Port())
	case u.Path != "" && u.Path != "/":
		return errors.New("the URL has a path; that belongs into rewrite.add_prefix of a route")
	}
	return nil
}

// maxSocketPath is how long the path of a socket may be, by the size of
// sockaddr_un on Linux.
const maxSocketPath = 107

func checkSocket(u *url.URL) error {
	switch {
	case u.Host != "":
		return errors.New("the path of a socket is absolute: unix:///PATH, with three slashes")
	case u.Path == "" || strings.HasSuffix(u.Path, "/") || u.Opaque != "":
		return errors.New("the URL should name a socket: unix:///PATH")
	case len(u.Path) > maxSocketPath:
		return fmt.Errorf("the path of a socket has at most %d bytes", maxSocketPath)
	}
	return nil
}

// String returns the target's URL in one form.
func (a address) String() string {
	if a.scheme == "unix" {
		return (&url.URL{Scheme: a.scheme, Path: a.host}).String()
	}
	return (&url.URL{Scheme: a.scheme, Host: a.host}).String()
}

func (a address) secure() bool { return a.scheme == "https" }

// authority is the Host that belongs to the target itself.
func (a address) authority() string {
	if a.scheme == "unix" {
		return "localhost"
	}
	return a.host
}

// protocol is the scheme of the requests that are sent to the target.
func (a address) protocol() string {
	if a.secure() {
		return "https"
	}
	return "http"
}

// hostPort returns what a TCP target is dialled by.
func (a address) hostPort() (host, port string) {
	u := url.URL{Host: a.host}
	if port = u.Port(); port == "" {
		port = "80"
		if a.secure() {
			port = "443"
		}
	}
	return u.Hostname(), port
}

// socket returns network and address, where no name must be looked up first.
func (a address) socket() (network, dial string, ok bool) {
	if a.scheme == "unix" {
		return "unix", a.host, true
	}
	host, port := a.hostPort()
	_, err := netip.ParseAddr(host)
	return "tcp", net.JoinHostPort(host, port), err == nil
}
