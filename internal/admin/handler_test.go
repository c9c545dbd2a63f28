package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/admin"
	"github.com/cacheproxy/cacheproxy/proxy/upstream"
	"github.com/cacheproxy/cacheproxy/rules"
)

// instance is an API over parts that say what the test wants.
type instance struct {
	o     admin.Options
	asked admin.Question
	log   strings.Builder
}

const (
	reader = "reader-token-0123456789"
	master = "master-token-0123456789"
)

var tokens = []admin.Token{
	{Name: "reader", Secret: reader, Scopes: []admin.Scope{admin.ScopeRead}},
	{Name: "master", Secret: master, Scopes: []admin.Scope{admin.ScopeRead, admin.ScopePurge, admin.ScopeAdmin}},
}

// shopStats are those of an upstream with one target.
var shopStats = upstream.Stats{Targets: []upstream.TargetStats{{
	URL: "http://127.0.0.1:3000", State: upstream.Ejected, Since: time.Unix(0, 0), Weight: 2, Connections: 3, Requests: 4, Failures: 5,
}}}

func newInstance(t *testing.T) *instance {
	t.Helper()
	table, _, errs := rules.Compile([]rules.Spec{
		{Name: "a", Match: rules.MatchSpec{Paths: []string{"/a/**"}}},
		{Name: "b", Match: rules.MatchSpec{Headers: map[string]rules.OneOrMany{"X-B": {"1", "2"}}}, Cache: &rules.CacheSpec{Pattern: "off"}},
	}, rules.Options{DefaultUpstream: "shop", Upstreams: []string{"shop"}, MaxObjectBytes: 5})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	i := &instance{}
	i.o = admin.Options{
		Loopback: true,
		Host:     "proxy.internal",
		Health: func() admin.Health {
			return admin.Health{Status: admin.StatusOK, Parts: map[string]admin.PartHealth{"listener": {Status: "ok"}}}
		},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metric 1\n") }),
		Explain: func(_ context.Context, q admin.Question) (*admin.Explanation, error) {
			i.asked = q
			if q.URL == "http://bad" {
				return nil, errors.New("the URL is bad")
			}
			return &admin.Explanation{Route: "a", URL: q.URL}, nil
		},
		Table: func() *rules.Table { return table },
		Upstreams: func() map[string]upstream.Stats {
			return map[string]upstream.Stats{"shop": shopStats, "blog": {}, "mail": {}}
		},
		Instances: func(context.Context) ([]admin.Instance, error) {
			return []admin.Instance{{ID: "a", Self: true, Epoch: "00000000000000ab", Seq: 7, Leased: true}, {ID: "b"}, {ID: "c"}}, nil
		},
		Config: func() json.RawMessage { return json.RawMessage(`{"listen":[]}`) },
		Reload: func(context.Context) (admin.Reloaded, error) { return admin.Reloaded{Warnings: []admin.Mistake{}}, nil },
		Level:  new(slog.LevelVar),
		Log:    slog.New(slog.NewTextHandler(&i.log, nil)),
	}
	return i
}

func (i *instance) handler(required bool) *admin.Handler {
	return admin.New(i.o, admin.NewAccess(tokens, required))
}

// ask sends a request; fields are names and values in turn.
func ask(h http.Handler, method, target, body string, fields ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:8081"
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "Host" {
			r.Host = fields[i+1]
		}
		r.Header.Set(fields[i], fields[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// mustBeProblem holds an error against RFC 9457.
func mustBeProblem(t *testing.T, w *httptest.ResponseRecorder) (p admin.Problem) {
	t.Helper()
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q, want application/problem+json", got)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	if p.Status != w.Code || p.Title == "" || p.Detail == "" || p.Type != "about:blank" {
		t.Errorf("problem %+v with status %d", p, w.Code)
	}
	return p
}

func TestCalls(t *testing.T) {
	for _, tt := range []struct {
		method, target, body string
		status               int
		want                 string // in the answer
	}{
		{"GET", "/", "", 200, "PUT  /v1/log-level"},
		{"GET", "/healthz", "", 200, `"status": "ok"`},
		{"HEAD", "/healthz", "", 200, ""},
		{"GET", "/readyz", "", 200, `"listener"`},
		{"GET", "/metrics", "", 200, "metric 1"},
		{"GET", "/v1/config", "", 200, `"listen": []`},
		{"GET", "/v1/openapi.yaml", "", 200, "openapi: 3.1.0"},
		{"GET", "/v1/explain?url=http://x/a", "", 200, `"route": "a"`},
		{"GET", "/v1/upstreams", "", 200, `"next": ""`},
		{"GET", "/v1/instances?limit=1", "", 200, `"next": "a"`},
		{"GET", "/v1/instances?after=a&limit=1", "", 200, `"id": "b"`},
		{"GET", "/v1/upstreams?after=zz", "", 200, `"items": []`},
		{"POST", "/v1/reload", "", 200, `"warnings": []`},
		{"POST", "/v1/reload", "{}", 200, `"warnings": []`},
		{"PUT", "/v1/log-level", `{"level":"debug"}`, 200, `"level": "debug"`},

		{"GET", "/v1/explain", "", 400, "url is missing"},
		{"GET", "/v1/explain?url=http://bad", "", 400, "the URL is bad"},
		{"GET", "/v1/explain?url=http://x&header=nonsense", "", 400, "Name: value"},
		{"GET", "/v1/explain?url=http://x&response_header=:v", "", 400, "Name: value"},
		{"GET", "/v1/explain?url=http://x&status=99", "", 400, "from 100 to 999"},
		{"GET", "/v1/explain?url=http://x&uri=http://x", "", 400, "no parameter uri; it has method, url"},
		{"GET", "/v1/explain?url=%zz", "", 400, "malformed query"},
		{"GET", "/healthz?x=1", "", 400, "no parameter x"},
		{"GET", "/v1/routes?limit=0", "", 400, "from 1 to 1000"},
		{"GET", "/v1/routes?after=zz", "", 400, "names no route"},
		{"PUT", "/v1/log-level", `{"level":"loud"}`, 400, "is no level"},
		{"PUT", "/v1/log-level", ``, 400, "is no level"},
		{"PUT", "/v1/log-level", `{"levle":"debug"}`, 400, "unknown field"},
		{"PUT", "/v1/log-level", `{"level":"debug"} {}`, 400, "something follows"},
		{"PUT", "/v1/log-level", `{"level":`, 400, "malformed body"},
		{"POST", "/v1/reload", `{"file":"/etc/passwd"}`, 400, "unknown field"},
		{"GET", "/v1/nothing", "", 404, "GET / lists them"},
		{"GET", "/healthz/", "", 404, "no such call"},
		{"POST", "/healthz", "", 405, "takes GET"},
		{"GET", "/v1/log-level", "", 405, "takes PUT"},
		{"OPTIONS", "/metrics", "", 405, "takes GET"},
	} {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			h := newInstance(t).handler(false)
			w := ask(h, tt.method, tt.target, tt.body, "Content-Type", "application/json")
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("status %d and %s, want %d and %q", w.Code, w.Body, tt.status, tt.want)
			}
			if tt.status >= 400 {
				mustBeProblem(t, w)
			}
			if tt.status == 405 && w.Header().Get("Allow") == "" {
				t.Error("405 without Allow (RFC 9110, 15.5.6)")
			}
			if got := w.Header().Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q, want no-store", got)
			}
		})
	}
}

func TestExplainAsksWhatWasAsked(t *testing.T) {
	i := newInstance(t)
	w := ask(i.handler(false), "GET", "/v1/explain?method=PUT&url=http://x/a?b=1&header=Accept:%20a&header=Accept:b&response_header=Vary:%20*&status=404", "")
	want := admin.Question{
		Method: "PUT", URL: "http://x/a?b=1", Status: 404,
		Header: http.Header{"Accept": {"a", "b"}}, Response: http.Header{"Vary": {"*"}},
	}
	if w.Code != 200 || !reflect.DeepEqual(i.asked, want) {
		t.Errorf("asked %+v, want %+v; %s", i.asked, want, w.Body)
	}
}

func TestDrainingIsNotReady(t *testing.T) {
	i := newInstance(t)
	i.o.Health = func() admin.Health { return admin.Health{Status: admin.StatusDraining} }
	w := ask(i.handler(false), "GET", "/readyz", "")
	if w.Code != 503 || !strings.Contains(w.Body.String(), `"draining"`) {
		t.Errorf("status %d and %s, want 503 and draining", w.Code, w.Body)
	}
}

func TestUpstreamsInParts(t *testing.T) {
	h := newInstance(t).handler(false)
	first := ask(h, "GET", "/v1/upstreams?limit=2", "")
	rest := ask(h, "GET", "/v1/upstreams?after=mail", "")
	var got, more map[string]any
	if json.Unmarshal(first.Body.Bytes(), &got) != nil || json.Unmarshal(rest.Body.Bytes(), &more) != nil {
		t.Fatalf("not JSON: %s, %s", first.Body, rest.Body)
	}
	none := []any{}
	if want := map[string]any{"next": "mail", "items": []any{
		map[string]any{"name": "blog", "targets": none}, map[string]any{"name": "mail", "targets": none},
	}}; !reflect.DeepEqual(got, want) {
		t.Errorf("the first part is %v, want %v", got, want)
	}
	if want := map[string]any{"next": "", "items": []any{map[string]any{"name": "shop", "targets": []any{map[string]any{
		"url": "http://127.0.0.1:3000", "state": "ejected", "since": "1970-01-01T00:00:00Z",
		"weight": 2.0, "connections": 3.0, "requests": 4.0, "failures": 5.0,
	}}}}}; !reflect.DeepEqual(more, want) {
		t.Errorf("the rest is %v, want %v", more, want)
	}
}

func TestRoutesInParts(t *testing.T) {
	h := newInstance(t).handler(false)
	var got []admin.Route
	for next, parts := "", 0; ; parts++ {
		w := ask(h, "GET", "/v1/routes?limit=1&after="+next, "")
		var p admin.Page[admin.Route]
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || parts > 3 {
			t.Fatalf("%v in %s", err, w.Body)
		}
		got = append(got, p.Items...)
		if next = p.Next; next == "" {
			break
		}
	}
	if len(got) != 3 || got[0].Name != "a" || got[1].Name != "b" || got[2].Name != "default" {
		t.Fatalf("routes %+v, want a, b and default", got)
	}
	if a := got[0]; a.Pattern != "cache-aside" || a.Upstream != "shop" || len(a.Paths) != 1 || a.MaxObjectBytes != 5 || len(a.Rule) != 16 {
		t.Errorf("route %+v", a)
	}
	if b := got[1]; b.Pattern != "off" || !reflect.DeepEqual(b.Headers, map[string][]string{"X-B": {"1", "2"}}) {
		t.Errorf("route %+v", b)
	}
}

func TestReloadThatIsRefusedTellsTheMistakes(t *testing.T) {
	i := newInstance(t)
	mistake := admin.Mistake{File: "a.yaml", Line: 3, Column: 5, Path: "listen", Message: "is wrong"}
	i.o.Reload = func(context.Context) (admin.Reloaded, error) {
		return admin.Reloaded{}, &admin.Problem{Type: "about:blank", Title: "refused", Status: 422, Detail: "as it was", Errors: []admin.Mistake{mistake}}
	}
	w := ask(i.handler(false), "POST", "/v1/reload", "")
	if p := mustBeProblem(t, w); w.Code != 422 || !reflect.DeepEqual(p.Errors, []admin.Mistake{mistake}) {
		t.Errorf("status %d and %+v, want 422 and the mistake", w.Code, p)
	}
}

func TestCallThatFailsDoesNotTellWhy(t *testing.T) {
	i := newInstance(t)
	i.o.Reload = func(context.Context) (admin.Reloaded, error) { return admin.Reloaded{}, errors.New("secret detail") }
	w := ask(i.handler(false), "POST", "/v1/reload", "")
	if mustBeProblem(t, w); w.Code != 500 || strings.Contains(w.Body.String(), "secret") || !strings.Contains(i.log.String(), "secret detail") {
		t.Errorf("status %d, %s; log %s", w.Code, w.Body, &i.log)
	}
}
