package consistency

import (
	"context"
	"flag"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

var (
	purgingFlag = flag.Duration("purging", 2*time.Second, "how long TestPropagation goes on")
	goalsFlag   = flag.Bool("goals", false, "TestPropagation fails where p50 is above 2 ms or p99 above 10 ms, which an idle machine keeps")
)

// TestPropagation asks how long a purge takes until every instance has
// acknowledged it, at a hundred purges a second, each on another instance, while
// clients read.
func TestPropagation(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a site")
	}
	const (
		perSecond = 100
		// Leases are as they are by default. None ends here.
		lease   = 2 * time.Second
		warming = 2 * lease
	)
	all := units()
	s := startSite(t, time.Now(), all, settings{lease: lease, timeout: timeout})
	l := newLoad(s, all)
	ctx, cancel := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	reading.Go(func() { l.run(ctx, rates{readers: 1, pause: 10 * time.Millisecond}) })
	clients := make(chan *http.Client, perSecond)
	for range cap(clients) {
		clients <- client()
	}
	var (
		mu         sync.Mutex // guards the following
		took       []time.Duration
		incomplete int
		work       sync.WaitGroup
	)
	purge := func() {
		c := <-clients
		defer func() { clients <- c }()
		w := write{register: rand.IntN(len(all)), instance: rand.IntN(instances), patience: patient}
		begin := time.Now()
		complete, err := l.purge(c, &w)
		mu.Lock()
		defer mu.Unlock()
		switch took = append(took, time.Since(begin)); {
		case err != nil:
			t.Error(err)
		case !complete:
			incomplete++
		}
	}
	time.Sleep(warming) // in a young epoch each purge waits for a whole lease
	for range 20 {
		purge()
	}
	took = nil
	tick := time.NewTicker(time.Second / perSecond)
	defer tick.Stop()
	for end := time.Now().Add(*purgingFlag); time.Now().Before(end); <-tick.C {
		work.Go(purge)
	}
	work.Wait()
	cancel()
	reading.Wait()
	t.Logf("%d purges a second on %d instances, until all have acknowledged, %s; not complete: %d", perSecond, instances, distribution(took), incomplete)
	if incomplete > 0 {
		t.Errorf("%d of %d purges were not complete", incomplete, len(took))
	}
	slices.Sort(took)
	if p50, p99 := took[len(took)/2], took[len(took)*99/100]; *goalsFlag && (p50 > 2*time.Millisecond || p99 > 10*time.Millisecond) {
		t.Errorf("p50 is %v and p99 %v, want at most 2 ms and 10 ms", p50, p99)
	}
}
