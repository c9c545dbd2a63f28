package app

import (
	"context"
	"sync"

	"github.com/cacheproxy/cacheproxy/proxy/upstream"
)

// keeper runs what upstreams do beside requests, health checks above all, for the upstreams that are in use.
type keeper struct {
	mu     sync.Mutex // guards the following
	ctx    context.Context
	wanted []*upstream.Upstream
	kept   map[*upstream.Upstream]*kept
}

// kept is one upstream that runs.
type kept struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// use makes those the upstreams in use. It returns when what the others did has ended.
func (k *keeper) use(upstreams []*upstream.Upstream) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wanted = upstreams
	if k.ctx != nil {
		k.change()
	}
}

// run keeps the upstreams in use running until ctx ends.
func (k *keeper) run(ctx context.Context) error {
	k.mu.Lock()
	k.ctx, k.kept = ctx, map[*upstream.Upstream]*kept{}
	k.change()
	k.mu.Unlock()
	<-ctx.Done()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ctx, k.wanted = nil, nil
	k.change()
	return nil
}

// change ends what is not wanted any more and starts what is. mu is held.
func (k *keeper) change() {
	next := map[*upstream.Upstream]*kept{}
	for _, u := range k.wanted {
		if running := k.kept[u]; running != nil {
			next[u] = running
			delete(k.kept, u)
			continue
		}
		ctx, cancel := context.WithCancel(k.ctx)
		running := &kept{cancel, make(chan struct{})}
		next[u] = running
		go func() {
			defer close(running.done)
			_ = u.Run(ctx) // it ends with its context only
		}()
	}
	for _, running := range k.kept {
		running.cancel()
	}
	for _, running := range k.kept {
		<-running.done
	}
	k.kept = next
}
