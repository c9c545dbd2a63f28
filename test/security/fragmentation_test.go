package security

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cacheproxy/cacheproxy/test/process"
)

// full is true where the attacks are made at their full size, by `make security`.
var full = os.Getenv("CACHEPROXY_SECURITY") == "full"

// A crowd asks for hot pages while an attacker fills the cache with what nobody
// else will ask for.
type crowd struct {
	t      *testing.T
	client *http.Client
	url    string
	asked  atomic.Int64 // requests that the origin got for hot pages
	proxy  *process.Process

	regulars atomic.Int64 // requests that the origin got with the variant "regular"
}

// newCrowd starts a proxy with a small memory and an origin that answers with pages of
// 2 KiB, which vary by X-Variant.
func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{t: t, client: &http.Client{Transport: &http.Transport{DisableCompression: true}}}
	t.Cleanup(c.client.CloseIdleConnections)
	page := strings.Repeat("x", 2<<10)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	origin := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/hot/") && r.URL.RawQuery == "" && r.Header.Get("X-Variant") == "" {
			c.asked.Add(1)
		}
		if r.Header.Get("X-Variant") == "regular" {
			c.regulars.Add(1)
		}
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Vary", "X-Variant")
		io.WriteString(w, page)
	})}
	go origin.Serve(l) // until it is closed
	t.Cleanup(func() { origin.Close() })
	file := filepath.Join(t.TempDir(), "cacheproxy.yaml")
	writeFile(t, file, "log: { level: error, access: false }\ncache: { l1: { max_bytes: 16MiB } }\n")
	c.proxy = process.Serve(t, process.Options{}, "--upstream", "http://"+l.Addr().String(), "--config", file)
	c.url = c.proxy.URL
	return c
}

// get asks and drops the answer.
func (c *crowd) get(path, variant string) {
	req, err := http.NewRequestWithContext(c.t.Context(), "GET", c.url+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if variant != "" {
		req.Header.Set("X-Variant", variant)
	}
	res, err := c.client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
		c.t.Fatalf("%s: status %d, %v", path, res.StatusCode, err)
	}
}

const hotPages = 1000 // some 2 MiB

// hitRatio asks n times for hot pages, each after some requests of the attacker, and
// returns how many of them the origin did not see.
func (c *crowd) hitRatio(n int, attack func(i int)) float64 {
	before := c.asked.Load()
	for i := range n {
		attack(i)
		c.get(fmt.Sprintf("/hot/%d", i*7919%hotPages), "")
	}
	return 1 - float64(c.asked.Load()-before)/float64(n)
}

// settle fills the cache with the hot pages, and measures without an attack.
func (c *crowd) settle() float64 {
	c.hitRatio(3*hotPages, func(int) {})
	return c.hitRatio(hotPages, func(int) {})
}

func (c *crowd) mustHold(before, during float64, attack string) {
	c.t.Helper()
	c.t.Logf("hit ratio of the hot pages: %.4f before, %.4f during %s", before, during, attack)
	if before-during > 0.05 {
		c.t.Errorf("%s has cost the hot pages %.1f %% of their hits", attack, 100*(before-during))
	}
}

// A million requests that differ in their query, each a page of its own: many times
// what the memory holds.
func TestFragmentationByQueries(t *testing.T) {
	rounds := 1000
	if full {
		rounds = 100_000
	}
	c := newCrowd(t)
	before := c.settle()
	n := 0
	during := c.hitRatio(rounds, func(int) {
		for range 10 {
			c.get(fmt.Sprintf("/hot/%d?x=%d", n%hotPages, n), "")
			n++
		}
	})
	c.mustHold(before, during, fmt.Sprintf("%d distinct queries", n))
}

// A hundred thousand values of a field that the pages vary by, for the hot pages
// themselves and for one of them.
func TestFragmentationByVariants(t *testing.T) {
	rounds := 1000
	if full {
		rounds = 10_000
	}
	for name, path := range map[string]func(n int) string{
		"of all pages": func(n int) string { return fmt.Sprintf("/hot/%d", n%hotPages) },
		"of one page":  func(int) string { return "/hot/0" },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCrowd(t)
			before := c.settle()
			n := 0
			during := c.hitRatio(rounds, func(int) {
				for range 10 {
					c.get(path(n), fmt.Sprintf("v%d", n))
					n++
				}
			})
			c.mustHold(before, during, fmt.Sprintf("%d values of a varied field", n))
			for range 10 {
				c.get("/hot/0", "regular")
			}
			if n := c.regulars.Load(); n > 2 {
				t.Errorf("of 10 requests for a variant that is wanted the origin saw %d", n)
			}
		})
	}
}
