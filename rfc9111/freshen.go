package rfc9111

import (
	"net/http"
	"strconv"
	"time"
)

// FreshenedBy reports whether a 304 with these fields confirms m (4.3.4). selected tells that m is the response for whose sake the
// validation was sent, and the newest of those whose weak validators fit.
//
//   - A 304 with a strong entity tag confirms all responses that have it, and no other that has one.
//   - One with a strong Last-Modified alone confirms all responses that have it and for which it is strong too.
//   - One with a weak validator confirms the selected response, where it fits.
//   - One without any validator confirms the selected response.
func FreshenedBy(m *Meta, update Fields, selected bool) bool {
	v := validatorsOf(update)
	if v.ETag != "" && m.Validators.ETag != "" {
		if isStrong(v.ETag) {
			return stronglyEqual(v.ETag, m.Validators.ETag)
		}
		return selected && weaklyEqual(v.ETag, m.Validators.ETag)
	}
	if v.ETag != "" && v.LastModified == "" {
		return false // m has no entity tag, so this is not about m
	}
	if v.LastModified == "" {
		return selected
	}
	if !sameDate(v.LastModified, m.Validators.LastModified, m.ResponseTime) {
		return false
	}
	return selected || strongLastModified(m)
}

func sameDate(a, b string, reference time.Time) bool {
	if a == b {
		return true
	}
	t, ok := parseDate(a, reference)
	u, okToo := parseDate(b, reference)
	return ok && okToo && t.Equal(u)
}

// HeadFreshens reports whether a 200 response to HEAD is about the same representation as m and so updates it (4.3.5); if not, m is
// invalid. length is that of m's content.
func HeadFreshens(m *Meta, update Fields, length int64) bool {
	v := validatorsOf(update)
	if v.ETag != "" && v.ETag != m.Validators.ETag {
		return false
	}
	if v.LastModified != "" && !sameDate(v.LastModified, m.Validators.LastModified, m.ResponseTime) {
		return false
	}
	value, lines := update.Field("Content-Length")
	if lines == 0 {
		return true
	}
	n, err := strconv.ParseInt(trim(value), 10, 64)
	return err == nil && n == length
}

// keptOnUpdate names the fields that describe the stored content as it is: taking them from a response without content would make them
// wrong (3.2).
var keptOnUpdate = []string{"Content-Length", "Content-Encoding", "Content-Type", "Content-Range"}

// Freshen returns the stored field lines updated with those of a 304, or of a response to HEAD (3.2). Neither is changed. Fields of one
// connection are left out, as is Set-Cookie where none is stored already: its being stored needed a permission. Age and Date speak of
// one response, so that without new ones there are none.
//
// The result is a response like any other: NewMeta computes what is to be known of it, and Storable may say that it is to be dropped.
func Freshen(stored, update http.Header) http.Header {
	result := stored.Clone()
	if result == nil {
		result = http.Header{}
	}
	fresh := withoutHopByHop(update)
	for _, name := range keptOnUpdate {
		delete(fresh, name)
	}
	if _, ok := stored["Set-Cookie"]; !ok {
		delete(fresh, "Set-Cookie")
	}
	delete(result, "Age")
	delete(result, "Date")
	for name, lines := range fresh {
		result[name] = lines
	}
	return result
}
