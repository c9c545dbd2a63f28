package proxy_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rules"
)

func tagged(p *proxy.Plan, o *rules.Options) {
	o.TagHeaders, o.MaxTags = []string{"Surrogate-Key", "xkey"}, 4
}

func behindTrusted(p *proxy.Plan, _ *rules.Options) {
	p.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

// labelsOf returns the labels of what is stored for path, through explain.
func (r *rig) explained(path string) *proxy.Explanation {
	r.t.Helper()
	e, err := r.proxy.Plan().Explain(r.t.Context(), r.cache, proxy.Question{Method: "GET", URL: r.URL + path})
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

func TestResponsesAreTagged(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60", "Surrogate-Key: a b", "Surrogate-Key: b,c", "X-Cache-Depends-On: tag:prices, url:/catalog"))
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{Tags: []string{"p:{path.0}"}, DependsOn: []string{"tag:prices"}})},
		tagged, func(_ *proxy.Plan, o *rules.Options) { o.MaxTags = 100 })
	r.get("/x")
	e := r.explained("/x")
	if got := strings.Join(e.Tags, " "); got != "p:x a b c" {
		t.Errorf("tags %q", got)
	}
	host := strings.TrimPrefix(r.URL, "http:")
	want := "on tag:prices, url:" + host + "/catalog, tag:p:catalog" // by which the route's rule purges /catalog
	for _, s := range e.Steps {
		if s.What == "depends" && s.Result != want {
			t.Errorf("depends %s, want %s", s.Result, want)
		}
	}
}

// TestTooManyTagsAreNotStored: what has lost a tag could not be purged by it.
func TestTooManyTagsAreNotStored(t *testing.T) {
	for _, tt := range []struct{ name, field string }{
		{"too many", "Surrogate-Key: a b c d e"},
		{"too long", "Surrogate-Key: " + strings.Repeat("x", 2000)},
		{"groups", `Cache-Groups: "a", "b", "c", "d", "e"`},
		{"dependencies", "X-Cache-Depends-On: tag:a, tag:b, tag:c, tag:d, tag:e"},
		{"a dependency that cannot be read", "X-Cache-Depends-On: prices"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newShop(t, plain("Cache-Control: max-age=60", tt.field))
			r := newRig(t, o.URL, nil, tagged)
			r.want(r.get("/x"), 200, "answer 1", "detail=tags")
			r.want(r.get("/x"), 200, "answer 2", "fwd=")
		})
	}
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		fields := []string{"Cache-Control: max-age=60", "Surrogate-Key: a b c d"}
		if q.URL.Path == "/home" {
			fields = []string{"Cache-Control: max-age=60", "X-Cache-Depends-On: url:/x, url:/y"}
		}
		plain(fields...)(w, q, n)
	})
	r := newRig(t, o.URL, nil, tagged)
	r.get("/x")
	r.want(r.get("/x"), 200, "answer 1", "hit")
	r.get("/home")
	r.order("PURGE", "/home")
	r.get("/home")
	r.want(r.get("/home"), 200, "answer 3", "hit") // what it is made of has many tags, and it has none
}

// TestWhoSeesTags: tag fields reach trusted proxies only, be the response from the origin, from a fetch that others began, or stored;
// what is for this cache alone reaches nobody.
func TestWhoSeesTags(t *testing.T) {
	fields := []string{
		"Surrogate-Key: a b", "Xkey: c", "X-Cache-Depends-On: tag:d", "X-Invalidate-Tags: e", `Etag: "1"`,
	}
	for _, trusted := range []bool{false, true} {
		settings := []setting{tagged, func(_ *proxy.Plan, o *rules.Options) { o.MaxTags = 100 }}
		if trusted {
			settings = append(settings, behindTrusted)
		}
		check := func(t *testing.T, a *answer) {
			t.Helper()
			if got := a.header.Get("Surrogate-Key") == "a b" && a.header.Get("Xkey") == "c"; got != trusted {
				t.Errorf("Surrogate-Key %q, Xkey %q where the client is trusted: %v", a.header.Values("Surrogate-Key"), a.header.Values("Xkey"), trusted)
			}
			for _, name := range []string{"X-Cache-Depends-On", "X-Invalidate-Tags"} {
				if a.header.Get(name) != "" {
					t.Errorf("%s reaches a client", name)
				}
			}
		}
		o := newShop(t, plain(append(fields, "Cache-Control: max-age=60")...))
		r := newRig(t, o.URL, nil, settings...)
		check(t, r.get("/x"))
		a := r.get("/x")
		r.want(a, 200, "answer 1", "hit")
		check(t, a)
		a = r.get("/x", `If-None-Match: "1"`)
		r.want(a, 304, "", "hit")
		check(t, a)
		a = r.get("/x", "Range: bytes=0-2")
		r.want(a, 206, "ans", "hit")
		check(t, a)
		check(t, r.do("POST", "/x"))

		passed := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{Pattern: "off"})}, settings...)
		check(t, passed.get("/x"))
		private := newShop(t, plain(append(fields, "Cache-Control: no-store")...))
		check(t, newRig(t, private.URL, nil, settings...).get("/x"))
	}
}

// TestA304RenewsTags: the fields of a 304 take the place of those that are stored (RFC 9111, 3.2), tags among them; the tags of the
// rule and dependencies stay.
func TestA304RenewsTags(t *testing.T) {
	o := newShop(t, validating(
		[]string{"Cache-Control: max-age=60", `Etag: "1"`, "Surrogate-Key: a", "X-Cache-Depends-On: tag:d"},
		[]string{"Cache-Control: max-age=60", `Etag: "1"`, "Surrogate-Key: b"}))
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{Tags: []string{"rule"}})}, tagged)
	r.get("/x")
	r.want(r.get("/x", "Cache-Control: no-cache"), 200, "answer 1", "fwd-status=304")
	if got := strings.Join(r.explained("/x").Tags, " "); got != "rule b" {
		t.Errorf("tags %q, want the rule's and those of the 304", got)
	}
	depends := false
	for _, s := range r.explained("/x").Steps {
		depends = depends || s.What == "depends" && s.Result == "on tag:d"
	}
	if !depends {
		t.Error("the dependency is gone")
	}
}

// validating answers the first request with one set of fields, and a conditional one with a 304 that has the other.
func validating(first, then []string) func(http.ResponseWriter, *http.Request, int64) {
	return func(w http.ResponseWriter, r *http.Request, n int64) {
		if r.Header.Get("If-None-Match") == "" {
			plain(first...)(w, r, n)
			return
		}
		for _, f := range then {
			name, value, _ := strings.Cut(f, ": ")
			w.Header().Add(name, value)
		}
		w.WriteHeader(http.StatusNotModified)
	}
}
