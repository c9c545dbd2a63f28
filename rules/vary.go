package rules

import (
	"slices"
	"strings"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// varyRule brings request fields into one form. It is the same for selecting a stored response, for the key, and for
// what the upstream gets, so the origin cannot choose by anything that selection does not see.
type varyRule struct {
	normalize map[string][]string // by canonical name; never empty lists
	sort      []string            // canonical names
	names     []string            // all names that may change, sorted
}

// Normalizes lists the canonical names that Normalize may change, sorted. The slice must not be changed.
func (r *Route) Normalizes() []string { return r.vary.names }

// Normalize returns the value of a present field as the cache and the upstream see it. name is in canonical form and
// value the combined value.
//
//   - Accept-Encoding becomes what is acceptable of br, zstd and gzip, in this order, or "identity" where nothing is.
//   - A field of vary.normalize becomes one of its values: Accept-Language by weight (RFC 9110, 12.5.4), any other
//     field if the whole value is listed; what asks for none of them becomes the first.
//   - Members of a field of vary.sort are sorted, without the whitespace between them.
//   - All else stays as it is.
func (r *Route) Normalize(name, value string) string {
	if name == "Accept-Encoding" {
		return normalizeEncoding(value)
	}
	if allowed := r.vary.normalize[name]; allowed != nil {
		if name == "Accept-Language" {
			return normalizeLanguage(value, allowed)
		}
		if slices.Contains(allowed, value) {
			return value
		}
		return allowed[0]
	}
	if slices.Contains(r.vary.sort, name) {
		return sortMembers(value)
	}
	return value
}

// Selecting returns a field of a request as the route lets it choose among stored responses, and as the origin is sent it. plain says
// that the origin is asked for no content coding, because encoded forms are made here: Accept-Encoding is then the same for all, and an
// origin's Vary by it makes no further variants.
func (r *Route) Selecting(req rfc9111.Fields, name string, plain bool) (value string, lines int) {
	if plain && name == "Accept-Encoding" {
		return rfc9111.Identity.String(), 1
	}
	if value, lines = req.Field(name); lines == 0 {
		return value, lines
	}
	return r.Normalize(name, value), lines
}

const (
	codingBr = 1 << iota
	codingZstd
	codingGzip
	codingAll = codingBr | codingZstd | codingGzip
)

// encodings are the normal forms of Accept-Encoding, by the codings that are acceptable.
var encodings = [codingAll + 1]string{
	0:                       "identity",
	codingBr:                "br",
	codingZstd:              "zstd",
	codingBr | codingZstd:   "br, zstd",
	codingGzip:              "gzip",
	codingBr | codingGzip:   "br, gzip",
	codingZstd | codingGzip: "zstd, gzip",
	codingAll:               "br, zstd, gzip",
}

// normalizeEncoding reads RFC 9110, 12.5.3. Of a coding that is named twice the first member counts.
func normalizeEncoding(value string) string {
	var accepted, named int
	rest := 0 // what "*" says of the codings that are not named
	for more := true; more; {
		var member string
		member, value, more = strings.Cut(value, ",")
		name, weight := rfc9111.CutWeight(member)
		var coding int
		switch {
		case strings.EqualFold(name, "br"):
			coding = codingBr
		case strings.EqualFold(name, "zstd"):
			coding = codingZstd
		case strings.EqualFold(name, "gzip"), strings.EqualFold(name, "x-gzip"):
			coding = codingGzip
		case name == "*" && weight > 0:
			rest = codingAll
		}
		if coding&^named != 0 && weight > 0 {
			accepted |= coding
		}
		named |= coding
	}
	return encodings[accepted|rest&^named]
}

// normalizeLanguage picks the tag that suits the request best: of all language ranges, by weight and then in their
// order, the first that a tag fits by lookup (RFC 4647, 3.4: the range, shortened from its end until it is a tag) or
// by basic filtering (3.3.1: the tag begins with the range). "*" means the first tag that is not refused with q=0.
func normalizeLanguage(value string, tags []string) string {
	best, bestWeight := tags[0], 0
	for all, more := value, true; more; {
		var member string
		member, all, more = strings.Cut(all, ",")
		r, weight := rfc9111.CutWeight(member)
		if weight <= bestWeight {
			continue
		}
		if tag, ok := lookupLanguage(r, value, tags); ok {
			best, bestWeight = tag, weight
		}
	}
	return best
}

func lookupLanguage(r, value string, tags []string) (tag string, ok bool) {
	if r == "*" {
		i := slices.IndexFunc(tags, func(tag string) bool { return !refusesLanguage(value, tag) })
		if i < 0 {
			return "", false
		}
		return tags[i], true
	}
	for short := r; short != ""; short = shorterRange(short) {
		for _, tag := range tags {
			if strings.EqualFold(tag, short) {
				return tag, true
			}
		}
	}
	for _, tag := range tags {
		if r != "" && hasRange(tag, r) {
			return tag, true
		}
	}
	return "", false
}

// refusesLanguage says whether value names tag, or a range that it belongs to, with q=0.
func refusesLanguage(value, tag string) bool {
	for more := true; more; {
		var member string
		member, value, more = strings.Cut(value, ",")
		if r, weight := rfc9111.CutWeight(member); weight == 0 && (strings.EqualFold(r, tag) || r != "" && hasRange(tag, r)) {
			return true
		}
	}
	return false
}

func hasRange(tag, r string) bool {
	return len(tag) > len(r) && tag[len(r)] == '-' && strings.EqualFold(tag[:len(r)], r)
}

// shorterRange drops the last subtag. A single letter before it, which RFC 4647, 3.4 drops as well, ends no tag.
func shorterRange(r string) string { return r[:max(strings.LastIndexByte(r, '-'), 0)] }

// sortMembers sorts the members of a list (RFC 9110, 5.6.1), without whitespace around them and their parameters, and
// without the empty ones. A value whose last quoted string has no end is no list, and stays as it is.
func sortMembers(value string) string {
	if !closed(value) {
		return value
	}
	var members []string
	for rest := value; rest != ""; {
		var member string
		member, rest = cutQuoted(rest, ',')
		if member = trimParams(member); member != "" {
			members = append(members, member)
		}
	}
	slices.Sort(members)
	return strings.Join(members, ",")
}

// closed reports whether every quoted string in s ends.
func closed(s string) bool {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		}
	}
	return !quoted
}

func trimParams(member string) string {
	var parts []string
	for rest := member; rest != ""; {
		var part string
		part, rest = cutQuoted(rest, ';')
		if part = strings.Trim(part, " \t"); part != "" || parts == nil { // parameters may be empty (5.6.6)
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ";")
}

// cutQuoted is strings.Cut, but for separators within a quoted string (RFC 9110, 5.6.4).
func cutQuoted(s string, separator byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == separator && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}
