package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"

	"github.com/cacheproxy/cacheproxy/rules"
)

const (
	// maxMergeDepth bounds how far merge keys may lead into one another.
	maxMergeDepth = 16
	// minAliased is how many values may always be reached through aliases; a file of more characters may have as many. A few
	// lines of nested ones could stand for billions.
	minAliased = 100_000
)

// decoder walks a tree of nodes along the Go types. It goes on after a mistake, so that one run finds all.
type decoder struct {
	file   string
	env    *environment // nil: ${ is nothing special
	absent bool         // an absent NAME_FILE file is a warning, and the value is left out

	errs, warns []Diagnostic
	broken      []string // paths without a usable value, so that nothing else is said about them

	maxAliased int // how many values may be reached through aliases
	aliased    int // how many were
	inAlias    int
	stopped    bool
}

// field is one key of a struct.
type field struct {
	name   string
	index  int
	tag    reflect.StructTag
	kind   kind // where scalar
	scalar bool // pointers are none

	defaults *yaml.Node // of lists and mappings
}

// fieldCache holds the fields of each struct type; a file of many routes asks for the same few again and again.
var fieldCache sync.Map

// fields lists the keys of a struct type, in its order.
func fields(t reflect.Type) []field {
	if all, ok := fieldCache.Load(t); ok {
		return all.([]field)
	}
	var all []field
	for i := range t.NumField() {
		f := t.Field(i)
		if name := f.Tag.Get("yaml"); name != "" && f.IsExported() {
			key := field{name: name, index: i, tag: f.Tag}
			key.kind, key.scalar = kindOf(f.Type, f.Tag)
			if text, ok := f.Tag.Lookup("default"); ok && !key.scalar {
				key.defaults = mustParse(name, text)
			}
			all = append(all, key)
		}
	}
	fieldCache.Store(t, all)
	return all
}

func (d *decoder) fail(n *yaml.Node, p *path, msg string) {
	at := p.String()
	d.errs = append(d.errs, Diagnostic{d.file, n.Line, n.Column, at, msg})
	d.broken = append(d.broken, at)
}

// value reads a node into v, which holds its default.
func (d *decoder) value(n *yaml.Node, v reflect.Value, tag reflect.StructTag, p *path) {
	if d.stopped {
		return
	}
	if n.Kind == yaml.AliasNode {
		// A mistake in the value as a whole is told where the alias stands, one inside it where it is written.
		value := *n.Alias
		value.Line, value.Column = n.Line, n.Column
		n = &value
		d.inAlias++
		defer func() { d.inAlias-- }()
	}
	if !d.count(n, p) {
		return
	}
	t := v.Type()
	k, scalar := kindOf(deref(t), tag)
	switch {
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(n, p, fmt.Sprintf("the tag %s is not used here; leave it out", n.Tag))
	case isNull(n):
		d.fail(n, p, "no value; "+orLeaveOut(deref(t), scalar))
	case scalar:
		d.scalar(n, v, k, p)
	case t.Kind() == reflect.Pointer:
		x := reflect.New(t.Elem())
		setDefaults(x.Elem())
		v.Set(x)
		d.structure(n, x.Elem(), p)
	case t.Kind() == reflect.Struct:
		d.structure(n, v, p)
	case t.Kind() == reflect.Map:
		d.mapping(n, v, tag, p)
	case t == reflect.TypeFor[rules.OneOrMany]() && n.Kind == yaml.ScalarNode:
		one := reflect.New(t.Elem()).Elem()
		d.scalar(n, one, textKind, p)
		v.Set(reflect.Append(reflect.Zero(t), one))
	case t.Kind() == reflect.Slice:
		d.list(n, v, tag, p)
	default:
		panic("config: no way to read a " + t.String())
	}
}

// count bounds what aliases can stand for.
func (d *decoder) count(n *yaml.Node, p *path) bool {
	if d.inAlias == 0 {
		return true
	}
	if d.aliased++; d.aliased <= d.maxAliased {
		return true
	}
	d.stopped = true
	d.fail(n, p, fmt.Sprintf("the aliases of this file stand for more than %d values", d.maxAliased))
	return false
}

func deref(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// orLeaveOut ends the message about a key without a value.
func orLeaveOut(t reflect.Type, scalar bool) string {
	switch {
	case t.Kind() == reflect.String:
		return `write "" for an empty text, or leave it out`
	case scalar:
		return "write one, or leave it out"
	case t.Kind() == reflect.Slice:
		return "write [] for an empty list, or leave it out"
	}
	return "write {} for an empty mapping, or leave it out"
}

// scalar reads a scalar. A pointer stays nil where the text is wrong.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, k kind, p *path) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n, p, fmt.Sprintf("wants %s, not %s", k.want, shape(n)))
		return
	}
	text, expanded := n.Value, false
	if d.env != nil && strings.Contains(text, "${") {
		var err error
		if text, err = d.env.expand(text); err != nil {
			d.unexpanded(n, p, err)
			return
		}
		expanded = true
	}
	if k.typed && !expanded && n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		d.fail(n, p, fmt.Sprintf("wants %s, not a text; take the quotes away", k.want))
		return
	}
	x, err := k.parse(text)
	if err != nil {
		d.fail(n, p, d.explain(n, k, text, expanded, p, err))
		return
	}
	assign(v, x)
}

// assign sets v, or what it points to, to x.
func assign(v reflect.Value, x any) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	v.Set(reflect.ValueOf(x).Convert(v.Type()))
}

func (d *decoder) unexpanded(n *yaml.Node, p *path, err error) {
	var absent *absentFile
	if d.absent && errors.As(err, &absent) {
		at := p.String()
		d.warns = append(d.warns, Diagnostic{d.file, n.Line, n.Column, at, err.Error()})
		d.broken = append(d.broken, at)
		return
	}
	d.fail(n, p, err.Error())
}

// explain says what is wrong with a text. What names in the environment stand for is not shown: it may be a secret.
func (d *decoder) explain(n *yaml.Node, k kind, text string, expanded bool, p *path, err error) string {
	if feature, ok := reservedValues[p.pattern()][text]; ok {
		return notBuilt(text, feature)
	}
	msg := err.Error()
	switch {
	case n.Value == "" || k.secret:
		return msg
	case expanded:
		return fmt.Sprintf("%s: what %q stands for", msg, n.Value)
	}
	msg = fmt.Sprintf("%s: %q", msg, n.Value)
	if values, ok := k.schema["enum"].([]any); ok {
		for _, v := range values {
			if resembles(text, v.(string)) {
				return msg + fmt.Sprintf("; did you mean %q?", v)
			}
		}
	}
	return msg
}

// shape names what stands in a node.
func shape(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return n.Value
	}
	return "a text"
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, tag reflect.StructTag, p *path) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n, p, fmt.Sprintf("wants a list such as %s, not %s", listExample(n, v.Type().Elem()), shape(n)))
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		setDefaults(list.Index(i))
		d.value(item, list.Index(i), tag, p.at(i))
	}
	v.Set(list)
}

// listExample shows a list; of what stands there instead, where that could be an element.
func listExample(n *yaml.Node, elem reflect.Type) string {
	switch {
	case elem.Kind() == reflect.Struct && elem != reflect.TypeFor[netip.Prefix]():
		return fmt.Sprintf("[{ %s: ... }]", fields(elem)[0].name)
	case n.Kind == yaml.ScalarNode && n.Value != "":
		return fmt.Sprintf("[%q]", n.Value)
	}
	return "[a, b]"
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, tag reflect.StructTag, p *path) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, p, fmt.Sprintf("wants a mapping of names to values, not %s", shape(n)))
		return
	}
	t := v.Type()
	v.Set(reflect.MakeMap(t))
	for _, e := range d.entries(n, p) {
		at := p.named(e.name)
		if strings.Contains(e.name, "${") {
			d.fail(e.key, at, "${ is expanded in values only, not in names")
			continue
		}
		key := reflect.New(t.Key()).Elem()
		if k, _ := kindOf(t.Key(), ""); k.want == integerKind.want {
			number, err := strconv.Atoi(e.name)
			if err != nil {
				d.fail(e.key, at, fmt.Sprintf("the name must be a whole number, not %q", e.name))
				continue
			}
			key.SetInt(int64(number))
		} else {
			key.SetString(e.name)
		}
		x := reflect.New(t.Elem()).Elem()
		setDefaults(x)
		d.value(e.value, x, tag, at)
		v.SetMapIndex(key, x)
	}
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, p *path) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, p, fmt.Sprintf("wants a mapping with keys such as %s, not %s", fields(v.Type())[0].name, shape(n)))
		return
	}
	all := fields(v.Type())
	given := make([]bool, len(all))
	for _, e := range d.entries(n, p) {
		i := slices.IndexFunc(all, func(f field) bool { return f.name == e.name })
		if i < 0 {
			d.unknown(e.key, e.name, v.Type(), p)
			continue
		}
		given[i] = true
		d.value(e.value, v.Field(all[i].index), all[i].tag, p.in(e.name))
	}
	for i, f := range all {
		if f.tag.Get("required") == "true" && !given[i] && !d.stopped {
			d.fail(n, p, fmt.Sprintf("%q is missing", f.name))
		}
	}
}

// unknown reports a key that is reserved, misspelt, or one level too high.
func (d *decoder) unknown(key *yaml.Node, name string, t reflect.Type, p *path) {
	at := p.in(name)
	if feature, ok := reservedKeys[at.pattern()]; ok {
		d.fail(key, at, notBuilt(name, feature))
		return
	}
	var names []string
	for _, f := range fields(t) {
		names = append(names, f.name)
	}
	hint := didYouMean(name, names)
	for _, f := range fields(t) {
		if inner := deref(t.Field(f.index).Type); inner.Kind() == reflect.Struct {
			for _, g := range fields(inner) {
				if g.name == name {
					hint = fmt.Sprintf("; it belongs into %q", f.name)
				}
			}
		}
	}
	if hint == "" {
		hint = "; known are " + strings.Join(names, ", ")
	}
	d.fail(key, at, fmt.Sprintf("unknown key %q%s", name, hint))
}

// entry is one key of a mapping with its value.
type entry struct {
	name       string
	key, value *yaml.Node
}

// entries lists the entries of a mapping: its own first, then those of merged mappings whose names are not there yet.
func (d *decoder) entries(n *yaml.Node, p *path) []entry {
	var all []entry
	first := map[string]*yaml.Node{}
	d.collect(n, p, 0, func(e entry, own bool) {
		switch before, ok := first[e.name]; {
		case !ok:
			first[e.name] = e.key
			all = append(all, e)
		case own:
			d.fail(e.key, p.in(e.name), fmt.Sprintf("the key %q stands here twice, first in line %d", e.name, before.Line))
		}
	})
	return all
}

func (d *decoder) collect(n *yaml.Node, p *path, depth int, add func(e entry, own bool)) {
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if isMerge(key) {
			merges = append(merges, value)
			continue
		}
		name := resolve(key)
		if name.Kind != yaml.ScalarNode {
			d.fail(key, p, "a key must be a name, not "+shape(name))
			continue
		}
		add(entry{name.Value, key, value}, depth == 0)
	}
	for _, m := range merges {
		d.merge(m, p, depth+1, add)
	}
}

// merge collects what stands behind a merge key: a mapping, or a list of mappings of which the first goes before.
func (d *decoder) merge(n *yaml.Node, p *path, depth int, add func(e entry, own bool)) {
	n = resolve(n)
	d.inAlias++
	defer func() { d.inAlias-- }()
	switch {
	case d.stopped || !d.count(n, p):
	case depth > maxMergeDepth:
		d.stopped = true
		d.fail(n, p, fmt.Sprintf("merge keys (<<) lead more than %d levels deep", maxMergeDepth))
	case n.Kind == yaml.MappingNode:
		d.collect(n, p, depth, add)
	case n.Kind == yaml.SequenceNode:
		for _, m := range n.Content {
			if resolve(m).Kind == yaml.SequenceNode {
				d.fail(m, p, "a merge key (<<) wants mappings in its list, not a list")
				continue
			}
			d.merge(m, p, depth, add)
		}
	default:
		d.fail(n, p, "a merge key (<<) wants a mapping, not "+shape(n))
	}
}

// setDefaults fills v with what its struct tags give. Pointers stay nil: their owner knows what nil means.
func setDefaults(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	if _, scalar := kindOf(v.Type(), ""); scalar {
		return
	}
	for _, f := range fields(v.Type()) {
		x := v.Field(f.index)
		text, ok := f.tag.Lookup("default")
		switch {
		case !ok:
			setDefaults(x)
		case f.scalar:
			value, err := f.kind.parse(text)
			if err != nil {
				panic(fmt.Sprintf("config: default of %s: %v", f.name, err))
			}
			assign(x, value)
		case x.Kind() != reflect.Pointer:
			d := decoder{file: "default"}
			d.value(f.defaults, x, f.tag, (*path)(nil).in(f.name))
			if len(d.errs) > 0 {
				panic("config: " + d.errs[0].String())
			}
		}
	}
}

// mustParse reads the default of a list or a mapping, which is YAML.
func mustParse(name, text string) *yaml.Node {
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		panic(fmt.Sprintf("config: default of %s: %v", name, err))
	}
	return n.Content[0]
}
