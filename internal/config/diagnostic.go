package config

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Diagnostic is one mistake, or one warning.
type Diagnostic struct {
	File string // the file, or what else the value came from: a flag ("--listen"), "environment"
	Line int    // from 1; 0 where there is no position
	Col  int    // in characters, from 1; 0 for syntax errors, of which only the line is known
	Path string // the key, e.g. "routes[0].cache.ttl"; empty for the file as a whole
	Msg  string // what is wrong, and what would be right
}

// String returns FILE:LINE:COL: PATH: MESSAGE, without the parts that are not known.
func (d Diagnostic) String() string {
	var b strings.Builder
	b.WriteString(d.File)
	for _, n := range []int{d.Line, d.Col} {
		if n > 0 {
			b.WriteByte(':')
			b.WriteString(strconv.Itoa(n))
		}
	}
	for _, s := range []string{d.Path, d.Msg} {
		if s != "" {
			b.WriteString(": ")
			b.WriteString(s)
		}
	}
	return b.String()
}

// Error is all mistakes of one run, in the order of the file.
type Error struct{ Errors []Diagnostic }

// Error returns one mistake per line.
func (e *Error) Error() string { return lines(e.Errors) }

// Warnings are legal choices that somebody should know of, in the order of the file.
type Warnings []Diagnostic

// String returns one warning per line.
func (w Warnings) String() string { return lines(w) }

func lines(ds []Diagnostic) string {
	texts := make([]string, len(ds))
	for i, d := range ds {
		texts[i] = d.String()
	}
	return strings.Join(texts, "\n")
}

// inOrder sorts by position and drops repetitions: an anchored value is walked once for each alias.
// What has no position comes last.
func inOrder(ds []Diagnostic) []Diagnostic {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(unplaced(a), unplaced(b)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	type mistake struct {
		file      string
		line, col int
		msg       string
	}
	seen := map[mistake]bool{}
	return slices.DeleteFunc(ds, func(d Diagnostic) bool {
		m := mistake{d.File, d.Line, d.Col, d.Msg}
		if d.Line == 0 {
			m.msg += d.Path
		}
		again := seen[m]
		seen[m] = true
		return again
	})
}

func unplaced(d Diagnostic) int {
	if d.Line == 0 {
		return 1
	}
	return 0
}
