package invalidation_test

import (
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// page is what this program keeps. It is a Subject: it says by what it can be
// purged.
type page struct {
	stamp invalidation.Stamp
	uri   string
	tags  []string
	state *invalidation.State
}

func (p *page) URI() []byte { return []byte(p.uri) }

func (p *page) Tags() (hashes []uint64) {
	for _, tag := range p.tags {
		hashes = append(hashes, p.state.Hash(invalidation.Selector{Kind: invalidation.KindTag, Value: tag}))
	}
	return hashes
}

func (p *page) TagNames() (names []byte) {
	for _, tag := range p.tags {
		names = append(append(names, tag...), '\n')
	}
	return names
}

// A program that keeps something of its own purges it by key, tag and pattern.
func ExamplePurger() {
	state := invalidation.NewState(1000)
	purger := invalidation.NewPurger(invalidation.NewMemLog(), state, nil)

	// 32 hexadecimal digits: most keys are hashes.
	const key = "000000000000000000000000000000a7"
	keep := func() *page {
		born := state.Birth() // before it is made
		p := &page{uri: "user:7", tags: []string{"team:red"}, state: state}
		p.stamp = state.Stamp(born, [16]byte{15: 0xa7}, p.URI())
		return p
	}
	for _, s := range []invalidation.Selector{
		{Kind: invalidation.KindKey, Value: key},
		{Kind: invalidation.KindTag, Value: "team:blue"},
		{Kind: invalidation.KindTag, Value: "team:red"},
		{Kind: invalidation.KindPattern, Value: "user:*"},
		{Kind: invalidation.KindPattern, Value: "order:*"},
	} {
		p := keep()
		receipt, err := purger.Purge(context.Background(), invalidation.Purge{Selectors: []invalidation.Selector{s}})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(receipt.Seq, s.Kind, s.Value, state.Check(&p.stamp, p))
	}
	// Output:
	// 1 key 000000000000000000000000000000a7 invalid
	// 2 tag team:blue valid
	// 3 tag team:red invalid
	// 4 pattern user:* invalid
	// 5 pattern order:* valid
}

// A program hears of what others purge. With a RedisLog in the place of this log
// the two may be on different machines.
func ExampleFollower() {
	shared := invalidation.NewMemLogOf(1000) // or invalidation.NewRedisLog(...)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup

	heard := make(chan invalidation.Record, 10)
	follower := invalidation.NewFollower(shared, invalidation.NewState(1000), invalidation.FollowerOptions{
		Lease:   2 * time.Second,
		OnApply: func(r invalidation.Record) int { heard <- r; return 0 },
	})
	running.Go(func() { _ = follower.Run(ctx) })
	follower.Ready(ctx)

	other := invalidation.NewFollower(shared, invalidation.NewState(1000), invalidation.FollowerOptions{Lease: 2 * time.Second})
	running.Go(func() { _ = other.Run(ctx) })
	other.Ready(ctx)
	receipt, err := other.Purger(nil).Purge(ctx, invalidation.Purge{
		Selectors: []invalidation.Selector{{Kind: invalidation.KindTag, Value: "prices"}},
		Strategy:  invalidation.Soft,
		Wait:      invalidation.WaitLocal, // the default waits until all have applied it
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("purged, as number", receipt.Seq)

	r := <-heard
	fmt.Println("heard of number", r.Seq, r.Strategy, r.Selectors[0].Kind, r.Selectors[0].Value)
	stop()
	running.Wait()
	// Output:
	// purged, as number 1
	// heard of number 1 soft tag prices
}
