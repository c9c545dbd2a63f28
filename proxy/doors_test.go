package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rules"
)

// receipt is the answer of a door.
type receipt struct {
	Seq, Freed, Selected, Hot, Refreshing int
	Pending, Complete                     bool
}

func (r *rig) order(method, path string, fields ...string) (got receipt) {
	r.t.Helper()
	a := r.do(method, path, fields...)
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 {
		r.t.Fatalf("%s %s %q answered %d %s", method, path, fields, a.status, a.body)
	}
	return got
}

// tagShop answers /a/b with the tags "a" and "b", and a window in which stale answers may be given on /swr/...
func tagShop(w http.ResponseWriter, q *http.Request, n int64) {
	cc := "max-age=600"
	if strings.HasPrefix(q.URL.Path, "/swr") {
		cc += ", stale-while-revalidate=60"
	}
	plain("Cache-Control: "+cc, "Xkey: "+strings.ReplaceAll(strings.Trim(q.URL.Path, "/"), "/", " "),
		`Cache-Groups: "`+strings.Trim(q.URL.Path, "/")+`"`)(w, q, n)
}

func cachedIn(r *rig, paths ...string) string {
	got := ""
	for _, p := range paths {
		if r.get(p, "Cache-Control: only-if-cached").status == 200 {
			got += p + " "
		}
	}
	return strings.TrimSpace(got)
}

// TestDoors: each way to name something ends that and nothing else, at once.
func TestDoors(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		fields       []string
		left         string
	}{
		{"PURGE", "/a/b", nil, "/a/c /d"},
		{"PURGE", "/none", nil, "/a/b /a/c /d"},
		{"PURGE", "/d", []string{"Xkey: a"}, "/d"},
		{"PURGE", "/", []string{"Surrogate-Key: b d"}, "/a/c"},
		{"PURGE", "/", []string{"Cache-Tag: b,c", "X-Purge-Strategy: lazy"}, "/d"},
		{"PURGE", "/", []string{"X-Purge-Pattern: /a/*"}, "/d"},
		{"PURGE", "/", []string{"X-Purge-Pattern: other.example/**"}, "/a/b /a/c /d"},
		{"PURGE", "/", []string{"X-Purge-Pattern: re:/[bd]$"}, "/a/c"},
		{"BAN", "/", []string{"X-Url: ^/a", "X-Cache-Tags: ^c$"}, "/a/b /d"},
		{"BAN", "/", []string{"X-Url: .*"}, ""},
		{"BAN", "/", []string{"X-Cache-Tags: (^|,)(b|d)(,|$)"}, "/a/c"},
		{"BAN", "/", []string{"X-Host: ^other"}, "/a/b /a/c /d"},
		{"PURGEKEYS", "/", []string{"Xkey-Purge: a none"}, "/d"},
		{"PURGETAGS", "/", []string{"X-Cache-Tags: b,d"}, "/a/c"},
		{"PURGE", "/", []string{"Clear-Cache: true"}, ""},
		{"PURGE", "/a/.*", []string{"X-Purge-Method: regex"}, "/d"},
		{"PURGE", "/.*", []string{"X-Purge-Method: regex"}, ""},
		{"PURGE", "/b", []string{"X-Purge-Method: regex"}, "/a/b /a/c /d"},
		{"PURGE", "/.*", []string{"X-Purge-Method: regex", "Host: other.example"}, "/a/b /a/c /d"},
		{"PURGE", "/d", []string{"X-Purge-Method: default"}, "/a/b /a/c"},
	} {
		t.Run(tt.method+" "+tt.path+" "+strings.Join(tt.fields, ", "), func(t *testing.T) {
			o := newShop(t, tagShop)
			r := newRig(t, o.URL, nil, tagged)
			for _, p := range []string{"/a/b", "/a/c", "/d"} {
				r.get(p)
			}
			got := r.order(tt.method, tt.path, tt.fields...)
			if left := cachedIn(r, "/a/b", "/a/c", "/d"); left != tt.left {
				t.Errorf("left %q, want %q (%+v)", left, tt.left, got)
			}
			lazy := strings.Contains(strings.Join(tt.fields, ""), "lazy")
			if gone := 3 - len(strings.Fields(tt.left)); !lazy && got.Freed != gone || lazy && got.Freed != 0 {
				t.Errorf("freed %d of %d", got.Freed, gone)
			}
		})
	}
}

func TestWrongOrders(t *testing.T) {
	o := newShop(t, tagShop)
	r := newRig(t, o.URL, nil, tagged)
	r.get("/a/b")
	for _, tt := range []struct {
		method string
		field  string
	}{
		{"PURGE", "X-Purge-Strategy: hard"}, {"PURGE", "X-Purge-Strategy: ttl=x"}, {"PURGE", "X-Purge-Wait: some"},
		{"PURGE", "X-Purge-Timeout: soon"}, {"PURGE", "X-Purge-Timeout: -1s"}, {"PURGE", "Xkey: ,"}, {"PURGE", "X-Purge-Pattern: re:("},
		{"BAN", "X-Url: ("}, {"BAN", "X-Nothing: 1"}, {"PURGEKEYS", "X-Nothing: 1"}, {"PURGETAGS", "X-Cache-Tags: ,"},
		{"PURGE", "Clear-Cache: no"}, {"PURGE", "X-Purge-Method: tags"},
	} {
		a := r.do(tt.method, "/a/b", tt.field)
		if a.status != 400 || a.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s with %s: %d %s", tt.method, tt.field, a.status, a.body)
		}
	}
	r.want(r.get("/a/b"), 200, "answer 1", "hit")
	denied := newRig(t, o.URL, nil, func(p *proxy.Plan, _ *rules.Options) { p.PurgeAllow = nil })
	for _, method := range []string{"PURGE", "BAN", "REFRESH", "PURGEKEYS", "PURGETAGS"} {
		if a := denied.do(method, "/a/b"); a.status != 403 || denied.lastReport().Reason.String() != "purge-denied" {
			t.Errorf("%s: %d", method, a.status)
		}
	}
}

// TestSoft: a softened response is served within its window while it is refreshed; without a window it is validated, not dropped.
func TestSoft(t *testing.T) {
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		w.Header().Set("Etag", fmt.Sprintf(`"%s"`, strings.Trim(q.URL.Path, "/")))
		if q.Header.Get("If-None-Match") != "" && q.URL.Path == "/plain" {
			w.Header().Set("Cache-Control", "max-age=600")
			w.WriteHeader(304)
			return
		}
		tagShop(w, q, n)
	})
	r := newRig(t, o.URL, nil, tagged)
	r.get("/swr")
	r.get("/plain")
	if got := r.order("PURGE", "/swr", "Xkey-Softpurge: swr plain"); got.Freed != 0 {
		t.Errorf("a soft purge freed %d", got.Freed)
	}
	r.want(r.get("/plain"), 200, "answer 2", "fwd=stale; fwd-status=304")
	r.want(r.get("/plain"), 200, "answer 2", "hit")
	r.want(r.get("/swr"), 200, "answer 1", "detail=stale-while-revalidate")
	eventually(t, "it is refreshed", func() bool { return r.get("/swr").body != "answer 1" })
}

// TestImmediateIsNeverServedOnError: what an immediate purge has ended is not given by stale-if-error, nor are its validators sent.
func TestImmediateIsNeverServedOnError(t *testing.T) {
	fail := false
	var conditional bool
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		conditional = conditional || q.Header.Get("If-None-Match") != ""
		if fail {
			w.WriteHeader(503)
			return
		}
		plain("Cache-Control: max-age=600, stale-if-error=600", `Etag: "1"`, "Xkey: a")(w, q, n)
	})
	r := newRig(t, o.URL, nil, tagged)
	for _, strategy := range []string{"immediate", "lazy"} {
		fail = false
		r.get("/p")
		fail = true
		r.order("PURGE", "/", "Xkey: a", "X-Purge-Strategy: "+strategy)
		if a := r.get("/p"); a.status != 503 || conditional {
			t.Errorf("%s: %d, conditional %v", strategy, a.status, conditional)
		}
	}
	fail = false
	r.get("/p")
	fail = true
	r.order("PURGE", "/", "Xkey: a", "X-Purge-Strategy: soft")
	if a := r.get("/p"); a.status != 200 {
		t.Errorf("soft: %d, want the stale one by stale-if-error", a.status)
	}
}

func TestRefreshFetchesAtOnce(t *testing.T) {
	o := newShop(t, plain("Cache-Control: max-age=600", "Vary: X-Kind"))
	r := newRig(t, o.URL, nil)
	for _, kind := range []string{"a", "b"} {
		r.get("/p", "X-Kind: "+kind)
	}
	if got := r.order("REFRESH", "/p"); got.Refreshing != 2 {
		t.Errorf("%+v, want both variants fetched anew", got)
	}
	eventually(t, "both are fetched", func() bool { return o.asked.Load() == 4 })
	eventually(t, "both are stored", func() bool {
		return r.get("/p", "X-Kind: a", "Cache-Control: only-if-cached").status == 200 && r.get("/p", "X-Kind: b", "Cache-Control: only-if-cached").status == 200
	})
	if o.asked.Load() != 4 {
		t.Errorf("the origin was asked %d times", o.asked.Load())
	}
	if got := r.order("REFRESH", "/new"); got.Refreshing != 1 {
		t.Errorf("%+v, want what is not stored fetched too", got)
	}
	eventually(t, "it is stored", func() bool { return r.get("/new", "Cache-Control: only-if-cached").status == 200 })
}

// TestSmartPurge: hot responses are refreshed at once, cold ones are gone.
func TestSmartPurge(t *testing.T) {
	o := newShop(t, tagShop)
	r := newRig(t, o.URL, nil, tagged)
	for range 10 {
		r.get("/swr/x")
	}
	r.get("/x/cold")
	before := o.asked.Load()
	got := r.order("PURGE", "/", "Xkey: x", "X-Purge-Strategy: smart")
	if got.Freed != 1 || got.Hot != 1 || got.Refreshing != 1 {
		t.Errorf("%+v, want one freed, one hot and refreshed", got)
	}
	eventually(t, "the hot one is fetched without anybody asking for it", func() bool { return o.asked.Load() == before+1 })
	eventually(t, "and stored", func() bool {
		return strings.Contains(r.get("/swr/x").cacheStatus(), "hit; ttl=") && r.get("/swr/x").body != "answer 1"
	})
	if cachedIn(r, "/x/cold") != "" {
		t.Error("the cold one is still there")
	}
}

// TestNoJoiningOfAnOvertakenFetch: before its head has come nobody knows the tags of a response, so a request after any purge by tag,
// group or pattern begins its own fetch; and what the overtaken one brings is dead on arrival where it carries the tag.
func TestNoJoiningOfAnOvertakenFetch(t *testing.T) {
	release := make(chan struct{})
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if n == 1 {
			<-release
		}
		tagShop(w, q, n)
	})
	r := newRig(t, o.URL, nil, tagged)
	first := make(chan *answer, 1)
	go func() { a, _ := r.try(context.Background(), "GET", "/a/b", ""); first <- a }()
	eventually(t, "the fetch is under way", func() bool { return o.asked.Load() == 1 })
	r.order("PURGE", "/", "Xkey: b")
	r.want(r.get("/a/b"), 200, "answer 2", "fwd=uri-miss")
	close(release)
	if a := <-first; !strings.Contains(a.cacheStatus(), "detail=purged") {
		t.Errorf("the overtaken response: %s", a.cacheStatus())
	}
	r.want(r.get("/a/b"), 200, "answer 2", "hit")
}

// TestDependencies: who purges what something is made of purges that, however long the way.
func TestDependencies(t *testing.T) {
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		on := map[string]string{
			"/price": "tag:prices", "/list": "url:/price", "/home": "url:/list, tag:banner", "/loop1": "url:/loop2", "/loop2": "url:/loop1",
		}[q.URL.Path]
		fields := []string{"Cache-Control: max-age=600"}
		if on != "" {
			fields = append(fields, "X-Cache-Depends-On: "+on)
		}
		plain(fields...)(w, q, n)
	})
	paths := []string{"/price", "/list", "/home", "/loop1", "/loop2", "/rule", "/other"}
	for _, tt := range []struct{ path, field, left string }{
		{"/", "Xkey: prices", "/loop1 /loop2 /other"},
		{"/", "Xkey: banner", "/price /list /loop1 /loop2 /rule /other"},
		{"/price", "", "/price /loop1 /loop2 /rule /other"}, // see below
		{"/loop1", "", "/price /list /home /rule /other"},
		{"/", "X-Purge-Pattern: /other", "/price /list /home /loop1 /loop2 /rule"},
	} {
		r := newRig(t, o.URL, []rules.Spec{
			{Name: "rule", Match: rules.MatchSpec{Paths: []string{"/rule"}}, Cache: &rules.CacheSpec{DependsOn: []string{"tag:prices"}}},
		}, tagged, func(_ *proxy.Plan, o *rules.Options) { o.MaxTags = 100 })
		for range 2 { // in both orders
			for _, p := range paths {
				r.get(p)
			}
		}
		fields := []string{}
		if tt.field != "" {
			fields = append(fields, tt.field)
		}
		want := tt.left
		if tt.path == "/price" {
			want = "/loop1 /loop2 /rule /other"
		}
		got := r.order("PURGE", tt.path, fields...)
		if left := cachedIn(r, paths...); left != want {
			t.Errorf("PURGE %s %q left %q, want %q (%+v)", tt.path, tt.field, left, want, got)
		}
	}
}

// TestWhateverPurgesAThing: purges what is made of it too, by whatever name it was purged, and in whichever order they were stored.
func TestWhateverPurgesAThing(t *testing.T) {
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		switch q.URL.Path {
		case "/home":
			plain("Cache-Control: max-age=600", "X-Cache-Depends-On: url:/list")(w, q, n)
		case "/page":
			plain("Cache-Control: max-age=600", "X-Cache-Depends-On: tag:prices")(w, q, n)
		default:
			plain("Cache-Control: max-age=600", "Xkey: prices", `Cache-Groups: "lists"`)(w, q, n)
		}
	})
	for _, order := range [][]string{{"/list", "/home", "/page"}, {"/page", "/home", "/list"}} {
		for _, tt := range []struct {
			name  string
			order proxy.Order
			left  string
		}{
			{"url", proxy.Order{URLs: []string{"HOST/list"}}, "/page"},
			{"key", proxy.Order{Keys: []string{"KEY"}}, "/page"},
			{"tag", proxy.Order{Tags: []string{"prices"}}, ""},
			{"group", proxy.Order{Groups: []string{"lists"}}, "/page"},
			{"group of an origin", proxy.Order{Groups: []string{"http://HOST lists"}}, "/page"},
			{"pattern", proxy.Order{Patterns: []string{"/li*"}}, "/page"},
			{"pattern with host", proxy.Order{Patterns: []string{"127.0.0.1/li**"}}, "/page"},
			{"regular expression", proxy.Order{Patterns: []string{"re:/list$"}}, "/page"},
			{"another pattern", proxy.Order{Patterns: []string{"/other/**"}}, "/list /home /page"},
		} {
			r := newRig(t, o.URL, nil, tagged)
			host := strings.TrimPrefix(r.URL, "http://")
			for _, p := range order {
				r.get(p)
			}
			for i := range tt.order.URLs {
				tt.order.URLs[i] = strings.Replace(tt.order.URLs[i], "HOST", host, 1)
			}
			for i := range tt.order.Groups {
				tt.order.Groups[i] = strings.Replace(tt.order.Groups[i], "HOST", host, 1)
			}
			for i := range tt.order.Keys {
				tt.order.Keys[i] = r.explained("/list").Key
			}
			if _, err := r.proxy.Invalidate(t.Context(), &tt.order); err != nil {
				t.Fatal(err)
			}
			if left := cachedIn(r, "/list", "/home", "/page"); left != tt.left {
				t.Errorf("stored as %v, purged by %s: left %q, want %q", order, tt.name, left, tt.left)
			}
		}
		for _, tt := range []struct{ field, left string }{
			{"X-Url: ^/list$", "/page"}, {"X-Cache-Tags: ^prices$", ""}, {"X-Url: ^/other", "/list /home /page"},
		} {
			r := newRig(t, o.URL, nil, tagged)
			for _, p := range order {
				r.get(p)
			}
			r.order("BAN", "/", tt.field)
			if left := cachedIn(r, "/list", "/home", "/page"); left != tt.left {
				t.Errorf("stored as %v, banned by %s: left %q, want %q", order, tt.field, left, tt.left)
			}
		}
	}
}

// TestAPurgeOfWhatAFetchIsMadeOf: one that comes while a response is under way ends it by what that is made of, though nobody had
// declared so when the purge was made, as long as that is in memory: the tag is of its answer alone.
func TestAPurgeOfWhatAFetchIsMadeOf(t *testing.T) {
	release := make(chan struct{})
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if q.URL.Path == "/list" {
			plain("Cache-Control: max-age=600", "Xkey: prices")(w, q, n)
			return
		}
		if n == 2 {
			<-release
		}
		plain("Cache-Control: max-age=600", "X-Cache-Depends-On: url:/list")(w, q, n)
	})
	r := newRig(t, o.URL, nil, tagged)
	r.get("/list")
	first := make(chan *answer, 1)
	go func() { a, _ := r.try(context.Background(), "GET", "/home", ""); first <- a }()
	eventually(t, "the fetch is under way", func() bool { return o.asked.Load() == 2 })
	r.order("PURGE", "/", "Xkey: prices", "X-Purge-Strategy: lazy")
	close(release)
	if a := <-first; !strings.Contains(a.cacheStatus(), "detail=purged") {
		t.Errorf("the overtaken response: %s", a.cacheStatus())
	}
}

// unreachable is what instances share, and cannot be asked.
type unreachable struct{}

func (unreachable) Declare(context.Context, string, []string, time.Time) error {
	return errors.New("away")
}

func (unreachable) Dependents(context.Context, []string) ([][]string, error) {
	return nil, errors.New("away")
}

// TestAPurgeThatMayHaveMissedSomethingIsNotComplete: it holds for what it names, but nobody knows what else was to go.
func TestAPurgeThatMayHaveMissedSomethingIsNotComplete(t *testing.T) {
	o := newShop(t, tagShop)
	r := newRig(t, o.URL, nil, tagged)
	r.proxy.Dependencies().Share(unreachable{})
	r.get("/a")
	for wait, status := range map[string]int{"all": 202, "local": 200, "none": 200} {
		a := r.do("PURGE", "/", "Xkey: a", "X-Purge-Wait: "+wait)
		if a.status != status || !strings.Contains(a.body, `"complete":false`) {
			t.Errorf("wait=%s: %d %s", wait, a.status, a.body)
		}
	}
	if left := cachedIn(r, "/a"); left != "" {
		t.Errorf("left %q", left)
	}
}

// TestWritesInvalidate: what the rule adds, the groups and the tags that the answer names; of unsafe methods and good answers only.
func TestWritesInvalidate(t *testing.T) {
	var fields []string
	status := 200
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if q.Method != "GET" {
			for _, f := range fields {
				name, value, _ := strings.Cut(f, ": ")
				w.Header().Add(name, value)
			}
			w.WriteHeader(status)
			return
		}
		tagShop(w, q, n)
	})
	spec := route(rules.CacheSpec{})
	spec.Write = rules.WriteSpec{Wait: "all", Invalidate: rules.InvalidateSpec{Tags: []string{"of:{path.1}"}, URLs: []string{"/list"}, Patterns: []string{"/search/**"}}}
	paths := []string{"/a/b", "/a/c", "/list", "/search/x", "/of:b"}
	for _, tt := range []struct {
		method string
		fields []string
		status int
		left   string
	}{
		{"POST", nil, 200, "/a/c"},
		{"POST", []string{"X-Invalidate-Tags: c"}, 200, ""},
		{"DELETE", []string{`Cache-Group-Invalidation: "a/c"`}, 204, ""},
		{"POST", []string{"X-Invalidate-Tags: c"}, 500, "/a/b /a/c /list /search/x /of:b"},
		{"OPTIONS", []string{"X-Invalidate-Tags: c", `Cache-Group-Invalidation: "a/c"`}, 200, "/a/b /a/c /list /search/x /of:b"},
	} {
		r := newRig(t, o.URL, []rules.Spec{spec}, tagged)
		fields, status = tt.fields, tt.status
		for _, p := range paths {
			r.get(p)
		}
		a := r.do(tt.method, "/a/b")
		if a.header.Get("X-Invalidate-Tags") != "" {
			t.Error("X-Invalidate-Tags reaches the client")
		}
		if left := cachedIn(r, paths...); left != tt.left {
			t.Errorf("%s %q answered with %d: left %q, want %q", tt.method, tt.fields, tt.status, left, tt.left)
		}
	}
}

// TestAWriteIsNeverForgotten: whatever the origin's answer to a write names beside, what it has changed goes.
func TestAWriteIsNeverForgotten(t *testing.T) {
	many := make([]string, invalidation.MaxSelectors+1)
	for i := range many {
		many[i] = fmt.Sprintf("%x", i)
	}
	for name, field := range map[string]string{
		"a group without a name": `Cache-Group-Invalidation: ""`,
		"more tags than a purge": "X-Invalidate-Tags: " + strings.Join(many, ","),
		"a tag of all sizes":     "X-Invalidate-Tags: " + strings.Repeat("a", invalidation.MaxValue+1),
	} {
		t.Run(name, func(t *testing.T) {
			o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
				if q.Method != "GET" {
					name, value, _ := strings.Cut(field, ": ")
					w.Header().Set(name, value)
					return
				}
				tagShop(w, q, n)
			})
			r := newRig(t, o.URL, nil, tagged)
			r.get("/a")
			if a := r.do("POST", "/a"); a.status != 200 {
				t.Fatalf("%d %s", a.status, a.cacheStatus())
			}
			if left := cachedIn(r, "/a"); left != "" {
				t.Errorf("left %q", left)
			}
		})
	}
}

// TestInvalidateFromOutside: the order of the admin API, with its keys, groups and URLs of one scheme or both.
func TestInvalidateFromOutside(t *testing.T) {
	o := newShop(t, tagShop)
	r := newRig(t, o.URL, nil, tagged)
	host := strings.TrimPrefix(r.URL, "http://")
	for _, tt := range []struct {
		name  string
		order proxy.Order
		left  string
	}{
		{"url", proxy.Order{URLs: []string{r.URL + "/a/b"}}, "/a/c"},
		{"url of both schemes", proxy.Order{URLs: []string{host + "/a/b", "//" + host + "/a/c"}}, ""},
		{"url of the other scheme", proxy.Order{URLs: []string{"https://" + host + "/a/b"}}, "/a/b /a/c"},
		{"key", proxy.Order{Keys: []string{strings.ToUpper(r.explained("/a/b").Key)}}, "/a/c"},
		{"group", proxy.Order{Groups: []string{"a/b"}}, "/a/c"},
		{"group of an origin", proxy.Order{Groups: []string{r.URL + " a/b"}}, "/a/c"},
		{"group of another origin", proxy.Order{Groups: []string{"http://other a/b"}}, "/a/b /a/c"},
		{"all", proxy.Order{All: true}, ""},
		{"several", proxy.Order{Tags: []string{"b"}, Patterns: []string{"/a/c"}}, ""},
	} {
		r.get("/a/b")
		r.get("/a/c")
		got, err := r.proxy.Invalidate(context.Background(), &tt.order)
		if err != nil || got.Status() != 200 || !got.Complete {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
		if left := cachedIn(r, "/a/b", "/a/c"); left != tt.left {
			t.Errorf("%s: left %q, want %q", tt.name, left, tt.left)
		}
	}
	for _, wrong := range []proxy.Order{
		{}, {URLs: []string{"/a"}}, {Keys: []string{"xyz"}}, {Tags: []string{""}}, {Tags: []string{"a b"}}, {Groups: []string{""}},
		{Tags: []string{"a"}, Refresh: true}, {All: true, Timeout: "0s"}, {All: true, Strategy: "ttl=-1s"},
	} {
		if got, err := r.proxy.Invalidate(context.Background(), &wrong); err == nil {
			t.Errorf("%+v: %+v", wrong, got)
		}
	}
}

// TestPurgeWithoutAnUpstream: what no route takes can be purged by tag all the same.
func TestPurgeWithoutAnUpstream(t *testing.T) {
	o := newShop(t, tagShop)
	r := newRig(t, o.URL, []rules.Spec{{Name: "a", Upstream: "origin", Match: rules.MatchSpec{Paths: []string{"/a/**"}}}}, tagged)
	plan := *r.proxy.Plan()
	plan.Sites = append([]proxy.Site(nil), plan.Sites...)
	plan.Sites[len(plan.Sites)-1].Origin = nil
	r.proxy.Use(&plan)
	r.get("/a/b")
	if a := r.get("/"); a.status != 404 {
		t.Fatalf("GET /: %d", a.status)
	}
	if got := r.order("PURGE", "/", "Xkey: b"); got.Freed != 1 {
		t.Errorf("%+v", got)
	}
}
