package fastlane_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheproxy/cacheproxy/rules"
)

// The routes and the origin of the tests that compare the lanes: all that may have a say in an answer.

var routes = []rules.Spec{
	{Name: "off", Match: rules.MatchSpec{Paths: []string{"/off/**"}}, Cache: &rules.CacheSpec{Pattern: "off"}},
	{Name: "bypass", Match: rules.MatchSpec{Paths: []string{"/bypass/**"}}, Cache: &rules.CacheSpec{Bypass: `"x-bypass" in request.headers`}},
	{Name: "when", Match: rules.MatchSpec{Paths: []string{"/when/**"}, When: `request.headers["x-when"] == "yes"`}},
	{Name: "header", Match: rules.MatchSpec{Paths: []string{"/match/**"}, Headers: map[string]rules.OneOrMany{"X-Match": {"yes"}}}},
	{Name: "keyed", Match: rules.MatchSpec{Paths: []string{"/keyed/**"}}, Cache: &rules.CacheSpec{
		Key: rules.KeySpec{Headers: []string{"X-Key", "Accept-Language"}, Cookies: []string{"theme"}, Query: rules.QuerySpec{Mode: "allow", Names: []string{"q"}}},
	}},
	{Name: "encoded", Match: rules.MatchSpec{Paths: []string{"/encoded/**"}}, Cache: &rules.CacheSpec{
		Encode: rules.EncodeSpec{Algorithms: []string{"br", "gzip"}, Types: []string{"text/*"}},
	}},
	{Name: "rules", Match: rules.MatchSpec{Paths: []string{"/rules/**"}}, Headers: rules.HeaderSpec{Response: rules.HeaderRules{
		Remove: []string{"X-Secret", "Etag"}, Set: map[string]string{"X-Set": "set", "Content-Type": "text/plain"},
	}}},
	{Name: "bare", Match: rules.MatchSpec{Paths: []string{"/bare/**"}}, Headers: rules.HeaderSpec{Response: rules.HeaderRules{
		Remove: []string{"Date", "Age", "Cache-Status"},
	}}},
}

const stamp = "Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT"

var (
	long  = strings.Repeat("0123456789abcdef", 512)
	large = strings.Repeat(long, 10)
	huge  = strings.Repeat(long, 40)
	vast  = strings.Repeat(long, 320) // more than is offered to a socket at once
)

func origin(w http.ResponseWriter, r *http.Request) {
	kind := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	answer := map[string]http.HandlerFunc{
		"fresh":   page(200, "fresh", "Cache-Control: max-age=3600", `ETag: "a"`, stamp, "Content-Type: text/html", "X-Secret: s", "X-Multi: 1", "X-Multi: 2"),
		"page":    page(200, long, "Cache-Control: max-age=3600", `ETag: "p"`, "Content-Type: text/html"),
		"weak":    page(200, long, "Cache-Control: max-age=3600", `ETag: W/"w"`, "Content-Type: text/html", "Content-Language: en"),
		"vary":    page(200, "vary "+r.Header.Get("Accept-Language"), "Cache-Control: max-age=3600", "Vary: Accept-Language"),
		"coded":   page(200, "coded "+r.Header.Get("Accept-Encoding"), "Cache-Control: max-age=3600", "Vary: Accept-Encoding", "Content-Encoding: gzip"),
		"none":    page(204, "", "Cache-Control: max-age=3600"),
		"missing": page(404, "missing", "Cache-Control: max-age=3600"),
		"odd":     page(299, "odd", "Cache-Control: max-age=3600"),
		"moved":   page(301, "moved", "Location: /fresh", "Cache-Control: max-age=3600"),
		"empty":   page(200, "", "Cache-Control: max-age=3600"),
		"status":  page(200, "status", "Cache-Control: max-age=3600", "Cache-Status: inner; hit"),
		"large":   page(200, large, "Cache-Control: max-age=3600"),
		"huge":    page(200, huge, "Cache-Control: max-age=3600"),
		"vast":    page(200, vast, "Cache-Control: max-age=3600"),
		"brief":   page(200, "brief", "Cache-Control: max-age=1, stale-while-revalidate=60", `ETag: "b"`),
		"unsure":  page(200, "unsure", "Cache-Control: no-cache", `ETag: "u"`),
		"private": page(200, "private", "Cache-Control: private"),
		"labels":  page(200, "labels", "Cache-Control: max-age=3600", "Surrogate-Key: one two"),
		"slow":    page(200, "slow", "Cache-Control: max-age=3600"),
		"fixed":   page(200, "fixed", "Cache-Control: max-age=3600, immutable"),
	}[kind]
	if answer == nil {
		answer = page(404, "nothing", "Cache-Control: no-store")
	}
	if kind == "slow" {
		time.Sleep(slowness)
	}
	answer(w, r)
}

// slowness is how long the origin takes for what is called slow, of a time that is a fake.
const slowness = time.Second

var stored = []string{
	"/fresh", "/page", "/vary", "/coded", "/none", "/missing", "/odd", "/moved", "/empty", "/status", "/large", "/huge", "/brief", "/unsure", "/fixed",
	"/labels", "/fresh?q=1", "/off/fresh", "/bypass/fresh", "/when/fresh", "/match/fresh", "/keyed/fresh", "/keyed/fresh?q=1", "/encoded/page", "/encoded/weak",
	"/rules/fresh", "/bare/fresh", "//fresh", "/a%2Fb/fresh",
}

// transcript is what a client sends, and in which pieces.
type transcript struct {
	text string
	size int // bytes in a piece; 0: all at once
	rest time.Duration
}

// lanes are two houses alike, of which one has a lane.
type lanes struct {
	pipes  [2]*pipes
	houses [2]*house
}

// The machines that clients seem to come from.
const (
	anybody = "192.0.2.1:1234"
	proxied = "10.0.0.1:1234" // a trusted proxy
)

func openLanes(t testing.TB, peer string) *lanes {
	l := &lanes{}
	for i := range l.houses {
		l.pipes[i] = newPipes(peer)
		h := open(t, l.pipes[i], routes, origin, i == 1)
		h.warm(stored...)
		h.encode("/encoded/page", "/encoded/weak")
		l.houses[i] = h
	}
	synctest.Wait() // the forms are made
	return l
}

// play sends a transcript to both at the same time and returns what comes back until nothing more does.
func (l *lanes) play(s transcript) (sent [2]string) {
	var conns [2]net.Conn
	var out [2]strings.Builder
	var reading sync.WaitGroup
	for i := range conns {
		conns[i] = l.pipes[i].dial()
		reading.Go(func() { _, _ = io.Copy(&out[i], conns[i]) }) // it ends when the connection is closed
	}
	for text := s.text; text != ""; {
		n := len(text)
		if s.size > 0 {
			n = min(n, s.size)
		}
		for _, c := range conns {
			_, _ = io.WriteString(c, text[:n]) // the server may have closed it
		}
		text = text[n:]
		synctest.Wait()
	}
	time.Sleep(s.rest)
	synctest.Wait()
	for _, c := range conns {
		c.Close()
	}
	reading.Wait()
	return [2]string{out[0].String(), out[1].String()}
}

// compare plays a transcript to both, and says how many answers there were and how many of them came from net/http before the lane.
func (l *lanes) compare(t *testing.T, s transcript) (all, passed int) {
	t.Helper()
	for _, h := range l.houses {
		h.warm()
	}
	sent := l.play(s)
	got := [2][]string{split(sent[0]), split(sent[1])}
	for i := range max(len(got[0]), len(got[1])) {
		var slow, fast string
		if i < len(got[0]) {
			slow = got[0][i]
		}
		if i < len(got[1]) {
			fast = got[1][i]
		}
		if slow != fast {
			t.Fatalf("%q in pieces of %d, answer %d: net/http says\n%.700s\nthe lane\n%.700s", s.text, s.size, i, slow, fast)
		}
	}
	same(t, l.houses[0], l.houses[1])
	return l.houses[1].counts()
}

// same compares the reports: both lanes tell the observers the same.
func same(t *testing.T, slow, fast *house) {
	t.Helper()
	if len(slow.reports) != len(fast.reports) {
		t.Fatalf("%d reports, %d by the lane", len(slow.reports), len(fast.reports))
	}
	for i := range slow.reports {
		a, b := slow.reports[i], fast.reports[i]
		a.Start, b.Start = time.Time{}.Add(a.Start.Sub(slow.since)), time.Time{}.Add(b.Start.Sub(fast.since))
		if !equal(&a, &b) {
			t.Errorf("report %d: net/http says\n%+v\nthe lane\n%+v", i, a, b)
		}
	}
}

var plainRequests = []struct {
	name string
	text string
	lane bool // the lane answers
}{
	{"a hit", get("/fresh"), true},
	{"HEAD", ask("HEAD", "/fresh"), true},
	{"a query", get("/fresh?q=1"), true},
	{"an empty query", get("/fresh?"), false},
	{"two slashes", get("//fresh"), true},
	{"an escape in normal form", get("/a%2Fb/fresh"), true},
	{"an escape in another form", get("/a%2fb/fresh"), false},
	{"dot segments", get("/x/../fresh"), false},
	{"absolute form", get("http://a/fresh"), false},
	{"a fragment", get("/fresh#x"), false},
	{"another host", "GET /fresh HTTP/1.1\r\nHost: b\r\n\r\n", false},
	{"a host in another form", "GET /fresh HTTP/1.1\r\nHost: A:80\r\n\r\n", true},
	{"no host", "GET /fresh HTTP/1.1\r\n\r\n", false},
	{"an empty host", "GET /fresh HTTP/1.1\r\nHost:\r\n\r\n", false},
	{"two hosts", get("/fresh", "Host: a"), false},
	{"HTTP/1.0", "GET /fresh HTTP/1.0\r\nHost: a\r\n\r\n", false},
	{"HTTP/1.0 that stays", "GET /fresh HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", false},
	{"a browser's fields", get("/fresh", "Connection: keep-alive", "User-Agent: x", "Accept: */*", "Accept-Language: en", "Cookie: a=b", "Upgrade-Insecure-Requests: 1",
		"Sec-Fetch-Mode: navigate", "Referer: http://a/", "DNT: 1", "Priority: u=0", "X-Unknown: y"), true},
	{"names in any case", get("/fresh", "if-none-match: \"a\"", "CONNECTION: Keep-Alive"), true},
	{"white space round values", get("/fresh", "If-None-Match: \t \"a\" \t", "X:"), true},
	{"Connection: close", get("/fresh", "Connection: close"), false},
	{"Connection names a field", get("/keyed/fresh", "Connection: X-Key", "X-Key: 1"), false},
	{"Keep-Alive", get("/fresh", "Keep-Alive: 5"), false},
	{"an upgrade", get("/fresh", "Connection: upgrade", "Upgrade: websocket"), false},
	{"h2c", get("/fresh", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), false},
	{"a range", get("/page", "Range: bytes=0-9"), false},
	{"If-Range alone", get("/page", `If-Range: "p"`), true},
	{"Expect", get("/fresh", "Expect: 100-continue"), false},
	{"an odd Expect", get("/fresh", "Expect: x"), false},
	{"TE", get("/fresh", "TE: trailers"), false},
	{"no content", get("/fresh", "Content-Length: 0"), false},
	{"content", get("/fresh", "Content-Length: 3") + "abc", false},
	{"chunks", get("/fresh", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n", false},
	{"both", get("/fresh", "Transfer-Encoding: chunked", "Content-Length: 3") + "3\r\nabc\r\n0\r\n\r\n", false},
	{"a folded field", get("/fresh", "X: a", " b"), false},
	{"a bare LF", "GET /fresh HTTP/1.1\nHost: a\n\n", false},
	{"a bare CR", get("/fresh", "X: a\rb"), false},
	{"NUL", get("/fresh", "X: a\x00b"), false},
	{"an empty line before", "\r\n" + get("/fresh"), false},
	{"an empty line and a foreign method", "\r\n" + ask("POST", "/fresh?posted"), false},
	{"a space before the colon", get("/fresh", "X : a"), false},
	{"many fields", get("/fresh", strings.Split(strings.Repeat("X: y|", 99)+"X: y", "|")...), false},
	{"a head that is too large", get("/fresh", "X: "+strings.Repeat("y", 30<<10)), false},
	{"a large head", get("/fresh", "X: "+strings.Repeat("y", 12<<10)), false},
	{"a long URL", get("/fresh?" + strings.Repeat("y", 1000)), false},
	{"many parameters", get("/fresh?" + strings.Repeat("y&", 20)), false},
	{"another method", ask("OPTIONS", "/fresh"), false},
	{"PURGE", ask("PURGE", "/fresh?purged"), false},
	{"DELETE", ask("DELETE", "/fresh?deleted"), false},
	{"POST", ask("POST", "/fresh?posted"), false},
	{"CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", false},
	{"a method that ends like one", ask("XGET", "/fresh?x"), false},
	{"get", ask("get", "/fresh?x"), false},
	{"no request", "\x16\x03\x01\x00\xa5\x01\r\n\r\n", false},

	{"If-None-Match", get("/fresh", `If-None-Match: "a"`), true},
	{"If-None-Match in several lines", get("/fresh", `If-None-Match: "x"`, `If-None-Match: "a"`), true},
	{"If-None-Match that fails", get("/fresh", `If-None-Match: "x"`), true},
	{"If-None-Match: *", ask("HEAD", "/fresh", "If-None-Match: *"), true},
	{"If-Modified-Since", get("/fresh", "If-Modified-Since: Sat, 01 Jan 2000 00:00:00 GMT"), true},
	{"If-Modified-Since, long ago", get("/fresh", "If-Modified-Since: Sat, 01 Jan 1990 00:00:00 GMT"), true},
	{"If-Match", get("/fresh", `If-Match: "x"`), true},
	{"no-cache", get("/fresh", "Cache-Control: no-cache"), false},
	{"Pragma", get("/fresh", "Pragma: no-cache"), false},
	{"max-age=0 within the first second", get("/fresh", "Cache-Control: max-age=0"), true},
	{"max-age=0 of what never changes", get("/fixed", "Cache-Control: max-age=0"), true},
	{"no-store", get("/fresh", "Cache-Control: no-store"), false},
	{"only-if-cached", get("/fresh", "Cache-Control: only-if-cached"), true},
	{"only-if-cached and not", get("/never", "Cache-Control: only-if-cached"), false},
	{"Authorization", get("/fresh", "Authorization: Basic YTpi"), true},
	{"X-Forwarded-For from anybody", get("/fresh", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: b", "X-Forwarded-Proto: https"), true},

	{"204", get("/none"), true},
	{"404", get("/missing"), true},
	{"a status without a name", get("/odd"), true},
	{"301", get("/moved"), true},
	{"301 with a condition", get("/moved", "If-None-Match: *"), true},
	{"no body", get("/empty"), true},
	{"another cache before", get("/status"), true},
	{"labels", get("/labels"), true},
	{"a large body", get("/large"), true},
	{"HEAD of a huge body", ask("HEAD", "/huge"), true},
	{"a huge body", get("/huge"), true},
	{"no-cache of the origin", get("/unsure"), false},
	{"a miss", get("/private"), false},
	{"Vary", get("/vary"), true},
	{"another variant", get("/vary", "Accept-Language: de"), false},
	{"a variant twice", get("/vary", "Accept-Language: fr") + get("/vary", "Accept-Language: fr") + get("/vary"), false},
	{"coded by the origin", get("/coded", "Accept-Encoding: gzip"), false},

	{"a route without cache", get("/off/fresh"), false},
	{"a route with a bypass", get("/bypass/fresh"), false},
	{"a route with a bypass that applies", get("/bypass/fresh", "X-Bypass: 1"), false},
	{"a route with a condition", get("/when/fresh", "X-When: yes"), false},
	{"a route with a condition that does not hold", get("/when/fresh"), false},
	{"a route that asks for a field", get("/match/fresh", "X-Match: yes") + get("/match/fresh", "X-Match: yes"), false},
	{"a route that asks for a field which is not there", get("/match/fresh"), true},
	{"fields in the key", get("/keyed/fresh", "X-Key: 1") + get("/keyed/fresh", "X-Key: 1") + get("/keyed/fresh", "X-Key: 2") + get("/keyed/fresh"), false},
	{"cookies in the key", get("/keyed/fresh", "Cookie: a=b; theme=dark") + get("/keyed/fresh", "Cookie: theme=dark; a=c") + get("/keyed/fresh", "Cookie: a=b"), false},
	{"several lines of cookies", get("/keyed/fresh", "Cookie: a=b", "Cookie: theme=dark") + get("/keyed/fresh", "Cookie: a=b", "Cookie: theme=dark"), false},
	{"parameters that are not in the key", get("/keyed/fresh?x=1&q=1"), true},
	{"br", get("/encoded/page", "Accept-Encoding: gzip, deflate, br, zstd"), true},
	{"gzip", get("/encoded/page", "Accept-Encoding: gzip"), true},
	{"no coding", get("/encoded/page"), true},
	{"a weight", get("/encoded/weak", "Accept-Encoding: br;q=0.1, gzip"), true},
	{"a form's tag", get("/encoded/page", "Accept-Encoding: br", `If-None-Match: "p-br"`), true},
	{"another form's tag", get("/encoded/weak", "Accept-Encoding: br", `If-None-Match: W/"w-gzip"`), true},
	{"the tag of a form that is not made", get("/encoded/page", "Accept-Encoding: br", `If-None-Match: "p-zstd"`), true},
	{"no-transform", get("/encoded/page", "Accept-Encoding: br", "Cache-Control: no-transform"), true},
	{"fields that are set and removed", get("/rules/fresh"), true},
	{"fields that are set and removed, 304", get("/rules/fresh", `If-None-Match: "a"`), true},
	{"Date and Age removed", get("/bare/fresh"), true},
	{"Date and Age removed, 304", get("/bare/fresh", `If-None-Match: "a"`), true},
}

// The same bytes get the same answers, and the same reports, whichever lane they take; and which they take.
func TestLanesAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openLanes(t, anybody)
		for _, test := range plainRequests {
			all, passed := l.compare(t, transcript{text: test.text})
			if (all > 0 && passed == 0) != test.lane {
				t.Errorf("%s: %d answers, %d of them by net/http; by the lane: %v", test.name, all, passed, test.lane)
			}
		}
	})
}

var proxiedRequests = []struct {
	name string
	text string
	lane bool // the lane answers
}{
	{"nothing said", get("/fresh"), true},
	{"for", get("/fresh", "X-Forwarded-For: 1.2.3.4, 10.0.0.2"), true},
	{"another scheme", get("/fresh", "X-Forwarded-Proto: https"), true},
	{"another scheme, of which nothing is stored", get("/page", "X-Forwarded-Proto: https"), false},
	{"a scheme in another case", get("/fresh", "X-Forwarded-Proto: HTTPS"), true},
	{"the nearest scheme", get("/fresh", "X-Forwarded-Proto: http, https"), true},
	{"the nearest scheme, in lines", get("/fresh", "X-Forwarded-Proto: http", "x-forwarded-proto:  https ", "X-Forwarded-Host: x, "), true},
	{"a scheme that is none", get("/fresh", "X-Forwarded-Proto: ws"), true},
	{"no scheme", get("/fresh", "X-Forwarded-Proto:"), true},
	{"another host", "GET /fresh HTTP/1.1\r\nHost: internal\r\nX-Forwarded-Host: A:80\r\n\r\n", true},
	{"the port of another scheme", get("/fresh", "X-Forwarded-Host: a:443", "X-Forwarded-Proto: https"), true},
	{"another host, of which nothing is stored", get("/fresh", "X-Forwarded-Host: b"), false},
	{"a host that is none", get("/fresh", "X-Forwarded-Host: a/b"), false},
	{"another host for one that is none", "GET /fresh HTTP/1.1\r\nHost: a\"b\r\nX-Forwarded-Host: a\r\n\r\n", false},
	{"another host for an empty one", "GET /fresh HTTP/1.1\r\nHost:\r\nX-Forwarded-Host: a\r\n\r\n", false},
	{"what else there is", get("/fresh", "X-Forwarded-Port: 1", "X-Forwarded-Prefix: /x", "X-Real-Ip: 1.2.3.4", "Via: 1.1 x"), true},
	{"Forwarded", get("/fresh", "Forwarded: for=1.2.3.4;proto=https"), false},
	{"a field of the key", get("/keyed/fresh", "X-Key: 1", "X-Forwarded-Proto: https") + get("/keyed/fresh", "X-Key: 1"), false},
	{"labels, which only a trusted proxy sees", get("/labels"), false},
	{"Connection names it", get("/fresh", "Connection: X-Forwarded-Proto", "X-Forwarded-Proto: https"), false},
}

// What a trusted proxy says of the client's request counts in both lanes alike.
func TestLanesAgreeOnTrustedProxies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openLanes(t, proxied)
		for _, h := range l.houses {
			h.proxy.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "https://a/fresh", nil))
		}
		for _, test := range proxiedRequests {
			all, passed := l.compare(t, transcript{text: test.text})
			if (all > 0 && passed == 0) != test.lane {
				t.Errorf("%s: %d answers, %d of them by net/http; by the lane: %v", test.name, all, passed, test.lane)
			}
		}
	})
}

// The PROXY protocol can say that a client speaks UDP.
func TestLanesAgreeOnOtherAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openLanes(t, proxied)
		for _, p := range l.pipes {
			p.peer = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(proxied))
		}
		l.compare(t, transcript{text: get("/fresh", "X-Forwarded-Host: b") + get("/labels")})
	})
}

// What follows a request is looked at when that is answered, in whatever pieces it comes.
func TestLanesAgreeOnPipelines(t *testing.T) {
	const post = "POST /private HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
	hit, miss := get("/fresh"), get("/private")
	for name, text := range map[string]string{
		"hits":                                 hit + hit + ask("HEAD", "/fresh") + hit,
		"hits and misses":                      hit + miss + hit + miss + miss + hit,
		"a miss that comes to be stored":       get("/new/fresh") + get("/new/fresh") + get("/new/fresh"),
		"a body between":                       hit + post + "GET /" + hit,
		"a body that looks like a hit":         strings.Replace(post, "5", "32", 1) + hit + hit,
		"chunks between":                       hit + "PUT /private HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + hit + hit,
		"an empty line between":                hit + "\r\n" + hit + hit,
		"an empty line after a POST":           ask("POST", "/private", "Content-Length: 0") + "\r\n" + hit + hit,
		"an empty line after a POST and a hit": ask("POST", "/private", "Content-Length: 0") + hit + "\r\n" + hit,
		"nonsense between":                     hit + "nonsense\r\n" + hit,
		"a method that ends like another":      miss + "X" + hit + hit,
		"the end":                              hit + get("/fresh", "Connection: close") + hit,
		"the end of a miss":                    hit + get("/private", "Connection: close") + hit,
		"HTTP/1.0":                             hit + "GET /fresh HTTP/1.0\r\n\r\n" + hit,
		"an upgrade":                           hit + get("/private", "Connection: upgrade", "Upgrade: websocket") + hit,
		"slow ones":                            hit + get("/slow") + hit + get("/slow?2") + get("/slow") + hit,
		"slow ones, not stored":                hit + get("/off/slow") + hit + get("/off/slow") + get("/off/slow") + hit,
		"a large answer":                       get("/large") + hit + get("/huge") + hit,
		"a head that is not whole":             hit + hit[:20],
		"many":                                 strings.Repeat(hit+miss, 50),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := openLanes(t, anybody)
				for _, size := range []int{0, 1, 2, 3, 7, 35, 64} {
					l.compare(t, transcript{text: text, size: size, rest: 3 * slowness})
				}
			})
		})
	}
}

// The server may hold the first byte of the next request when it says that it is idle. What comes then is not the beginning of one.
func TestAByteAheadOfARequest(t *testing.T) {
	for _, slow := range []string{get("/slow"), get("/private")} {
		synctest.Test(t, func(t *testing.T) {
			p := newPipes("192.0.2.1:1234")
			h := open(t, p, routes, origin, true)
			h.warm("/fresh")
			c := p.dial()
			var out strings.Builder
			var reading sync.WaitGroup
			reading.Go(func() { _, _ = io.Copy(&out, c) }) // it ends when the connection is closed
			for _, text := range []string{get("/fresh"), slow, "X"} {
				_, _ = io.WriteString(c, text) // what comes back tells
				synctest.Wait()
			}
			time.Sleep(2 * slowness)
			synctest.Wait()
			_, _ = io.WriteString(c, get("/fresh")) // as above
			time.Sleep(2 * slowness)
			c.Close()
			reading.Wait()
			if answers := split(out.String()); len(answers) != 3 || !strings.Contains(answers[2], "fwd=method") {
				t.Errorf("%q, and then XGET: %q", slow, answers)
			}
			if all, passed := h.counts(); all != 3 || passed != 2 {
				t.Errorf("%d answers, %d by net/http", all, passed)
			}
		})
	}
}

// Any bytes, in any pieces, get the same from both lanes. shape is the size of the pieces; with its highest bit they come from a trusted
// proxy.
func FuzzLanes(f *testing.F) {
	for _, r := range plainRequests {
		f.Add([]byte(r.text), uint8(0))
		f.Add([]byte(get("/fresh")+r.text+get("/fresh")), uint8(11))
		f.Add([]byte(get("/private")+r.text+get("/private")), uint8(100))
	}
	for _, r := range proxiedRequests {
		f.Add([]byte(r.text), uint8(128))
		f.Add([]byte(get("/private")+r.text+get("/fresh")), uint8(128+11))
	}
	f.Fuzz(func(t *testing.T, text []byte, shape uint8) {
		if len(text) > headerBytes {
			t.Skip("where net/http gives up a head depends on how much of it comes at once")
		}
		peer := anybody
		if shape >= 128 {
			peer = proxied
		}
		synctest.Test(t, func(t *testing.T) {
			openLanes(t, peer).compare(t, transcript{text: string(text), size: int(shape % 128), rest: 3 * slowness})
		})
	})
}
