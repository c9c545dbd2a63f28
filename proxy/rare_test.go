package proxy_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// TestManyClientsOnOneRareVariantMakeOneFetch: a variant that many ask for at once is not rare, however many others the key has.
func TestManyClientsOnOneRareVariantMakeOneFetch(t *testing.T) {
	gate := make(chan struct{})
	o := newShop(t, func(w http.ResponseWriter, q *http.Request, n int64) {
		if q.Header.Get("X-Lang") == "wanted" {
			<-gate
		}
		plain("Cache-Control: max-age=60", "Vary: X-Lang")(w, q, n)
	})
	r := newRig(t, o.URL, nil)
	const others = 4
	for i := range others {
		r.get("/a", fmt.Sprint("X-Lang: l", i))
	}
	answers := r.crowd(20, "/a", func() {
		eventually(t, "the fetch is under way", func() bool { return o.asked.Load() == others+1 })
		time.Sleep(100 * time.Millisecond) // let the others arrive while it is
		close(gate)
	}, "X-Lang: wanted")
	for _, a := range answers {
		if want := fmt.Sprint("answer ", others+1); a.err != nil || a.body != want {
			t.Errorf("got %q, %v, want %q", a.body, a.err, want)
		}
	}
	r.want(r.get("/a", "X-Lang: wanted"), 200, fmt.Sprint("answer ", others+1), "hit")
	if got := o.asked.Load() - others; got != 1 {
		t.Errorf("the origin was asked %d times, want once", got)
	}
}
