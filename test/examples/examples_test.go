package examples

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestWordPress(t *testing.T) {
	var down atomic.Bool
	o := newOrigin(t)
	c := serve(t, "wordpress.yaml", map[string]*httptest.Server{
		"http://127.0.0.1:3000": o.start(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case down.Load():
				w.WriteHeader(http.StatusInternalServerError)
			case r.URL.Path == "/absent/":
				w.WriteHeader(http.StatusNotFound)
			case r.URL.Path == "/old/":
				w.Header().Set("Age", "3600") // older than the ttl of pages
			}
			fmt.Fprint(w, r.Header.Get("Cookie"))
		}),
	})

	t.Log("what campaigns add to a link makes no other page")
	c.get("/hello/?p=1&utm_source=mail").is(200, "fwd=uri-miss", "stored")
	o.saw("GET", "/hello/?p=1")
	c.get("/hello/?fbclid=x&p=1").is(200, "hit")
	o.sawNothing()

	t.Log("who is logged in gets his page from WordPress, and nobody else gets it")
	cookie := "theme=dark; wordpress_logged_in_0a1b=eve"
	c.get("/hello/?p=1", "Cookie: "+cookie).is(200, "fwd=bypass", "detail=bypass").says(cookie)
	o.saw("GET", "/hello/?p=1")
	c.get("/hello/?p=1", "Cookie: theme=dark").is(200, "hit").says("")
	o.sawNothing()

	t.Log("the dashboard is not cached")
	for range 2 {
		c.get("/wp-admin/index.php").is(200, "fwd=bypass", "detail=pattern-off")
		o.saw("GET", "/wp-admin/index.php")
	}

	t.Log("a page that is not there is asked for once in a while")
	c.get("/absent/").is(404, "stored")
	o.saw("GET", "/absent/")
	c.get("/absent/").is(404, "hit")
	o.sawNothing()

	t.Log("an old page is better than none")
	c.get("/old/").is(200, "stored")
	o.saw("GET", "/old/")
	down.Store(true)
	c.get("/old/").is(200, "fwd-status=500", "detail=stale-if-error")
	o.saw("GET", "/old/")
}

func TestJSONAPI(t *testing.T) {
	o := newOrigin(t)
	var checked [3]atomic.Bool
	targets := map[string]*httptest.Server{}
	for i := range checked {
		answer := o.start(func(w http.ResponseWriter, r *http.Request) { answerJSON(w, r, i) })
		// Checks come when they like, so they are not among what the origin saw.
		all := answer.Config.Handler
		answer.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/healthz" {
				checked[i].Store(true)
				return
			}
			all.ServeHTTP(w, r)
		})
		targets[fmt.Sprintf("http://127.0.0.1:%d", 3000+i)] = answer
	}
	c := serve(t, "json-api.yaml", targets)

	t.Log("tenants share no answer")
	c.get("/orders", "X-Tenant: a").is(200, "stored").says("tenant a")
	o.saw("GET", "/orders")
	c.get("/orders", "X-Tenant: b").is(200, "stored").says("tenant b")
	o.saw("GET", "/orders")

	t.Log("a write goes through and purges its URL, for all tenants")
	c.do("PUT", "/orders", "X-Tenant: a").is(200, "fwd=method", "detail=method")
	o.saw("PUT", "/orders")
	c.get("/orders", "X-Tenant: b").is(200, "stored").says("tenant b")
	o.saw("GET", "/orders")

	t.Log("what is no JSON is not stored")
	c.get("/export.csv").is(200, "detail=when")
	o.saw("GET", "/export.csv")

	t.Log("an old answer is given at once, and renewed behind")
	c.get("/old").is(200, "stored")
	o.saw("GET", "/old")
	c.get("/old").is(200, "hit", "detail=stale-while-revalidate")
	o.saw("GET", "/old")

	t.Log("each key has its server, and all servers have keys")
	used, same := map[string]int{}, 0
	for tenant := range 30 {
		field := fmt.Sprintf("X-Tenant: %d", tenant)
		server := c.get("/live", field).is(200).header.Get("X-Server")
		used[server]++
		for range 2 {
			if c.get("/live", field).is(200, "detail=no-store").header.Get("X-Server") == server {
				same++
			}
		}
	}
	if len(used) != len(checked) {
		t.Errorf("servers and their number of tenants: %v, want %d servers", used, len(checked))
	}
	// Not all 60: a server whose last answer is just being finished counts as busy, and passes one on.
	if same < 48 {
		t.Errorf("%d of 60 requests were sent where the tenant's first was, want nearly all", same)
	}

	t.Log("servers are checked, and one that goes away is not missed")
	for deadline := time.Now().Add(patience); !checked[0].Load() || !checked[1].Load() || !checked[2].Load(); {
		if time.Now().After(deadline) {
			t.Fatal("not all servers have been checked")
		}
		time.Sleep(10 * time.Millisecond)
	}
	targets["http://127.0.0.1:3001"].Close()
	for tenant := range 30 {
		c.get("/live", fmt.Sprintf("X-Tenant: %d", tenant)).is(200)
	}
}

func answerJSON(w http.ResponseWriter, r *http.Request, server int) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Server", fmt.Sprint(server))
	switch r.URL.Path {
	case "/export.csv":
		w.Header().Set("Content-Type", "text/csv")
	case "/live":
		w.Header().Set("Cache-Control", "no-store")
	case "/old":
		w.Header().Set("Age", "10") // older than the ttl
	}
	fmt.Fprint(w, "tenant ", r.Header.Get("X-Tenant"))
}

func TestImageHost(t *testing.T) {
	large := bytes.Repeat([]byte("0123456789abcdef"), 9<<20/16) // more than is stored by default
	o := newOrigin(t)
	c := serve(t, "image-host.yaml", map[string]*httptest.Server{
		"http://127.0.0.1:3000": o.start(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Powered-By", "scaler 1.2")
			w.Header().Set("Content-Type", "image/avif")
			w.Header().Set("ETag", `"1"`)
			if r.URL.Path == "/images/large.avif" {
				w.Write(large)
				return
			}
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader("0123456789"))
		}),
	})

	t.Log("of the query only the size and the format count, and reach the server")
	c.get("/images/a.avif?w=100&x=1", "Cookie: id=eve").is(200, "stored")
	if r := o.saw("GET", "/images/a.avif?w=100"); r.Header.Get("Cookie") != "" {
		t.Errorf("the server got the cookie %q, want none", r.Header.Get("Cookie"))
	}
	a := c.get("/images/a.avif?x=2&w=100").is(200, "hit")
	o.sawNothing()
	c.get("/images/a.avif?w=200").is(200, "fwd=uri-miss", "stored")
	o.saw("GET", "/images/a.avif?w=200")

	t.Log("header rules hold for what comes from the cache")
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "cross-origin", "X-Powered-By": ""} {
		if got := a.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}

	t.Log("a large picture is stored")
	c.get("/images/large.avif").is(200, "stored")
	o.saw("GET", "/images/large.avif")
	c.get("/images/large.avif").is(200, "hit").says(string(large))
	o.sawNothing()

	t.Log("of a picture of which a part is stored, only the rest is fetched")
	c.get("/images/b.avif", "Range: bytes=0-3").is(206).says("0123")
	o.saw("GET", "/images/b.avif")
	c.get("/images/b.avif").is(200).says("0123456789")
	if r := o.saw("GET", "/images/b.avif"); r.Header.Get("Range") != "bytes=4-9" && r.Header.Get("Range") != "bytes=4-" {
		t.Errorf("the server was asked for the range %q, want the rest", r.Header.Get("Range"))
	}
	c.get("/images/b.avif").is(200, "hit").says("0123456789")
	o.sawNothing()
}

func TestSPA(t *testing.T) {
	var build atomic.Int64
	web, api := newOrigin(t), newOrigin(t)
	c := serve(t, "spa.yaml", map[string]*httptest.Server{
		"http://127.0.0.1:3000": web.start(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/assets/app.3f9ac1.js":
				w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
				w.Header().Set("Age", "10") // so that max-age=0 of a reload asks for a younger one
				fmt.Fprint(w, "script")
			case r.URL.Path == "/assets/logo.91bd02.svg":
				fmt.Fprint(w, "picture") // about which the web server says nothing
			case strings.HasPrefix(r.URL.Path, "/assets/"):
				w.WriteHeader(http.StatusNotFound)
			default:
				w.Header().Set("ETag", fmt.Sprintf(`"%d"`, build.Load()))
				// Changed long ago: by the heuristics of RFC 9111 it would be fresh for days.
				w.Header().Set("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT")
				http.ServeContent(w, r, "index.html", time.Time{}, strings.NewReader(fmt.Sprint("build ", build.Load())))
			}
		}),
		"http://127.0.0.1:3001": api.start(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "max-age=60")
			io.WriteString(w, "user")
		}),
	})

	t.Log("assets are kept, whatever the query, and a reload does not change that")
	c.get("/assets/app.3f9ac1.js").is(200, "stored")
	web.saw("GET", "/assets/app.3f9ac1.js")
	a := c.get("/assets/app.3f9ac1.js?v=2", "Cache-Control: max-age=0").is(200, "hit")
	if got := a.header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("an asset reaches browsers with Cache-Control %q, want the web server's", got)
	}
	web.sawNothing()

	c.get("/assets/logo.91bd02.svg").is(200, "stored")
	web.saw("GET", "/assets/logo.91bd02.svg")
	c.get("/assets/logo.91bd02.svg").is(200, "hit")
	web.sawNothing()

	t.Log("an asset that is not there yet is asked for again")
	for range 2 {
		c.get("/assets/app.77e012.js").is(404)
		web.saw("GET", "/assets/app.77e012.js")
	}

	t.Log("index.html is confirmed each time, and a deployment is seen at once")
	c.get("/users/1").is(200, "stored").says("build 0")
	web.saw("GET", "/users/1")
	a = c.get("/users/1").is(200, "fwd-status=304", "stored")
	a.says("build 0")
	if got := a.header.Get("Cache-Control"); got != "no-cache" {
		t.Errorf("index.html reaches browsers with Cache-Control %q, want no-cache", got)
	}
	if r := web.saw("GET", "/users/1"); r.Header.Get("If-None-Match") != `"0"` {
		t.Errorf("index.html was validated with If-None-Match %s, want %q", r.Header.Get("If-None-Match"), `"0"`)
	}
	build.Store(1)
	c.get("/users/1").is(200, "stored").says("build 1")
	web.saw("GET", "/users/1")

	t.Log("the API is not cached")
	for range 2 {
		c.get("/api/users/1?full=1").is(200, "detail=pattern-off").says("user")
		api.saw("GET", "/api/users/1?full=1")
	}
	web.sawNothing()
}
