package proxy_test

import (
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
	"github.com/cacheproxy/cacheproxy/rules"
)

func TestAMissIsStoredAndThenServed(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60", "X-Own: 1"))
	r := newRig(t, o.URL, nil)
	r.want(r.get("/a"), 200, "answer 1", "cacheproxy; fwd=uri-miss; fwd-status=200; stored")
	a := r.get("/a")
	r.want(a, 200, "answer 1", "cacheproxy; hit; ttl=")
	if a.header.Get("Age") == "" || a.header.Get("X-Own") != "1" || a.header.Get("Date") == "" {
		t.Errorf("the stored response lacks fields: %v", a.header)
	}
	if got := o.asked.Load(); got != 1 {
		t.Errorf("the origin was asked %d times, want 1", got)
	}
}

func TestHeadIsAnsweredFromGet(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60"))
	r := newRig(t, o.URL, nil)
	miss := r.do("HEAD", "/a")
	r.want(miss, 200, "", "fwd=uri-miss")
	if o.last().Method != "GET" {
		t.Errorf("a HEAD miss was fetched by %s, want GET", o.last().Method)
	}
	eventually(t, "the GET has been stored", func() bool { return r.cache.Stats().Memory.Entries == 1 })
	hit := r.do("HEAD", "/a")
	r.want(hit, 200, "", "hit")
	if hit.header.Get("Content-Length") != "8" {
		t.Errorf("Content-Length %q, want 8", hit.header.Get("Content-Length"))
	}
	r.want(r.get("/a"), 200, "answer 1", "hit")
}

func TestConditionalRequests(t *testing.T) { // RFC 9110, 13; RFC 9111, 4.3.2
	const lm = "Tue, 01 Jan 2019 00:00:00 GMT"
	o := newShop(t, plain("Cache-Control: max-age=60", `ETag: "v1"`, "Last-Modified: "+lm))
	for _, tc := range []struct {
		name, field string
		want        int
	}{
		{"strong match", `If-None-Match: "v1"`, 304},
		{"weak match", `If-None-Match: W/"v1"`, 304},
		{"list", `If-None-Match: "x", "v1"`, 304},
		{"star", `If-None-Match: *`, 304},
		{"no match", `If-None-Match: "v2"`, 200},
		{"not modified since", "If-Modified-Since: " + lm, 304},
		{"modified since", "If-Modified-Since: Mon, 01 Jan 2018 00:00:00 GMT", 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, o.URL, nil)
			for _, state := range []string{"cold", "stored"} {
				a := r.get("/a", tc.field)
				if a.status != tc.want {
					t.Errorf("%s: got %d, want %d", state, a.status, tc.want)
				}
				if a.status == 304 && (a.header.Get("ETag") != `"v1"` || a.body != "" || a.header.Get("Content-Type") != "") {
					t.Errorf("%s: a 304 with %v and %q", state, a.header, a.body)
				}
				if got := o.last().Header.Get("If-None-Match") + o.last().Header.Get("If-Modified-Since"); got != "" {
					t.Errorf("%s: the client's condition %q reached the origin", state, got)
				}
			}
		})
	}
}

func TestRangesFromAFullCopy(t *testing.T) { // RFC 9110, 14
	const whole = "0123456789abcdefghij"
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Type", "text/x")
		io.WriteString(w, whole)
	})
	many := "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,19-19"
	for _, tc := range []struct {
		name, rng, ifRange string
		status             int
		body, contentRange string
	}{
		{"first bytes", "bytes=0-1", "", 206, "01", "bytes 0-1/20"},
		{"open end", "bytes=18-", "", 206, "ij", "bytes 18-19/20"},
		{"suffix", "bytes=-3", "", 206, "hij", "bytes 17-19/20"},
		{"beyond the end is cut", "bytes=15-99", "", 206, "fghij", "bytes 15-19/20"},
		{"unsatisfiable", "bytes=20-", "", 416, "", "bytes */20"},
		{"another unit", "lines=1-2", "", 200, whole, ""},
		{"overlapping", "bytes=0-5,3-8", "", 200, whole, ""},
		{"more than ten", many, "", 200, whole, ""},
		{"if-range holds", "bytes=0-1", `"v1"`, 206, "01", "bytes 0-1/20"},
		{"if-range fails", "bytes=0-1", `"v0"`, 200, whole, ""},
		{"if-range needs a strong tag", "bytes=0-1", `W/"v1"`, 200, whole, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, o.URL, nil)
			fields := []string{"Range: " + tc.rng}
			if tc.ifRange != "" {
				fields = append(fields, "If-Range: "+tc.ifRange)
			}
			before := o.asked.Load()
			for _, state := range []string{"cold", "stored"} {
				a := r.get("/a", fields...)
				if a.status != tc.status || a.body != tc.body || a.header.Get("Content-Range") != tc.contentRange {
					t.Errorf("%s: got %d %q Content-Range %q, want %d %q %q", state,
						a.status, a.body, a.header.Get("Content-Range"), tc.status, tc.body, tc.contentRange)
				}
			}
			if o.last().Header.Get("Range") != "" || o.asked.Load() != before+1 {
				t.Errorf("the object was not fetched whole and once: %d requests, Range %q", o.asked.Load()-before, o.last().Header.Get("Range"))
			}
		})
	}
}

func TestSeveralRanges(t *testing.T) { // RFC 9110, 14.6
	o := newShop(t, func(w http.ResponseWriter, _ *http.Request, _ int64) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Type", "text/x")
		io.WriteString(w, "0123456789")
	})
	r := newRig(t, o.URL, nil)
	r.get("/a")
	a := r.get("/a", "Range: bytes=0-1,8-9")
	kind, params, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	if a.status != 206 || kind != "multipart/byteranges" {
		t.Fatalf("got %d %q", a.status, a.header.Get("Content-Type"))
	}
	if a.header.Get("Content-Length") != fmt.Sprint(len(a.body)) {
		t.Errorf("Content-Length %s for %d bytes", a.header.Get("Content-Length"), len(a.body))
	}
	parts := multipart.NewReader(strings.NewReader(a.body), params["boundary"])
	var got []string
	for {
		p, err := parts.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(p)
		got = append(got, p.Header.Get("Content-Range")+" "+p.Header.Get("Content-Type")+" "+string(b))
	}
	want := []string{"bytes 0-1/10 text/x 01", "bytes 8-9/10 text/x 89"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got parts %q, want %q", got, want)
	}
}

func TestOnlyIfCached(t *testing.T) { // RFC 9111, 5.2.1.7
	o := newShop(t, plain("Cache-Control: max-age=60"))
	r := newRig(t, o.URL, nil)
	r.want(r.get("/a", "Cache-Control: only-if-cached"), 504, "*", "detail=only-if-cached")
	r.get("/a")
	r.want(r.get("/a", "Cache-Control: only-if-cached"), 200, "answer 1", "hit")
}

func TestStaleWhileRevalidateRefreshesOnceBehind(t *testing.T) { // RFC 5861, 3
	gate := make(chan struct{})
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if n > 1 {
			<-gate
		}
		plain("Cache-Control: max-age=0, stale-while-revalidate=60", `ETag: "v"`)(w, q, n)
	})
	r := newRig(t, o.URL, nil)
	r.get("/a")
	for range 10 {
		r.want(r.get("/a"), 200, "answer 1", "detail=stale-while-revalidate")
	}
	eventually(t, "the refresh has reached the origin", func() bool { return o.asked.Load() == 2 })
	if got := o.last().Header.Get("If-None-Match"); got != `"v"` {
		t.Errorf("the refresh validates with %q", got)
	}
	close(gate)
	eventually(t, "the refreshed response is served", func() bool { return r.get("/a").body != "answer 1" })
}

func TestARefreshThatFailsIsNotRepeatedAtEveryHit(t *testing.T) {
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if n > 1 {
			panic(http.ErrAbortHandler)
		}
		plain("Cache-Control: max-age=0, stale-while-revalidate=60")(w, q, n)
	})
	o.Server.Config.ErrorLog = nil
	r := newRig(t, o.URL, nil)
	r.get("/a")
	for range 50 {
		r.want(r.get("/a"), 200, "answer 1", "hit")
		time.Sleep(time.Millisecond)
	}
	if got := o.asked.Load(); got < 2 || got > 4 {
		t.Errorf("the origin was asked %d times while it fails, want a pause between tries", got)
	}
}

func TestStaleOnFailure(t *testing.T) { // RFC 9111, 4.2.4; RFC 5861, 4
	for _, tc := range []struct {
		name, control string
		fail          func(w http.ResponseWriter)
		status        int
		detail        string
	}{
		{"closed connection", "max-age=0", abort, 200, "disconnected"},
		{"closed connection, must-revalidate", "max-age=0, must-revalidate", abort, 502, "upstream-error"},
		{"closed connection, no-cache", "no-cache", abort, 502, "upstream-error"},
		{"closed connection, s-maxage", "s-maxage=0", abort, 502, "upstream-error"},
		{"503 without stale-if-error", "max-age=0", unavailable, 503, "detail=status"},
		{"503 with stale-if-error", "max-age=0, stale-if-error=60", unavailable, 200, "stale-if-error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
				if n > 1 {
					tc.fail(w)
					return
				}
				plain("Cache-Control: "+tc.control, `ETag: "v"`)(w, q, n)
			})
			r := newRig(t, o.URL, nil)
			r.get("/a")
			a := r.get("/a")
			if a.status != tc.status || !strings.Contains(a.cacheStatus(), tc.detail) {
				t.Errorf("got %d, Cache-Status %q; want %d with %q", a.status, a.cacheStatus(), tc.status, tc.detail)
			}
		})
	}
}

func abort(http.ResponseWriter)         { panic(http.ErrAbortHandler) }
func unavailable(w http.ResponseWriter) { w.WriteHeader(503) }

func TestValidation(t *testing.T) { // RFC 9111, 4.3
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("Cache-Control", "max-age=0")
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("X-Seen", fmt.Sprint(n))
		if q.Header.Get("If-None-Match") == `"v1"` {
			w.WriteHeader(304)
			return
		}
		io.WriteString(w, "body")
	})
	r := newRig(t, o.URL, nil)
	r.get("/a")
	a := r.get("/a")
	r.want(a, 200, "body", "fwd=stale; fwd-status=304; stored")
	if a.header.Get("X-Seen") != "2" {
		t.Errorf("the 304's field did not replace the stored one: %q", a.header.Get("X-Seen"))
	}
	if got := r.lastReport().Result.String(); got != "revalidated" {
		t.Errorf("result %q", got)
	}
}

func TestVariants(t *testing.T) { // RFC 9111, 4.1
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "X-Kind")
		io.WriteString(w, "kind "+q.Header.Get("X-Kind"))
	})
	r := newRig(t, o.URL, nil)
	for range 2 {
		for _, kind := range []string{"a", "b", "c"} {
			if a := r.get("/v", "X-Kind: "+kind); a.body != "kind "+kind {
				t.Errorf("kind %s got %q", kind, a.body)
			}
		}
	}
	if got := o.asked.Load(); got != 3 {
		t.Errorf("the origin was asked %d times, want 3", got)
	}
	r.want(r.get("/v", "X-Kind: d"), 200, "kind d", "fwd=vary-miss")
}

func TestAcceptEncodingIsNormalisedForKeyAndOrigin(t *testing.T) {
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "Accept-Encoding")
		io.WriteString(w, "for "+q.Header.Get("Accept-Encoding"))
	})
	r := newRig(t, o.URL, nil)
	first := r.get("/a", "Accept-Encoding: gzip;q=0.9, br, sdch")
	second := r.get("/a", "Accept-Encoding: br,GZIP")
	if first.body != second.body || o.asked.Load() != 1 {
		t.Errorf("two spellings of one wish: %q and %q, %d requests", first.body, second.body, o.asked.Load())
	}
}

func TestStatusTTLAndDefaultTTL(t *testing.T) {
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if q.URL.Path == "/gone" {
			w.WriteHeader(404)
		}
		fmt.Fprintf(w, "%d", n)
	})
	ttl := time.Minute
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{TTL: &ttl, StatusTTL: map[int]time.Duration{}})})
	r.get("/ok")
	r.want(r.get("/ok"), 200, "1", "hit")
	r.get("/gone")
	r.want(r.get("/gone"), 404, "3", "fwd=") // a rule's plain ttl is not for errors

	r = newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{StatusTTL: map[int]time.Duration{404: ttl}})})
	r.get("/gone")
	r.want(r.get("/gone"), 404, "4", "hit")
}

func TestConditionsOfTheRoute(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60", "X-Kind: page"))
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{
		Bypass: `request.headers["x-debug"] == "1"`,
		When:   `response.headers["x-kind"] == "page" && request.path != "/never"`,
	})})
	r.get("/a")
	r.want(r.get("/a"), 200, "answer 1", "hit")
	r.want(r.get("/a", "X-Debug: 1"), 200, "answer 2", "fwd=bypass")
	r.get("/never")
	r.want(r.get("/never"), 200, "answer 4", "detail=when")
}

func TestPartsAreCompleted(t *testing.T) { // RFC 9111, 3.4
	const whole = "0123456789"
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("ETag", `"v1"`)
		http.ServeContent(w, q, "a.txt", time.Time{}, strings.NewReader(whole))
	})
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{CompleteRanges: true})})
	a := r.get("/a", "Range: bytes=0-3")
	r.want(a, 206, "0123", "stored")
	r.want(r.get("/a", "Range: bytes=1-2"), 206, "12", "hit")
	r.want(r.get("/a"), 200, whole, "fwd=partial; fwd-status=206; stored")
	if got := o.last().Header.Get("Range"); got != "bytes=4-" {
		t.Errorf("what was missing was asked for by Range %q", got)
	}
	r.want(r.get("/a"), 200, whole, "hit")
	r.want(r.get("/a", "Range: bytes=8-"), 206, "89", "hit")
}

func TestPartsOfDifferentVersionsAreNotMixed(t *testing.T) {
	bodies := []string{"aaaaaaaaaa", "bbbbbbbbbb"}
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("Cache-Control", "max-age=60")
		version := min(int(n)-1, 1)
		w.Header().Set("ETag", fmt.Sprintf(`"v%d"`, version))
		http.ServeContent(w, q, "a.txt", time.Time{}, strings.NewReader(bodies[version]))
	})
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{CompleteRanges: true})})
	r.want(r.get("/a", "Range: bytes=0-3"), 206, "aaaa", "stored")
	r.want(r.get("/a"), 200, bodies[1], "fwd=partial")
}

func TestPostIsStoredWhereTheRuleSaysSo(t *testing.T) { // RFC 9110, 9.3.3
	o := newShop(t, plain("Cache-Control: max-age=60", "Content-Location: /a"))
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{Store: rules.StoreSpec{Post: true}})})
	r.do("POST", "/a")
	r.want(r.get("/a"), 200, "answer 1", "hit")
	r = newRig(t, o.URL, nil)
	r.do("POST", "/a")
	r.want(r.get("/a"), 200, "answer 3", "fwd=uri-miss")
}

func TestAPostIsStoredAlthoughOtherThingsChangeMeanwhile(t *testing.T) {
	sent, answer := make(chan struct{}, 1), make(chan struct{})
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if q.Method == "POST" {
			sent <- struct{}{}
			<-answer
			w.Header().Set("Content-Location", "/a")
		}
		plain("Cache-Control: max-age=60")(w, q, n)
	})
	for _, tc := range []struct{ changed, body, result string }{
		{"/b", "answer 1", "hit"},
		{"/a", "answer 5", "fwd=uri-miss"}, // what the POST says may be older than that
	} {
		r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{Store: rules.StoreSpec{Post: true}})})
		posted := make(chan struct{})
		go func() {
			defer close(posted)
			r.do("POST", "/a")
		}()
		<-sent
		r.do("DELETE", tc.changed)
		answer <- struct{}{}
		<-posted
		r.want(r.get("/a"), 200, tc.body, tc.result)
	}
}

func TestAHeadThatPassesFreshensWhatIsStored(t *testing.T) { // RFC 9111, 4.3.5
	control := "max-age=0"
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("Cache-Control", control)
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("X-Seen", fmt.Sprint(n))
		w.Header().Set("Content-Length", "4")
		io.WriteString(w, "body")
	})
	r := newRig(t, o.URL, nil)
	r.get("/a")
	control = "no-store"
	r.get("/a")
	control = "max-age=60"
	r.want(r.do("HEAD", "/a"), 200, "", "fwd=")
	if o.last().Method != "HEAD" {
		t.Errorf("the origin saw %s, want HEAD: the key is known to be uncacheable", o.last().Method)
	}
	a := r.get("/a")
	r.want(a, 200, "body", "hit")
	if a.header.Get("X-Seen") != "3" {
		t.Errorf("the stored fields were not updated: X-Seen %q", a.header.Get("X-Seen"))
	}
}

func TestAnUpgradePassesThrough(t *testing.T) { // RFC 9110, 7.8
	o := badorigin.New(t, func(c *badorigin.Conn, q *badorigin.Request) {
		c.Send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello")
		c.Close()
	})
	r := newRig(t, o.URL, nil)
	got := r.raw("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.HasSuffix(got, "hello") || !strings.Contains(got, "detail=upgrade") {
		t.Errorf("got %q", got)
	}
	eventually(t, "the upgrade is reported", func() bool { return r.lastReport().Status == 101 })
	if n := r.proxy.Stats().Fetches; n != 0 {
		t.Errorf("%d fetches under way", n)
	}
}

func TestAPartWhoseRepresentationShrankIsFetchedAnew(t *testing.T) {
	body := "0123456789"
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("Cache-Control", "max-age=60")
		http.ServeContent(w, q, "a.txt", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), strings.NewReader(body))
	})
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{CompleteRanges: true})})
	r.want(r.get("/a", "Range: bytes=0-4"), 206, "01234", "stored")
	body = "new"
	r.want(r.get("/a"), 200, "new", "fwd=partial")
}

func TestADateDoesNotChooseAVariant(t *testing.T) { // RFC 9111, 4.3.1
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "X-Kind")
		w.Header().Set("Last-Modified", "Wed, 01 Jan 2020 00:00:00 GMT")
		if q.Header.Get("If-Modified-Since") != "" {
			w.WriteHeader(304)
			return
		}
		io.WriteString(w, q.Header.Get("X-Kind"))
	})
	r := newRig(t, o.URL, nil)
	r.want(r.get("/a", "X-Kind: a"), 200, "a", "stored")
	r.want(r.get("/a", "X-Kind: b"), 200, "b", "stored")
	if o.asked.Load() != 2 || o.last().Header.Get("If-Modified-Since") != "" {
		t.Errorf("%d requests, the last with If-Modified-Since %q", o.asked.Load(), o.last().Header.Get("If-Modified-Since"))
	}
}

func TestAReloadOfAnImmutableResponseSaysSo(t *testing.T) { // RFC 8246, 2
	o := newShop(t, plain("Cache-Control: max-age=60, immutable"))
	r := newRig(t, o.URL, nil)
	r.get("/a")
	r.want(r.get("/a", "Cache-Control: max-age=0"), 200, "answer 1", "hit; ttl=")
	time.Sleep(1100 * time.Millisecond) // max-age=0 is about responses that are older than that
	r.want(r.get("/a", "Cache-Control: max-age=0"), 200, "answer 1", "detail=immutable")
}
