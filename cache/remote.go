package cache

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
	"github.com/cacheproxy/cacheproxy/tiers"
)

// Share says how a response goes to the remote tier.
type Share struct {
	// Named says that the key follows from the URI, and that therefore a purge of the URI on any instance takes the response out of the
	// remote tier. What is not Named is validated before another instance uses it.
	Named bool
	// Mark and Notes are those of the Outcome with which the fetch began.
	Mark  string
	Notes []string
	// Claim and Token are those of the claim that the response ends. Whoever shares the response takes it; what is left must be given to Release.
	Claim, Token string
}

// reading is what a read of the remote tier has come to.
type reading struct {
	entry *Entry // nil: nothing that fits
	mark  string
	notes []string
}

// HasRemote reports whether there is a remote tier.
func (c *Cache) HasRemote() bool { return c.remote != nil }

// RemoteUp reports whether the remote tier is asked at the moment.
func (c *Cache) RemoteUp() bool { return c.remote != nil && c.remote.Up() }

// FlushRemote waits until all that was shared has been written, or given up; the error is that of ctx.
func (c *Cache) FlushRemote(ctx context.Context) error {
	if c.remote == nil {
		return nil
	}
	return c.remote.Flush(ctx)
}

// FindRemote looks further where the answer that Find has given, near, would send the request to the origin. What it finds goes into
// memory, with what is left of its lifetime. It waits for the remote tier no longer than that tier's deadline, twice at most, and once
// in the usual case; where the tier is away the answer is near.
//
// Until done is called, others who ask get the same answer without a read of their own: it must be called as soon as the fetch has
// begun that they can join, or none will.
func (c *Cache) FindRemote(ctx context.Context, q *Query, near *Outcome) (o Outcome, done func()) {
	guesses := c.guesses.of(q, near)
	r, done, err := c.look(ctx, q, guesses)
	if err == nil && r.entry == nil {
		if missed := without(r.notes, guesses); len(missed) > 0 {
			mark, first := r.mark, done
			r, done, err = c.look(ctx, q, missed)
			first()
			r.mark = mark // that which was there before: a purge in between must be seen
		}
	}
	if err != nil {
		away := *near
		away.Away = true
		return away, done
	}
	return c.further(q, near, &r), done
}

// look reads the variants that these notes stand for.
func (c *Cache) look(ctx context.Context, q *Query, notes []string) (r reading, done func(), err error) {
	fields := fieldsOf(q, notes)
	r, done, err = c.remote.Hold(ctx, keyName(q.Key.Hash), fields, func(f *tiers.Found) reading { return c.promote(f, q, len(fields)) })
	if err == nil {
		c.guesses.learn(q.Rule, r.notes)
	}
	return r, done, err
}

// further is the outcome where r was read behind near.
func (c *Cache) further(q *Query, near *Outcome, r *reading) Outcome {
	o := *near
	o.Mark, o.Notes = r.mark, r.notes
	e := r.entry
	if e == nil || !e.retained(q.Now) || !e.SelectedBy(q.Fields) || near.Entry != nil && !better(e, near.Entry) {
		return o
	}
	standing := c.usable(e, q.Now)
	if standing == invalidation.Invalid {
		return o
	}
	o.Entry, o.Forms, o.Tier, o.Standing, o.Others = e, c.Forms(e), L2, standing, nil // near's forms are of another response
	o.Decision = c.decide(q, &selection{entry: e, standing: standing})
	return o
}

// Judge says what may be done with e for a request that waited for it.
func (c *Cache) Judge(q *Query, e *Entry, tier Tier) Outcome {
	standing := c.usable(e, q.Now)
	o := Outcome{Entry: e, Forms: c.Forms(e), Tier: tier, Standing: standing}
	o.Decision = c.decide(q, &selection{entry: e, standing: standing})
	return o
}

// promote makes an entry of the best of the frames that were found, and stores it in memory.
func (c *Cache) promote(f *tiers.Found, q *Query, fields int) reading {
	r := reading{mark: f.Mark, notes: f.Notes}
	for i := range fields {
		e := c.revive(f, i, q.Now, func(*wire) (rfc9111.Key, uint64) { return q.Key, q.Rule })
		if e != nil && (r.entry == nil || better(e, r.entry)) {
			r.entry = e
		}
	}
	if r.entry != nil && !q.peek {
		c.keep(r.entry, nil, nil, q.Now)
	}
	return r
}

// share sends e, which has been stored in memory, to the remote tier.
func (c *Cache) share(e *Entry, s *Share, now time.Time) {
	if s == nil || c.remote == nil || e.IsPartial() {
		return
	}
	note := noteOf(e)
	m := e.Facts()
	named := s.Named
	c.remote.Set(&tiers.Store{
		Key: keyName(e.hash), Field: fieldOf(e.Rule, e.Meta().Vary), Note: note, Mark: s.Mark, Claim: s.Claim, Token: s.Token,
		Born: e.Stamp.Born, Time: m.RequestTime, TTL: m.Retain.Sub(now), Size: e.Size(),
		Seal: func() (any, []byte, bool) { return wireOf(e, named), e.Body(), e.isEncoded() },
	})
	s.Token = ""
	c.guesses.learn(e.Rule, []string{note})
}

// isEncoded reports whether the body is in a content coding.
func (e *Entry) isEncoded() bool {
	for name := range e.Fields() {
		if name == "Content-Encoding" {
			return true
		}
	}
	return false
}

// Unshare takes all that is stored under the keys out of the remote tier, and sees to it that nothing that was fetched before is stored
// there afterwards. It must have returned before the purge is logged. Where the tier is away it is told later, and nothing is read of
// the keys here until then.
func (c *Cache) Unshare(ctx context.Context, keys ...[16]byte) {
	if c.remote == nil {
		return
	}
	var deleting sync.WaitGroup
	for _, key := range keys {
		deleting.Go(func() { _ = c.remote.Delete(ctx, keyName(key)) }) // see above
	}
	deleting.Wait()
}

// keyName is the name of a key in the remote tier.
func keyName(hash [16]byte) string { return hex.EncodeToString(hash[:]) }

// keyHash reads the name of a key; ok is false where it is none.
func keyHash(name string) (hash [16]byte, ok bool) {
	if len(name) != hex.EncodedLen(len(hash)) {
		return hash, false // Decode writes behind hash where it is longer
	}
	_, err := hex.Decode(hash[:], []byte(name))
	return hash, err == nil
}

// noteOf is what a reader who does not know the entry must know to find it: the names of the fields that it varies by.
func noteOf(e *Entry) string {
	var names []string
	for v := range e.VariesBy() {
		names = append(names, v.Name)
	}
	return strings.Join(names, ",")
}

// fieldsOf returns the names of the variants that q would select if its response varied as the notes say.
func fieldsOf(q *Query, notes []string) []string {
	fields := make([]string, len(notes))
	for i, note := range notes {
		var vary []rfc9111.VaryField
		if note != "" {
			vary = rfc9111.VaryFields(q.Fields, strings.Split(note, ","))
		}
		fields[i] = fieldOf(q.Rule, vary)
	}
	return fields
}

// fieldOf is the name of a variant under its key. The rule is in it, so that instances with different rules, during a roll-out, do not
// displace each other's responses.
func fieldOf(rule uint64, vary []rfc9111.VaryField) string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 256), rule)
	sum := sha256.Sum256(appendVary(b, vary))
	return "v" + hex.EncodeToString(sum[:12])
}

// guesses remember by what the responses of each rule vary, so that nearly always the first read asks for the right variant.
type guesses struct {
	mu    sync.Mutex // guards notes
	notes map[uint64][]string
}

const (
	// maxGuesses is how many notes are remembered for a rule: more would be asked for in vain.
	maxGuesses = 2
	// maxRules is for how many rules; each reload may make new ones.
	maxRules = 10_000
)

// of returns the notes that q's response may have.
func (g *guesses) of(q *Query, near *Outcome) []string {
	notes := []string{""}
	if e := near.Entry; e != nil {
		notes = append(notes, noteOf(e))
	}
	for _, e := range near.Others[:min(len(near.Others), 1)] {
		notes = append(notes, noteOf(e))
	}
	g.mu.Lock()
	notes = append(notes, g.notes[q.Rule]...)
	g.mu.Unlock()
	return unique(notes)
}

// learn takes note of what was seen.
func (g *guesses) learn(rule uint64, seen []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	known := g.notes[rule]
	fresh := without(without(seen, []string{""}), known)
	if len(fresh) == 0 {
		return
	}
	if g.notes == nil || len(g.notes) >= maxRules {
		g.notes = map[uint64][]string{}
	}
	all := append(fresh, known...)
	g.notes[rule] = all[:min(len(all), maxGuesses)]
}

// without returns what of list is not in other.
func without[T comparable](list, other []T) (rest []T) {
	for _, s := range list {
		if !slices.Contains(other, s) {
			rest = append(rest, s)
		}
	}
	return rest
}

func unique(list []string) (u []string) {
	for _, s := range list {
		if !slices.Contains(u, s) {
			u = append(u, s)
		}
	}
	return u
}
