package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cacheproxy/cacheproxy/rfc9111"
)

// encoding compiles what a route says of encoded forms; what it does not say is as all routes have it. nil: none are made.
func (c *routeCompiler) encoding(s *EncodeSpec) *rfc9111.Encoding {
	for _, mistake := range s.Check() {
		c.errorf(below(at("cache", "encode"), mistake.Path...), "%s", mistake.Msg)
	}
	all := &c.options.Encode
	e := &rfc9111.Encoding{MinBytes: valueOr(s.MinBytes, valueOr(all.MinBytes, 0))}
	for _, name := range orAll(s.Algorithms, all.Algorithms) {
		if coding, ok := rfc9111.ParseCoding(name); ok {
			e.Codings = append(e.Codings, coding)
		}
	}
	for _, t := range orAll(s.Types, all.Types) {
		e.Types = append(e.Types, strings.ToLower(t))
	}
	if len(e.Codings) == 0 || len(e.Types) == 0 || c.route.Off {
		return nil
	}
	return e
}

func orAll(own, all []string) []string {
	if own == nil {
		return all
	}
	return own
}

// Check returns what is wrong with the values, by their paths within the spec.
func (s *EncodeSpec) Check() []*Error {
	var mistakes []*Error
	complain := func(path []string, format string, args ...any) {
		mistakes = append(mistakes, &Error{Path: path, Msg: fmt.Sprintf(format, args...)})
	}
	for i, name := range s.Algorithms {
		path := at("algorithms", strconv.Itoa(i))
		switch _, ok := rfc9111.ParseCoding(name); {
		case !ok:
			complain(path, "%q is no algorithm; write br, zstd or gzip", name)
		case slices.Contains(s.Algorithms[:i], name):
			complain(path, "%s is named twice", name)
		}
	}
	for i, t := range s.Types {
		if !isMediaRange(t) {
			complain(at("types", strconv.Itoa(i)), "%q is no media type; write one such as text/html, text/* or application/*+json", t)
		}
	}
	if s.MinBytes != nil && *s.MinBytes < 0 {
		complain(at("min_bytes"), "is negative")
	}
	return mistakes
}

// isMediaRange reports whether t is a type and a subtype, with at most one "*" in each.
func isMediaRange(t string) bool {
	kind, subtype, ok := strings.Cut(t, "/")
	return ok && isToken(kind) && isToken(subtype) && strings.Count(kind, "*") <= 1 && strings.Count(subtype, "*") <= 1
}
