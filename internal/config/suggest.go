package config

import "strings"

// nearest returns the one of names that word was most likely meant to be, or "".
func nearest(word string, names []string) string {
	best, bestAt := "", len(word)/3+2
	for _, n := range names {
		if fold(n) == fold(word) {
			return n
		}
		if d := distance(word, n); d < bestAt {
			best, bestAt = n, d
		}
	}
	return best
}

// fold takes away what differs between max_bytes, maxBytes, MAX-BYTES and maxbytes.
func fold(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(s))
}

// distance counts the insertions, deletions, replacements and swaps of neighbours that make b of a
// (optimal string alignment).
func distance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// didYouMean is the end of a message, or nothing.
func didYouMean(word string, names []string) string {
	if len(word) > 64 { // no key is so long; keeps the time bounded
		return ""
	}
	if n := nearest(word, names); n != "" {
		return `; did you mean "` + n + `"?`
	}
	return ""
}

// resembles reports whether word is nearly value: info for INFO, warn for warning, json for jsn. Values are short words that
// mean different things, so that less likeness than that is none.
func resembles(word, value string) bool {
	if len(word) > 64 {
		return false
	}
	a, b := fold(word), fold(value)
	return a == b || strings.HasPrefix(a, b) || distance(a, b) == 1
}
