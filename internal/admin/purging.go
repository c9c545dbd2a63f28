package admin

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/proxy"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// The types of these calls are those of the room that purges.
type (
	Order = proxy.Order
	Graph = proxy.Graph
	Edge  = proxy.Edge
)

// Receipt is the answer to POST /v1/invalidate, and to PURGE and its kin.
type Receipt struct {
	Epoch         string  `json:"epoch"`
	Seq           uint64  `json:"seq"`
	Pending       bool    `json:"pending"` // accepted, but the log is away
	Instances     int     `json:"instances"`
	Acknowledged  int     `json:"acknowledged"`
	ExpiredLeases int     `json:"expired_leases"`
	Complete      bool    `json:"complete"` // every instance has acknowledged it or lost its lease
	Freed         int     `json:"freed"`    // of this instance's memory
	ElapsedMS     float64 `json:"elapsed_ms"`
	Selected      int     `json:"selected"`   // what was named and what depends on it
	Hot           int     `json:"hot"`        // kept here by a smart purge
	Refreshing    int     `json:"refreshing"` // fetches begun here
}

// Entry is a stored response.
type Entry struct {
	Key       string            `json:"key"`
	URL       string            `json:"url"` // without scheme://HOST where the host is not in the key
	Status    int               `json:"status"`
	Age       float64           `json:"age"` // seconds
	TTL       float64           `json:"ttl"` // seconds; below 0 once stale
	Tags      []string          `json:"tags"`
	Groups    []string          `json:"groups"`
	DependsOn []string          `json:"depends_on"`
	Size      int64             `json:"size"` // bytes of the body
	Cost      int64             `json:"cost"` // bytes of memory, encoded forms aside
	Hits      int               `json:"hits"` // how often its key was asked for lately, up to 16; older requests count less
	Encodings []string          `json:"encodings"`
	Vary      map[string]string `json:"vary"`               // the request fields by which it was chosen
	Standing  string            `json:"standing"`           // what the log of purges says of it
	Variants  []Entry           `json:"variants,omitempty"` // of one entry: the others under its key
}

// invalidate answers POST /v1/invalidate.
func (h *Handler) invalidate(w http.ResponseWriter, r *http.Request) error {
	order, err := body[Order](r)
	if err != nil {
		return err
	}
	receipt, err := h.o.Invalidate(r.Context(), &order)
	if err != nil {
		return refusedOrder(err)
	}
	return writeJSON(w, receipt.Status(), "application/json", receipt)
}

// refusedOrder makes a problem of an order that was not carried out, where it is known why.
func refusedOrder(err error) error {
	var wrong *proxy.OrderError
	switch {
	case errors.As(err, &wrong):
		return problem(http.StatusBadRequest, "nothing was done", wrong.Detail)
	case errors.Is(err, invalidation.ErrTooMany):
		return problem(http.StatusUnprocessableEntity, "nothing was done", err.Error())
	case errors.Is(err, invalidation.ErrFull):
		return problem(http.StatusServiceUnavailable, "nothing was done", err.Error())
	}
	return err
}

// search is what is looked for among the stored responses.
type search struct {
	page
	tag, pattern string
}

func searchOf(r *http.Request) (s search, err error) {
	s.tag, s.pattern = r.URL.Query().Get("tag"), r.URL.Query().Get("pattern")
	s.page, err = pageOf(r)
	return s, err
}

var searchParams = append([]string{"tag", "pattern"}, pageParams...)

// entries lists what is in memory. Of a key that after names, nothing need be there any more.
func (h *Handler) entries(_ context.Context, s search) (Page[Entry], error) {
	out := Page[Entry]{Items: []Entry{}}
	find := cache.Search{Tag: s.tag, Limit: s.limit + 1}
	if s.after != "" {
		after, ok := rfc9111.ParseKeyHash(s.after)
		if !ok {
			return out, problem(http.StatusBadRequest, "not a key", "the parameter after must be what next said")
		}
		find.After = after[:]
	}
	if s.pattern != "" {
		match, err := invalidation.Matching(s.pattern)
		if err != nil {
			return out, problem(http.StatusBadRequest, "not a pattern", err.Error())
		}
		find.Match = match
	}
	c := h.o.Cache
	keys := c.Keys(find)
	if len(keys) > s.limit {
		keys = keys[:s.limit]
		out.Next = hex.EncodeToString(keys[s.limit-1][:])
	}
	for _, key := range keys {
		if e, ok := h.entryUnder(key); ok {
			e.Variants = nil
			out.Items = append(out.Items, e)
		}
	}
	return out, nil
}

// entry describes what is stored under one key.
func (h *Handler) entry(_ context.Context, key string) (Entry, error) {
	hash, ok := rfc9111.ParseKeyHash(key)
	if !ok {
		return Entry{}, problem(http.StatusBadRequest, "not a key", "a key has 32 hexadecimal digits, as explain shows them")
	}
	e, ok := h.entryUnder(hash)
	if !ok {
		return Entry{}, problem(http.StatusNotFound, "no entry", "nothing that holds is in this instance's memory under "+key)
	}
	return e, nil
}

func keyOf(r *http.Request) (string, error) { return r.PathValue("key"), nil }

// entryUnder describes the responses under a key that no purge has ended, as the newest of them with the others.
func (h *Handler) entryUnder(key [16]byte) (first Entry, ok bool) {
	stored := h.o.Cache.Under(key)
	slices.SortStableFunc(stored, func(a, b *cache.Entry) int { return b.Facts().ResponseTime.Compare(a.Facts().ResponseTime) })
	for _, e := range stored {
		standing := h.o.Cache.Standing(e)
		if standing == invalidation.Invalid {
			continue
		}
		d := h.describeEntry(e)
		d.Standing = standing.String()
		if !ok {
			first, ok = d, true
			continue
		}
		first.Variants = append(first.Variants, d)
	}
	return first, ok
}

func (h *Handler) describeEntry(e *cache.Entry) Entry {
	c, now := h.o.Cache, time.Now()
	m, labels := e.Meta(), e.Labels()
	d := Entry{
		Key: e.Key().String(), URL: string(e.URI()), Status: m.Status, Age: m.Age(now).Seconds(), TTL: c.TTL(e, now).Seconds(),
		Tags: list(labels.AllTags()), Groups: list(labels.Groups), DependsOn: list(labels.Depends),
		Size: e.Size(), Cost: e.Cost(), Hits: c.Asked(e.Key().Hash), Encodings: []string{}, Vary: map[string]string{},
	}
	for _, coding := range c.Codings(e) {
		d.Encodings = append(d.Encodings, coding.String())
	}
	slices.Sort(d.Encodings)
	for _, v := range m.Vary {
		d.Vary[v.Name] = v.Value
	}
	return d
}

func nodeOf(r *http.Request) (string, error) {
	of := r.URL.Query().Get("of")
	if of == "" {
		return "", problem(http.StatusBadRequest, "nothing to look at", "the parameter of is missing: tag:NAME, or url:URL")
	}
	return of, nil
}

func (h *Handler) dependencies(ctx context.Context, of string) (*Graph, error) {
	g, err := h.o.Graph(ctx, of)
	if err != nil {
		return nil, refusedOrder(err)
	}
	return g, nil
}
