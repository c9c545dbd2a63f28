package rfc9111

import (
	"net/http"
	"slices"
	"time"

	"github.com/dunglas/httpsfv"
)

// responseDirectivesOf returns the directives that rule a response: those of the first targeted field that is valid and not empty
// (RFC 9213, 2.2), else those of Cache-Control.
func responseDirectivesOf(resp Fields, p *Policy) responseDirectives {
	for _, name := range p.Targeted {
		if value, lines := resp.Field(name); lines > 0 {
			if r, ok := parseTargeted(value); ok {
				return r
			}
		}
	}
	value, _ := resp.Field("Cache-Control")
	return parseResponseDirectives(value)
}

// parseTargeted parses a targeted field: a dictionary of structured fields (RFC 9213, 2.1). ok is false for one that is empty, does
// not parse, or gives a known directive an argument of the wrong type: then the field counts as absent.
func parseTargeted(value string) (r responseDirectives, ok bool) {
	dict, err := httpsfv.UnmarshalDictionary([]string{value})
	if err != nil || len(dict.Names()) == 0 {
		return responseDirectives{}, false
	}
	r.targeted = true
	for _, name := range dict.Names() {
		member, _ := dict.Get(name)
		if !r.addTargeted(name, member) {
			return responseDirectives{}, false
		}
	}
	return r, true
}

// addTargeted adds one member; ok is false where its value has the wrong type.
func (r *responseDirectives) addTargeted(name string, member httpsfv.Member) (ok bool) {
	var value any // stays nil for an inner list, which no known directive has
	if item, isItem := member.(httpsfv.Item); isItem {
		value = item.Value
	}
	switch name {
	case "max-age":
		return targetedDelta(&r.maxAge, value)
	case "s-maxage":
		return targetedDelta(&r.sMaxAge, value)
	case "stale-while-revalidate":
		return targetedDelta(&r.staleWhileRevalidate, value)
	case "stale-if-error":
		return targetedDelta(&r.staleIfError, value)
	case "no-cache":
		return targetedNames(&r.noCache, &r.noCacheFields, value)
	case "private":
		return targetedNames(&r.private, &r.privateFields, value)
	}
	if flag := r.flag(name); flag != nil {
		*flag, ok = value.(bool)
		return ok
	}
	return true
}

func (r *responseDirectives) flag(name string) *bool {
	switch name {
	case "no-store":
		return &r.noStore
	case "public":
		return &r.public
	case "must-revalidate":
		return &r.mustRevalidate
	case "proxy-revalidate":
		return &r.proxyRevalidate
	case "must-understand":
		return &r.mustUnderstand
	case "immutable":
		return &r.immutable
	case "no-transform":
		return &r.noTransform
	}
	return nil
}

func targetedDelta(t *delta, value any) bool {
	n, ok := value.(int64)
	*t = delta{time.Duration(min(max(n, 0), 1<<31)) * time.Second, true}
	return ok
}

// targetedNames reads no-cache and private: true, or the names of fields as a string or a token.
func targetedNames(unqualified *bool, names *[]string, value any) (ok bool) {
	var list string
	switch v := value.(type) {
	case bool:
		*unqualified = v
		return true
	case string:
		list = v
	case httpsfv.Token:
		list = string(v)
	default:
		return false
	}
	*names, ok = fieldNames(list)
	*unqualified = !ok || len(*names) == 0
	return true
}

// fieldNames returns the field names of a list in canonical form, sorted, without doubles; ok is false where a member is no name.
func fieldNames(list string) (names []string, ok bool) {
	for name, rest := nextName(list); name != ""; name, rest = nextName(rest) {
		if !isToken(name) {
			return nil, false
		}
		names = append(names, http.CanonicalHeaderKey(name))
	}
	slices.Sort(names)
	return slices.Compact(names), true
}
