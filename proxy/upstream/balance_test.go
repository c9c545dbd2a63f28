package upstream

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// several returns an upstream of the targets with time-outs that no test should
// meet, changed by change.
func several(t testing.TB, urls []string, change ...func(*Options)) *Upstream {
	t.Helper()
	o := DefaultOptions(urls[0])
	o.Targets = nil
	for _, url := range urls {
		o.Targets = append(o.Targets, Target{url, 1})
	}
	o.Timeout = Timeouts{Connect: 20 * time.Second, ResponseHeader: 20 * time.Second, Idle: 20 * time.Second}
	for _, c := range change {
		c(&o)
	}
	u, err := New("shop", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

// nowhere returns the URLs of targets that no test connects to.
func nowhere(n int) []string {
	var urls []string
	for i := range n {
		urls = append(urls, fmt.Sprintf("http://10.0.0.%d", i+1))
	}
	return urls
}

func balanced(balance string, weights ...int) func(*Options) {
	return func(o *Options) {
		o.Balance = balance
		for i, w := range weights {
			o.Targets[i].Weight = w
		}
	}
}

// index returns which of the targets a visit is to.
func index(u *Upstream, v *visit) int {
	for i, t := range u.targets {
		if v != nil && v.target == t {
			return i
		}
	}
	return -1
}

func TestRoundRobinGoesByWeights(t *testing.T) {
	tests := []struct {
		weights []int
		want    string // the first round
	}{
		{[]int{1, 1, 1}, "012"},
		{[]int{5, 1, 1}, "0010200"}, // the heavy one not all in a row
		{[]int{1, 2, 3}, "210212"},
		{[]int{1}, "0"},
	}
	for _, tt := range tests {
		u := several(t, nowhere(len(tt.weights)), balanced(RoundRobin, tt.weights...))
		got := ""
		for range 3 * len(tt.want) {
			v := u.visit(0, false, nil)
			got += fmt.Sprint(index(u, v))
			u.end(v, fine)
			u.roster.leave(v)
		}
		if got != tt.want+tt.want+tt.want {
			t.Errorf("weights %v: the order is %s, want %s three times", tt.weights, got, tt.want)
		}
	}
}

func TestLeastConnGoesToWhoHasTheFewest(t *testing.T) {
	u := several(t, nowhere(3), balanced(LeastConn, 1, 1, 2))
	var under [3]int
	hold := func() int {
		i := index(u, u.visit(0, false, nil))
		under[i]++
		return i
	}
	for range 8 {
		hold()
	}
	if under != [3]int{2, 2, 4} {
		t.Errorf("eight requests under way are spread %v, want by the weights", under)
	}
	v := &visit{target: u.targets[1]}
	u.roster.leave(v)
	if i := hold(); i != 1 {
		t.Errorf("the next went to %d, want 1, where one has just ended", i)
	}
}

// keys are what the hash tests look at.
const keys = 20000

// homes returns where each key goes while nothing is under way.
func homes(u *Upstream) []int {
	at := make([]int, keys)
	for i := range at {
		v := u.visit(mix(uint64(i)), false, nil)
		at[i] = index(u, v)
		u.end(v, fine)
		u.roster.leave(v)
	}
	return at
}

func TestHashGoesByWeights(t *testing.T) {
	u := several(t, nowhere(3), balanced(Hash, 1, 2, 5))
	var count [3]int
	for _, i := range homes(u) {
		count[i]++
	}
	for i, w := range []int{1, 2, 5} {
		want := keys * w / 8
		if count[i] < want*94/100 || count[i] > want*106/100 {
			t.Errorf("target %d of weight %d has %d of %d keys, want about %d", i, w, count[i], keys, want)
		}
	}
}

// A target that goes takes its own keys along, and no others move: to the caches
// of the others nothing has happened.
func TestHashMovesOnlyTheKeysOfWhoIsGone(t *testing.T) {
	all, some := several(t, nowhere(5), balanced(Hash)), several(t, nowhere(4), balanced(Hash))
	before, after := homes(all), homes(some)
	var to [4]int
	for i := range before {
		if before[i] < 4 && after[i] != before[i] {
			t.Fatalf("key %d moved from %d to %d, although both are there", i, before[i], after[i])
		}
		if before[i] == 4 {
			to[after[i]]++
		}
	}
	for i, n := range to {
		if n < keys/5/4*8/10 || n > keys/5/4*12/10 {
			t.Errorf("%d of the keys that had to move went to target %d, want a quarter of about %d", n, i, keys/5)
		}
	}
}

// One key that everybody asks for must not drown its target.
func TestHashIsBounded(t *testing.T) {
	u := several(t, nowhere(4), balanced(Hash))
	var under [4]int
	for n := 1; n <= 100; n++ {
		under[index(u, u.visit(42, false, nil))]++
		for i, have := range under {
			if bound := int(1.25*float64(n)/4) + 1; have > bound {
				t.Fatalf("of %d requests under way target %d has %d, want at most %d", n, i, have, bound)
			}
		}
	}
	home := index(u, u.visit(42, false, nil))
	for i, have := range under {
		if have > under[home]+1 {
			t.Errorf("target %d has more of the key's requests (%v) than its own, %d", i, under, home)
		}
	}
}

func TestHashFollowsTheKeyOfTheContext(t *testing.T) {
	var urls []string
	for i := range 5 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, i) }))
		t.Cleanup(s.Close)
		urls = append(urls, s.URL)
	}
	u := several(t, urls, balanced(Hash))
	ask := func(path string, key uint64) string {
		req := request(t, "GET", path, nil)
		if key != 0 {
			req = req.WithContext(WithKey(req.Context(), key))
		}
		response, err := u.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var at string
		fmt.Fscan(response.Body, &at) // what it says is compared below
		return at
	}
	at := map[string]bool{}
	for key := uint64(1); key <= 20; key++ {
		first := ask("/a", key)
		if second := ask("/b", key); second != first {
			t.Errorf("the requests of key %d went to %s and %s", key, first, second)
		}
		at[first] = true
	}
	if len(at) < 3 {
		t.Errorf("twenty keys went to %d of five targets", len(at))
	}
	if first, second := ask("/same?q", 0), ask("/same?q", 0); first != second {
		t.Errorf("without a key the same URL went to %s and %s", first, second)
	}
}
