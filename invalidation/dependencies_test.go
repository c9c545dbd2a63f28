package invalidation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestClosure(t *testing.T) {
	later := time.Now().Add(time.Hour)
	d := NewDependencies(100)
	for uri, on := range map[string][]string{
		"//h/a": {"tag:prices"}, "//h/b": {"url://h/a", "tag:stock"}, "//h/c": {"url://h/b"},
		"//h/x": {"url://h/y"}, "//h/y": {"url://h/x"}, "//h/self": {"url://h/self"}, "//h/grouped": {"group:http://h g"},
	} {
		if err := d.Declare(uri, on, later); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		of   Selector
		want []string
	}{
		{Selector{KindTag, "prices"}, []string{"//h/a", "//h/b", "//h/c"}},
		{Selector{KindTag, "stock"}, []string{"//h/b", "//h/c"}},
		{Selector{KindTag, "none"}, nil},
		{Selector{KindURL, "//h/b"}, []string{"//h/c"}},
		{Selector{KindURL, "https://h/b"}, []string{"//h/c"}}, // of one scheme: what depends on it cannot tell
		{Selector{KindURL, "//h/x"}, []string{"//h/y"}},       // a cycle
		{Selector{KindURL, "//h/self"}, nil},
		{Selector{Kind: KindAll}, nil},
		{Selector{KindPattern, "/y"}, []string{"//h/x"}}, // what it matches itself is the pattern's to hit
		{Selector{KindPattern, "other/**"}, nil},
		{Ban{Tags: "^(stock|none)$"}.Selector(), []string{"//h/c"}}, // as above: /b tells that it depends on the tag
		{Ban{URL: "^/b", Tags: "stock"}.Selector(), []string{"//h/c"}},
		{Ban{URL: "^/a", Tags: "stock"}.Selector(), nil},
		{Group("http://h", "g"), []string{"//h/grouped"}},
	} {
		c, err := d.Close(t.Context(), []Selector{tt.of})
		var got []string
		for _, s := range c.Selectors[1:] {
			got = append(got, s.Value)
		}
		if err != nil || c.Selectors[0] != tt.of || !slices.Equal(got, tt.want) || c.More != (len(tt.want) > 0) || c.Unsure {
			t.Errorf("%v: %q, %+v, %v; want %q", tt.of, got, c, err, tt.want)
		}
	}
}

// TestClosureIsBounded: the bound is told, and is no purge of a part.
func TestClosureIsBounded(t *testing.T) {
	d := NewDependencies(MaxClosure + 10)
	for i := range MaxClosure + 1 {
		if err := d.Declare(fmt.Sprintf("//h/%d", i), []string{"tag:a"}, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Close(t.Context(), []Selector{{KindTag, "a"}}); !errors.Is(err, ErrTooMany) {
		t.Errorf("error %v", err)
	}
	if _, err := d.Close(t.Context(), []Selector{{KindTag, "b"}}); err != nil {
		t.Errorf("another tag: %v", err)
	}
}

func TestDeclarationsEnd(t *testing.T) {
	now := time.Now()
	d := NewDependencies(2)
	for _, uri := range []string{"//h/a", "//h/b"} {
		if err := d.Declare(uri, []string{"tag:a"}, now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Declare("//h/c", []string{"tag:a"}, now.Add(time.Hour)); !errors.Is(err, ErrTooMany) {
		t.Errorf("beyond the limit: %v", err)
	}
	// The earlier declaration holds as long as its bearer may be stored.
	if err := d.Declare("//h/a", []string{"tag:b"}, now.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if got := d.Dependents("tag:a"); !slices.Equal(got, []string{"//h/a", "//h/b"}) {
		t.Errorf("dependents of a: %q", got)
	}
	if !d.Wanted("tag:b") || !slices.Equal(d.Of("//h/a"), []string{"tag:b", "tag:a"}) {
		t.Errorf("of /a: %q", d.Of("//h/a"))
	}
	d.Prune(now.Add(2 * time.Hour))
	if d.Len() != 0 || len(d.dependents) != 0 || d.Wanted("tag:a") {
		t.Error("something is left of what has ended")
	}
}

// board is Edges in memory.
type board struct {
	mu   sync.Mutex
	on   map[string][]string
	fail error
}

func (b *board) fails(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = err
}

func (b *board) Declare(_ context.Context, uri string, nodes []string, _ time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	for _, node := range nodes {
		b.on[node] = append(b.on[node], uri)
	}
	return nil
}

func (b *board) Dependents(_ context.Context, nodes []string) ([][]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all [][]string
	for _, node := range nodes {
		all = append(all, b.on[node])
	}
	return all, b.fail
}

// waiting returns how many declarations are still to be told.
func (d *Dependencies) waiting() int {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.untold)
}

// TestSharedEdges: a purge reaches what only other instances know of, and what
// is known here where the others cannot be asked.
func TestSharedEdges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		shared := &board{on: map[string][]string{}}
		a, b, many := NewDependencies(10), NewDependencies(10), NewDependencies(2*maxTold)
		many.Share(shared)
		for _, d := range []*Dependencies{a, b} {
			d.Share(shared)
			go d.Run(ctx)
		}
		later := time.Now().Add(time.Hour)
		_ = a.Declare("//h/list", []string{"url://h/price"}, later)
		_ = b.Declare("//h/home", []string{"url://h/list", "tag:x"}, later)
		synctest.Wait()
		for _, d := range []*Dependencies{a, b} {
			c, err := d.Close(ctx, []Selector{{KindURL, "//h/price"}})
			if want := []Selector{{KindURL, "//h/price"}, {KindURL, "//h/list"}, {KindURL, "//h/home"}}; err != nil || !c.More || c.Unsure || !slices.Equal(c.Selectors, want) {
				t.Errorf("%+v, %v", c, err)
			}
		}
		shared.fails(errors.New("away"))
		if c, err := b.Close(ctx, []Selector{{KindTag, "x"}}); err != nil || len(c.Selectors) != 2 || !c.Unsure {
			t.Errorf("the others away: %+v, %v", c, err)
		}
		// What could not be told, because others were away or there was too much of it,
		// is told when it can be.
		_ = a.Declare("//h/late", []string{"url://h/price"}, later)
		for i := range maxTold + 10 {
			_ = many.Declare(fmt.Sprintf("//h/%d", i), []string{"tag:many"}, later)
		}
		time.Sleep(3 * tellAgain)
		shared.fails(nil)
		time.Sleep(3 * tellAgain)
		go many.Run(ctx)
		time.Sleep(3 * tellAgain)
		if c, err := b.Close(ctx, []Selector{{KindURL, "//h/price"}}); err != nil || c.Unsure || !slices.Contains(c.Selectors, Selector{KindURL, "//h/late"}) {
			t.Errorf("what was declared while the others were away is not known: %+v, %v", c, err)
		}
		if found := b.DependentsOf(ctx, []string{"tag:many"}); len(found[0]) != maxTold+10 {
			t.Errorf("%d of many are known", len(found[0]))
		}
		if a.waiting()+many.waiting() > 0 {
			t.Error("what was told is told again and again")
		}
	})
}
