package consistency

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// unit is a register: pages that change together, and the purge that says so.
type unit struct {
	version atomic.Int32
	// pages are paths, or a path and a language behind a space.
	pages []string
	// fields are what its responses carry.
	fields map[string]string
	// order is what POST /v1/invalidate is sent, and purge the same on the main
	// listener: method, path, and a field where there is one. Empty: there is none.
	order, purge string
	// writes says that a POST to its first page ends the unit: by its own URL, or by
	// what its rule adds.
	writes bool
}

const host = "shop.example"

// units names what is purged by URL, by tags of responses and of rules, by
// pattern, by group, and by what it depends on.
func units() (list []*unit) {
	add := func(order, purge, field string, pages ...string) {
		u := &unit{pages: pages, order: order, purge: purge}
		if name, value, ok := strings.Cut(field, ": "); ok {
			u.fields = map[string]string{name: value}
		}
		u.writes = strings.HasPrefix(pages[0], "/url/") || strings.HasPrefix(pages[0], "/rule/")
		list = append(list, u)
	}
	for i := range 6 {
		path := fmt.Sprint("/url/", i)
		add(fmt.Sprintf(`"urls": ["//%s%s"]`, host, path), "PURGE "+path, "", path)
	}
	for i := range 6 {
		tag := fmt.Sprint("tag-", i)
		add(fmt.Sprintf(`"tags": [%q]`, tag), "PURGE / Surrogate-Key: "+tag, "Surrogate-Key: "+tag+" all-tags", fmt.Sprint("/tag/", i))
	}
	for i := range 2 {
		path, tag := fmt.Sprint("/shared/", i), fmt.Sprint("shared-", i)
		add(fmt.Sprintf(`"tags": [%q, "nothing-has-this"]`, tag), "PURGE / Cache-Tag: "+tag, "Cache-Tag: other, "+tag, path+"/a", path+"/b", path+"/c")
	}
	for i := range 3 {
		tag := fmt.Sprint("item:", i)
		add(fmt.Sprintf(`"tags": [%q]`, tag), "PURGE / Xkey: "+tag, "", fmt.Sprint("/rule/", i))
	}
	for i := range 2 {
		path := fmt.Sprint("/pattern/", i)
		purge := []string{"PURGE / X-Purge-Pattern: " + path + "/*", "BAN / X-Url: ^" + path + "/"}[i]
		add(fmt.Sprintf(`"patterns": ["%s/*"]`, path), purge, "", path+"/a", path+"/b")
	}
	for i := range 2 {
		path := fmt.Sprint("/language/", i)
		add(fmt.Sprintf(`"urls": ["http://%s%s"]`, host, path), "PURGE "+path, "Vary: Accept-Language", path+" en", path+" de")
	}
	add(`"tags": ["prices"]`, "PURGE / Surrogate-Key: prices", "", "/depends/a", "/depends/b")
	add(`"tags": ["stock"]`, "PURGE / Cache-Tag: stock", "X-Cache-Depends-On: tag:stock", "/declares/a", "/declares/b")
	add(`"patterns": ["/parts/*"]`, "PURGE / X-Purge-Pattern: /parts/*", "X-Cache-Depends-On: url:/parts/1", "/made/a", "/made/b")
	add(`"groups": ["offers"]`, "", `Cache-Groups: "offers"`, "/group/a", "/group/b")
	for _, u := range list {
		u.version.Store(1)
	}
	return list
}

// answered is a request that the origin has answered.
type answered struct {
	page       string
	instance   string
	version    version
	begin, end time.Duration
	status     int
	late       bool // the version had been raised by then
}

// origin answers each page with the version that it has read before it waits for
// a random time, so that many answers are out of date when they come.
type origin struct {
	url   string
	since time.Time
	units map[string]*unit // by path

	failing atomic.Bool // of each hundred answers, two are errors

	mu  sync.Mutex // guards log
	log []answered
}

func startOrigin(t testing.TB, since time.Time, units []*unit) *origin {
	o := &origin{since: since, units: map[string]*unit{}}
	for _, u := range units {
		for _, page := range u.pages {
			path, _, _ := strings.Cut(page, " ")
			o.units[path] = u
		}
	}
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	o.url = server.URL
	return o
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	u := o.units[r.URL.Path]
	if u == nil {
		http.NotFound(w, r)
		return
	}
	page, language := r.URL.Path, ""
	if u.fields["Vary"] != "" {
		language = r.Header.Get("Accept-Language")
		page += " " + language
	}
	a := answered{page: page, instance: r.Header.Get("X-Instance"), begin: time.Since(o.since), version: version(u.version.Load()), status: http.StatusOK}
	defer func() {
		a.end, a.late = time.Since(o.since), version(u.version.Load()) > a.version
		o.mu.Lock()
		defer o.mu.Unlock()
		o.log = append(o.log, a)
	}()
	time.Sleep(thinking())
	if r.Method == http.MethodPost {
		a.status = http.StatusNoContent
		w.WriteHeader(a.status)
		return
	}
	if o.failing.Load() && rand.IntN(50) == 0 {
		a.status = http.StatusServiceUnavailable
		w.WriteHeader(a.status)
		return
	}
	h := w.Header()
	for name, value := range u.fields {
		h.Set(name, value)
	}
	tag := fmt.Sprintf(`"%d%s"`, a.version, language)
	h.Set("Cache-Control", "max-age=3600, stale-if-error=3600")
	h.Set("Etag", tag)
	if r.Header.Get("If-None-Match") == tag {
		a.status = http.StatusNotModified
		w.WriteHeader(a.status)
		return
	}
	h.Set("Content-Type", "text/plain")
	fmt.Fprint(w, body(page, a.version))
}

// thinking is how long the origin takes: mostly little, at times long enough for
// several purges to overtake it.
func thinking() time.Duration {
	switch n := rand.IntN(10); {
	case n < 4:
		return rand.N(5 * time.Millisecond)
	case n < 7:
		return rand.N(50 * time.Millisecond)
	}
	return rand.N(600 * time.Millisecond)
}

// body is long enough to be compressed in Redis.
func body(page string, v version) string {
	return fmt.Sprintf("%d %s\n%s", v, page, strings.Repeat("All that is here was made for this page. ", 40))
}

// late returns how many answers were out of date when they were given, of how many.
func (o *origin) late() (late, all int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.log {
		if a.late {
			late++
		}
	}
	return late, len(o.log)
}

// trace returns what the origin answered for a page in the time around.
func (o *origin) trace(page string, from, to time.Duration) (text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.log {
		if a.page == page && a.end >= from && a.begin <= to {
			text += fmt.Sprintf("  origin: instance %s asked for %s at %v, got version %d (%d) at %v\n", a.instance, a.page, a.begin, a.version, a.status, a.end)
		}
	}
	return text
}
