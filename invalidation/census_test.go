package invalidation

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// Who has ended without leaving the register does not stand in it for ever, also
// where nobody waits for a purge; who is there does.
func TestTheRegisterForgetsWhoHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := NewMemLogOf(1000)
		i, other := follow(t, "i", log, nil), follow(t, "other", log, nil)
		settle()
		report := func(id string, lease time.Duration) {
			t.Helper()
			if s, err := log.Sync(t.Context(), Report{ID: id, Applied: log.Head(), Lease: lease}); err != nil || !s.Granted {
				t.Fatal(s, err)
			}
		}
		register := func() (ids []string) {
			t.Helper()
			members, err := i.Members(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range members {
				ids = append(ids, m.ID)
			}
			return ids
		}
		for n := range 5 {
			report(fmt.Sprint("killed", n), testLease)
		}
		report("long", time.Hour)
		time.Sleep(census - testLease)
		report("seldom", testLease) // a moment before somebody looks
		time.Sleep(census)
		report("seldom", testLease)
		time.Sleep(census)
		report("seldom", testLease)
		if got := fmt.Sprint(register()); got != "[i long other seldom]" {
			t.Errorf("after some minutes: %v", got)
		}
		time.Sleep(time.Hour + 3*census + time.Hour/20)
		if got := fmt.Sprint(register()); got != "[i other]" {
			t.Errorf("when the longest lease has ended: %v", got)
		}
		i.stop()
		other.stop()
	})
}
