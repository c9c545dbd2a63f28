package rfc9111

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	usual    = []Coding{Brotli, Zstd, Gzip}
	allThree = Codings(0).With(Brotli).With(Zstd).With(Gzip)
)

func TestPreferredCoding(t *testing.T) {
	gzipOnly := Codings(0).With(Gzip)
	tests := []struct {
		why    string
		accept []string // lines; nil: no field
		among  Codings
		want   Coding
	}{
		{"12.5.3: no field; nothing says that the client knows any", nil, allThree, Identity},
		{"12.5.3: an empty field wants none", []string{""}, allThree, Identity},
		{"one coding", []string{"gzip"}, allThree, Gzip},
		{"8.4.1.3: x-gzip is gzip", []string{"x-gzip"}, allThree, Gzip},
		{"codings are case-insensitive (8.4.1)", []string{"GZip, BR;Q=0.1"}, allThree, Gzip},
		{"alike: the order is the route's", []string{"gzip, deflate, br, zstd"}, allThree, Brotli},
		{"the weight goes before the order", []string{"br;q=0.8, gzip"}, allThree, Gzip},
		{"q=0 is not acceptable", []string{"br;q=0, gzip;q=0.1"}, allThree, Gzip},
		{"q=0.000 neither", []string{"br;q=0.000"}, allThree, Identity},
		{"only what is there", []string{"br, gzip;q=0.5"}, gzipOnly, Gzip},
		{"nothing of it is there", []string{"br"}, gzipOnly, Identity},
		{"nothing is there", []string{"br"}, 0, Identity},
		{"* is what is not named", []string{"*"}, allThree, Brotli},
		{"* with q=0 is not for what is named", []string{"*;q=0, zstd;q=0.5"}, allThree, Zstd},
		{"* before the names", []string{"*;q=0.9, br;q=0.1"}, allThree, Zstd},
		{"identity that weighs more", []string{"identity, gzip;q=0.5"}, allThree, Identity},
		{"identity that weighs less", []string{"identity;q=0.5, gzip"}, allThree, Gzip},
		{"identity that weighs the same: the client names the coding, too", []string{"identity, gzip"}, allThree, Gzip},
		{"* is identity, too", []string{"*;q=0.5, gzip;q=0.1"}, gzipOnly, Identity},
		{"identity refused, and nothing else there: it is sent all the same", []string{"identity;q=0"}, allThree, Identity},
		{"identity refused, a coding accepted", []string{"identity;q=0, gzip;q=0.001"}, allThree, Gzip},
		{"several lines are one list (5.3)", []string{"deflate", "zstd;q=0.5, gzip"}, allThree, Gzip},
		{"whitespace (5.6.3)", []string{" gzip ; q=0.5 ,\tbr ;q=0.4"}, allThree, Gzip},
		{"a weight that is none is not asked for", []string{"br;q=2, zstd;q=-1, gzip;q=0.1"}, allThree, Gzip},
		{"too many digits", []string{"br;q=0.9999, gzip;q=0.1"}, allThree, Gzip},
		{"named twice: the first counts", []string{"br;q=0.1, br;q=0.9, gzip;q=0.5"}, allThree, Gzip},
		{"empty members (5.6.1.2)", []string{",,gzip,,"}, allThree, Gzip},
		{"no prefix of a name", []string{"gzipped, brotli, b"}, allThree, Identity},
	}
	for _, tt := range tests {
		h := http.Header{}
		if tt.accept != nil {
			h["Accept-Encoding"] = tt.accept
		}
		if got := PreferredCoding(Header(h), usual, tt.among); got != tt.want {
			t.Errorf("%s: %q of %03b = %s, want %s", tt.why, tt.accept, tt.among>>1, got, tt.want)
		}
	}
	if got := PreferredCoding(Header{"Accept-Encoding": {"br, gzip"}}, []Coding{Gzip, Brotli}, allThree); got != Gzip {
		t.Errorf("with gzip first in the order: %s", got)
	}
}

// FuzzPreferredCoding compares with an implementation that takes the value apart, member by member.
func FuzzPreferredCoding(f *testing.F) {
	for _, seed := range []string{"", "*", "gzip, br;q=0.5", "identity;q=0, *;q=0.1", "br;q=1.000,gzip;q=1.001;x", " ,;q=0,*;q=1"} {
		f.Add(seed, uint8(allThree))
	}
	f.Fuzz(func(t *testing.T, accept string, among uint8) {
		set := Codings(among) & (allThree | 1)
		got := PreferredCoding(Header{"Accept-Encoding": {accept}}, usual, set)
		if want := preferredPlainly(accept, set); got != want {
			t.Errorf("%q of %04b: %s, want %s", accept, set, got, want)
		}
		if got != Identity && !set.Has(got) {
			t.Errorf("%q: %s is not there", accept, got)
		}
	})
}

func preferredPlainly(accept string, among Codings) Coding {
	weights := map[string]float64{}
	for member := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(member, ";")
		name = strings.Trim(lowerASCII(name), " \t")
		if name == "x-gzip" {
			name = "gzip"
		}
		q := 1.0
		for param := range strings.SplitSeq(params, ";") {
			if key, value, _ := strings.Cut(param, "="); lowerASCII(strings.Trim(key, " \t")) == "q" {
				q = plainWeight(strings.Trim(value, " \t"))
			}
		}
		if _, named := weights[name]; !named || name == "*" {
			weights[name] = q
		}
	}
	weigh := func(name string) float64 {
		if w, ok := weights[name]; ok {
			return w
		}
		return weights["*"]
	}
	best, most := Identity, 0.0
	for _, c := range usual {
		if w := weigh(c.String()); among.Has(c) && w > most {
			best, most = c, w
		}
	}
	if weigh("identity") > most {
		return Identity
	}
	return best
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r | 0x20
		}
		return r
	}, s)
}

func plainWeight(s string) float64 {
	if len(s) > 5 || strings.Trim(s, "0123456789.") != "" || !strings.HasPrefix(s, "0") && !strings.HasPrefix(s, "1") ||
		len(s) > 1 && s[1] != '.' {
		return 0
	}
	w, err := strconv.ParseFloat(s, 64)
	if err != nil || w > 1 {
		return 0
	}
	return w
}

func TestAcceptsCodings(t *testing.T) { // RFC 9110, 12.5.3
	for _, tt := range []struct {
		accept, codings string
		want            bool
	}{
		{"", "", true}, {"", "identity", true}, {"", "gzip", false},
		{"gzip", "gzip", true}, {"GZIP", "gzip", true}, {"x-gzip", "gzip", true}, {"gzip", "x-gzip", true},
		{"identity", "gzip", false}, {"br", "gzip", false}, {"gzip;q=0", "gzip", false}, {"gzip;q=0.1, br", "gzip", true},
		{"*", "gzip", true}, {"*;q=0", "gzip", false}, {"gzip;q=0, *", "gzip", false}, {"*, gzip;q=0", "gzip", false},
		{"gzip", "gzip, br", false}, {"gzip, br", "gzip, br", true}, {"deflate", "deflate", true},
	} {
		req := Header{}
		if tt.accept != "" {
			req["Accept-Encoding"] = []string{tt.accept}
		}
		if got := AcceptsCodings(req, tt.codings); got != tt.want {
			t.Errorf("%q of %q: %v, want %v", tt.codings, tt.accept, got, tt.want)
		}
	}
}

func TestEncodable(t *testing.T) {
	policy := &Policy{Targeted: []string{"Cdn-Cache-Control"}, Encode: &Encoding{
		Codings: usual, MinBytes: 100, Types: []string{"text/*", "application/json", "application/*+json", "image/svg+xml"},
	}}
	html := func(more ...string) http.Header {
		h := http.Header{"Content-Type": {"text/html; charset=utf-8"}}
		for _, line := range more {
			name, value, _ := strings.Cut(line, ": ")
			h.Add(name, value)
		}
		return h
	}
	tests := []struct {
		why    string
		policy *Policy
		status int
		header http.Header
		length int64
		want   bool
	}{
		{"a page", policy, 200, html(), 1000, true},
		{"of unknown length", policy, 200, html(), -1, true},
		{"an error page", policy, 404, html(), 1000, true},
		{"a route that makes none", &Policy{}, 200, html(), 1000, false},
		{"small", policy, 200, html(), 99, false},
		{"no content", policy, 204, html(), 0, false},
		{"a part", policy, 206, html(), 1000, false},
		{"encoded", policy, 200, html("Content-Encoding: gzip"), 1000, false},
		{"5.2.2.6", policy, 200, html("Cache-Control: max-age=60, No-Transform"), 1000, false},
		{"no-transform for this cache", policy, 200, html("Cdn-Cache-Control: max-age=60, no-transform"), 1000, false},
		{"no-transform for others is for all", policy, 200, html("Cdn-Cache-Control: max-age=60", "Cache-Control: no-transform"), 1000, false},
		{"a quoted word is none", policy, 200, html(`Cache-Control: x="no-transform"`), 1000, true},
		{"RFC 9530", policy, 200, html("Content-Digest: sha-256=:AAAA:"), 1000, false},
		{"RFC 9530", policy, 200, html("Repr-Digest: sha-256=:AAAA:"), 1000, false},
		{"no type", policy, 200, http.Header{}, 1000, false},
		{"two types", policy, 200, http.Header{"Content-Type": {"text/html", "text/css"}}, 1000, false},
		{"another type", policy, 200, http.Header{"Content-Type": {"image/png"}}, 1000, false},
		{"types are case-insensitive (8.3.1)", policy, 200, http.Header{"Content-Type": {"Application/JSON"}}, 1000, true},
		{"a suffix", policy, 200, http.Header{"Content-Type": {"application/problem+json"}}, 1000, true},
		{"* is within its part", policy, 200, http.Header{"Content-Type": {"application/x"}}, 1000, false},
		{"no type at all", policy, 200, http.Header{"Content-Type": {"text"}}, 1000, false},
	}
	for _, tt := range tests {
		ok, why := Encodable(tt.policy, tt.status, Header(tt.header), tt.length)
		if ok != tt.want || ok == (why != "") {
			t.Errorf("%s: %v: %v %q, want %v", tt.why, tt.header, ok, why, tt.want)
		}
	}
}

func TestEncodedTag(t *testing.T) {
	for tag, want := range map[string]string{
		`"abc"`: `"abc-br"`, `W/"abc"`: `W/"abc-br"`, `""`: `"-br"`, "": "", "abc": "abc-br",
	} {
		if got := EncodedTag(tag, Brotli); got != want {
			t.Errorf("%s: %s, want %s", tag, got, want)
		}
		if got := EncodedTag(tag, Identity); got != tag {
			t.Errorf("%s as it is: %s", tag, got)
		}
	}
}

// If-None-Match of a response that is also sent in codings of the cache's own (RFC 9110, 13.1.2).
func TestNamedForms(t *testing.T) {
	const only, both = Codings(1 << Identity), Codings(1<<Identity | 1<<Gzip)
	tests := []struct {
		list, tag string
		encodes   bool
		want      Codings
	}{
		{`"abc"`, `"abc"`, true, only},
		{`"abc-br"`, `"abc"`, true, 1 << Brotli},
		{`W/"abc-br"`, `"abc"`, true, 1 << Brotli},
		{`"abc-br"`, `W/"abc"`, true, 1 << Brotli},
		{`"x", "abc-gzip" , "abc"`, `"abc"`, true, both},
		{`*`, `"abc"`, true, allCodings},
		{`"abc-br"`, `"abc"`, false, 0},
		{`"abc-identity"`, `"abc"`, true, 0},
		{`"abc-deflate"`, `"abc"`, true, 0},
		{`"abc-BR"`, `"abc"`, true, 0}, // tags are compared byte by byte
		{`"abcd-br"`, `"abc"`, true, 0},
		{`"ab-br"`, `"abc"`, true, 0},
		{`"abc-br`, `"abc"`, true, 0},
		{`abc-br`, `"abc"`, true, 0},
		{`abc-br`, `abc`, true, 1 << Brotli},
		{`"abc-br"`, `"abc-br"`, true, only}, // the origin's own
		{`"abc-br-br"`, `"abc-br"`, true, 1 << Brotli},
		{`"-br"`, ``, true, 0},
	}
	for _, tt := range tests {
		m := &Meta{Status: 200, Validators: Validators{ETag: tt.tag}}
		if tt.encodes {
			m.Flags = Encodes
		}
		req := Header{"If-None-Match": {tt.list}}
		if got := NamedForms(req, m); got != tt.want {
			t.Errorf("%s of %s: %04b, want %04b", tt.list, tt.tag, got, tt.want)
		}
		if got := Preconditions(req, m); (got == http.StatusNotModified) != (tt.want != 0) {
			t.Errorf("%s of %s: %d", tt.list, tt.tag, got)
		}
	}
}

// RFC 9110, 13.1.5: ranges are of the response as it is, so that the tag of an encoded form never lets one be sent.
func TestIfRangeWithTheTagOfAForm(t *testing.T) {
	m := &Meta{Status: 200, Flags: Encodes, Validators: Validators{ETag: `"abc"`}}
	for tag, want := range map[string]bool{`"abc"`: true, `"abc-br"`: false, `"abc-gzip"`: false} {
		if got := RangeApplies(Header{"If-Range": {tag}}, m); got != want {
			t.Errorf("%s: %v, want %v", tag, got, want)
		}
	}
}

func TestOwnTags(t *testing.T) {
	for list, want := range map[string]string{
		`"abc"`:                `"abc"`,
		`*`:                    `*`,
		``:                     ``,
		`"abc-br"`:             `"abc-br", "abc"`,
		`W/"abc-zstd"`:         `W/"abc-zstd", W/"abc"`,
		`"a-gzip", "b", "c-x"`: `"a-gzip", "b", "c-x", "a"`,
		`"a,-br"`:              `"a,-br", "a,"`,
		`"-br"`:                `"-br", ""`,
	} {
		if got := OwnTags(list); got != want {
			t.Errorf("%s: %s, want %s", list, got, want)
		}
	}
}

// FuzzEncodedTags: the tag of a form names that form, and the origin is told its own.
func FuzzEncodedTags(f *testing.F) {
	f.Add(`"abc"`, uint8(Brotli))
	f.Add(`W/"a-br"`, uint8(Gzip))
	f.Add("bare", uint8(Zstd))
	f.Fuzz(func(t *testing.T, tag string, coding uint8) {
		c := Coding(coding%(CodingCount-1)) + 1
		if member, rest := nextMember(tag); tag == "" || member != tag || rest != "" || tag == "*" {
			t.Skip("no single member")
		}
		encoded := EncodedTag(tag, c)
		if member, rest := nextMember(encoded); member != encoded || rest != "" {
			t.Skip("a quote that does not close within the tag")
		}
		m := &Meta{Status: 200, Flags: Encodes, Validators: Validators{ETag: tag}}
		if named := NamedForms(Header{"If-None-Match": {encoded}}, m); named != 1<<c {
			t.Errorf("%s of %s names %04b, want %s", encoded, tag, named, c)
		}
		if wellFormed(tag) && !slices.Contains(members(OwnTags(encoded)), tag) {
			t.Errorf("the origin is told %s of %s", OwnTags(encoded), tag)
		}
		if strings.HasPrefix(tag, "W/") != strings.HasPrefix(encoded, "W/") {
			t.Errorf("%s became %s", tag, encoded)
		}
	})
}

func members(list string) (all []string) {
	for member, rest := nextMember(list); member != ""; member, rest = nextMember(rest) {
		all = append(all, member)
	}
	return all
}

func TestEncodingAllocatesNothing(t *testing.T) {
	req := Header{"Accept-Encoding": {"gzip, deflate, br;q=0.9, zstd"}, "If-None-Match": {`"x", "abc-zstd"`}, "Cache-Control": {"max-age=0"}}
	m := &Meta{Status: 200, Flags: Encodes, Validators: Validators{ETag: `"abc"`}}
	if n := testing.AllocsPerRun(100, func() {
		PreferredCoding(req, usual, allThree)
		NamedForms(req, m)
		NoTransform(req)
	}); n != 0 {
		t.Errorf("%.0f allocations", n)
	}
}
