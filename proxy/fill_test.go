package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/badorigin"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/rules"
)

const clients = 100

// crowd sends the same request from many clients at once and returns their answers. It calls started when all have been sent.
func (r *rig) crowd(n int, path string, started func(), fields ...string) []*answer {
	answers := make([]*answer, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			a, err := r.try(context.Background(), http.MethodGet, path, "", fields...)
			if err != nil {
				a = &answer{err: err, header: http.Header{}}
			}
			answers[i] = a
		})
	}
	started()
	wg.Wait()
	return answers
}

func TestManyClientsOnOneColdKeyMakeOneFetch(t *testing.T) {
	gate := make(chan struct{})
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		<-gate
		plain("Cache-Control: max-age=60")(w, q, n)
	})
	r := newRig(t, o.URL, nil)
	answers := r.crowd(clients, "/cold", func() {
		eventually(t, "the fetch is under way", func() bool { return o.asked.Load() == 1 })
		time.Sleep(300 * time.Millisecond) // let the others arrive while it is
		close(gate)
	})
	for _, a := range answers {
		if a.err != nil || a.body != "answer 1" {
			t.Fatalf("got %q, %v", a.body, a.err)
		}
	}
	if got := o.asked.Load(); got != 1 {
		t.Errorf("the origin was asked %d times, want 1", got)
	}
	if r.proxy.Stats().Collapsed == 0 {
		t.Error("no collapsed request was counted")
	}
}

func TestFollowersReadTheBodyWhileItArrives(t *testing.T) {
	half := strings.Repeat("x", 5<<20)
	gate := make(chan struct{})
	o := badorigin.New(t, badorigin.SlowBody(gate, []string{half, half}, "Cache-Control: max-age=60"))
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{MaxObjectBytes: bytes(16 << 20)})})
	const n = 20
	var first sync.WaitGroup
	first.Add(n)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			res, err := r.client.Get(r.URL + "/big")
			if err != nil {
				t.Error(err)
				first.Done()
				return
			}
			defer res.Body.Close()
			_, err = io.ReadFull(res.Body, make([]byte, 1))
			first.Done()
			rest, err2 := io.Copy(io.Discard, res.Body)
			if err != nil || err2 != nil || rest != int64(2*len(half)-1) {
				t.Errorf("read %d bytes, %v, %v", rest, err, err2)
			}
		})
	}
	gate <- struct{}{}
	first.Wait() // every follower has its first byte, and the origin waits to send the second half
	close(gate)
	wg.Wait()
	if got := o.Count("/big"); got != 1 {
		t.Errorf("the origin was asked %d times", got)
	}
}

func bytes(n int64) *int64 { return &n }

func TestAnUncacheableResponseLetsTheFollowersGoAtOnce(t *testing.T) {
	gate := make(chan struct{})
	var parallel, most atomic.Int64
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if n == 1 {
			<-gate
		} else {
			most.Store(max(most.Load(), parallel.Add(1)))
			time.Sleep(20 * time.Millisecond)
			parallel.Add(-1)
		}
		plain("Cache-Control: no-store")(w, q, n)
	})
	r := newRig(t, o.URL, nil)
	answers := r.crowd(20, "/private", func() {
		eventually(t, "the fetch is under way", func() bool { return o.asked.Load() == 1 })
		time.Sleep(50 * time.Millisecond)
		close(gate)
	})
	seen := map[string]bool{}
	for _, a := range answers {
		if a.err != nil || seen[a.body] {
			t.Errorf("an uncacheable answer was shared: %q, %v", a.body, a.err)
		}
		seen[a.body] = true
	}
	if most.Load() < 3 {
		t.Errorf("at most %d followers asked at the same time: they wait in line", most.Load())
	}
	r.want(r.get("/private"), 200, "answer 21", "detail=no-store")
}

func TestAnUncacheableKeyIsRemembered(t *testing.T) {
	var storable atomic.Bool
	gate := make(chan struct{})
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if n > 1 {
			<-gate
		}
		if storable.Load() {
			plain("Cache-Control: max-age=60")(w, q, n)
			return
		}
		plain("Cache-Control: no-store")(w, q, n)
	})
	r := newRig(t, o.URL, nil)
	r.get("/p")
	r.crowd(5, "/p", func() {
		eventually(t, "nobody waits for another's fetch", func() bool { return o.asked.Load() == 6 })
		close(gate)
	})
	if got := r.lastReport().Reason.String(); got != "no-store" {
		t.Errorf("reason %q", got)
	}
	storable.Store(true)
	r.want(r.get("/p"), 200, "answer 7", "fwd=uri-miss; fwd-status=200; stored; detail=hit-for-miss")
	if got := r.lastReport().Reason; got != rfc9111.ReasonHitForMiss {
		t.Errorf("reason %q of an answer that could be stored", got)
	}
	r.want(r.get("/p"), 200, "answer 7", "hit")
}

func TestAFollowerGivesUpWaiting(t *testing.T) {
	gate := make(chan struct{})
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if n == 1 {
			<-gate
		}
		plain("Cache-Control: max-age=60")(w, q, n)
	})
	wait := 50 * time.Millisecond
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{Collapse: rules.CollapseSpec{Wait: &wait}})})
	var wg sync.WaitGroup
	wg.Go(func() { r.get("/slow") })
	eventually(t, "the first fetch is under way", func() bool { return o.asked.Load() == 1 })
	r.want(r.get("/slow"), 200, "answer 2", "stored; detail=collapse-timeout")
	if got := r.lastReport().Reason; got != rfc9111.ReasonCollapseTimeout {
		t.Errorf("reason %q", got)
	}
	close(gate)
	wg.Wait()
}

func TestABrokenBodyIsNeverStoredAndNeverLooksComplete(t *testing.T) {
	open := make(chan struct{})
	close(open)
	for name, h := range map[string]badorigin.Handler{
		"short body":    badorigin.Short(100, "only this", "Cache-Control: max-age=60"),
		"no last chunk": badorigin.NoLastChunk([]string{"some", "chunks"}, "Cache-Control: max-age=60"),
		"reset":         badorigin.Reset(open, 100, "only this", "Cache-Control: max-age=60"),
	} {
		t.Run(name, func(t *testing.T) {
			o := badorigin.New(t, h)
			r := newRig(t, o.URL, nil)
			for range 2 {
				a, err := r.try(context.Background(), "GET", "/b", "")
				if err == nil && a.err == nil && a.status == 200 {
					t.Errorf("the client got %d %q as if it were complete", a.status, a.body)
				}
			}
			if got := o.Count("/b"); got != 2 {
				t.Errorf("the origin was asked %d times, want 2", got)
			}
			if n := r.cache.Stats().Memory.Entries; n != 0 {
				t.Errorf("%d entries stored", n)
			}
		})
	}
}

func TestAMisbehavingOriginIsAnError(t *testing.T) {
	for name, h := range map[string]badorigin.Handler{
		"garbage":            badorigin.Garbage("this is not HTTP\r\n\r\n"),
		"hangs up":           badorigin.Hangup(),
		"endless head":       badorigin.EndlessHead(),
		"endless line":       badorigin.EndlessLine(),
		"flood of 1xx":       badorigin.Interim(103, 10_000, badorigin.OK("late"), "Link: </a>"),
		"bad content length": badorigin.BadLength("ten", "0123456789"),
		"two content lengths": func(c *badorigin.Conn, _ *badorigin.Request) {
			c.Head(200, "Content-Length: 1", "Content-Length: 2")
			c.Send("ab")
			c.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := badorigin.New(t, h)
			r := newRig(t, o.URL, nil)
			r.want(r.get("/x"), 502, "*", "detail=")
			if got := o.Count("/x"); got > 1 {
				t.Errorf("the origin was asked %d times", got)
			}
		})
	}
}

func TestALongBodyIsCutAtItsLength(t *testing.T) {
	o := badorigin.New(t, badorigin.Long(4, "0123456789", "Cache-Control: max-age=60"))
	r := newRig(t, o.URL, nil)
	r.want(r.get("/l"), 200, "0123", "stored")
	r.want(r.get("/l"), 200, "0123", "hit")
}

func TestInterimResponsesReachTheLeaderAndAreNotStored(t *testing.T) { // RFC 8297; RFC 9110, 15.2
	o := badorigin.New(t, badorigin.Interim(103, 2, badorigin.OK("final", "Cache-Control: max-age=60"), "Link: </style.css>", "X-Early: 1"))
	r := newRig(t, o.URL, nil)
	request := "GET /i HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	first := r.raw(request)
	if strings.Count(first, "103 Early Hints") != 2 || strings.Count(first, "X-Early") != 2 || !strings.Contains(first, "200 OK") {
		t.Errorf("the leader got\n%s", first)
	}
	second := r.raw(request)
	if strings.Contains(second, "103") || strings.Contains(second, "X-Early") || !strings.Contains(second, "; hit") {
		t.Errorf("from the cache came\n%s", second)
	}
}

func TestAClientOfHTTP10GetsNoInterimResponses(t *testing.T) { // RFC 9110, 15.2
	o := badorigin.New(t, badorigin.Interim(103, 1, badorigin.OK("final", "Cache-Control: max-age=60"), "Link: </style.css>"))
	r := newRig(t, o.URL, nil)
	for _, method := range []string{"GET", "POST"} { // a fill and a write
		answer := r.raw(method + " /i HTTP/1.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
		if strings.Contains(answer, "103") || !strings.Contains(answer, "200 OK") {
			t.Errorf("%s: a client of HTTP/1.0 got\n%s", method, answer)
		}
	}
}

func TestATooLargeBodyStreamsThrough(t *testing.T) {
	for _, tc := range []struct{ name, length string }{{"announced", "Content-Length: 3145728"}, {"not announced", "Transfer-Encoding: chunked"}} {
		t.Run(tc.name, func(t *testing.T) {
			body := strings.Repeat("0123456789abcdef", 3<<20/16)
			o := newShop(t, func(w http.ResponseWriter, _ *http.Request, _ int64) {
				w.Header().Set("Cache-Control", "max-age=60")
				if strings.HasPrefix(tc.length, "Content") {
					w.Header().Set("Content-Length", fmt.Sprint(len(body)))
				}
				io.WriteString(w, body)
			})
			r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{MaxObjectBytes: bytes(1 << 20)})})
			for range 2 {
				a := r.get("/large")
				if a.err != nil || a.body != body {
					t.Fatalf("got %d bytes, %v", len(a.body), a.err)
				}
			}
			if got := r.cache.Stats().Memory.Bytes; got > 64<<10 {
				t.Errorf("%d bytes are kept", got)
			}
		})
	}
}

func TestARangeOfATooLargeObjectPassesWithItsRange(t *testing.T) {
	body := strings.Repeat("x", 2<<20)
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, _ int64) {
		w.Header().Set("Cache-Control", "max-age=60")
		http.ServeContent(w, q, "v.bin", time.Time{}, strings.NewReader(body))
	})
	r := newRig(t, o.URL, []rules.Spec{route(rules.CacheSpec{MaxObjectBytes: bytes(1 << 20)})})
	for range 2 {
		a := r.get("/v", "Range: bytes=5-9")
		if a.status != 206 || a.body != "xxxxx" || o.last().Header.Get("Range") != "bytes=5-9" {
			t.Errorf("got %d %q; the origin saw Range %q", a.status, clip(a.body), o.last().Header.Get("Range"))
		}
	}
	if got := o.asked.Load(); got != 3 {
		t.Errorf("the origin was asked %d times; want 3: once whole, then twice with the range", got)
	}
}

func TestAFetchNobodyReadsGoesOnOnlyIfItCanBeStored(t *testing.T) {
	for _, tc := range []struct {
		name, control string
		stored        bool
	}{{"storable", "max-age=60", true}, {"not storable", "no-store", false}} {
		t.Run(tc.name, func(t *testing.T) {
			gate := make(chan struct{})
			gone := make(chan struct{}, 1)
			o := badorigin.New(t, func(c *badorigin.Conn, q *badorigin.Request) {
				c.Head(200, "Content-Length: 10", "Cache-Control: "+tc.control)
				c.Send("01234")
				if c.Wait(gate) {
					c.Send("56789")
				} else {
					gone <- struct{}{}
				}
			})
			r := newRig(t, o.URL, nil)
			ctx, cancel := context.WithCancel(context.Background())
			q, _ := http.NewRequestWithContext(ctx, "GET", r.URL+"/a", nil)
			res, err := r.client.Do(q)
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			res.Body.Close()
			if !tc.stored {
				select {
				case <-gone:
				case <-time.After(5 * time.Second):
					t.Error("the origin is still made to send what nobody wants")
				}
				return
			}
			eventually(t, "the client is gone", func() bool { return r.lastReport().Status == 200 })
			close(gate)
			eventually(t, "the response is stored", func() bool { return r.cache.Stats().Memory.Entries == 1 })
			r.want(r.get("/a"), 200, "0123456789", "hit")
		})
	}
}

// TestClientsThatGoAwayAtEveryPoint reads a streamed miss up to every byte, goes away, and looks whether the others suffer.
func TestClientsThatGoAwayAtEveryPoint(t *testing.T) {
	const body = "0123456789abcdefghijklmnopqrstuvwxyz"
	o := newShop(t, func(w http.ResponseWriter, _ *http.Request, _ int64) {
		w.Header().Set("Cache-Control", "max-age=60")
		for i := range len(body) {
			io.WriteString(w, body[i:i+1])
			w.(http.Flusher).Flush()
			time.Sleep(200 * time.Microsecond) // so that clients go away before all has come
		}
	})
	r := newRig(t, o.URL, nil)
	var wg sync.WaitGroup
	for at := range len(body) {
		path := fmt.Sprintf("/cancel/%d", at)
		for range 3 {
			wg.Go(func() {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				q, _ := http.NewRequestWithContext(ctx, "GET", r.URL+path, nil)
				res, err := r.client.Do(q)
				if err != nil {
					t.Error(err)
					return
				}
				defer res.Body.Close()
				_, _ = io.ReadFull(bufio.NewReaderSize(res.Body, 16), make([]byte, at))
			})
		}
		wg.Go(func() {
			a, err := r.try(context.Background(), "GET", path, "")
			if err != nil || a.err != nil || a.body != body {
				t.Errorf("%s: a client that stayed got %v, %+v", path, err, a)
			}
		})
	}
	wg.Wait()
	for at := range len(body) {
		path := fmt.Sprintf("/cancel/%d", at)
		if a := r.get(path); a.body != body {
			t.Errorf("%s: %q is served", path, a.body)
		}
	}
}

func TestTwoVariantsOfOneColdKeyMakeTwoFetches(t *testing.T) {
	gate := make(chan struct{})
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if n == 1 {
			<-gate
		}
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "X-Kind")
		time.Sleep(20 * time.Millisecond)
		io.WriteString(w, q.Header.Get("X-Kind"))
	})
	r := newRig(t, o.URL, nil)
	var wg sync.WaitGroup
	for _, kind := range []string{"a", "b"} {
		wg.Go(func() {
			for _, a := range r.crowd(20, "/v", func() {}, "X-Kind: "+kind) {
				if a.body != kind {
					t.Errorf("a client that wants %s got %q", kind, a.body)
				}
			}
		})
	}
	eventually(t, "a fetch is under way", func() bool { return o.asked.Load() == 1 })
	time.Sleep(50 * time.Millisecond)
	close(gate)
	wg.Wait()
	if got := o.asked.Load(); got != 2 {
		t.Errorf("the origin was asked %d times, want 2", got)
	}
}

func TestTooManyFetchesAreRefused(t *testing.T) {
	gate := make(chan struct{})
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		<-gate
		plain("Cache-Control: max-age=60")(w, q, n)
	})
	r := newRig(t, o.URL, nil, func(p *proxy.Plan, _ *rules.Options) { p.Limits.ConcurrentFetches = 1 })
	var wg sync.WaitGroup
	wg.Go(func() { r.get("/one") })
	eventually(t, "a fetch is under way", func() bool { return o.asked.Load() == 1 })
	a := r.get("/two")
	r.want(a, 503, "*", "detail=concurrency")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	close(gate)
	wg.Wait()
}

func TestAPanicBecomes500AndIsCounted(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=60"))
	r := newRig(t, o.URL, nil)
	plan := r.plan(nil)
	plan.Sites[0].Origin = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a bug") })
	r.proxy.Use(plan)
	r.want(r.get("/miss"), 500, "*", "detail=panic")
	r.want(r.do("POST", "/write"), 500, "*", "detail=panic")
	if got := r.proxy.Stats().Panics; got != 2 {
		t.Errorf("%d panics counted, want 2", got)
	}
}

// TestALateAnswerOutlivesTheServersWriteTimeout: the server's write time-out runs from the request on; an origin that takes longer
// than that must still be heard.
func TestALateAnswerOutlivesTheServersWriteTimeout(t *testing.T) {
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		time.Sleep(5500 * time.Millisecond)
		plain("Cache-Control: max-age=60")(w, q, n)
	})
	r := newRig(t, o.URL, nil)
	server := httptest.NewUnstartedServer(r.proxy)
	server.Config.WriteTimeout = 5200 * time.Millisecond
	server.Start()
	defer server.Close()
	var wg sync.WaitGroup
	for _, method := range []string{"GET", "HEAD", "POST"} {
		wg.Go(func() {
			q, _ := http.NewRequest(method, server.URL+"/"+method, nil)
			res, err := r.client.Do(q)
			if err != nil {
				t.Errorf("%s: %v", method, err)
				return
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 {
				t.Errorf("%s: %d %q, %v", method, res.StatusCode, body, err)
			}
		})
	}
	wg.Wait()
}
