package consistency

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// load is what clients do to a site, and what they have seen.
type load struct {
	site  *site
	units []*unit
	pages []string
	of    []int // the unit of each page
	// acknowledged is the newest version of each unit whose purge was acknowledged
	// as complete, so that a reader can tell at once.
	acknowledged []atomic.Int32
	broken       atomic.Bool  // a reader has found less
	count        atomic.Int64 // of operations

	quiet atomic.Bool // no fault is under way, nor was one lately

	mu      sync.Mutex // guards the following
	history history
	failed  map[string]int  // by what was done
	took    []time.Duration // of purges that were acknowledged in quiet times
}

func newLoad(s *site, units []*unit) *load {
	l := &load{site: s, units: units, acknowledged: make([]atomic.Int32, len(units)), failed: map[string]int{}}
	for i, u := range units {
		for _, page := range u.pages {
			l.pages, l.of = append(l.pages, page), append(l.of, i)
		}
	}
	return l
}

// rates are how much is done.
type rates struct {
	readers, writers int           // readers of each instance, writers of all
	pause            time.Duration // between two reads of a reader, at most twice that
	rest             time.Duration // between two writes of a writer, at most twice that
}

// run lets the clients work until ctx ends, and returns when all have ended.
func (l *load) run(ctx context.Context, r rates) {
	var work sync.WaitGroup
	for _, n := range l.site.nodes {
		for range r.readers {
			work.Go(func() { l.readAll(ctx, n, r.pause) })
		}
	}
	for w := range r.writers {
		var mine []int // a unit has one writer, so that its versions follow each other
		for i := w; i < len(l.units); i += r.writers {
			mine = append(mine, i)
		}
		work.Go(func() { l.writeAll(ctx, mine, r.rest) })
	}
	work.Wait()
}

// client keeps one connection to each instance.
func client() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1, DisableCompression: true}, Timeout: 15 * time.Second}
}

// pause waits for a random time, of d in the mean, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(rand.N(2*d + 1)):
		return true
	}
}

func (l *load) fail(what string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed[fmt.Sprintf("%s: %.60v", what, err)]++
}

// readAll reads from one instance. Some pages are read more often than others.
func (l *load) readAll(ctx context.Context, n *node, between time.Duration) {
	c := client()
	defer c.CloseIdleConnections()
	var seen []read
	for pause(ctx, between) {
		i := min(rand.IntN(len(l.pages)), rand.IntN(len(l.pages)))
		must := l.acknowledged[l.of[i]].Load()
		r, err := l.read(c, n, i)
		switch {
		case err != nil:
			l.fail("read", err)
			pause(ctx, 20*time.Millisecond)
			continue
		case r.version < version(must):
			l.broken.Store(true)
		}
		seen = append(seen, r)
		l.count.Add(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.reads = append(l.history.reads, seen...)
}

func (l *load) read(c *http.Client, n *node, i int) (read, error) {
	path, language, _ := strings.Cut(l.pages[i], " ")
	req, err := http.NewRequest(http.MethodGet, n.process.Load().URL+path, nil)
	if err != nil {
		return read{}, err
	}
	req.Host = host
	if language != "" {
		req.Header.Set("Accept-Language", language)
	}
	r := read{register: l.of[i], page: l.pages[i], instance: n.number, begin: l.site.now()}
	res, err := c.Do(req)
	if err != nil {
		return r, fmt.Errorf("no answer")
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	r.end, r.status = l.site.now(), res.Header.Get("Cache-Status")
	if err != nil {
		return r, fmt.Errorf("half an answer")
	}
	if res.StatusCode != http.StatusOK {
		return r, fmt.Errorf("status %d", res.StatusCode)
	}
	if _, err := fmt.Sscan(string(text), &r.version); err != nil || string(text) != body(r.page, r.version) {
		return r, fmt.Errorf("another page: %.50q", text)
	}
	return r, nil
}

func (r *read) hit() bool {
	return strings.Contains(r.status, "; hit")
}

// writeAll raises the versions of some units, one after the other, and purges
// each through a door of an instance.
func (l *load) writeAll(ctx context.Context, mine []int, between time.Duration) {
	c := client()
	defer c.CloseIdleConnections()
	var done []write
	var took []time.Duration
	i := mine[0]
	for pause(ctx, between) {
		// Often the same once more, while the origin still thinks about what was asked
		// for after the purge before.
		if rand.IntN(2) == 0 {
			i = mine[rand.IntN(len(mine))]
		}
		w := write{register: i, instance: rand.IntN(instances), acknowledged: never, answered: never, patience: patient}
		if rand.IntN(10) == 0 { // accepted, and not complete where an instance is away
			w.patience = "50ms"
		}
		quiet := l.quiet.Load()
		w.begin = l.site.now()
		w.version = version(l.units[i].version.Add(1))
		w.sent = l.site.now()
		complete, err := false, error(nil)
		if w.unsafe = l.units[i].writes && rand.IntN(5) == 0; w.unsafe {
			err = l.post(c, &w)
		} else {
			complete, err = l.purge(c, &w)
		}
		switch at := l.site.now(); {
		case err != nil:
			l.fail("purge", err)
		case !complete:
			w.answered = at
		default:
			w.acknowledged, w.answered = at, at
			l.acknowledged[i].Store(int32(w.version))
			if quiet && l.quiet.Load() {
				took = append(took, at-w.sent)
			}
		}
		done = append(done, w)
		l.count.Add(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history.writes = append(l.history.writes, done...)
	l.took = append(l.took, took...)
}

// patient is who waits as long as it takes.
const patient = "10s"

// receipt is what each door answers.
type receipt struct {
	Epoch             string
	Seq, Instances    int
	Pending, Complete bool
	Acknowledged      int
	ExpiredLeases     int     `json:"expired_leases"`
	ElapsedMS         float64 `json:"elapsed_ms"`
}

// purge reports whether it was acknowledged as complete.
func (l *load) purge(c *http.Client, w *write) (complete bool, err error) {
	req, err := l.order(w)
	if err != nil {
		return false, err
	}
	res, err := c.Do(req)
	if err != nil {
		return false, fmt.Errorf("no answer")
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return false, fmt.Errorf("half an answer")
	}
	var r receipt
	if err := json.Unmarshal(text, &r); err != nil || res.StatusCode != http.StatusOK && res.StatusCode != http.StatusAccepted {
		return false, fmt.Errorf("status %d %.200s", res.StatusCode, text)
	}
	w.pending, w.answer = r.Pending, strings.Join(strings.Fields(string(text)), " ")
	if r.Complete != (res.StatusCode == http.StatusOK) {
		return false, fmt.Errorf("status %d with complete=%v", res.StatusCode, r.Complete)
	}
	return r.Complete, nil
}

// post changes a page by way of an instance, which purges it before it answers.
func (l *load) post(c *http.Client, w *write) error {
	w.how = "POST " + l.units[w.register].pages[0]
	req, err := http.NewRequest(http.MethodPost, l.site.nodes[w.instance].process.Load().URL+l.units[w.register].pages[0], nil)
	if err != nil {
		return err
	}
	req.Host = host
	res, err := c.Do(req)
	if err != nil {
		return fmt.Errorf("no answer")
	}
	defer res.Body.Close()
	if w.answer = res.Status; res.StatusCode != http.StatusNoContent {
		return fmt.Errorf("a POST was answered with status %d", res.StatusCode)
	}
	return nil
}

// order makes the request for a purge: by either door, immediate or lazy.
func (l *load) order(w *write) (req *http.Request, err error) {
	u, p := l.units[w.register], l.site.nodes[w.instance].process.Load()
	strategy := []string{"immediate", "lazy"}[rand.IntN(2)]
	if u.purge == "" || rand.IntN(2) == 0 {
		w.how = fmt.Sprintf(`{%s, "strategy": %q, "wait": "all", "timeout": %q}`, u.order, strategy, w.patience)
		req, err = http.NewRequest(http.MethodPost, p.Admin+"/v1/invalidate", strings.NewReader(w.how))
		if err == nil {
			req.Header.Set("Content-Type", "application/json")
		}
		return req, err
	}
	f := strings.SplitN(u.purge, " ", 4)
	if req, err = http.NewRequest(f[0], p.URL+f[1], nil); err != nil {
		return nil, err
	}
	w.how = u.purge
	req.Host = host
	if len(f) == 4 {
		req.Header.Set(strings.TrimSuffix(f[2], ":"), f[3])
	}
	req.Header.Set("X-Purge-Strategy", strategy)
	req.Header.Set("X-Purge-Timeout", w.patience)
	return req, nil
}
