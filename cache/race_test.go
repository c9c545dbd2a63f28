package cache

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// TestConcurrentUse lets everything happen at once, under the race detector, and holds the promise of a purge: who looks after it has
// returned never finds what was requested before it.
//
// The origin has a version for each URI, which rises before each purge. A fetch notes its birth, then reads the version; a reader notes
// the last version whose purge has returned, then looks.
func TestConcurrentUse(t *testing.T) {
	const uris, workers, rounds = 4, 8, 1500
	w := newWorldOf(t, Options{MaxBytes: 8 << 20, MaxVariants: 3}).encodes()
	var versions, acknowledged [uris]atomic.Int64
	var purging [uris]sync.Mutex // one purge of a URI at a time, so that acknowledged only rises
	var found atomic.Int64
	header := func(version int64) http.Header {
		return fields("Cache-Control: max-age=60", "Content-Type: text/plain", "Vary: X", fmt.Sprintf(`Etag: "%d"`, version))
	}
	work := func(random *rand.Rand) {
		now := time.Now()
		n := random.IntN(uris)
		uri := fmt.Sprintf("http://h/%d", n)
		request := fmt.Sprintf("X: %d", random.IntN(4))
		switch random.IntN(13) {
		case 0:
			purging[n].Lock()
			defer purging[n].Unlock()
			version := versions[n].Add(1)
			w.purge(uri)
			acknowledged[n].Store(version)
			if random.IntN(2) == 0 {
				w.Free(keyOf(uri).Hash)
			}
		case 1:
			w.MarkUncacheable(keyOf(uri), now.Add(time.Second), rfc9111.ReasonNoStore)
		case 2:
			w.Drop(w.apply(invalidation.Immediate, invalidation.Selector{Kind: invalidation.KindAll}))
		case 3:
			if e := w.find(uri, now, request).Entry; e != nil {
				w.Remove(e)
			}
		case 4, 5, 6:
			born := w.born()
			version := versions[n].Load()
			w.Store(w.parts(response{
				uri: uri, request: fields(request), sent: now, header: header(version), body: strconv.FormatInt(version, 10), born: &born,
			}))
		case 7:
			q := w.query(uri, now, request)
			o := w.Find(q)
			f := w.validation(q, o)
			if len(f.Validated) == 0 {
				return
			}
			version := versions[n].Load()
			if tag := f.Validated[0].Meta().Validators.ETag; tag != header(version).Get("Etag") {
				return // the origin would send 200
			}
			f.Header = header(version)
			w.Freshen(f)
		case 8:
			q := w.query(uri, now, request)
			f := w.validation(q, Outcome{})
			f.Header = header(versions[n].Load())
			w.FreshenByHead(f)
		case 9, 10:
			if e := w.find(uri, now, request).Entry; e != nil {
				coding := w.policy.Encode.Codings[random.IntN(3)]
				if body := formBody(coding, string(e.Body())); random.IntN(8) == 0 {
					w.RejectForm(e.Form(coding))
				} else {
					w.AddForm(e.Form(coding), body)
				}
			}
		default:
			least := acknowledged[n].Load()
			o := w.find(uri, now, request)
			if o.Entry == nil {
				return
			}
			found.Add(1)
			if version, err := strconv.ParseInt(string(o.Entry.Body()), 10, 64); err != nil || version < least {
				t.Errorf("found version %s of %s after the purge of version %d had returned", o.Entry.Body(), uri, least)
			}
			for c, form := range o.Forms {
				if form != nil && string(form.Body()) != string(formBody(rfc9111.Coding(c), string(o.Entry.Body()))) {
					t.Errorf("found %q as a form of version %s of %s", form.Body(), o.Entry.Body(), uri)
				}
			}
		}
	}
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for range rounds {
				work(random)
			}
		})
	}
	all.Wait()
	if found.Load() < workers*rounds/200 {
		t.Errorf("only %d hits: that is no proof", found.Load())
	}
	for n := range uris {
		if stored := w.stored(fmt.Sprintf("http://h/%d", n)); stored > 3 {
			t.Errorf("%d variants are stored, want at most 3", stored)
		}
	}
}
