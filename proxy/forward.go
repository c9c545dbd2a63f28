package proxy

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/cacheproxy/cacheproxy/proxy/upstream"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// via is how this proxy names itself to origins (RFC 9110, 7.6.3).
const via = "1.1 cacheproxy"

// Forward returns the origin handler that reaches an upstream through transport, which sets the URL's scheme and authority.
// A request that the upstream does not answer is reported to the response writer where that has a method Fail(error) (those of
// this package have), and answered with 502 elsewhere.
func Forward(transport http.RoundTripper, log *slog.Logger) http.Handler {
	return &httputil.ReverseProxy{
		Transport:  transport,
		Rewrite:    rewrite,
		BufferPool: copyBuffers{},
		ErrorLog:   slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			if f, ok := w.(failer); ok {
				f.Fail(err)
				return
			}
			w.WriteHeader(http.StatusBadGateway)
		},
	}
}

// failer is a response writer that wants to know why there is no response.
type failer interface{ Fail(err error) }

// rewrite adds what this proxy says of itself and of the client. httputil.ReverseProxy has removed the hop-by-hop fields before,
// so that no Connection field of a client can remove what is added here.
func rewrite(pr *httputil.ProxyRequest) {
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded"} {
		if values, ok := pr.In.Header[name]; ok { // left there only for trusted proxies
			pr.Out.Header[name] = values
		}
	}
	host := pr.In.Header["X-Forwarded-Host"]
	proto := pr.In.Header["X-Forwarded-Proto"]
	pr.SetXForwarded()
	if len(host) > 0 {
		pr.Out.Header["X-Forwarded-Host"] = host
	}
	if len(proto) > 0 {
		pr.Out.Header["X-Forwarded-Proto"] = proto
	}
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery // httputil.ReverseProxy takes out what has a semicolon, which is part of our key
	pr.Out.Header.Add("Via", via)
	pr.Out.Trailer = pr.In.Trailer // the very map: it is filled when the body has been read
	if set, ok := pr.In.Context().Value(routeRules{}).(*view); ok {
		applyRequestRules(pr.Out.Header, set)
	}
}

// routeRules is the context key under which a request carries its view to rewrite, where the route's header rules are applied last.
type routeRules struct{}

func applyRequestRules(h http.Header, v *view) {
	for _, name := range v.route.Request.Remove {
		delete(h, name)
	}
	for name, value := range v.route.Request.Set {
		h[name] = []string{value}
	}
}

// copyBuffers lends httputil.ReverseProxy its buffers.
type copyBuffers struct{}

var copyBufferPool = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

func (copyBuffers) Get() []byte  { return *copyBufferPool.Get().(*[]byte) }
func (copyBuffers) Put(b []byte) { copyBufferPool.Put(&b) }

// outgoing makes the request that goes to the origin: the target as the route rewrites it, and the fields of the client that may
// pass. ctx bounds the fetch; its values stay those of the client's request. attempts counts the targets that are asked.
//
// The context always holds http.ServerContextKey: without it httputil.ReverseProxy would take a body that broke off for a
// complete one.
func (x *exchange) outgoing(ctx context.Context, v *view, attempts *atomic.Int32) *http.Request {
	ctx = upstream.WithAttempts(ctx, attempts)
	if ctx.Value(http.ServerContextKey) == nil {
		ctx = context.WithValue(ctx, http.ServerContextKey, new(http.Server))
	}
	ctx = context.WithValue(ctx, routeRules{}, v)
	if x.query.Key.Text != nil { // the other requests go by their URL
		ctx = upstream.WithKey(ctx, binary.LittleEndian.Uint64(x.query.Key.Hash[:]))
	}
	out := x.r.WithContext(ctx)
	path, query := x.route.ForwardURI(&x.target)
	out.URL = forwardURL(&x.target, path, query)
	out.RequestURI = ""
	out.Host = x.target.Host // what was matched and keyed, and no other spelling of it
	out.Header = x.passable()
	if n, err := strconv.Atoi(out.Header.Get("Max-Forwards")); err == nil && n > 0 && (x.method == http.MethodOptions || x.method == http.MethodTrace) {
		out.Header["Max-Forwards"] = []string{strconv.Itoa(n - 1)} // RFC 9110, 7.6.2
	}
	return out
}

func forwardURL(t *rfc9111.Target, path, query string) *url.URL {
	decoded, err := url.PathUnescape(path)
	if err != nil {
		decoded = path // cannot be: a path in normal form has valid escapes
	}
	return &url.URL{Scheme: t.Scheme, Host: t.Host, Path: decoded, RawPath: path, RawQuery: query}
}

// passable copies the client's fields that may reach an origin: those by which clients could pass for somebody else, or for
// another request than the one that was matched and keyed, only where a trusted proxy sent them.
func (x *exchange) passable() http.Header {
	trusted, upgrade := x.fromTrusted(), isUpgrade(x.r)
	h := make(http.Header, len(x.r.Header)+4)
	for name, values := range x.r.Header {
		if name == "Http2-Settings" || name == "Upgrade" && !upgrade {
			continue
		}
		if trusted || !spoofable(name) {
			h[name] = values[:len(values):len(values)]
		}
	}
	return h
}

// forFill turns an outgoing request into the one that fetches for everybody: a GET without body, without the conditions and
// ranges of one client, and with the fields that choose the variant in their normal form.
func forFill(out *http.Request, v *view) {
	out.Method = http.MethodGet
	out.Body, out.ContentLength, out.TransferEncoding, out.GetBody, out.Trailer = http.NoBody, 0, nil, nil, nil
	for _, name := range []string{
		"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range", "Range",
		"Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Expect", "Trailer", "Date",
	} {
		delete(out.Header, name)
	}
	for _, name := range v.route.Normalizes() {
		if value, lines := (*selecting)(v).Field(name); lines > 0 {
			out.Header[name] = []string{value}
		}
	}
}
