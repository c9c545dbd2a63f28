package rfc9111

import (
	"net/http"
	"strings"
)

// Coding is a content coding (RFC 9110, 8.4.1) that a cache can give to a stored response by itself.
type Coding uint8

// The codings. Identity is no coding.
const (
	Identity Coding = iota
	Brotli
	Zstd
	Gzip

	CodingCount = iota
)

var codingNames = [CodingCount]string{"identity", "br", "zstd", "gzip"}

// String returns the name as it stands in Content-Encoding.
func (c Coding) String() string { return codingNames[c] }

// ParseCoding returns the coding of a name; ok is false for identity too, which is nothing that can be made.
func ParseCoding(name string) (c Coding, ok bool) {
	for c = Brotli; c < CodingCount; c++ {
		if name == codingNames[c] {
			return c, true
		}
	}
	return Identity, false
}

// Codings is a set of codings.
type Codings uint8

const allCodings = Codings(1<<CodingCount - 1)

// everyCoding lists those that can be made.
var everyCoding = []Coding{Brotli, Zstd, Gzip}

// Has reports whether c is in the set.
func (s Codings) Has(c Coding) bool { return s&(1<<c) != 0 }

// First returns the first coding in the set; Identity where it is empty.
func (s Codings) First() Coding {
	for c := range Coding(CodingCount) {
		if s.Has(c) {
			return c
		}
	}
	return Identity
}

// With returns the set with c in it.
func (s Codings) With(c Coding) Codings { return s | 1<<c }

// Encoding is a route's say in which encoded forms of its responses the cache makes.
type Encoding struct {
	Codings  []Coding // that are made; the first is taken where a client likes several alike
	MinBytes int64    // what is smaller stays as it is
	Types    []string // media types in lower case; within type and subtype, a "*" stands for any run of characters
}

// Offers returns the set of the codings that are made.
func (e *Encoding) Offers() Codings {
	var s Codings
	for _, c := range e.Codings {
		s = s.With(c)
	}
	return s
}

// digests are the fields that vouch for the very bytes of the content: in another coding they would be wrong (RFC 9530; RFC 9421).
var digests = []string{"Content-Digest", "Repr-Digest", "Digest", "Content-Md5", "Signature"}

// Encodable says whether a cache may send a response in codings of its own, besides as it is, and in a few words why not. length is
// that of the content; -1: not known. Where the answer is yes, the response varies by Accept-Encoding.
func Encodable(p *Policy, status int, resp Fields, length int64) (ok bool, why string) {
	e := p.Encode
	switch {
	case e == nil || len(e.Codings) == 0:
		return false, "the route does not encode"
	case status < 200 || status == http.StatusNoContent || status == http.StatusNotModified || status == http.StatusPartialContent:
		return false, "it has no whole content"
	case length >= 0 && length < e.MinBytes:
		return false, "it is smaller than min_bytes"
	case NoTransform(resp) || responseDirectivesOf(resp, p).noTransform:
		return false, "no-transform forbids it"
	}
	if _, lines := resp.Field("Content-Encoding"); lines > 0 {
		return false, "it is encoded already"
	}
	for _, name := range digests {
		if _, lines := resp.Field(name); lines > 0 {
			return false, name + " vouches for its bytes"
		}
	}
	if !e.takes(resp) {
		return false, "its media type is not among types"
	}
	return true, ""
}

// takes reports whether the response's media type is among those that are encoded.
func (e *Encoding) takes(resp Fields) bool {
	value, lines := resp.Field("Content-Type")
	media, _, _ := strings.Cut(value, ";")
	kind, subtype, ok := strings.Cut(strings.ToLower(trim(media)), "/")
	if lines != 1 || !ok {
		return false
	}
	for _, t := range e.Types {
		wantKind, wantSubtype, _ := strings.Cut(t, "/")
		if fits(wantKind, kind) && fits(wantSubtype, subtype) {
			return true
		}
	}
	return false
}

// fits matches one part of a media type; pattern has at most one "*".
func fits(pattern, s string) bool {
	before, after, wild := strings.Cut(pattern, "*")
	if !wild {
		return s == pattern
	}
	return len(s) >= len(before)+len(after) && strings.HasPrefix(s, before) && strings.HasSuffix(s, after)
}

// NoTransform reports whether Cache-Control of a request or a response has no-transform (5.2.1.6, 5.2.2.6). It does not allocate for
// a single line.
func NoTransform(f Fields) bool {
	value, _ := f.Field("Cache-Control")
	for d, rest, ok := nextDirective(value); ok; d, rest, ok = nextDirective(rest) {
		if d.is("no-transform") {
			return true
		}
	}
	return false
}

// PreferredCoding returns the coding that suits the request best (RFC 9110, 12.5.3) out of among and Identity: that with the highest
// quality value, and of several the first in order. Identity, which is always at hand, is taken where the request does not ask for
// any other, and where it weighs more: without a weight of its own it weighs nothing, for who names a coding wants it. A request
// without Accept-Encoding accepts everything, but need not know any coding: it gets Identity, as does one that accepts nothing at
// all. It does not allocate for a single line.
func PreferredCoding(req Fields, order []Coding, among Codings) Coding {
	value, lines := req.Field("Accept-Encoding")
	if lines == 0 || among&^(1<<Identity) == 0 {
		return Identity
	}
	weights := codingWeights(value)
	best, most := Identity, 0
	for _, c := range order {
		if among.Has(c) && weights[c] > most {
			best, most = c, weights[c]
		}
	}
	if weights[Identity] > most {
		return Identity
	}
	return best
}

// AcceptsCodings reports whether the request names each coding of a Content-Encoding, or "*", with a weight (RFC 9110, 12.5.3). One
// without Accept-Encoding accepts everything by the letter, but need not know any coding.
func AcceptsCodings(req Fields, codings string) bool {
	accepted, _ := req.Field("Accept-Encoding")
	for coding, more := nextName(codings); coding != ""; coding, more = nextName(more) {
		if !EqualFold(coding, codingNames[Identity]) && codingWeight(accepted, coding) == 0 {
			return false
		}
	}
	return true
}

// codingWeight returns the weight that a value of Accept-Encoding gives to a coding, known here or not.
func codingWeight(accepted, coding string) int {
	rest := 0
	for member, more := nextName(accepted); member != ""; member, more = nextName(more) {
		switch name, weight := CutWeight(member); {
		case EqualFold(strings.TrimPrefix(name, "x-"), strings.TrimPrefix(coding, "x-")): // x-gzip is gzip (8.4.1.3)
			return weight
		case name == "*":
			rest = weight
		}
	}
	return rest
}

// codingWeights reads the value of Accept-Encoding. Of a coding that is named twice the first member counts.
func codingWeights(value string) [CodingCount]int {
	var weights [CodingCount]int
	var named Codings
	rest := 0 // what "*" says of the codings that are not named
	for member, more := nextName(value); member != ""; member, more = nextName(more) {
		name, weight := CutWeight(member)
		c, known := Identity, true
		switch {
		case name == "*":
			rest, known = weight, false
		case EqualFold(name, "x-gzip"): // RFC 9110, 8.4.1.3
			c = Gzip
		default:
			c, known = codingOf(name)
		}
		if known && !named.Has(c) {
			weights[c], named = weight, named.With(c)
		}
	}
	for c := range weights {
		if !named.Has(Coding(c)) {
			weights[c] = rest
		}
	}
	return weights
}

func codingOf(name string) (Coding, bool) {
	for c, known := range codingNames {
		if EqualFold(name, known) {
			return Coding(c), true
		}
	}
	return Identity, false
}

// CutWeight splits a list member into its value and its weight in thousandths (RFC 9110, 12.4.2). A weight that is no weight counts
// as 0: what cannot be read is not asked for.
func CutWeight(member string) (name string, weight int) {
	name, params, _ := strings.Cut(member, ";")
	weight = 1000
	for more := params != ""; more; {
		var param string
		param, params, more = strings.Cut(params, ";")
		key, q, _ := strings.Cut(param, "=")
		if EqualFold(trim(key), "q") {
			weight = parseWeight(trim(q))
		}
	}
	return trim(name), weight
}

func parseWeight(q string) int {
	if q == "" || q[0] > '1' || q[0] < '0' || len(q) > 5 || len(q) > 1 && q[1] != '.' {
		return 0
	}
	weight, unit := int(q[0]-'0')*1000, 100
	for i := 2; i < len(q); i++ {
		if !isDigit(q[i]) {
			return 0
		}
		weight += int(q[i]-'0') * unit
		unit /= 10
	}
	if weight > 1000 {
		return 0
	}
	return weight
}

// EncodedTag returns the entity tag of the form of a response that has been given a coding: each form needs its own (RFC 9110,
// 8.8.3.3). It is the response's own tag with the coding's name at its end; a weak one stays weak, and "" stays "".
func EncodedTag(tag string, c Coding) string {
	if tag == "" || c == Identity {
		return tag
	}
	stem, end := cutTagEnd(tag)
	return stem + "-" + c.String() + end
}

// cutTagEnd cuts the closing quote off an entity tag. One that is not well formed may have none.
func cutTagEnd(tag string) (stem, end string) {
	if strings.HasSuffix(tag, `"`) {
		return tag[:len(tag)-1], `"`
	}
	return tag, ""
}

// NamedForms returns which forms of a stored response the request's If-None-Match names, by weak comparison (RFC 9110, 13.1.2): the
// response itself as Identity, and its encoded forms, be they stored or not, where it is Encodable. Without an If-None-Match, or
// with "*", it names all. It does not allocate for a single line.
func NamedForms(req Fields, m *Meta) Codings {
	list, lines := req.Field("If-None-Match")
	if lines == 0 || trim(list) == "*" {
		return allCodings
	}
	var named Codings
	for member, rest := nextMember(list); member != ""; member, rest = nextMember(rest) {
		if c, ok := formOf(member, m); ok {
			named = named.With(c)
		}
	}
	return named
}

// formOf returns the form of m whose entity tag member is.
func formOf(member string, m *Meta) (c Coding, ok bool) {
	tag := m.Validators.ETag
	if weaklyEqual(member, tag) {
		return Identity, true
	}
	if tag == "" || m.Flags&Encodes == 0 {
		return Identity, false
	}
	stem, end := cutTagEnd(strings.TrimPrefix(tag, "W/"))
	suffix, ok := strings.CutPrefix(strings.TrimPrefix(member, "W/"), stem)
	if suffix, ok = cutSuffixIf(suffix, end, ok); !ok || suffix == "" || suffix[0] != '-' {
		return Identity, false
	}
	return ParseCoding(suffix[1:])
}

func cutSuffixIf(s, suffix string, ok bool) (string, bool) {
	if !ok {
		return s, false
	}
	return strings.CutSuffix(s, suffix)
}

// OwnTags returns a list of entity tags in which each that may be of an encoded form is followed by the tag that the origin gave the
// response: the origin knows no other. Where there is none it returns the list itself.
func OwnTags(list string) string {
	var b strings.Builder
	for member, rest := nextMember(list); member != ""; member, rest = nextMember(rest) {
		stem, end := cutTagEnd(member)
		i := strings.LastIndexByte(stem, '-')
		if i < 0 {
			continue
		}
		if _, ok := ParseCoding(stem[i+1:]); ok {
			b.WriteString(", " + stem[:i] + end)
		}
	}
	if b.Len() == 0 {
		return list
	}
	return list + b.String()
}
