package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/proxy/upstream"
	"github.com/cacheproxy/cacheproxy/rules"
)

// Options are what the calls act on. All but Host must be set.
type Options struct {
	Loopback bool   // the listener's address is a loopback address, where no token is needed by default
	Host     string // the host of the listener's address as configured

	Health  func() Health
	Metrics http.Handler
	Explain func(context.Context, Question) (*Explanation, error)
	Table   func() *rules.Table
	// Upstreams returns how the upstreams in use fare, by their names.
	Upstreams func() map[string]upstream.Stats
	// Instances returns the instances that share the log of purges.
	Instances func(context.Context) ([]Instance, error)
	Config    func() json.RawMessage // with secrets masked
	// Reload loads the configuration anew. Where that is refused the error is a *Problem with the mistakes.
	Reload func(ctx context.Context) (Reloaded, error)
	// Invalidate carries out an order; its errors are those of proxy.Proxy.
	Invalidate func(ctx context.Context, o *Order) (*proxy.Receipt, error)
	// Graph returns the dependencies of a node; its errors are those of proxy.Proxy.
	Graph func(ctx context.Context, of string) (*Graph, error)
	Cache *cache.Cache
	Level *slog.LevelVar
	Log   *slog.Logger
}

// Handler serves the administration API. It is safe for concurrent use.
type Handler struct {
	o      Options
	access atomic.Pointer[Access]
}

// New returns the API over o, for those whom access lets in.
func New(o Options, access *Access) *Handler {
	h := &Handler{o: o}
	h.Use(access)
	return h
}

// Use makes access the one that judges requests from now on.
func (h *Handler) Use(access *Access) { h.access.Store(access) }

// call is one call of the API.
type call struct {
	method, path string
	scope        Scope
	params       []string // of the query
	about        string   // in one line
	do           func(h *Handler, w http.ResponseWriter, r *http.Request) error
}

// calls is the API; openapi.yaml describes the same. It is filled by init because the list at / lists it.
var calls []call

func init() {
	calls = []call{
		{"GET", "/", ScopeRead, nil, "This list.", (*Handler).list},
		{"GET", "/healthz", "", nil, "Whether the process is alive.", serve(nothing, (*Handler).alive)},
		{"GET", "/readyz", "", nil, "Whether requests are served.", (*Handler).ready},
		{"GET", "/metrics", ScopeRead, nil, "Metrics in the format of Prometheus.", (*Handler).metrics},
		{"GET", "/v1/config", ScopeRead, nil, "The configuration in force, with secrets masked.", serve(nothing, (*Handler).config)},
		{"GET", "/v1/dependencies", ScopeRead, []string{"of"}, "What depends on something, and what that depends on.", serve(nodeOf, (*Handler).dependencies)},
		{"GET", "/v1/entries", ScopeRead, searchParams, "The stored responses in memory, by key.", serve(searchOf, (*Handler).entries)},
		{"GET", "/v1/entries/{key}", ScopeRead, nil, "What is stored under one key.", serve(keyOf, (*Handler).entry)},
		{"GET", "/v1/explain", ScopeRead, questionParams, "What would be done with a request, and why.", serve(question, (*Handler).explain)},
		{"GET", "/v1/instances", ScopeRead, pageParams, "The instances that share the log of purges, and how far each has applied it.", serve(pageOf, (*Handler).instances)},
		{"POST", "/v1/invalidate", ScopePurge, nil, "Purges what is named, and what depends on it.", (*Handler).invalidate},
		{"PUT", "/v1/log-level", ScopeAdmin, nil, "Sets the level of the log until the next reload that changes it.", serve(body[LogLevel], (*Handler).setLevel)},
		{"GET", "/v1/openapi.yaml", ScopeRead, nil, "The description of this API.", (*Handler).openapi},
		{"POST", "/v1/reload", ScopeAdmin, nil, "Loads the configuration anew; refused whole where it has a mistake.", serve(body[struct{}], (*Handler).reload)},
		{"GET", "/v1/routes", ScopeRead, pageParams, "The compiled routes, in the order in which they are tried.", serve(pageOf, (*Handler).routes)},
		{"GET", "/v1/upstreams", ScopeRead, pageParams, "The upstreams by name, and how their targets stand.", serve(pageOf, (*Handler).upstreams)},
	}
}

// maxBody bounds the body of a call.
const maxBody = 1 << 20

// ServeHTTP finds the call, asks whether it may be made, makes it, and answers errors.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	c, err := find(r)
	if err == nil {
		err = h.make(c, w, r)
	}
	if err == nil {
		return
	}
	var p *Problem
	if !errors.As(err, &p) {
		h.o.Log.Error("admin call failed", "method", r.Method, "path", r.URL.Path, "error", err)
		p = problem(http.StatusInternalServerError, "the call failed", "the log has the reason")
	}
	writeProblem(w, p)
}

// find returns the call, or the reason why there is none.
func find(r *http.Request) (*call, error) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var others []string
	for i := range calls {
		switch c := &calls[i]; {
		case !c.fits(r):
		case c.method == method:
			return c, nil
		default:
			others = append(others, c.method)
		}
	}
	if others == nil {
		return nil, problem(http.StatusNotFound, "no such call", r.URL.Path+" is not a call of this API; GET / lists them")
	}
	return nil, problem(http.StatusMethodNotAllowed, "wrong method", r.URL.Path+" takes "+strings.Join(others, ", "))
}

// fits reports whether the call has the path of the request, and notes the value of what its path has in braces, at the end.
func (c *call) fits(r *http.Request) bool {
	fixed, name, named := strings.Cut(c.path, "{")
	if !named {
		return c.path == r.URL.Path
	}
	value, ok := strings.CutPrefix(r.URL.Path, fixed)
	if !ok || value == "" || strings.Contains(value, "/") {
		return false
	}
	r.SetPathValue(strings.TrimSuffix(name, "}"), value)
	return true
}

// make makes a call, if it may be made.
func (h *Handler) make(c *call, w http.ResponseWriter, r *http.Request) error {
	if c.scope != "" {
		token, p := h.admit(r, c.scope)
		if changes(c.method) || p != nil {
			h.o.Log.Info("admin call", "method", c.method, "path", c.path, "token", token, "peer", r.RemoteAddr, "allowed", p == nil)
		}
		if p != nil {
			return p
		}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return problem(http.StatusBadRequest, "malformed query", err.Error())
	}
	for name := range query {
		if !slices.Contains(c.params, name) {
			return problem(http.StatusBadRequest, "unknown query parameter", c.path+" has no parameter "+name+known(c.params))
		}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	return c.do(h, w, r)
}

func known(params []string) string {
	if len(params) == 0 {
		return ""
	}
	return "; it has " + strings.Join(params, ", ")
}

// serve makes a call of two functions: ask reads what is asked, and do answers it with what becomes JSON.
func serve[In, Out any](ask func(*http.Request) (In, error), do func(*Handler, context.Context, In) (Out, error)) func(*Handler, http.ResponseWriter, *http.Request) error {
	return func(h *Handler, w http.ResponseWriter, r *http.Request) error {
		in, err := ask(r)
		if err != nil {
			return err
		}
		out, err := do(h, r.Context(), in)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, "application/json", out)
	}
}

// nothing is for calls that ask nothing.
func nothing(*http.Request) (struct{}, error) { return struct{}{}, nil }

// body reads a JSON body; none is like {}. The content type keeps out forms, which any page may send without asking.
func body[In any](r *http.Request) (in In, err error) {
	if r.ContentLength == 0 {
		return in, nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return in, problem(http.StatusUnsupportedMediaType, "not JSON", "a body must have the content type application/json")
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	switch err := d.Decode(&in); {
	case errors.Is(err, io.EOF): // a chunked body of no bytes
		return in, nil
	case errors.As(err, new(*http.MaxBytesError)):
		return in, problem(http.StatusRequestEntityTooLarge, "too large", fmt.Sprintf("a body may have %d bytes", maxBody))
	case err != nil:
		return in, problem(http.StatusBadRequest, "malformed body", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return in, problem(http.StatusBadRequest, "malformed body", "something follows the JSON value")
	}
	return in, nil
}

func problem(status int, title, detail string) *Problem {
	return &Problem{Type: "about:blank", Title: title, Status: status, Detail: detail}
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	switch p.Status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="cacheproxy"`)
	case http.StatusMethodNotAllowed:
		_, methods, _ := strings.Cut(p.Detail, " takes ")
		w.Header().Set("Allow", methods)
	}
	_ = writeJSON(w, p.Status, "application/problem+json", p) // it is JSON, and a client that is gone needs no answer
}

func writeJSON(w http.ResponseWriter, status int, kind string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // a client that is gone needs no answer
	return nil
}
