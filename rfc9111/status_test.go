package rfc9111

import (
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
)

func TestAppendStatus(t *testing.T) {
	tests := []struct {
		section, cache string
		status         Status
		want           string
	}{
		{"9211 2.1", "cacheproxy", Status{Hit: true, TTL: 42 * time.Second, HasTTL: true, Detail: "l1"}, "cacheproxy; hit; ttl=42; detail=l1"},
		{"9211 2.2, 2.3", "cacheproxy", Status{Forward: ForwardStale, FwdStatus: 304, Stored: true, Collapsed: true}, "cacheproxy; fwd=stale; fwd-status=304; stored; collapsed"},
		{"9211 2.4, below a second", "c", Status{Hit: true, TTL: 999 * time.Millisecond, HasTTL: true}, "c; hit; ttl=0"},
		{"9211 2.4, stale", "c", Status{Hit: true, TTL: -time.Millisecond, HasTTL: true}, "c; hit; ttl=-1"},
		{"9211 2.4, stale", "c", Status{Hit: true, TTL: -time.Second, HasTTL: true}, "c; hit; ttl=-1"},
		{"9211 2, neither", "c", Status{Detail: "only-if-cached"}, "c; detail=only-if-cached"},
		{"9211 2, nothing", "c", Status{}, "c"},
		{"9211 2, the name is no token", `my "cache"`, Status{Hit: true}, `"my \"cache\""; hit`},
		{"9211 2, a host is no token", "10.0.0.1:80", Status{Hit: true}, `"10.0.0.1:80"; hit`},
		{"9211 2.8, no token", "c", Status{Detail: "é\n"}, `c; detail="???"`},
		{"9211 2.8, empty name", "", Status{}, `""`},
	}
	for _, tt := range tests {
		if got := string(AppendStatus([]byte("x, "), tt.cache, &tt.status)); got != "x, "+tt.want {
			t.Errorf("%s: %q, want %q", tt.section, got, "x, "+tt.want)
		}
	}
	forwards := map[Forward]string{
		ForwardNone: "", ForwardBypass: "bypass", ForwardMethod: "method", ForwardURIMiss: "uri-miss", ForwardVaryMiss: "vary-miss",
		ForwardMiss: "miss", ForwardRequest: "request", ForwardStale: "stale", ForwardPartial: "partial", 99: "",
	}
	for f, want := range forwards {
		if got := f.String(); got != want {
			t.Errorf("Forward %d is %q, want %q", f, got, want)
		}
	}
}

// FuzzAppendStatus reads what was written with a parser of structured fields (RFC 9651).
func FuzzAppendStatus(f *testing.F) {
	f.Add("cacheproxy", "l1", true, uint8(0), uint16(0), int64(42))
	f.Add(`a"b\`, "é", false, uint8(ForwardStale), uint16(304), int64(-5))
	f.Fuzz(func(t *testing.T, cache, detail string, hit bool, forward uint8, fwdStatus uint16, ttl int64) {
		s := Status{Hit: hit, Forward: Forward(forward % 9), FwdStatus: int(fwdStatus % 1000), Stored: hit, TTL: time.Duration(ttl), HasTTL: true, Detail: detail}
		text := string(AppendStatus(nil, cache, &s))
		list, err := httpsfv.UnmarshalList([]string{text})
		if err != nil || len(list) != 1 {
			t.Fatalf("%q has %d members: %v", text, len(list), err)
		}
		item := list[0].(httpsfv.Item)
		want := map[string]any{"ttl": floorSeconds(s.TTL)}
		if hit {
			want["hit"], want["stored"] = true, true
		}
		if s.Forward != ForwardNone {
			want["fwd"] = httpsfv.Token(s.Forward.String())
		}
		if s.FwdStatus != 0 {
			want["fwd-status"] = int64(s.FwdStatus)
		}
		if isStructuredToken(detail) {
			want["detail"] = httpsfv.Token(detail)
		}
		for name, value := range want {
			if got, _ := item.Params.Get(name); got != value {
				t.Errorf("%q: %s = %v, want %v", text, name, got, value)
			}
		}
	})
}
