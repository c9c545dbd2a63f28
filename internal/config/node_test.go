package config

import (
	"strings"
	"testing"
)

// TestSyntaxErrors: the line is that of the mistake, also where yaml.v3 names the line above, the beginning of the block, or
// no line at all.
func TestSyntaxErrors(t *testing.T) {
	filler := strings.Repeat("# filler\n", 40)
	for _, c := range []struct{ name, text, want string }{
		{"colon", "a: 1\nb: c: d\n", "2: mapping values are not allowed in this context"},
		{"colon, first line", "a: b: c\n", "1: mapping values are not allowed in this context"},
		{"tab", "a:\n  b: 1\n\tc: 2\n", "3: found a tab character that violates indentation; indent with spaces"},
		{"open quote", "a: 1\nb: \"c\nd: 1\n", "2: found unexpected end of stream"},
		{"open list", "a: 1\nb: 1\nc: [1, 2\nd: 1\n", "3: did not find expected ',' or ']'"},
		{"open list, first line", "c: [1, 2\nd: 1\n", "2: did not find expected ',' or ']'"},
		{"open mapping", "a: 1\nb: { c: 1\nd: 2\n", "2: did not find expected ',' or '}'"},
		{"indentation", "log:\n  level: info\n format: json\n", "3: did not find expected key; is the indentation that of the lines above?"},
		{"indentation, late", filler + "log:\n  level: info\n" + filler + " format: json\n" + filler, "83: did not find expected key; is the indentation that of the lines above?"},
		{"mapping in list", "- a\n- b\nc: d\n", "3: did not find expected '-' indicator; is the indentation that of the lines above?"},
		{"unknown anchor", "a: 1\nb: *none\n", "2: the alias *none has no anchor &none above it"},
		{"no node", "a: 1\nb: ]\n", "2: did not find expected node content"},
		{"no node, at the end", "a: 1\nb: [", "2: did not find expected node content"},
		{"tag handle", "a: 1\nb: !e!x 1\n", "2: found undefined tag handle"},
		{"directive", "%YAML 3.0\n---\na: 1\n", "1: found incompatible YAML document"},
		{"control character", "a: 1\nb: \x01\n", "2: control characters are not allowed"},
		{"not UTF-8", "a: 1\nb: 2\nc: \xff\n", "3: invalid leading UTF-8 octet"},
		{"in a second document", "a: 1\n---\nb: c: d\n", "3: mapping values are not allowed in this context"},
		{"a second document", "a: 1\n---\nb: 2\n", "2:1: a second document begins here; a file holds one"},
		{"reserved character", "a: 1\nb: @c\n", "2: found character that cannot start any token"},
		{"name without quotes", "a: 1\nb: { c: ${D} }\n", "2: did not find expected ',' or '}'; inside [ ] and { } write ${NAME} in quotes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, mistake := parse("f.yaml", []byte(c.text))
			if mistake == nil {
				t.Fatal("no mistake found")
			}
			if got, want := mistake.String(), "f.yaml:"+c.want; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}
