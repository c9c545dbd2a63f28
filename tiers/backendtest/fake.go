package backendtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cacheproxy/cacheproxy/tiers"
)

// Fake is a Backend in memory that can be told to fail. It passes the same suite
// as Redis does. It is safe for concurrent use.
type Fake struct {
	mu        sync.Mutex // guards the following
	keys      map[string]*held
	claims    map[string]claim
	listeners map[int]func(string)
	next      int
	kept      map[string][]byte
	fault     Fault
	asked     int
}

// Fault says how a Fake fails. The zero value is none.
type Fault struct {
	Delay  time.Duration               // of each operation; an operation whose context ends meanwhile is not done
	Err    error                       // the answer to each operation
	Refuse bool                        // writes are answered with ErrRefused
	Lie    func([]byte) []byte         // what becomes of frames that are read
	Hang   bool                        // each operation takes until its context ends
	Before func(op string, key string) // called before each operation
	After  func(op string, key string) // called when a read has been done, before it is answered
}

type held struct {
	mark   string
	writes map[string]tiers.Write
	until  map[string]time.Time
}

type claim struct {
	token string
	until time.Time
}

// NewFake returns an empty Fake that is well.
func NewFake() *Fake {
	return &Fake{keys: map[string]*held{}, claims: map[string]claim{}, listeners: map[int]func(string){}, kept: map[string][]byte{}}
}

// Fail makes fault the way in which it fails from now on.
func (f *Fake) Fail(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// Asked returns how many operations there were.
func (f *Fake) Asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// enter counts an operation and fails where it is to.
func (f *Fake) enter(ctx context.Context, op, key string) (Fault, error) {
	f.mu.Lock()
	f.asked++
	fault := f.fault
	f.mu.Unlock()
	if fault.Before != nil {
		fault.Before(op, key)
	}
	switch {
	case fault.Hang:
		<-ctx.Done()
		return fault, ctx.Err()
	case fault.Delay > 0:
		select {
		case <-ctx.Done():
			return fault, ctx.Err()
		case <-time.After(fault.Delay):
		}
	}
	if fault.Refuse && op != "get" && op != "ping" {
		return fault, tiers.ErrRefused
	}
	return fault, fault.Err
}

// Get implements tiers.Backend.
func (f *Fake) Get(ctx context.Context, key string, fields ...string) (tiers.Index, [][]byte, error) {
	fault, err := f.enter(ctx, "get", key)
	if err != nil {
		return tiers.Index{}, nil, err
	}
	f.mu.Lock()
	index, frames := f.read(key, fields)
	f.mu.Unlock()
	for i := range frames {
		if fault.Lie != nil && frames[i] != nil {
			frames[i] = fault.Lie(frames[i])
		}
	}
	if fault.After != nil {
		fault.After("get", key)
	}
	return index, frames, nil
}

// read is Get with mu held.
func (f *Fake) read(key string, fields []string) (tiers.Index, [][]byte) {
	frames := make([][]byte, len(fields))
	h := f.keys[key]
	if h == nil {
		return tiers.Index{}, frames
	}
	index := tiers.Index{Mark: h.mark}
	for name, w := range h.writes {
		if time.Now().After(h.until[name]) {
			delete(h.writes, name)
			continue
		}
		if !slices.Contains(index.Notes, w.Note) {
			index.Notes = append(index.Notes, w.Note)
		}
	}
	slices.Sort(index.Notes)
	for i, name := range fields {
		if w, ok := h.writes[name]; ok {
			frames[i] = slices.Clone(w.Frame)
		}
	}
	return index, frames
}

// Set implements tiers.Backend.
func (f *Fake) Set(ctx context.Context, key string, w tiers.Write) (bool, error) {
	if _, err := f.enter(ctx, "set", key); err != nil {
		return false, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.keys[key]
	if h == nil {
		h = &held{writes: map[string]tiers.Write{}, until: map[string]time.Time{}}
		f.keys[key] = h
	}
	old, ok := h.writes[w.Field]
	stored := h.mark == w.Mark && !(ok && later(&old, &w))
	if stored {
		h.writes[w.Field], h.until[w.Field] = w, time.Now().Add(w.TTL)
	}
	f.end(key, w.Claim, w.Token)
	return stored, nil
}

// later reports whether a was born after b.
func later(a, b *tiers.Write) bool {
	if a.Born.Epoch == b.Born.Epoch && a.Born.Seq != b.Born.Seq {
		return a.Born.Seq > b.Born.Seq
	}
	return a.Time.UnixMilli() > b.Time.UnixMilli()
}

// Delete implements tiers.Backend.
func (f *Fake) Delete(ctx context.Context, key, mark string) error {
	if _, err := f.enter(ctx, "delete", key); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys[key] = &held{mark: mark, writes: map[string]tiers.Write{}, until: map[string]time.Time{}}
	return nil
}

// Claim implements tiers.Backend.
func (f *Fake) Claim(ctx context.Context, key, name, token string, ttl time.Duration, fields ...string) (tiers.Claimed, error) {
	if _, err := f.enter(ctx, "claim", key); err != nil {
		return tiers.Claimed{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if left := time.Until(f.claims[key+name].until); left > 0 {
		return tiers.Claimed{Left: left}, nil
	}
	f.claims[key+name] = claim{token, time.Now().Add(ttl)}
	c := tiers.Claimed{Won: true}
	c.Index, c.Frames = f.read(key, fields)
	return c, nil
}

// Release implements tiers.Backend.
func (f *Fake) Release(ctx context.Context, key, name, token string) error {
	if _, err := f.enter(ctx, "release", key); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.end(key, name, token)
	return nil
}

// end ends the claim of a holder. mu is held.
func (f *Fake) end(key, name, token string) {
	if token == "" || f.claims[key+name].token != token {
		return
	}
	delete(f.claims, key+name)
	for _, tell := range f.listeners {
		go tell(key)
	}
}

// Listen implements tiers.Backend.
func (f *Fake) Listen(ctx context.Context, tell func(string)) error {
	f.mu.Lock()
	id := f.next
	f.next++
	f.listeners[id] = tell
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.listeners, id)
	return nil
}

// Keep implements tiers.Backend. It forgets nothing.
func (f *Fake) Keep(ctx context.Context, name string, value []byte, _ time.Duration) error {
	if _, err := f.enter(ctx, "keep", name); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.kept[name] = slices.Clone(value)
	return nil
}

// Kept implements tiers.Backend.
func (f *Fake) Kept(ctx context.Context, name string) ([]byte, error) {
	if _, err := f.enter(ctx, "kept", name); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kept[name], nil
}

// Ping implements tiers.Backend.
func (f *Fake) Ping(ctx context.Context) error {
	_, err := f.enter(ctx, "ping", "")
	return err
}

// ErrBroken is an error of no particular kind, for Fault.Err.
var ErrBroken = errors.New("broken")
