package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

func TestConditionsByEitherTag(t *testing.T) {
	for _, weak := range []string{"", "W/"} {
		origin := newShop(t, page("Cache-Control: max-age=60", "ETag: "+weak+`"abc"`))
		r := newRig(t, origin.URL, nil, encoding)
		r.warm("/", "br")
		for _, test := range []struct {
			match, accept string
			status        int
			etag          string
		}{
			{`"abc-br"`, "br", 304, `"abc-br"`},
			{`W/"abc-br"`, "br", 304, `"abc-br"`},
			{`"abc"`, "br", 304, `"abc"`}, // the client holds the response as it is
			{`"abc"`, "identity", 304, `"abc"`},
			{`"abc-br"`, "identity", 304, `"abc-br"`},
			{`"abc", "abc-br"`, "br", 304, `"abc-br"`},
			{`"abc-gzip"`, "gzip", 304, `"abc-gzip"`}, // made once, and gone: the content is the same
			{`*`, "br", 304, `"abc-br"`},
			{`"abd", "ab-br"`, "br", 200, `"abc-br"`},
			{`"abd"`, "identity", 200, `"abc"`},
		} {
			a := r.get("/", "If-None-Match: "+test.match, "Accept-Encoding: "+test.accept)
			if a.status != test.status || a.header.Get("Etag") != weak+test.etag || a.header.Get("Vary") != "Accept-Encoding" {
				t.Errorf("%s%s with %s: %d %v, want %d %s", weak, test.match, test.accept, a.status, a.header, test.status, test.etag)
			}
			if a.status == 304 && a.header.Get("Content-Encoding") != "" {
				t.Errorf("%s: a 304 with Content-Encoding", test.match)
			}
		}
	}
}

func TestTheTagOfAFormAtAMiss(t *testing.T) {
	origin := newShop(t, page("Cache-Control: max-age=60", `ETag: "abc"`))
	r := newRig(t, origin.URL, nil, encoding)
	a := r.get("/", `If-None-Match: "abc-br"`, "Accept-Encoding: br")
	if a.status != 304 || a.header.Get("Etag") != `"abc-br"` {
		t.Errorf("%d %v", a.status, a.header)
	}
	if got := origin.last().Header.Get("If-None-Match"); got != "" {
		t.Errorf("the origin was asked about %s", got)
	}
}

func TestRangesAreOfTheIdentity(t *testing.T) {
	origin := newShop(t, page("Cache-Control: max-age=60", `ETag: "abc"`, "Accept-Ranges: bytes"))
	r := newRig(t, origin.URL, nil, encoding)
	r.warm("/", "br")
	for _, test := range []struct {
		fields []string
		status int
		coding string
	}{
		{[]string{"Range: bytes=10-19"}, 206, ""},
		{[]string{"Range: bytes=10-19,30-39"}, 206, ""},
		{[]string{"Range: bytes=10-19", `If-Range: "abc"`}, 206, ""},
		{[]string{"Range: bytes=10-19", `If-Range: "abc-br"`}, 200, "br"},
		{[]string{"Range: bytes=10-19", `If-Range: "abc-gzip"`}, 200, "br"},
		{[]string{"Range: lines=1-2"}, 200, "br"},
		{[]string{"Range: bytes=100000000-"}, 416, ""},
	} {
		a := r.get("/", append(test.fields, "Accept-Encoding: br")...)
		if a.status != test.status || a.header.Get("Content-Encoding") != test.coding {
			t.Errorf("%q: %d %v", test.fields, a.status, a.header)
		}
		want := `"abc"`
		if test.coding != "" {
			want = `"abc-br"`
		}
		if a.header.Get("Etag") != want {
			t.Errorf("%q: ETag %s", test.fields, a.header.Get("Etag"))
		}
		if a.status == 206 && strings.Contains(a.header.Get("Content-Range"), "10-19") && a.body != pageText(1)[10:20] {
			t.Errorf("%q: %q", test.fields, a.body)
		}
	}
}

// All forms of a response have one date: it does not tell which of them a client holds that accepts more than one (RFC 9110, 13.1.5).
func TestIfRangeByDate(t *testing.T) {
	const modified = "Mon, 01 Jan 2024 10:00:00 GMT"
	origin := newShop(t, page("Cache-Control: max-age=60", "Last-Modified: "+modified))
	r := newRig(t, origin.URL, nil, encoding)
	r.warm("/", "br")
	for path, forms := range map[string][2]string{"/": {"br", ""}, "/new": {"", ""}} {
		for i, accept := range []string{"br", "identity"} {
			a := r.get(path, "Range: bytes=10-19", "If-Range: "+modified, "Accept-Encoding: "+accept)
			status := 200
			if accept == "identity" {
				status = 206
			}
			if a.status != status || a.header.Get("Content-Encoding") != forms[i] {
				t.Errorf("%s, accepting %s: %d %v, want %d", path, accept, a.status, a.header, status)
			}
		}
	}
}

// TestOneWeakTagForAllCodings: many origins compare tags before they compress, so that a 304 says nothing of the coding. What one client
// was sent in a coding must not come to another one that does not accept it.
func TestOneWeakTagForAllCodings(t *testing.T) {
	for name, settings := range map[string][]setting{"encoding here": {encoding}, "encoding there": nil} {
		t.Run(name, func(t *testing.T) {
			control := "no-store" // at first, so that the origin is asked for what each client accepts
			o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
				h := w.Header()
				h.Set("ETag", `W/"abc"`)
				h.Set("Cache-Control", control)
				h.Set("Vary", "Accept-Encoding")
				h.Set("Content-Type", "text/html")
				switch {
				case q.Header.Get("If-None-Match") == `W/"abc"`:
					w.WriteHeader(http.StatusNotModified)
				case q.Header.Get("Accept-Encoding") == "gzip":
					h.Set("Content-Encoding", "gzip")
					io.WriteString(w, "in gzip")
				default:
					io.WriteString(w, "plain")
				}
			})
			r := newRig(t, o.URL, nil, settings...)
			r.get("/")
			control = "max-age=60"
			if a := r.get("/", "Accept-Encoding: gzip"); a.body != "in gzip" {
				t.Fatalf("the origin was not asked for gzip: %q", a.body)
			}
			for range 2 {
				if a := r.get("/", "Accept-Encoding: identity"); a.body != "plain" || a.header.Get("Content-Encoding") != "" {
					t.Errorf("%q, %v", a.body, a.header)
				}
			}
		})
	}
}

func TestValidationKeepsTheForms(t *testing.T) {
	for _, size := range []string{"small", "large"} {
		origin := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
			w.Header().Set("X-Answer", fmt.Sprint(n))
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("ETag", `"abc"`)
			w.Header().Set("Content-Type", "text/html")
			if q.Header.Get("If-None-Match") == `"abc"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			text := pageText(1)
			if size == "large" {
				for i := range 3000 {
					text += fmt.Sprint("<li>", i*i, "</li>")
				}
				text = strings.Repeat(text, 20)
			}
			io.WriteString(w, text)
		})
		r := newRig(t, origin.URL, nil, encoding)
		body := r.get("/").body
		for _, coding := range []string{"br", "gzip"} {
			r.get("/", "Accept-Encoding: "+coding)
			r.settled()
		}
		asked := origin.asked.Load()
		a := r.get("/", "Accept-Encoding: br", "Cache-Control: no-cache", `If-None-Match: "zzz-br"`)
		if a.status != 200 || a.header.Get("Content-Encoding") != "br" || a.header.Get("Etag") != `"abc-br"` || a.header.Get("X-Answer") == "1" {
			t.Errorf("%s: the answer to a validation: %d %v", size, a.status, a.header)
		}
		if got := origin.last().Header.Get("If-None-Match"); got != `"abc"` || origin.asked.Load() != asked+1 {
			t.Errorf("%s: the origin was asked about %s", size, got)
		}
		for _, coding := range []string{"br", "gzip", ""} {
			a := r.get("/", "Accept-Encoding: "+coding)
			if a.header.Get("Content-Encoding") != coding || a.header.Get("X-Answer") != fmt.Sprint(asked+1) || decode(t, coding, a.body) != body {
				t.Errorf("%s, %q after the validation: %v", size, coding, a.header)
			}
		}
		r.settled()
		if r.made(rfc9111.Brotli) != 1 || r.made(rfc9111.Gzip) != 1 {
			t.Errorf("%s: made again: %v", size, r.proxy.Stats().Encoding.Counts)
		}
	}
}

func TestAWriteByTheTagOfAForm(t *testing.T) {
	origin := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if q.Method == http.MethodPut {
			if !strings.Contains(q.Header.Get("If-Match"), `"abc"`) {
				w.WriteHeader(http.StatusPreconditionFailed)
			}
			return
		}
		page("Cache-Control: max-age=60", `ETag: "abc"`)(w, q, n)
	})
	r := newRig(t, origin.URL, nil, encoding)
	r.warm("/", "br")
	etag := r.get("/", "Accept-Encoding: br").header.Get("Etag")
	if a := r.do(http.MethodPut, "/", "If-Match: "+etag); a.status != 200 {
		t.Errorf("PUT with If-Match: %s: %d", etag, a.status)
	}
	if a := r.do(http.MethodPut, "/", `If-Match: "other-br"`); a.status != 412 {
		t.Errorf("PUT with another tag: %d", a.status)
	}
	r.do(http.MethodPut, "/", `If-None-Match: "abc-br"`)
	if got := origin.last().Header.Get("If-None-Match"); got != `"abc-br", "abc"` {
		t.Errorf("a write only where it has changed: %s", got)
	}
	r.get("/", `If-None-Match: "abc-br"`, "Cache-Control: no-store")
	if got := origin.last().Header.Get("If-None-Match"); got != `"abc-br"` {
		t.Errorf("a read that passes through: %s", got)
	}
}
