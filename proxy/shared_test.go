package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
	"github.com/cacheproxy/cacheproxy/rules"
)

// TestFollowersGetOnlyWhatIsForEverybody: fields that private and no-cache name are for the client whose request was forwarded.
func TestFollowersGetOnlyWhatIsForEverybody(t *testing.T) { // RFC 9111, 5.2.2.4 and 5.2.2.7
	for _, control := range []string{`max-age=60, private="X-User, Set-Cookie"`, `max-age=60, no-cache="X-User, Set-Cookie"`} {
		gate := make(chan struct{})
		o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
			<-gate
			plain("Cache-Control: "+control, "X-User: leader", "Set-Cookie: sid=secret")(w, q, n)
		})
		r := newRig(t, o.URL, nil)
		answers := r.crowd(10, "/a", func() {
			eventually(t, "the fetch is under way", func() bool { return o.asked.Load() == 1 })
			time.Sleep(50 * time.Millisecond)
			close(gate)
		})
		told := 0
		for _, a := range append(answers, r.get("/a")) {
			if a.header.Get("X-User") != "" || a.header.Get("Set-Cookie") != "" {
				told++
			}
		}
		if told != 1 || o.asked.Load() != 1 {
			t.Errorf("%s: %d clients were told the leader's fields, want the leader alone; %d requests", control, told, o.asked.Load())
		}
	}
}

func TestA304KeepsPrivateFieldsOutOfTheCache(t *testing.T) {
	control := `max-age=60, private="X-User"`
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("ETag", `"v"`)
		if q.Header.Get("If-None-Match") != "" {
			w.Header().Set("Cache-Control", control)
			w.Header().Set("X-User", fmt.Sprint("user-", n))
			w.WriteHeader(304)
			return
		}
		w.Header().Set("Cache-Control", "max-age=0")
		io.WriteString(w, "body")
	})
	r := newRig(t, o.URL, nil)
	r.get("/a")
	r.want(r.get("/a"), 200, "body", "fwd-status=304; stored")
	if a := r.get("/a"); a.header.Get("X-User") != "" {
		t.Errorf("a hit (%s) has another user's X-User: %s", a.cacheStatus(), a.header.Get("X-User"))
	}
	control = "private"
	r.get("/b")
	if a := r.get("/b"); strings.Contains(a.cacheStatus(), "stored") {
		t.Errorf("a private 304 is said to be stored: %s", a.cacheStatus())
	}
}

func TestAPrivate304IsNotShared(t *testing.T) {
	gate := make(chan struct{})
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("ETag", `"v"`)
		if q.Header.Get("If-None-Match") != "" {
			<-gate
			w.Header().Set("Cache-Control", "private")
			w.Header().Set("X-User", fmt.Sprint(n))
			w.WriteHeader(304)
			return
		}
		w.Header().Set("Cache-Control", "max-age=0")
		io.WriteString(w, "body")
	})
	r := newRig(t, o.URL, nil)
	r.get("/a")
	seen := map[string]int{}
	for _, a := range r.crowd(10, "/a", func() {
		eventually(t, "the validation is under way", func() bool { return o.asked.Load() == 2 })
		time.Sleep(50 * time.Millisecond)
		close(gate)
	}) {
		if user := a.header.Get("X-User"); user != "" {
			if seen[user]++; seen[user] > 1 {
				t.Errorf("two clients were told X-User %s", user)
			}
		}
	}
}

func TestARequestOfOneUserDoesNotEvictWhatAllShare(t *testing.T) {
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("ETag", `"v"`)
		w.Header().Set("Cache-Control", "max-age=60")
		if q.Header.Get("If-None-Match") != "" {
			w.WriteHeader(304)
			return
		}
		io.WriteString(w, "body")
	})
	r := newRig(t, o.URL, nil)
	r.get("/a")
	r.want(r.get("/a", "Authorization: Basic x", "Cache-Control: max-age=0"), 200, "body", "fwd-status=304")
	r.want(r.get("/a"), 200, "body", "hit")
}

// TestWhatTheOriginDoesNotSeeDoesNotChoose: Connection can name any field, which is then not forwarded; it must not be in key or Vary.
func TestWhatTheOriginDoesNotSeeDoesNotChoose(t *testing.T) {
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "X-Lang")
		fmt.Fprintf(w, "lang %q tenant %q", q.Header.Get("X-Lang"), q.Header.Get("X-Tenant"))
	})
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{Key: rules.KeySpec{Headers: []string{"X-Tenant"}}})})
	r.raw("GET /a HTTP/1.1\r\nHost: x.example\r\nX-Lang: de\r\nX-Tenant: acme\r\nConnection: close, X-Lang, X-Tenant\r\n\r\n")
	a := r.get("/a", "Host: x.example", "X-Lang: de", "X-Tenant: acme")
	r.want(a, 200, `lang "de" tenant "acme"`, "fwd=uri-miss")
}

func TestTheOriginSeesTheHostThatWasKeyed(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60"))
	r := newRig(t, o.URL, nil)
	for _, host := range []string{"Shop.EXAMPLE:80", "shop.example.", "shop.example"} {
		r.raw("GET /" + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
		if got := o.last(); got.Host != "shop.example" || got.Header.Get("X-Forwarded-Host") != "shop.example" {
			t.Errorf("Host %s: the origin saw Host %q, X-Forwarded-Host %q", host, got.Host, got.Header.Get("X-Forwarded-Host"))
		}
	}
	if o.asked.Load() != 1 {
		t.Errorf("three spellings of one host made %d entries", o.asked.Load())
	}
}

func TestTheOriginSeesTheQueryThatWasKeyed(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60"))
	r := newRig(t, o.URL, nil)
	r.raw("GET /p?z=1;b=2&a=3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if got := o.last().URL.RawQuery; got != "z=1;b=2&a=3" {
		t.Errorf("the origin saw the query %q", got)
	}
}

func TestAnAnswerToARangeIsNotTheAnswerToTheURL(t *testing.T) {
	body := "0123456789"
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("Cache-Control", "max-age=60")
		http.ServeContent(w, q, "a.txt", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), strings.NewReader(body))
		_ = n
	})
	keep := badorigin.New(t, func(c *badorigin.Conn, q *badorigin.Request) {
		if q.Header.Get("Range") != "" {
			c.Respond(416, "", "Cache-Control: max-age=60", "Content-Range: bytes */10")
			return
		}
		c.Respond(200, body, "Cache-Control: max-age=60")
	})
	for name, origin := range map[string]string{"416 without freshness": o.URL, "416 with freshness": keep.URL} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, origin, []rules.Spec{route(rules.CacheSpec{CompleteRanges: true})})
			r.want(r.get("/a", "Range: bytes=9999-"), 416, "*", "fwd=")
			r.want(r.get("/a"), 200, body, "fwd=")
			r.want(r.get("/a"), 200, body, "hit")
		})
	}
}

func TestIfRangeIsObeyedWhereRangesPass(t *testing.T) { // RFC 9110, 13.1.5
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("ETag", `"new"`)
		http.ServeContent(w, q, "a.txt", time.Time{}, strings.NewReader("0123456789"))
	})
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{CompleteRanges: true})})
	r.want(r.get("/a", "Range: bytes=5-", `If-Range: "old"`), 200, "0123456789", "fwd=")
	r.want(r.get("/b", "Range: bytes=5-", `If-Range: "new"`), 206, "56789", "fwd=")
}

func TestNoTunnelOfHTTPReachesTheOrigin(t *testing.T) {
	o := newShop(t, plain("Cache-Control: no-store"))
	r := newRig(t, o.URL, nil)
	for _, upgrade := range []string{"h2c", "H2C", "HTTP/2.0", "TLS/1.2"} {
		for _, method := range []string{"GET", "POST"} {
			r.raw(method + " /a HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\nUpgrade: " + upgrade + "\r\nContent-Length: 0\r\n\r\n")
			if got := o.last().Header; got.Get("Upgrade") != "" || got.Get("Http2-Settings") != "" {
				t.Errorf("%s %s reached the origin: %v", method, upgrade, got)
			}
		}
	}
}

func TestAURLIsPurgedUnderEveryRoute(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60"))
	specs := []rules.Spec{
		{Name: "mobile", Match: rules.MatchSpec{Paths: []string{"/**"}, Headers: map[string]rules.OneOrMany{"X-Mobile": {"*"}}},
			Cache: &rules.CacheSpec{Key: rules.KeySpec{Query: rules.QuerySpec{Mode: "none"}}}},
		route(rules.CacheSpec{}),
	}
	for _, method := range []string{"PURGE", "POST"} {
		r := newRig(t, o.URL, specs)
		first := r.get("/p?a=1", "X-Mobile: 1")
		r.want(r.get("/p?a=1", "X-Mobile: 1"), 200, first.body, "hit")
		r.do(method, "/p?a=1")
		if a := r.get("/p?a=1", "X-Mobile: 1"); a.body == first.body {
			t.Errorf("after %s the entry of another route is still served: %s", method, a.cacheStatus())
		}
	}
}

func TestVariantsThatExpireTogetherAreFetchedOnceEach(t *testing.T) {
	var first atomic.Bool
	first.Store(true)
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("Vary", "X-Kind")
		w.Header().Set("ETag", `"`+q.Header.Get("X-Kind")+`"`)
		w.Header().Set("Cache-Control", "max-age=0")
		if first.Load() {
			io.WriteString(w, q.Header.Get("X-Kind"))
			return
		}
		time.Sleep(200 * time.Millisecond)
		w.Header().Set("Cache-Control", "max-age=60")
		w.WriteHeader(304)
	})
	r := newRig(t, o.URL, nil)
	r.get("/v", "X-Kind: a")
	r.get("/v", "X-Kind: b")
	first.Store(false)
	var wg sync.WaitGroup
	for _, kind := range []string{"a", "b"} {
		wg.Go(func() {
			for _, a := range r.crowd(20, "/v", func() {}, "X-Kind: "+kind) {
				if a.body != kind {
					t.Errorf("kind %s got %q", kind, a.body)
				}
			}
		})
	}
	wg.Wait()
	if got := o.asked.Load(); got != 4 {
		t.Errorf("the origin was asked %d times, want 4: each variant once, and validated once", got)
	}
}

func TestCollapseWaitOfZeroDoesNotWait(t *testing.T) {
	gate := make(chan struct{})
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if n == 1 {
			<-gate
		}
		plain("Cache-Control: max-age=60")(w, q, n)
	})
	zero := time.Duration(0)
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{Collapse: rules.CollapseSpec{Wait: &zero}})})
	var wg sync.WaitGroup
	wg.Go(func() { r.get("/a") })
	eventually(t, "the first fetch is under way", func() bool { return o.asked.Load() == 1 })
	r.want(r.get("/a"), 200, "answer 2", "stored")
	close(gate)
	wg.Wait()
}

func TestAStatusOutOfRangeIsABadGateway(t *testing.T) {
	o := badorigin.New(t, func(c *badorigin.Conn, _ *badorigin.Request) {
		c.Send("HTTP/1.1 099 What\r\nContent-Length: 2\r\n\r\nhi")
	})
	r := newRig(t, o.URL, nil)
	r.want(r.get("/a"), 502, "*", "upstream-error")
	if r.proxy.Stats().Panics != 0 {
		t.Error("a panic was counted")
	}
}

func TestMaxForwards(t *testing.T) { // RFC 9110, 7.6.2
	o := newShop(t, plain())
	r := newRig(t, o.URL, nil)
	a := r.do("OPTIONS", "/a", "Max-Forwards: 0")
	if o.asked.Load() != 0 || a.status != 200 || a.header.Get("Allow") == "" {
		t.Errorf("OPTIONS with Max-Forwards 0: %d %v, %d requests", a.status, a.header, o.asked.Load())
	}
	r.do("OPTIONS", "/a", "Max-Forwards: 3")
	if got := o.last().Header.Get("Max-Forwards"); got != "2" {
		t.Errorf("the origin saw Max-Forwards %q, want 2", got)
	}
	r.do("GET", "/a", "Max-Forwards: 0")
	if o.asked.Load() != 2 {
		t.Error("Max-Forwards is for OPTIONS and TRACE alone")
	}
}

// TestABodyThatNeverComesDoesNotHoldTheConnection takes stallLimit.
func TestABodyThatNeverComesDoesNotHoldTheConnection(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60"))
	r := newRig(t, o.URL, nil)
	r.get("/a")
	var wg sync.WaitGroup
	for _, request := range []string{"GET /a", "GET /%00"} {
		wg.Go(func() {
			begin := time.Now()
			got := r.rawFor(request+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", 20*time.Second)
			if took := time.Since(begin); took > 15*time.Second || !strings.HasPrefix(got, "HTTP/1.1 ") {
				t.Errorf("%s: after %v: %q", request, took, clip(got))
			}
		})
	}
	wg.Wait()
}
