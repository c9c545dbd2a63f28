package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// Receipt says what has become of an order.
type Receipt struct {
	invalidation.Receipt
	Selected   int // selectors of the record, what depends on what was named among them
	Hot        int // of a smart purge: keys in this instance's memory that were kept, and are fetched anew
	Refreshing int // fetches that were begun here
}

// MarshalJSON implements json.Marshaler: the form of invalidation.Receipt, and what only this instance has done.
func (r Receipt) MarshalJSON() ([]byte, error) {
	b, err := r.Receipt.MarshalJSON()
	if err != nil {
		return nil, err
	}
	more, err := json.Marshal(struct {
		Selected   int `json:"selected"`
		Hot        int `json:"hot"`
		Refreshing int `json:"refreshing"`
	}{r.Selected, r.Hot, r.Refreshing})
	if err != nil {
		return nil, err
	}
	return append(append(b[:len(b)-1], ','), more[1:]...), nil
}

// Status is the status code that goes with it.
func (r *Receipt) Status() int {
	if r.Reached {
		return http.StatusOK
	}
	return http.StatusAccepted
}

// Invalidate carries out an order. The error is an *OrderError where the order is wrong, matches invalidation.ErrFull where it cannot
// be kept, and [invalidation.ErrTooMany] where too much depends on what it names; nothing was done then.
func (p *Proxy) Invalidate(ctx context.Context, o *Order) (*Receipt, error) {
	plan := p.plan.Load()
	n, err := o.compile(plan)
	if err != nil {
		return nil, err
	}
	anybody := view{header: http.Header{}, method: http.MethodGet}
	return p.invalidate(ctx, plan, &n, &anybody)
}

// invalidate logs a purge, lets go of what it has ended, and fetches anew what is to be. v is the client's request, as far as the keys
// of the URLs hang on its fields.
func (p *Proxy) invalidate(ctx context.Context, plan *Plan, n *named, v *view) (*Receipt, error) {
	closure, err := p.dependencies.Close(ctx, n.purge.Selectors, p.nodesUnder(n.keys)...)
	if err != nil {
		return nil, err
	}
	n.purge.Selectors, n.purge.Dependents = closure.Selectors, closure.More
	for i := range n.targets {
		n.keys = append(n.keys, plan.keysOf(&n.targets[i], v)...)
	}
	var renewals []renewal
	if n.refresh {
		renewals = p.renewalsOf(n.targets, n.keys)
	}
	ends := n.purge.Strategy == invalidation.Immediate
	if ends {
		p.cache.Unshare(ctx, n.keys...)
	}
	receipt, err := p.purger.Purge(ctx, n.purge)
	if err != nil {
		if errors.Is(err, invalidation.ErrEmpty) || errors.Is(err, invalidation.ErrSelector) || errors.Is(err, invalidation.ErrStrategy) {
			err = &OrderError{err.Error()}
		}
		return nil, err
	}
	if closure.Unsure && !receipt.Pending {
		p.log.Warn("a purge may have missed what depends on what it named: what other instances have declared could not be asked for")
		receipt.Complete, receipt.Reached = false, receipt.Reached && n.purge.Wait != invalidation.WaitAll
	}
	r := &Receipt{Receipt: receipt, Selected: len(n.purge.Selectors)}
	here := p.drops.of(receipt.Position)
	var renewed [][16]byte
	if ends || n.purge.Strategy == invalidation.Smart {
		for _, key := range n.keys {
			d := p.cache.DropKey(key)
			r.Freed += d.Freed
			for _, hot := range d.Hot {
				if !slices.Contains(here.hot, hot) {
					renewed = append(renewed, hot)
				}
			}
		}
	}
	for _, key := range renewed {
		renewals = append(renewals, p.renewalsUnder(key)...)
	}
	r.Hot = len(here.hot) + len(renewed)
	r.Refreshing = here.refreshing + p.renew(renewals)
	return r, nil
}

// nodesUnder returns the nodes of dependencies that what is in memory under keys stands for.
func (p *Proxy) nodesUnder(keys [][16]byte) (nodes []string) {
	for _, key := range keys {
		for _, e := range p.cache.Under(key) {
			if _, bare, ok := bytes.Cut(e.URI(), []byte(":")); ok {
				nodes = append(nodes, "url:"+string(bare))
			}
		}
	}
	return nodes
}

// keysOf returns the keys under which a GET for t, with the fields of v, would be stored.
func (p *Plan) keysOf(t *target, v *view) (keys [][16]byte) {
	schemes := []string{t.Scheme}
	if t.both {
		schemes = []string{"http", "https"}
	}
	at := t.Target
	for _, at.Scheme = range schemes {
		for _, key := range p.keys(v, &at) {
			if !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// keys returns the keys under which a GET for target with the fields of v, or one that takes another route, would be stored. Where
// header fields or cookies are in a route's key, requests with other fields have others.
func (p *Plan) keys(v *view, target *rfc9111.Target) [][16]byte {
	get := *v
	get.method, get.target = http.MethodGet, *target
	keys := [][16]byte{p.Table.Match(&get).AppendKey(nil, &get).Hash}
	for _, get.route = range p.Table.Reaching(target) {
		if key := get.route.AppendKey(nil, &get).Hash; !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Applied frees what a record has ended in memory, fetches anew what a smart one has kept, and returns how many responses it freed. It
// is called once for each record that was applied.
func (p *Proxy) Applied(r invalidation.Record) (freed int) {
	d := p.cache.Drop(r)
	freed, hot := p.dropURLs(&r)
	for _, key := range d.Hot {
		if !slices.Contains(hot, key) {
			hot = append(hot, key)
		}
	}
	if len(hot) > 0 {
		var renewals []renewal
		for _, key := range hot {
			renewals = append(renewals, p.renewalsUnder(key)...)
		}
		p.drops.note(applied{at: r.Position, hot: hot, refreshing: p.renew(renewals)})
	}
	return freed + d.Freed
}

// dropURLsTime is how long dropURLs looks for what a record has ended. The rest is freed when it is touched, or evicted.
const dropURLsTime = 5 * time.Millisecond

// dropURLs does what Cache.Drop leaves out: it frees what is stored under the URLs that a record names, as far as their keys follow from
// them, and returns how many responses that was and which keys are hot.
func (p *Proxy) dropURLs(r *invalidation.Record) (freed int, hot [][16]byte) {
	if r.Strategy != invalidation.Immediate && r.Strategy != invalidation.Smart {
		return 0, nil
	}
	until := time.Now().Add(dropURLsTime)
	plan, anybody := p.plan.Load(), view{header: http.Header{}, method: http.MethodGet}
	for _, s := range r.Selectors {
		if s.Kind != invalidation.KindURL {
			continue
		}
		t, err := parseOrderURL(s.Value)
		if err != nil {
			continue // its route keeps the host out of the key, and so nobody knows which route that is
		}
		for _, key := range plan.keysOf(&t, &anybody) {
			d := p.cache.DropKey(key)
			freed, hot = freed+d.Freed, append(hot, d.Hot...)
		}
		if time.Now().After(until) {
			break
		}
	}
	return freed, hot
}
