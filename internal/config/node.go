package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// parse reads the one document of a file. The node is nil where the file holds nothing but comments.
func parse(file string, text []byte) (*yaml.Node, *Diagnostic) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, syntaxError(file, text, err)
	}
	switch err := dec.Decode(&second); {
	case err == nil:
		return nil, &Diagnostic{File: file, Line: second.Line, Col: second.Column, Msg: "a second document begins here; a file holds one"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(file, text, err)
	}
	root := doc.Content[0]
	if isNull(root) && root.Value == "" {
		return nil, nil
	}
	return root, nil
}

// isNull reports whether nothing, ~ or null stands there.
func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

var (
	yamlLine      = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// fromParser are the messages of yaml.v3's parser. It counts their lines from 0, those of its scanner from 1.
var fromParser = []string{
	"did not find expected <stream-start>",
	"did not find expected <document start>",
	"found undefined tag handle",
	"did not find expected node content",
	"did not find expected '-' indicator",
	"did not find expected key",
	"did not find expected ',' or ']'",
	"did not find expected ',' or '}'",
	"found duplicate %YAML directive",
	"found incompatible YAML document",
	"found duplicate %TAG directive",
}

// syntaxError tells the line of an error of yaml.v3, which knows it only as text, and not always rightly.
func syntaxError(file string, text []byte, err error) *Diagnostic {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return &Diagnostic{File: file, Line: 1, Msg: err.Error()}
	}
	msg := err.Error()[len(m[0]):]
	line, _ := strconv.Atoi(m[1]) // 0 where no line is named
	for _, p := range fromParser {
		if msg == p {
			line++
		}
	}
	switch a := unknownAnchor.FindStringSubmatch(msg); {
	case a != nil:
		line = lineOf(text, "*"+a[1])
		msg = fmt.Sprintf("the alias *%s has no anchor &%s above it", a[1], a[1])
	case msg == "did not find expected key", msg == "did not find expected '-' indicator":
		line = firstBadLine(text, msg)
		msg += "; is the indentation that of the lines above?"
	case strings.Contains(msg, "tab character"):
		line = firstBadLine(text, msg)
		msg += "; indent with spaces"
	case strings.HasPrefix(msg, "did not find expected ','") && strings.Contains(row(text, line), "${"):
		msg += "; inside [ ] and { } write ${NAME} in quotes"
	case strings.Contains(msg, "UTF-8"), strings.Contains(msg, "control characters"):
		line = badCharacterLine(text)
	}
	return &Diagnostic{File: file, Line: min(max(line, 1), lastLine(text)), Msg: msg}
}

// lineBreaks makes one of what YAML takes for the end of a line.
var lineBreaks = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")

// lastLine is the number of the last line with something in it. What yaml.v3 misses at the end it misses one line further on.
func lastLine(text []byte) int {
	return 1 + strings.Count(strings.TrimRight(lineBreaks.Replace(string(text)), "\n"), "\n")
}

// row returns a line of text, counted from 1, or nothing.
func row(text []byte, line int) string {
	rows := strings.SplitN(string(text), "\n", line+1)
	if line < 1 || line > len(rows) {
		return ""
	}
	return rows[line-1]
}

func lineOf(text []byte, word string) int {
	i := bytes.Index(text, []byte(word))
	return 1 + bytes.Count(text[:max(i, 0)], []byte("\n"))
}

// firstBadLine finds the line at which the parser gives up inside a block: it names only the block's beginning. Every
// beginning of the file that includes the bad line fails alike, and none that does not, so halving finds it.
func firstBadLine(text []byte, msg string) int {
	rows := bytes.SplitAfter(text, []byte("\n"))
	return 1 + sort.Search(len(rows)-1, func(i int) bool {
		var n yaml.Node
		err := yaml.Unmarshal(bytes.Join(rows[:i+1], nil), &n)
		return err != nil && strings.HasSuffix(err.Error(), msg)
	})
}

// badCharacterLine finds the first byte that is no part of a printable UTF-8 character.
func badCharacterLine(text []byte) int {
	line := 1
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == '\n':
			line++
		case r == utf8.RuneError && size == 1, r < ' ' && r != '\t' && r != '\r', r == 0x7f:
			return line
		}
		i += size
	}
	return line
}

// A location is the way from the root to a value: keys, and indices in decimal.
type location []string

// String returns the location as messages show it.
func (loc location) String() string {
	_, at := find(nil, loc)
	return at
}

// find returns the node at loc, or its nearest ancestor that exists, and the path as messages show it.
func find(root *yaml.Node, loc location) (*yaml.Node, string) {
	n, p, lost := root, (*path)(nil), root == nil
	for _, step := range loc {
		var next *yaml.Node
		index, err := strconv.Atoi(step)
		switch isList := err == nil && (lost || n.Kind == yaml.SequenceNode); {
		case isList:
			p = p.at(index)
			if !lost && index >= 0 && index < len(n.Content) {
				next = resolve(n.Content[index])
			}
		default:
			p = p.in(step)
			if !lost && n.Kind == yaml.MappingNode {
				next = child(n, step, 0)
			}
		}
		if next == nil {
			lost = true
			continue
		}
		n = next
	}
	return n, p.String()
}

// child returns the value of a key, of a merged mapping where the mapping itself has none.
func child(n *yaml.Node, key string, depth int) *yaml.Node {
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch k := resolve(n.Content[i]); {
		case isMerge(n.Content[i]):
			merges = append(merges, resolve(n.Content[i+1]))
		case k.Kind == yaml.ScalarNode && k.Value == key:
			return resolve(n.Content[i+1])
		}
	}
	for _, m := range merges {
		if depth == maxMergeDepth {
			return nil
		}
		mappings := []*yaml.Node{m}
		if m.Kind == yaml.SequenceNode {
			mappings = m.Content
		}
		for _, m := range mappings {
			if m = resolve(m); m.Kind != yaml.MappingNode {
				continue
			}
			if v := child(m, key, depth+1); v != nil {
				return v
			}
		}
	}
	return nil
}

func isMerge(key *yaml.Node) bool { return key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" }

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// path is a location under way, which costs nothing until it is printed.
type path struct {
	up    *path
	key   string
	index int  // where key is empty
	any   bool // key is a name of the user's own: * in the table of reserved keys
}

func (p *path) in(key string) *path    { return &path{up: p, key: key} }
func (p *path) named(key string) *path { return &path{up: p, key: key, any: true} }
func (p *path) at(index int) *path     { return &path{up: p, index: index} }

// String returns the path as messages show it: routes[0].cache.ttl.
func (p *path) String() string { return p.text(false) }

// pattern returns the path as the table of reserved keys has it: routes[].cache.ttl, upstreams.*.tls.
func (p *path) pattern() string { return p.text(true) }

func (p *path) text(pattern bool) string {
	if p == nil {
		return ""
	}
	before, key := p.up.text(pattern), p.key
	switch {
	case key == "" && pattern:
		return before + "[]"
	case key == "":
		return before + "[" + strconv.Itoa(p.index) + "]"
	case p.any && pattern:
		key = "*"
	}
	if before == "" {
		return key
	}
	return before + "." + key
}
