package proxy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rules"
)

func TestPurgeRemovesAllVariants(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60", "Vary: X-Kind"))
	r := newRig(t, o.URL, nil)
	for _, kind := range []string{"a", "b"} {
		r.get("/p?x=1", "X-Kind: "+kind)
	}
	r.get("/other")
	a := r.do("PURGE", "/p?x=1")
	var receipt struct {
		Seq      int
		Complete bool
		Freed    int
	}
	if err := json.Unmarshal([]byte(a.body), &receipt); err != nil || a.status != 200 || !receipt.Complete || receipt.Seq != 1 || receipt.Freed != 2 {
		t.Errorf("PURGE answered %d %s (%v)", a.status, a.body, err)
	}
	if a.header.Get("Cache-Status") != "" {
		t.Error("the answer to PURGE has a Cache-Status")
	}
	for i, kind := range []string{"a", "b"} {
		r.want(r.get("/p?x=1", "X-Kind: "+kind), 200, fmt.Sprintf("answer %d", 4+i), "fwd=")
	}
	r.want(r.get("/other"), 200, "answer 3", "hit")
	if got := o.last().Method; got == "PURGE" {
		t.Error("the PURGE reached the origin")
	}
}

func TestWhoMayPurge(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60"))
	deny := func(p *proxy.Plan, _ *rules.Options) {
		p.PurgeAllow = nil
		p.MayPurge = func(token string) bool { return token == "right" }
	}
	r := newRig(t, o.URL, nil, deny)
	r.get("/p")
	for _, tc := range []struct {
		fields []string
		want   int
	}{
		{nil, 403},
		{[]string{"Authorization: Bearer wrong"}, 403},
		{[]string{"X-Forwarded-For: 127.0.0.1"}, 403},
		{[]string{"Authorization: Bearer right"}, 200},
	} {
		if a := r.do("PURGE", "/p", tc.fields...); a.status != tc.want {
			t.Errorf("PURGE with %q: %d, want %d", tc.fields, a.status, tc.want)
		}
	}
	if o.asked.Load() != 1 {
		t.Error("a PURGE reached the origin")
	}
	allowed := newRig(t, o.URL, nil)
	if a := allowed.do("PURGE", "/p", "Authorization: Bearer wrong"); a.status != 403 {
		t.Errorf("a wrong token from an allowed network: %d, want 403: a token that is sent is judged", a.status)
	}
}

func TestPurgeFindsTheKeyAsAGetWould(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60"))
	no := false
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{Key: rules.KeySpec{
		Host: &no, Query: rules.QuerySpec{Mode: "ignore", Names: []string{"utm_*"}},
	}})})
	r.get("/p?b=2&a=1&utm_source=x", "Host: one.example")
	r.want(r.get("/p?a=1&b=2", "Host: two.example"), 200, "answer 1", "hit")
	r.do("PURGE", "/p?utm_medium=y&a=1&b=2", "Host: three.example")
	r.want(r.get("/p?a=1&b=2", "Host: one.example"), 200, "answer 2", "fwd=")
}

const trials = 200

// TestAPurgeDuringAFetchHolds purges while the fetch is under way. The late response must not undo the purge.
func TestAPurgeDuringAFetchHolds(t *testing.T) {
	var gate chan struct{}
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if gate != nil {
			<-gate
		}
		plain("Cache-Control: max-age=60")(w, q, n)
	})
	r := newRig(t, o.URL, nil)
	for i := range trials {
		path := fmt.Sprintf("/late/%d", i)
		before := o.asked.Load()
		gate = make(chan struct{})
		done := make(chan *answer, 1)
		go func() { a, _ := r.try(context.Background(), "GET", path, ""); done <- a }()
		eventually(t, "the fetch is under way", func() bool { return o.asked.Load() == before+1 })
		if a := r.do("PURGE", path); a.status != 200 {
			t.Fatalf("PURGE: %d", a.status)
		}
		close(gate)
		<-done
		if a := r.get(path); a.body != fmt.Sprintf("answer %d", before+2) {
			t.Fatalf("trial %d: after the purge was acknowledged the response from before it is served (%q, %s)", i, a.body, a.cacheStatus())
		}
	}
}

// TestARequestAfterAPurgeDoesNotJoinTheFetchFromBeforeIt asks again while the overtaken fetch is still under way.
func TestARequestAfterAPurgeDoesNotJoinTheFetchFromBeforeIt(t *testing.T) {
	var mu sync.Mutex
	gates := map[int64]chan struct{}{}
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		mu.Lock()
		gate := gates[n]
		mu.Unlock()
		if gate != nil {
			<-gate
		}
		plain("Cache-Control: max-age=60")(w, q, n)
	})
	r := newRig(t, o.URL, nil)
	for i := range trials {
		path := fmt.Sprintf("/joined/%d", i)
		before := o.asked.Load()
		gate := make(chan struct{})
		mu.Lock()
		gates[before+1] = gate
		mu.Unlock()
		first := make(chan *answer, 1)
		go func() { a, _ := r.try(context.Background(), "GET", path, ""); first <- a }()
		eventually(t, "the fetch is under way", func() bool { return o.asked.Load() == before+1 })
		r.do("PURGE", path)
		if a := r.get(path); a.body != fmt.Sprintf("answer %d", before+2) {
			t.Fatalf("trial %d: a request after the purge got %q (%s)", i, a.body, a.cacheStatus())
		}
		close(gate)
		<-first
		if a := r.get(path); a.body != fmt.Sprintf("answer %d", before+2) {
			t.Fatalf("trial %d: the overtaken fetch displaced the newer response: %q (%s)", i, a.body, a.cacheStatus())
		}
	}
}

func TestUnsafeMethodsInvalidate(t *testing.T) { // RFC 9111, 4.4
	status := 200
	location := ""
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if q.Method != "GET" {
			if location != "" {
				w.Header().Set("Location", location)
				w.Header().Set("Content-Location", "/content")
			}
			w.WriteHeader(status)
			return
		}
		plain("Cache-Control: max-age=60")(w, q, n)
	})
	r := newRig(t, o.URL, nil)
	fill := func() {
		for _, p := range []string{"/a", "/b", "/content"} {
			r.get(p)
		}
	}
	cached := func(path string) bool { return r.get(path, "Cache-Control: only-if-cached").status == 200 }
	for _, tc := range []struct {
		method, location string
		status           int
		a, b, content    bool // still cached afterwards
	}{
		{"POST", "", 200, false, true, true},
		{"PUT", "/b", 201, false, false, false},
		{"DELETE", "http://elsewhere.example/b", 204, false, true, false},
		{"M-SEARCH", "", 302, false, true, true},
		{"POST", "/b", 500, true, true, true},
		{"PATCH", "/b", 404, true, true, true},
		{"OPTIONS", "/b", 200, true, true, true},
	} {
		fill()
		status, location = tc.status, tc.location
		r.do(tc.method, "/a")
		if a, b, c := cached("/a"), cached("/b"), cached("/content"); a != tc.a || b != tc.b || c != tc.content {
			t.Errorf("%s answered %d with Location %q: still cached: /a %v, /b %v, /content %v; want %v %v %v",
				tc.method, tc.status, tc.location, a, b, c, tc.a, tc.b, tc.content)
		}
	}
}

func TestAReloadKeepsWhatIsStoredUnderTheSameRules(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60"))
	minute, hour := time.Minute, time.Hour
	specs := func(second *time.Duration) []rules.Spec {
		return []rules.Spec{
			{Name: "kept", Match: rules.MatchSpec{Paths: []string{"/kept"}}, Cache: &rules.CacheSpec{TTL: &minute}},
			{Name: "changed", Match: rules.MatchSpec{Paths: []string{"/changed"}}, Cache: &rules.CacheSpec{TTL: second}},
		}
	}
	r := newRig(t, o.URL, specs(&minute))
	r.get("/kept")
	r.get("/changed")
	r.proxy.Use(r.plan(specs(&hour)))
	r.want(r.get("/kept"), 200, "answer 1", "hit")
	r.want(r.get("/changed"), 200, "answer 3", "fwd=")
	if got := r.lastReport().Reason.String(); got != "rule-changed" {
		t.Errorf("reason %q", got)
	}
	r.want(r.get("/changed"), 200, "answer 3", "hit")
}
