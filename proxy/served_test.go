package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rules"
)

// TestMiddlewareShowsRequestsAsAServerDoes: what a handler sees of a request, through a miss, a pass and a write.
func TestMiddlewareShowsRequestsAsAServerDoes(t *testing.T) {
	type key struct{}
	mux := http.NewServeMux()
	mux.HandleFunc("/{id}/x", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, server := r.Context().Value(http.ServerContextKey).(*http.Server)
		fmt.Fprintf(w, "%s %s path=%q raw=%q abs=%v uri=%q host=%v id=%q value=%v server=%v peer=%v conn=%q te=%q",
			r.Method, r.Proto, r.URL.Path, r.URL.RawPath, r.URL.IsAbs(), r.RequestURI, r.Host != "", r.PathValue("id"),
			r.Context().Value(key{}), server, r.RemoteAddr != "", r.Header["Connection"], r.Header["Te"])
	})
	g := guard(t, mux, proxy.MiddlewareOptions{}, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, "kept")))
		})
	})
	const form = `%s HTTP/1.1 path=%q raw=%q abs=false uri=%q host=true id=%q value=kept server=true peer=true conn=[] te=[]`
	g.want(g.do("GET", "/a%20b/x?q=%2F", "Connection: te", "Te: trailers"), 200, fmt.Sprintf(form, "GET", "/a b/x", "", "/a%20b/x?q=%2F", "a b"), "fwd=uri-miss")
	g.want(g.do("GET", "/a%2Fb/x"), 200, fmt.Sprintf(form, "GET", "/a/b/x", "/a%2Fb/x", "/a%2Fb/x", "a/b"), "fwd=uri-miss")
	g.want(g.do("POST", "/p/x?q"), 200, fmt.Sprintf(form, "POST", "/p/x", "", "/p/x?q", "p"), "fwd=method")
	// A request for the head of what is not stored fetches the whole (RFC 9110, 9.3.2).
	g.want(g.do("HEAD", "/h/x"), 200, "", "fwd=uri-miss; fwd-status=200; stored")
	g.want(g.do("GET", "/h/x"), 200, fmt.Sprintf(form, "GET", "/h/x", "", "/h/x", "h"), "cacheproxy; ")
}

// TestMiddlewareHidesHopByHopFields: what Connection names (RFC 9110, 7.6.1) is neither in a key nor in Vary, so a handler that chose its
// answer by it would poison the cache.
func TestMiddlewareHidesHopByHopFields(t *testing.T) {
	g := guard(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "Accept-Language")
		fmt.Fprintf(w, "in %q", r.Header.Get("Accept-Language"))
	}), proxy.MiddlewareOptions{})
	g.want(g.do("GET", "/", "Accept-Language: de", "Connection: Accept-Language"), 200, `in ""`, "fwd=uri-miss")
	g.want(g.do("GET", "/"), 200, `in ""`, "hit")
	g.want(g.do("GET", "/", "Accept-Language: de"), 200, `in "de"`, "fwd=vary-miss")
}

// TestMiddlewareStreams: what a handler flushes reaches the client before it goes on, stored or not.
func TestMiddlewareStreams(t *testing.T) {
	release := make(chan struct{})
	g := guard(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "stored") {
			w.Header().Set("Cache-Control", "max-age=60")
		} else {
			w.Header().Set("Content-Type", "text/event-stream")
			w.Header().Set("Cache-Control", "no-store")
		}
		f, ok := w.(http.Flusher)
		if !ok {
			t.Error("the writer is no Flusher")
			return
		}
		fmt.Fprint(w, "<p>one")
		f.Flush()
		<-release
		fmt.Fprint(w, " two")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	}), proxy.MiddlewareOptions{Routes: []rules.Spec{{Name: "off", Match: rules.MatchSpec{Paths: []string{"/off*"}}, Cache: &rules.CacheSpec{Pattern: "off"}}}})
	for _, path := range []string{"/stored", "/events", "/off", "/off-stored"} {
		resp, err := http.Get(g.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 6)
		if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "<p>one" {
			t.Errorf("%s: %q, %v before the handler went on", path, first, err)
		}
		release <- struct{}{}
		rest, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(rest) != " two" || err != nil {
			t.Errorf("%s: then %q, %v", path, rest, err)
		}
		if kind := resp.Header.Get("Content-Type"); strings.HasSuffix(path, "stored") && kind != "text/html; charset=utf-8" {
			t.Errorf("%s: Content-Type %q, want what net/http finds out", path, kind)
		}
	}
}

// TestMiddlewareUpgrades: a handler takes an upgraded connection over, directly or by http.ResponseController.
func TestMiddlewareUpgrades(t *testing.T) {
	g := guard(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hijack := http.NewResponseController(w).Hijack
		if r.URL.Path == "/direct" {
			h, ok := w.(http.Hijacker)
			if !ok {
				t.Error("the writer is no Hijacker")
				return
			}
			hijack = h.Hijack
		}
		c, rw, err := hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		line, _ := rw.ReadString('\n')
		fmt.Fprint(c, "echo "+line)
	}), proxy.MiddlewareOptions{})
	for _, path := range []string{"/direct", "/controller"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(g.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nhello\n", path)
		in := bufio.NewReader(c)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "chat" {
			t.Errorf("%s: %v, %v", path, resp, err)
		}
		if line, err := in.ReadString('\n'); line != "echo hello\n" {
			t.Errorf("%s: %q, %v", path, line, err)
		}
		c.Close()
	}
}

// TestMiddlewareTrailers reach the client of a miss and of a pass, announced or not (RFC 9110, 6.5).
func TestMiddlewareTrailers(t *testing.T) {
	g := guard(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprint(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", "1")
		w.Header().Set(http.TrailerPrefix+"X-Late", "2")
	}), proxy.MiddlewareOptions{})
	for _, method := range []string{"GET", "POST"} {
		a := g.do(method, "/")
		if a.body != "body" || len(a.header["Trailer:X-Sum"]) != 1 || len(a.header["Trailer:X-Late"]) != 1 {
			t.Errorf("%s: %q, %v", method, a.body, a.header)
		}
	}
}

// TestMiddlewareAnswersAsAServerDoes where a handler leaves things to net/http.
func TestMiddlewareAnswersAsAServerDoes(t *testing.T) {
	handlers := map[string]http.HandlerFunc{
		"/nothing": func(w http.ResponseWriter, r *http.Request) {},
		"/status":  func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(202) },
		"/empty":   func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204); _, _ = w.Write([]byte("x")) },
		"/html":    func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404); fmt.Fprint(w, "<html>no") },
		"/twice": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(201)
			w.WriteHeader(500)
			fmt.Fprint(w, "x")
		},
		"/png":     func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "\x89PNG\x0D\x0A\x1A\x0A") },
		"/untyped": func(w http.ResponseWriter, r *http.Request) { w.Header()["Content-Type"] = nil; fmt.Fprint(w, "x") },
		"/encoded": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			fmt.Fprint(w, "x")
		},
		"/typed": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "a/b")
			fmt.Fprint(w, "x")
		},
		"/content": func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "a.css", time.Unix(1e9, 0), strings.NewReader("a{}"))
		},
		"/small": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, strings.Repeat("x", 1000))
			fmt.Fprint(w, strings.Repeat("y", 1048))
		},
		"/large": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "<p>", strings.Repeat("x", 1000))
			fmt.Fprint(w, strings.Repeat("y", 1<<20))
		},
		"/redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) },
	}
	mux := http.NewServeMux()
	for path, h := range handlers {
		mux.HandleFunc(path, h)
	}
	g, bare := guard(t, mux, proxy.MiddlewareOptions{}), httptest.NewServer(mux)
	defer bare.Close()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for path := range handlers {
		for _, method := range []string{"GET", "POST", "HEAD"} {
			var got [2]string
			for i, url := range []string{bare.URL, g.URL} {
				r, _ := http.NewRequest(method, url+path, nil)
				resp, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				h := resp.Header
				for _, name := range []string{"Date", "Cache-Status", "Age"} {
					h.Del(name)
				}
				length := resp.ContentLength
				if method == "HEAD" {
					length = 0 // what a handler does not say of it, net/http says only of some
					h.Del("Content-Length")
				}
				got[i] = fmt.Sprint(resp.Status, " ", h, " ", length, " ", string(body), err)
			}
			if got[0] != got[1] {
				t.Errorf("%s %s\nwithout: %s\nwith:    %s", method, path, got[0], got[1])
			}
		}
	}
	client.CloseIdleConnections()
}

// TestMiddlewareBehindStripPrefix: what moves a request before the cache moves it for the handler too, and no two spellings of a URL that
// are moved to different places share a response.
func TestMiddlewareBehindStripPrefix(t *testing.T) {
	g := guard(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprintf(w, "%s?%s", r.URL.Path, r.URL.RawQuery)
	}), proxy.MiddlewareOptions{}, func(next http.Handler) http.Handler { return http.StripPrefix("/api", next) })
	g.want(g.do("GET", "/api/x?q=1"), 200, "/x?q=1", "fwd=uri-miss")
	g.want(g.do("GET", "/api/x?q=1"), 200, "/x?q=1", "hit")
	for _, target := range []string{"/api/../api/y", "/api/%79", "/api/./y"} {
		if a := raw(t, g.URL, target); a.cacheStatus() != "" {
			t.Errorf("%s goes through the cache: %q, %q", target, a.body, a.cacheStatus())
		}
	}
	if a := raw(t, g.URL, g.URL+"/api/y"); a.body != "/y?" {
		t.Errorf("the absolute form leads to %q", a.body)
	}
	g.want(g.do("GET", "/api/y"), 200, "/y?", "hit")
}

// raw sends a request target as it is.
func raw(t *testing.T, server, target string) *answer {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, strings.TrimPrefix(server, "http://"))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return &answer{resp.StatusCode, resp.Header, string(body), err}
}
