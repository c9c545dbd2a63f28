package rfc9111

import (
	"net/http"
	"slices"
	"testing"
)

func TestGroups(t *testing.T) { // RFC 9875, 2
	for _, tt := range []struct {
		lines []string
		want  []string
	}{
		{nil, nil},
		{[]string{`"a"`}, []string{"a"}},
		{[]string{`"a", "b;c"`, `"d"; x=1`}, []string{"a", "b;c", "d"}},
		{[]string{`"with \"quotes\" and, commas"`}, []string{`with "quotes" and, commas`}},
		{[]string{``}, []string{}},
		{[]string{`a`}, nil},          // a token
		{[]string{`"a", 1`}, nil},     // a number
		{[]string{`"a", ("b")`}, nil}, // an inner list
		{[]string{`"a`}, nil},
	} {
		if got := Groups(Header(http.Header{"Cache-Groups": tt.lines}), "Cache-Groups"); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.lines, got, tt.want)
		}
	}
}
