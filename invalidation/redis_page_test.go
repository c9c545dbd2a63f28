package invalidation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/test/redistest"
)

// A page of records fits through a time-out however large they are: an instance
// that cannot read one would be cut off for good.
func TestAPageIsBoundedInBytes(t *testing.T) {
	const records, size = 200, 300 << 10
	server := redistest.Start(t)
	log := logOf(clientOf(t, redis.UniversalOptions{Addrs: []string{server.Addr}}), "p")
	large := invalidation.Record{Selectors: []invalidation.Selector{{Kind: invalidation.KindTag, Value: strings.Repeat("t", size)}}}
	for range records {
		mustAppend(t, log, large)
	}
	last := mustAppend(t, log, url(1))

	at := invalidation.Report{ID: "a", Applied: invalidation.Position{Epoch: last.Epoch}, Lease: time.Minute}
	for pages := 1; ; pages++ {
		s := mustSync(t, log, at)
		bytes := 0
		for _, r := range s.Records {
			if r.Seq != at.Applied.Seq+1 {
				t.Fatalf("record %d behind %d", r.Seq, at.Applied.Seq)
			}
			at.Applied = r.Position
			bytes += len(r.Selectors[0].Value)
		}
		if bytes > 8<<20 {
			t.Errorf("page %d has %d records of %d bytes in all", pages, len(s.Records), bytes)
		}
		if whole := at.Applied == s.Head; s.Granted != whole {
			t.Fatalf("page %d: granted %v at %v of %v", pages, s.Granted, at.Applied, s.Head)
		} else if whole {
			return
		}
		if len(s.Records) == 0 {
			t.Fatal("nothing more comes")
		}
	}
}
