package proxy

import (
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// elsewhere answers the fill from the remote tier, where another instance has stored the response meanwhile, and reports whether it
// did.
func (f *fill) elsewhere() bool {
	if !f.look {
		return false
	}
	e := f.findRemote()
	if e == nil {
		return false
	}
	f.answerWith(e, true, 0)
	return true
}

// findRemote returns what may be served from the remote tier without asking the origin; nil where nothing may. It notes the mark with
// which the fetch begins.
func (f *fill) findRemote() *cache.Entry {
	q := f.query(time.Now())
	o := f.p.cache.FindRemote(f.request.Context(), q, &cache.Outcome{Entry: f.wanted.selected})
	f.share.Mark = o.Mark
	if o.Tier != cache.L2 || o.Decision.Action != rfc9111.Serve {
		return nil
	}
	return o.Entry
}

// query asks for the stored response of the fill's request.
func (f *fill) query(now time.Time) *cache.Query {
	return &cache.Query{Key: f.key, Fields: (*selecting)(&f.view), Policy: &f.route.Policy, Rule: f.route.Rule, Now: now}
}
