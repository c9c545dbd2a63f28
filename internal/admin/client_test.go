package admin_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/cacheproxy/cacheproxy/internal/admin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T, h http.Handler, token string) *admin.Client {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return &admin.Client{URL: s.URL, Token: token, HTTP: s.Client()}
}

func TestClient(t *testing.T) {
	i := newInstance(t)
	c := client(t, i.handler(true), master)
	q := admin.Question{
		Method: "GET", URL: "http://x/a?b=ü&c=%20", Status: 404,
		Header: http.Header{"Accept": {"a, b", "c"}}, Response: http.Header{"Etag": {`"1"`}},
	}
	if e, err := c.Explain(t.Context(), q); err != nil || e.URL != q.URL || !reflect.DeepEqual(i.asked, q) {
		t.Errorf("Explain = %+v, %v; asked %+v, want %+v", e, err, i.asked, q)
	}
	if r, err := c.Reload(t.Context()); err != nil || r.Warnings == nil {
		t.Errorf("Reload = %+v, %v", r, err)
	}
	if h, err := c.Ready(t.Context()); err != nil || h.Status != admin.StatusOK {
		t.Errorf("Ready = %+v, %v", h, err)
	}
}

func TestClientGivesProblemsAsErrors(t *testing.T) {
	_, err := client(t, newInstance(t).handler(true), "").Reload(t.Context())
	var p *admin.Problem
	if !errors.As(err, &p) || p.Status != 401 {
		t.Errorf("%v, want a problem with status 401", err)
	}
}

func TestClientOfSomethingElse(t *testing.T) {
	c := client(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<p>hello")) }), "")
	if _, err := c.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "not one of cacheproxy's") {
		t.Errorf("%v, want an error that says so", err)
	}
	c.URL = "127.0.0.1:8081"
	if _, err := c.Ready(t.Context()); err == nil {
		t.Error("a URL without scheme is taken")
	}
}
