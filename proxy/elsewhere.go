package proxy

import (
	"context"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// elsewhere answers the fill from the remote tier, where another instance has stored the response meanwhile, and reports whether it
// did.
func (f *fill) elsewhere() bool {
	var e *cache.Entry
	if f.look {
		e = f.findRemote()
	}
	if e == nil && f.claim {
		e = f.awaitOther()
	}
	if e == nil {
		return false
	}
	f.answerWith(e, true, 0)
	return true
}

// patience is which part of what others wait for this fill it may spend on waiting for another instance: they shall not lose their
// patience together, and all fetch.
const patience = 0.75

// claimPause is how long to wait at least before a claim is tried again: one that somebody has set without an end has nothing left.
const claimPause = 50 * time.Millisecond

// awaitOther makes this instance the one that fetches, and returns nil; or it waits, no longer than its patience, for another one's
// response, and returns that. Nobody who may be served a stale response waits here: that was served before.
func (f *fill) awaitOther() *cache.Entry {
	ctx, cancel := context.WithTimeout(f.request.Context(), time.Duration(patience*float64(f.route.CollapseWait)))
	defer cancel()
	for {
		// Before the claim: what ends between the two must not be missed.
		ended, stop := f.p.cache.Watch(f.key.Hash)
		c, err := f.p.cache.Claim(ctx, f.query(time.Now()), f.near(), f.share, f.route.CollapseWait)
		switch {
		case err != nil:
			stop()
			return nil
		case c.Won:
			stop()
			return servable(&c.Outcome)
		}
		expired := time.NewTimer(max(c.Left, claimPause))
		select {
		case <-ended:
		case <-expired.C: // its holder is gone, or was not heard
		case <-ctx.Done():
		}
		expired.Stop()
		stop()
		if e := f.findRemote(); e != nil || ctx.Err() != nil {
			return e
		}
	}
}

// near is what this fill was begun for, as an answer of memory.
func (f *fill) near() *cache.Outcome { return &cache.Outcome{Entry: f.wanted.selected} }

// servable returns the entry that was found in the remote tier, if it may be served without asking the origin.
func servable(o *cache.Outcome) *cache.Entry {
	if o.Tier != cache.L2 || o.Decision.Action != rfc9111.Serve {
		return nil
	}
	return o.Entry
}

// findRemote returns what may be served from the remote tier without asking the origin; nil where nothing may. It notes the mark with
// which the fetch begins.
func (f *fill) findRemote() *cache.Entry {
	o, done := f.p.cache.FindRemote(f.request.Context(), f.query(time.Now()), f.near())
	done() // who asks finds this fill
	f.share.Mark, f.share.Notes = o.Mark, o.Notes
	return servable(&o)
}

// query asks for the stored response of the fill's request.
func (f *fill) query(now time.Time) *cache.Query {
	return &cache.Query{Key: f.key, Fields: (*selecting)(&f.view), Policy: &f.route.Policy, Rule: f.route.Rule, Now: now}
}
