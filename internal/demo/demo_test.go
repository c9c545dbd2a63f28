package demo_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/cacheproxy/cacheproxy/internal/demo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ask(h http.Handler, method, target string, header ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(r *http.Response) string {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return "(body: " + err.Error() + ")"
	}
	return string(b)
}

func TestPages(t *testing.T) {
	tests := []struct {
		method, target, sent, value string
		status                      int
		fields                      map[string]string // "" means absent
		holds                       string
	}{
		{"GET", "/", "", "", 200, map[string]string{"Cache-Control": "max-age=10, stale-while-revalidate=30", "ETag": `W/"home-v1"`}, "asked 1 times, 1 of them for this page"},
		{"HEAD", "/", "", "", 200, map[string]string{"ETag": `W/"home-v1"`}, ""},
		{"GET", "/", "If-None-Match", `W/"home-v1"`, 304, map[string]string{"ETag": `W/"home-v1"`}, ""},
		{"GET", "/products/1", "", "", 200, map[string]string{"Cache-Control": "max-age=60", "ETag": `W/"product-1-v1"`, "Last-Modified": "Sat, 01 Jan 2000 00:00:00 GMT"}, "Teapot"},
		{"GET", "/products/1", "If-None-Match", `"x", W/"product-1-v1"`, 304, nil, ""},
		{"GET", "/products/1", "If-None-Match", `"x"`, 200, nil, "Teapot"},
		{"GET", "/products/1", "If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT", 304, nil, ""},
		{"GET", "/products/1", "If-Modified-Since", "Fri, 31 Dec 1999 23:59:59 GMT", 200, nil, "Teapot"},
		{"GET", "/products/7", "", "", 404, map[string]string{"Cache-Control": "max-age=5"}, ""},
		{"GET", "/products/x", "", "", 404, nil, ""},
		{"POST", "/products/1?price=9.99", "", "", 303, map[string]string{"Location": "/products/1"}, "9.99"},
		{"POST", "/products/1?price=NaN", "", "", 400, nil, "price=9.99"},
		{"POST", "/products/1?price=0", "", "", 400, nil, "price=9.99"},
		{"POST", "/products/9?price=1", "", "", 404, nil, ""},
		{"GET", "/api/prices", "", "", 200, map[string]string{"Cache-Control": "max-age=2, stale-if-error=3600", "Content-Type": "application/json"}, `"price":12.5`},
		{"GET", "/login", "", "", 200, map[string]string{"Cache-Control": "no-store"}, "<form"},
		{"POST", "/login?user=alice", "", "", 303, map[string]string{"Cache-Control": "no-store", "Set-Cookie": "user=alice; Path=/; HttpOnly; SameSite=Lax"}, ""},
		{"POST", "/login?user=%0d%0a", "", "", 400, map[string]string{"Set-Cookie": ""}, ""},
		{"GET", "/account", "", "", 200, map[string]string{"Cache-Control": "private"}, "You are nobody"},
		{"GET", "/account", "Cookie", "user=<b>", 200, nil, "You are &lt;b&gt;."},
		{"GET", "/slow", "", "", 200, map[string]string{"Cache-Control": "max-age=30"}, "Slow"},
		{"GET", "/images/logo.svg", "", "", 200, map[string]string{"ETag": `"logo-v1"`, "Accept-Ranges": "bytes", "Content-Type": "image/svg+xml"}, "<svg"},
		{"GET", "/images/logo.svg", "Range", "bytes=1-3", 206, nil, "svg"},
		{"GET", "/nowhere", "", "", 404, map[string]string{"Cache-Control": ""}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // for its clock, which begins with the year 2000
				res := ask(demo.Handler(), tt.method, tt.target, tt.sent, tt.value)
				got := body(res)
				if res.StatusCode != tt.status {
					t.Errorf("status %d, want %d", res.StatusCode, tt.status)
				}
				for name, want := range tt.fields {
					if v := res.Header.Get(name); v != want {
						t.Errorf("%s: %q, want %q", name, v, want)
					}
				}
				if !strings.Contains(got, tt.holds) {
					t.Errorf("body has no %q:\n%s", tt.holds, got)
				}
			})
		})
	}
}

func TestSlowTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ask(demo.Handler(), "GET", "/slow")
		if took := time.Since(start); took != 300*time.Millisecond {
			t.Errorf("took %v, want 300ms", took)
		}
	})
}

func TestPricesMoveEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := demo.Handler()
		first := body(ask(h, "GET", "/api/prices"))
		time.Sleep(time.Second)
		_, was, _ := strings.Cut(first, `"prices"`)
		_, is, _ := strings.Cut(body(ask(h, "GET", "/api/prices")), `"prices"`)
		if was == "" || was == is {
			t.Errorf("prices did not move: %s", is)
		}
	})
}

func TestAWriteChangesTheValidators(t *testing.T) {
	h := demo.Handler()
	ask(h, "POST", "/products/2?price=1")
	for target, want := range map[string]string{"/products/2": `W/"product-2-v2"`, "/products/1": `W/"product-1-v1"`, "/": `W/"home-v2"`} {
		if got := ask(h, "GET", target).Header.Get("ETag"); got != want {
			t.Errorf("%s: ETag %s, want %s", target, got, want)
		}
	}
}

// The tour names only what exists, and while the origin is down it is down.
func TestRunAndTour(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- demo.Run(ctx, l) }()
	base := "http://" + l.Addr().String()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr}

	text := demo.Tour(base + "/")
	paths, down := 0, false
	for word := range strings.FieldsSeq(text) {
		if !strings.HasPrefix(word, base) {
			continue
		}
		paths++
		u, err := url.Parse(word)
		if err != nil || strings.Contains(u.Path, "//") {
			t.Errorf("the tour has %q: %v", word, err)
			continue
		}
		method := "GET"
		if u.Path == "/admin/down" {
			method, down = "POST", !down
		}
		req, _ := http.NewRequest(method, word, nil)
		res, err := client.Do(req)
		broken := down && method == "GET"
		switch {
		case broken && err == nil:
			t.Errorf("%s %s while down: status %d, want a broken connection", method, word, res.StatusCode)
		case !broken && err != nil:
			t.Errorf("%s %s: %v", method, word, err)
		case err == nil && res.StatusCode != 200:
			t.Errorf("%s %s: status %d", method, word, res.StatusCode)
		}
		if err == nil {
			res.Body.Close()
		}
	}
	if down {
		t.Error("the tour leaves the origin down")
	}
	if paths < 5 {
		t.Errorf("the tour names %d addresses:\n%s", paths, text)
	}

	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}
