package rfc9111

import (
	"net/http"
	"slices"
	"strings"
)

// Matches reports whether the request selects the stored response: whether each field that Vary named has the value that it had then,
// or is absent as it was then (4.1). It does not allocate for single-line fields.
func Matches(req Fields, m *Meta) bool {
	for _, v := range m.Vary {
		if !v.Selects(req) {
			return false
		}
	}
	return true
}

// Selects reports whether the request has the field that it had when the response was chosen, with the same value, or lacks it as it
// did then (4.1). It does not allocate for single-line fields.
func (v VaryField) Selects(req Fields) bool {
	value, lines := req.Field(v.Name)
	return v.Present == (lines > 0) && (value == v.Value || normalizesTo(v.Name, value, v.Value))
}

// Newer reports whether a is to be preferred over b where the request matches both: by Date (4), then by when they arrived.
func Newer(a, b *Meta) bool {
	if !a.Date.Equal(b.Date) {
		return a.Date.After(b.Date)
	}
	return a.ResponseTime.After(b.ResponseTime)
}

// VaryNames returns the field names of Vary in canonical form, sorted, without doubles. star reports that the response depends on
// more than fields: a member is "*", or is no field name, so that nobody can tell what it depends on.
func VaryNames(resp Fields) (names []string, star bool) {
	value, lines := resp.Field("Vary")
	if lines == 0 {
		return nil, false
	}
	for name, rest := nextName(value); name != ""; name, rest = nextName(rest) {
		if name == "*" || !isToken(name) {
			return nil, true
		}
		names = append(names, http.CanonicalHeaderKey(name))
	}
	slices.Sort(names)
	return slices.Compact(names), false
}

// varyFields notes the request's values of the fields that Vary names.
func varyFields(request, response Fields) []VaryField {
	names, _ := VaryNames(response)
	return VaryFields(request, names)
}

// VaryFields notes the request's values of the fields of these names, as a response that varies by them would. The names must be in
// canonical form, sorted, without doubles: see VaryNames.
func VaryFields(request Fields, names []string) []VaryField {
	if len(names) == 0 {
		return nil
	}
	fields := make([]VaryField, len(names))
	for i, name := range names {
		value, lines := request.Field(name)
		fields[i] = VaryField{Name: name, Value: normalize(name, value), Present: lines > 0}
	}
	return fields
}

// foldsCase reports whether the field's value means the same in any case (RFC 9110, 12.5.3 and 12.5.4).
func foldsCase(name string) bool { return name == "Accept-Language" || name == "Accept-Encoding" }

// normalize returns a field value as it is compared (4.1): without whitespace at the ends and round the commas between members, and in
// lower case where case means nothing. Quoted strings stay as they are.
func normalize(name, value string) string {
	n := normalizer{value: value, fold: foldsCase(name)}
	var b strings.Builder
	for c, ok := n.next(); ok; c, ok = n.next() {
		b.WriteByte(c)
	}
	return b.String()
}

// normalizesTo reports whether value in normal form is stored, without building it.
func normalizesTo(name, value, stored string) bool {
	n := normalizer{value: value, fold: foldsCase(name)}
	for i := range len(stored) {
		if c, ok := n.next(); !ok || c != stored[i] {
			return false
		}
	}
	_, more := n.next()
	return !more
}

// normalizer gives the bytes of a value's normal form one after the other.
type normalizer struct {
	value   string
	at      int
	inside  bool // a member has begun: whitespace counts unless a comma or the end follows it
	solid   int  // whitespace before this index is known to count
	quoted  bool
	escaped bool // the byte before was a backslash within quotes
	fold    bool
}

func (n *normalizer) next() (c byte, ok bool) {
	if !n.quoted && n.at >= n.solid {
		n.skipSpace()
	}
	if n.at == len(n.value) {
		return 0, false
	}
	c = n.value[n.at]
	n.at++
	switch {
	case n.escaped:
		n.escaped = false
	case n.quoted:
		n.escaped, n.quoted = c == '\\', c != '"'
	case c == '"':
		n.quoted, n.inside = true, true
	case c == ',':
		n.inside = false
	default:
		n.inside = true
		if n.fold {
			c = lower(c)
		}
	}
	return c, true
}

// skipSpace passes over whitespace that does not count. Whitespace that does is looked at once: solid remembers its end.
func (n *normalizer) skipSpace() {
	end := n.at
	for end < len(n.value) && (n.value[end] == ' ' || n.value[end] == '\t') {
		end++
	}
	if !n.inside || end == len(n.value) || n.value[end] == ',' {
		n.at = end
	}
	n.solid = end
}
