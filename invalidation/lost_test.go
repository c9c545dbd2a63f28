package invalidation

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A write that the origin has accepted while the log was away, and that could
// not be kept for it either, ends here what was born before it, wherever that
// was. What others are born with later is in no doubt for it.
func TestAWriteThatIsNeverLoggedHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemLogOf(1000)
		i, other := follow(t, "i", log, nil), follow(t, "other", log, nil)
		settle()
		check := func(what, uri string, born Position, want Standing) {
			t.Helper()
			if got := i.s.check(i.s.thing(Birth{Position: born}, uri)); got != want {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		const written = "http://h/written"
		write := purgeOf(written)
		write.Happened = true
		before := log.Head()
		i.log.down.Store(true)
		time.Sleep(time.Second)
		if _, err := i.Purge(t.Context(), write); !errors.Is(err, ErrFull) {
			t.Fatalf("without a log: %v", err)
		}
		during := other.purge(t, purgeOf(x)).Position
		check("born before the write", written, before, Invalid)
		check("born elsewhere while nobody here knows when", written, during, Invalid)

		i.log.down.Store(false)
		settle()
		check("born before the write, when the log is back", written, before, Invalid)
		check("born perhaps before the write", written, during, Invalid)
		after := other.purge(t, purgeOf(x)).Position
		synctest.Wait()
		check("born after the write", written, after, Valid)
		check("born after the purge of another", x, after, Valid)
		check("born before that purge", x, during, Invalid)

		// What is forgotten of it puts what is younger in no doubt.
		time.Sleep(time.Hour)
		latest := other.purge(t, purgeOf("http://h/y")).Position
		synctest.Wait()
		i.s.Prune(time.Now().Add(-time.Minute))
		check("of the latest birth", written, latest, Valid)
		check("older than what is remembered", written, before, Unsure)
		i.stop()
		other.stop()
	})
}

// The same in a log that has begun anew meanwhile.
func TestAWriteThatIsNeverLoggedAndAnotherEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemLogOf(1000)
		i, other := follow(t, "i", log, nil), follow(t, "other", log, nil)
		settle()
		write := purgeOf(x)
		write.Happened = true
		i.log.down.Store(true)
		time.Sleep(time.Second)
		if _, err := i.Purge(t.Context(), write); !errors.Is(err, ErrFull) {
			t.Fatalf("without a log: %v", err)
		}
		log.Lose(0)
		during := other.purge(t, purgeOf("http://h/y")).Position
		i.log.down.Store(false)
		settle()
		if got := i.s.check(i.s.thing(Birth{Position: during}, x)); got != Invalid {
			t.Errorf("born in the new epoch, perhaps before the write: %v", got)
		}
		log.Lose(0)
		settle()
		after := other.purge(t, purgeOf("http://h/y")).Position
		synctest.Wait()
		if got := i.s.check(i.s.thing(Birth{Position: after}, x)); got != Valid {
			t.Errorf("born in an epoch that began after the write: %v", got)
		}
		i.stop()
		other.stop()
	})
}
