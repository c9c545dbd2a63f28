package proxy

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/cacheproxy/cacheproxy/invalidation"
	"github.com/cacheproxy/cacheproxy/rfc9111"
)

func parsed(method string, lines ...string) (asking, error) {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return parseOrder(method, h, &rfc9111.Target{Scheme: "http", Host: "h", Path: "/p", Query: "q=1"})
}

// TestParseOrder: what the clients of other caches send, and what it means here.
func TestParseOrder(t *testing.T) {
	var none invalidation.Ban
	url := []string{"//h/p?q=1"}
	for _, tt := range []struct {
		name   string
		method string
		lines  []string
		want   Order
		ban    invalidation.Ban
	}{
		{"plain", "PURGE", nil, Order{URLs: url}, none},
		{"Fastly, by URL", "PURGE", []string{"Fastly-Soft-Purge: 1"}, Order{URLs: url, Strategy: "soft"}, none},
		{"Fastly, not soft", "PURGE", []string{"Fastly-Soft-Purge: 0"}, Order{URLs: url}, none},
		{"Fastly, by keys", "PURGE", []string{"Surrogate-Key: a b", "Fastly-Soft-Purge: 1"}, Order{Tags: []string{"a", "b"}, Strategy: "soft"}, none},
		{"Varnish xkey", "PURGE", []string{"xkey: a b"}, Order{Tags: []string{"a", "b"}}, none},
		{"FOSHttpCache xkey-purge", "PURGE", []string{"xkey-purge: a b"}, Order{Tags: []string{"a", "b"}}, none},
		{"FOSHttpCache xkey-softpurge", "PURGE", []string{"xkey-softpurge: a b"}, Order{Tags: []string{"a", "b"}, Strategy: "soft"}, none},
		{"Cloudflare", "PURGE", []string{"Cache-Tag: a, b,c"}, Order{Tags: []string{"a", "b", "c"}}, none},
		{"X-Cache-Tags", "PURGE", []string{"X-Cache-Tags: a,b"}, Order{Tags: []string{"a", "b"}}, none},
		{"two fields name one tag", "PURGE", []string{"xkey: a", "Cache-Tag: a"}, Order{Tags: []string{"a"}}, none},
		{"patterns", "PURGE", []string{"X-Purge-Pattern: /products/*, /x/**"}, Order{Patterns: []string{"/products/*", "/x/**"}}, none},
		{"a regular expression has commas", "PURGE", []string{"X-Purge-Pattern: /a, re:^h/x{1,2}"}, Order{Patterns: []string{"/a", "re:^h/x{1,2}"}}, none},
		{"strategy, wait, timeout", "PURGE", []string{"X-Purge-Strategy: ttl=10s", "X-Purge-Wait: none", "X-Purge-Timeout: 2s"},
			Order{URLs: url, Strategy: "ttl=10s", Wait: "none", Timeout: "2s"}, none},
		{"the strategy in words wins", "PURGE", []string{"X-Purge-Strategy: lazy", "Fastly-Soft-Purge: 1"}, Order{URLs: url, Strategy: "lazy"}, none},
		{"refresh", "REFRESH", nil, Order{URLs: url, Refresh: true}, none},
		{"ban", "BAN", []string{"X-Url: ^/a", "X-Host: .*", "X-Content-Type: .*"}, Order{}, invalidation.Ban{URL: "^/a"}},
		{"ban by tags", "BAN", []string{"X-Cache-Tags: (a|b)(,.+)?$"}, Order{}, invalidation.Ban{Tags: "(a|b)(,.+)?$"}},
		{"ban of everything", "BAN", []string{"X-Url: .*", "X-Host: .*"}, Order{All: true}, none},
		{"Magento", "PURGE", []string{"X-Magento-Tags-Pattern: ((^|,)cat_p_1(,|$))"}, Order{}, invalidation.Ban{Tags: "((^|,)cat_p_1(,|$))"}},
		{"Magento flushes", "PURGE", []string{"X-Magento-Tags-Pattern: .*"}, Order{All: true}, none},
	} {
		got, err := parsed(tt.method, tt.lines...)
		if err != nil || !reflect.DeepEqual(got, asking{tt.want, tt.ban}) {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, got, err, tt.want)
		}
	}
	for _, lines := range [][]string{
		{"Surrogate-Key:  "}, {"xkey: "}, {"X-Purge-Pattern: , "}, {"Fastly-Soft-Purge: yes"}, {"X-Purge-Wait: "},
		{"X-Purge-Strategy: soft", "X-Purge-Strategy: lazy"},
	} {
		if o, err := parsed("PURGE", lines...); !errors.As(err, new(*OrderError)) {
			t.Errorf("%q: %+v, %v; want an error: an empty list does not mean the URL", lines, o, err)
		}
	}
	for _, lines := range [][]string{nil, {"X-Url: "}, {"X-Content-Type: text/html"}, {"X-Url: a", "X-Url: b"}} {
		if o, err := parsed("BAN", lines...); !errors.As(err, new(*OrderError)) {
			t.Errorf("BAN %q: %+v, %v", lines, o, err)
		}
	}
}

// FuzzParseOrder: whatever the fields say, an order that is taken names something, and no tag with a separator in it.
func FuzzParseOrder(f *testing.F) {
	f.Add("PURGE", "Xkey", "a b", "X-Purge-Pattern", "/a, re:b,c")
	f.Add("BAN", "X-Url", "^/a", "X-Host", ".*")
	f.Add("REFRESH", "Fastly-Soft-Purge", "1", "X-Purge-Wait", "all")
	f.Fuzz(func(t *testing.T, method, name1, value1, name2, value2 string) {
		h := http.Header{http.CanonicalHeaderKey(name1): {value1}}
		h.Add(name2, value2)
		o, err := parseOrder(method, h, &rfc9111.Target{Scheme: "http", Host: "h", Path: "/"})
		if err != nil {
			return
		}
		if len(o.URLs)+len(o.Tags)+len(o.Patterns) == 0 && o.ban == (invalidation.Ban{}) && !o.All {
			t.Errorf("%s %v names nothing", method, h)
		}
		for _, tag := range o.Tags {
			if tag == "" || strings.ContainsFunc(tag, separatesTags) {
				t.Errorf("tag %q", tag)
			}
		}
	})
}
