package cache

import (
	"testing"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// TestCutOff: what an instance without a lease does with a fresh copy.
func TestCutOff(t *testing.T) {
	for _, tt := range []struct {
		partition invalidation.Partition
		action    rfc9111.Action
		entry     bool
	}{
		{invalidation.Serve, rfc9111.Serve, true},
		{invalidation.Revalidate, rfc9111.Validate, true},
		{invalidation.Bypass, rfc9111.Fetch, false},
	} {
		w := newWorld(t)
		e := w.keep(response{uri: "http://h/", sent: start, header: fields("Cache-Control: max-age=60", `Etag: "1"`)})
		if o := w.find("http://h/", start); o.Decision.Action != rfc9111.Serve {
			t.Fatalf("%s, with a lease: %+v", tt.partition, o.Decision)
		}
		w.State().SetOnPartition(tt.partition)
		invalidation.NewFollower(w.log, w.State(), invalidation.FollowerOptions{Lease: time.Second}) // which is not run
		o := w.find("http://h/", start)
		if o.Decision.Action != tt.action || (o.Entry != nil) != tt.entry {
			t.Errorf("%s: %+v, entry %v", tt.partition, o.Decision, o.Entry != nil)
		}
		m := e.Facts()
		con, usable := w.Constrain(e, start)
		d := rfc9111.DecideOnError(w.query("http://h/", start).Fields, &m, con, rfc9111.Disconnected, start)
		if served := usable && d.Action != rfc9111.Fetch; served != (tt.partition == invalidation.Serve) {
			t.Errorf("%s, the origin away: served %v", tt.partition, served)
		}
	}
}

// TestAnotherEpoch: a Redis that has lost its data does not turn every copy into a request to the origin where on_partition is serve;
// what was forgotten is validated all the same.
func TestAnotherEpoch(t *testing.T) {
	w := newWorld(t)
	w.State().SetOnPartition(invalidation.Serve)
	w.keep(response{uri: "http://h/", sent: start, header: fields("Cache-Control: max-age=60", `Etag: "1"`)})
	purged := w.tagged("http://h/purged", Labels{Tags: []string{"a"}})
	w.apply(invalidation.Immediate, tag("a"))
	w.State().Begin(invalidation.Position{Epoch: 12345, Seq: 0})
	if o := w.find("http://h/", start); o.Decision.Action != rfc9111.ServeStale || !o.Decision.Refresh || o.Decision.Reason != rfc9111.ReasonUnsure {
		t.Errorf("serve: %+v", o.Decision)
	}
	if standing := w.Standing(purged); standing != invalidation.Invalid {
		t.Errorf("what was purged in the epoch before is %s", standing)
	}
	w.State().SetOnPartition(invalidation.Revalidate)
	if o := w.find("http://h/", start); o.Decision.Action != rfc9111.Validate {
		t.Errorf("revalidate: %+v", o.Decision)
	}
	w.State().SetOnPartition(invalidation.Serve)
	w.State().Begin(invalidation.Position{Epoch: 12345, Seq: 100}) // records that are gone
	if o := w.find("http://h/", start); o.Decision.Action != rfc9111.Validate {
		t.Errorf("serve, but records are not known: %+v", o.Decision)
	}
}
