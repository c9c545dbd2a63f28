package cache

import (
	"encoding/binary"
	"net/http"
	"slices"
	"strings"
	"unsafe"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// Labels are the names by which a stored response can be purged beside its URL and its key. None of them has a line end in it.
type Labels struct {
	Rule    []string // tags that its route gives it
	Tags    []string // tags of its own fields
	Groups  []string // of Cache-Groups (RFC 9875), in the form of rfc9111.GroupOf
	Depends []string // what it is made of, as nodes of [invalidation.Dependencies]
}

// IsEmpty reports whether there are none.
func (l *Labels) IsEmpty() bool {
	return len(l.Rule)+len(l.Tags)+len(l.Groups)+len(l.Depends) == 0
}

// lists are the kinds of labels in the order in which they are packed.
func (l *Labels) lists() [4]*[]string { return [...]*[]string{&l.Rule, &l.Tags, &l.Groups, &l.Depends} }

// AllTags returns the tags of both origins, each once.
func (l *Labels) AllTags() []string { return unique(append(append([]string{}, l.Rule...), l.Tags...)) }

// appendLabels packs labels: the length of the text of each kind, then these texts, in which a line end follows each label. None at
// all take no room.
func appendLabels(b []byte, l *Labels) []byte {
	if l == nil || l.IsEmpty() {
		return b
	}
	for _, list := range l.lists() {
		b = binary.AppendUvarint(b, uint64(textSize(*list)))
	}
	for _, list := range l.lists() {
		for _, label := range *list {
			b = append(append(b, label...), '\n')
		}
	}
	return b
}

func textSize(labels []string) (n int) {
	for _, label := range labels {
		n += len(label) + 1
	}
	return n
}

// labelsSize is the room that labels take at most.
func labelsSize(l *Labels) (n int) {
	if l == nil || l.IsEmpty() {
		return 0
	}
	for _, list := range l.lists() {
		n += binary.MaxVarintLen32 + textSize(*list)
	}
	return n
}

// labelTexts returns the texts of all kinds, one behind the other, and the size of each.
func (e *Entry) labelTexts() (texts []byte, sizes [4]int) {
	texts = e.cut(e.key+e.uri+e.vary+e.head, e.labels)
	if len(texts) == 0 {
		return texts, sizes
	}
	for i := range sizes {
		size, n := binary.Uvarint(texts)
		sizes[i], texts = int(size), texts[n:]
	}
	return texts, sizes
}

// Labels returns the labels of the entry. The strings may be kept: they point into the entry. It allocates, and is for those who
// change or list entries, not for hits.
func (e *Entry) Labels() (l Labels) {
	texts, sizes := e.labelTexts()
	for i, list := range l.lists() {
		for label := range strings.Lines(text(texts[:sizes[i]])) {
			*list = append(*list, label[:len(label)-1])
		}
		texts = texts[sizes[i]:]
	}
	return l
}

// anyOrigin stands for every origin in the name of a group that is purged.
const anyOrigin = "*://*"

// AnyGroup selects the groups of this name at all origins.
func AnyGroup(name string) invalidation.Selector { return invalidation.Group(anyOrigin, name) }

// Nodes returns what selects a response with these labels in the form of [invalidation.Dependencies], beside what it depends on.
func (l *Labels) Nodes() (nodes []string) {
	for _, tag := range l.AllTags() {
		nodes = append(nodes, "tag:"+tag)
	}
	for _, group := range l.Groups {
		_, name, _ := strings.Cut(group, " ")
		nodes = append(nodes, "group:"+group, "group:"+AnyGroup(name).Value)
	}
	return nodes
}

// selectors yields what selects a response with these labels.
func (l *Labels) selectors(yield func(invalidation.Selector)) {
	for _, list := range [][]string{l.Rule, l.Tags} {
		for _, tag := range list {
			yield(invalidation.Selector{Kind: invalidation.KindTag, Value: tag})
		}
	}
	for _, group := range l.Groups {
		_, name, _ := strings.Cut(group, " ")
		yield(invalidation.Selector{Kind: invalidation.KindGroup, Value: group})
		yield(AnyGroup(name))
	}
	for _, node := range l.Depends {
		switch kind, value, _ := strings.Cut(node, ":"); kind {
		case "tag":
			yield(invalidation.Selector{Kind: invalidation.KindTag, Value: value})
		case "group":
			yield(invalidation.Selector{Kind: invalidation.KindGroup, Value: value})
		default:
			yield(invalidation.Selector{Kind: invalidation.KindURL, Value: value})
		}
	}
}

// hashesOf returns the hashes of what selects a response with these labels.
func hashesOf(state *invalidation.State, l *Labels) (hashes []uint64) {
	if l == nil {
		return nil
	}
	l.selectors(func(s invalidation.Selector) {
		if hash := state.Hash(s); !slices.Contains(hashes, hash) {
			hashes = append(hashes, hash)
		}
	})
	return hashes
}

// Names are the labels of a response in the forms in which [invalidation.Composed] tells them.
type Names struct {
	hashes   []uint64
	tags, on []byte
}

// Names returns the labels in those forms.
func (c *Cache) Names(l *Labels) (n Names) {
	n.hashes = hashesOf(c.state, l)
	for _, list := range [][]string{l.Rule, l.Tags} {
		for _, tag := range list {
			n.tags = append(append(n.tags, tag...), '\n')
		}
	}
	for _, node := range l.Depends {
		n.on = append(append(n.on, node...), '\n')
	}
	return n
}

// Tags implements [invalidation.Subject].
func (n *Names) Tags() []uint64 { return n.hashes }

// TagNames implements [invalidation.Subject].
func (n *Names) TagNames() []byte { return n.tags }

// DependsOn implements [invalidation.Composed].
func (n *Names) DependsOn() []byte { return n.on }

// Tags implements [invalidation.Subject].
func (e *Entry) Tags() []uint64 {
	if e.hashes == 0 {
		return nil
	}
	return unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(e.all()))), e.hashes)
}

// TagNames implements [invalidation.Subject].
func (e *Entry) TagNames() []byte {
	texts, sizes := e.labelTexts()
	return texts[:sizes[0]+sizes[1]] // of the rule, and of the response
}

// DependsOn implements [invalidation.Composed].
func (e *Entry) DependsOn() []byte {
	texts, sizes := e.labelTexts()
	before := sizes[0] + sizes[1] + sizes[2]
	return texts[before : before+sizes[3]]
}

// Concealed yields the stored field lines that only trusted proxies are sent, as [Entry.Fields] does the others.
func (e *Entry) Concealed() func(yield func(name, value string) bool) {
	return lines(e.cut(e.key+e.uri+e.vary+e.head+e.labels, e.concealed))
}

// Conceals reports whether there are fields that only trusted proxies are sent.
func (e *Entry) Conceals() bool { return e.concealed > 0 }

// Conceal takes the named fields out of h and returns them; nil where there are none.
func Conceal(h http.Header, names []string) (concealed http.Header) {
	for _, name := range names {
		values, ok := h[name]
		if !ok {
			continue
		}
		if concealed == nil {
			concealed = http.Header{}
		}
		concealed[name] = values
		delete(h, name)
	}
	return concealed
}
