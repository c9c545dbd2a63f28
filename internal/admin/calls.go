package admin

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/cacheproxy/cacheproxy/rules"
)

//go:embed openapi.yaml
var description []byte

// list is for people: what can be called.
func (h *Handler) list(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "The administration API of cacheproxy; /v1/openapi.yaml describes it.")
	fmt.Fprintln(w)
	for _, c := range calls {
		target := c.path
		if len(c.params) > 0 {
			target += "?" + strings.Join(c.params, "=&") + "="
		}
		fmt.Fprintf(w, "%-4s %s\n     %s\n", c.method, target, c.about)
	}
	return nil
}

func (h *Handler) alive(context.Context, struct{}) (PartHealth, error) {
	return PartHealth{Status: StatusOK}, nil
}

func (h *Handler) ready(w http.ResponseWriter, _ *http.Request) error {
	health := h.o.Health()
	status := http.StatusOK
	if health.Status == StatusDraining || health.Status == StatusStarting {
		status = http.StatusServiceUnavailable
	}
	return writeJSON(w, status, "application/json", health)
}

func (h *Handler) metrics(w http.ResponseWriter, r *http.Request) error {
	h.o.Metrics.ServeHTTP(w, r)
	return nil
}

func (h *Handler) openapi(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(description) // a client that is gone needs no answer
	return nil
}

func (h *Handler) config(context.Context, struct{}) (json.RawMessage, error) {
	return h.o.Config(), nil
}

func (h *Handler) reload(ctx context.Context, _ struct{}) (Reloaded, error) { return h.o.Reload(ctx) }

// levels are the names of the log's levels.
var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

func (h *Handler) setLevel(_ context.Context, in LogLevel) (LogLevel, error) {
	level, ok := levels[in.Level]
	if !ok {
		return in, problem(http.StatusBadRequest, "unknown level", strconv.Quote(in.Level)+` is no level; {"level": L} takes debug, info, warn or error`)
	}
	h.o.Level.Set(level)
	return in, nil
}

var questionParams = []string{"method", "url", "header", "response_header", "status"}

// question reads what is to be explained.
func question(r *http.Request) (q Question, err error) {
	query := r.URL.Query()
	q.Method, q.URL = query.Get("method"), query.Get("url")
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	if q.URL == "" {
		return q, problem(http.StatusBadRequest, "nothing to explain", "the parameter url is missing")
	}
	if q.Header, err = fields("header", query["header"]); err != nil {
		return q, err
	}
	if q.Response, err = fields("response_header", query["response_header"]); err != nil {
		return q, err
	}
	if text := query.Get("status"); text != "" {
		q.Status, err = strconv.Atoi(text)
		if err != nil || q.Status < 100 || q.Status > 999 {
			return q, problem(http.StatusBadRequest, "not a status code", "the parameter status must be a number from 100 to 999")
		}
	}
	return q, nil
}

// fields reads lines of the form "Name: value".
func fields(param string, lines []string) (http.Header, error) {
	h := http.Header{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return nil, problem(http.StatusBadRequest, "not a field", "the parameter "+param+" must be of the form Name: value, not "+strconv.Quote(line))
		}
		h.Add(textproto.TrimString(name), textproto.TrimString(value))
	}
	return h, nil
}

func (h *Handler) explain(ctx context.Context, q Question) (*Explanation, error) {
	e, err := h.o.Explain(ctx, q)
	if err != nil {
		return nil, problem(http.StatusBadRequest, "it cannot be explained", err.Error())
	}
	return e, nil
}

// page is which part of a list is asked for.
type page struct {
	limit int
	after string
}

const (
	defaultPage = 100
	maxPage     = 1000
)

var pageParams = []string{"limit", "after"}

func pageOf(r *http.Request) (p page, err error) {
	query := r.URL.Query()
	p = page{limit: defaultPage, after: query.Get("after")}
	if text := query.Get("limit"); text != "" {
		p.limit, err = strconv.Atoi(text)
		if err != nil || p.limit < 1 || p.limit > maxPage {
			return p, problem(http.StatusBadRequest, "not a limit", fmt.Sprintf("the parameter limit must be a number from 1 to %d", maxPage))
		}
	}
	return p, nil
}

func (h *Handler) routes(_ context.Context, p page) (Page[Route], error) {
	all := h.o.Table().Routes()
	if p.after != "" {
		i := 0
		for i < len(all) && all[i].Name != p.after {
			i++
		}
		if i == len(all) {
			return Page[Route]{}, problem(http.StatusBadRequest, "unknown route", "the parameter after names no route: "+p.after)
		}
		all = all[i+1:]
	}
	out := Page[Route]{Items: []Route{}}
	if len(all) > p.limit {
		all = all[:p.limit]
		out.Next = all[p.limit-1].Name
	}
	for _, r := range all {
		out.Items = append(out.Items, describe(r))
	}
	return out, nil
}

// upstreams lists the upstreams. One that after names need not be there any more.
func (h *Handler) upstreams(_ context.Context, p page) (Page[Upstream], error) {
	stats := h.o.Upstreams()
	names := slices.Sorted(maps.Keys(stats))
	first, found := slices.BinarySearch(names, p.after)
	if found {
		first++
	}
	names = names[first:]
	out := Page[Upstream]{Items: []Upstream{}}
	if len(names) > p.limit {
		names = names[:p.limit]
		out.Next = names[p.limit-1]
	}
	for _, name := range names {
		u := Upstream{Name: name, Targets: []UpstreamTarget{}}
		for _, t := range stats[name].Targets {
			u.Targets = append(u.Targets, UpstreamTarget{
				URL: t.URL, State: string(t.State), Weight: t.Weight, Connections: t.Connections, Requests: t.Requests, Failures: t.Failures, Since: t.Since.UTC(),
			})
		}
		out.Items = append(out.Items, u)
	}
	return out, nil
}

// instances lists the instances by their ids. One that after names need not be there any more.
func (h *Handler) instances(ctx context.Context, p page) (Page[Instance], error) {
	all, err := h.o.Instances(ctx)
	if err != nil {
		return Page[Instance]{}, problem(http.StatusServiceUnavailable, "the log of purges cannot be reached", err.Error())
	}
	out := Page[Instance]{Items: []Instance{}}
	for _, i := range all {
		if i.ID <= p.after && p.after != "" {
			continue
		}
		if len(out.Items) == p.limit {
			out.Next = out.Items[p.limit-1].ID
			break
		}
		out.Items = append(out.Items, i)
	}
	return out, nil
}

func describe(r *rules.Route) Route {
	m := &r.Spec.Match
	d := Route{
		Index: r.Index, Name: r.Name, Upstream: r.Upstream,
		Hosts: list(m.Hosts), Paths: list(m.Paths), Methods: list(m.Methods), Headers: values(m.Headers), Query: values(m.Query), When: m.When,
		Pattern: "cache-aside", MaxObjectBytes: r.MaxObjectBytes,
		Rule: fmt.Sprintf("%016x", r.Rule), ConditionErrors: r.ConditionErrors(),
	}
	if r.Off {
		d.Pattern = "off"
	}
	if r.Policy.HasTTL {
		ttl := r.Policy.TTL.Seconds()
		d.TTL = &ttl
	}
	return d
}

// list is s, but [] in JSON where it is nil.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func values(m map[string]rules.OneOrMany) map[string][]string {
	out := make(map[string][]string, len(m))
	for name, v := range m {
		out[name] = v
	}
	return out
}
