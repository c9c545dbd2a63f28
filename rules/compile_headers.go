package rules

import (
	"net/http"
	"slices"
	"strings"
)

// framing are the fields that belong to one connection or frame its messages (RFC 9110, 7.6.1, and 8.6). They are the
// proxy's own, in both directions.
var framing = []string{"Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade"}

// fieldGuard names the fields that a rule may not touch, and why.
type fieldGuard struct {
	set    map[string]string // may not be set
	remove map[string]string // may not be removed
}

const (
	ownFraming   = "belongs to the connection; the proxy writes it itself"
	ownHost      = "is set by the upstream's host setting"
	ownCondition = "would make the upstream answer with less than the whole; the proxy sets it itself"
)

var (
	responseFields = fieldGuard{set: guard(ownFraming, framing...), remove: guard(ownFraming, framing...)}
	requestFields  = fieldGuard{
		set: merge(guard(ownFraming, framing...), guard(ownHost, "Host"), guard(ownCondition,
			"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")),
		remove: merge(guard(ownFraming, framing...), guard(ownHost, "Host")),
	}
)

func guard(why string, names ...string) map[string]string {
	m := map[string]string{}
	for _, name := range names {
		m[name] = why
	}
	return m
}

func merge(guards ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, m := range guards {
		for name, why := range m {
			all[name] = why
		}
	}
	return all
}

// headerRules checks rules and brings their names into canonical form.
func (c *routeCompiler) headerRules(rules HeaderRules, path []string, g fieldGuard) HeaderRules {
	var out HeaderRules
	seen := map[string]bool{}
	for _, name := range sorted(rules.Set) {
		if canonical, ok := c.fieldName(name, below(path, "set", name), g.set, seen); ok {
			if out.Set == nil {
				out.Set = map[string]string{}
			}
			out.Set[canonical] = rules.Set[name]
		}
		if !isFieldValue(rules.Set[name]) {
			c.errorf(below(path, "set", name), "a field value has no line breaks, control characters or whitespace at its ends")
		}
	}
	for i, name := range rules.Remove {
		if canonical, ok := c.fieldName(name, element(below(path, "remove"), i), g.remove, seen); ok {
			out.Remove = append(out.Remove, canonical)
		}
	}
	slices.Sort(out.Remove)
	return out
}

func (c *routeCompiler) fieldName(name string, path []string, guarded map[string]string, seen map[string]bool) (string, bool) {
	canonical := http.CanonicalHeaderKey(name)
	switch why := guarded[canonical]; {
	case !isToken(name):
		c.errorf(path, "%q is no field name", name)
	case why != "":
		c.errorf(path, "%s %s", canonical, why)
	case seen[canonical]:
		c.errorf(path, "%s is named twice; keep one of them", canonical)
	default:
		seen[canonical] = true
		return canonical, true
	}
	return "", false
}

// isFieldValue says whether s may be sent as a field value (RFC 9110, 5.5).
func isFieldValue(s string) bool {
	if strings.Trim(s, " \t") != s {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
