package cache

import (
	"encoding/binary"
	"net/http"
)

// Labels are the names by which a stored response can be purged beside its URL and its key.
type Labels struct {
	Rule    []string // tags that its route gives it
	Tags    []string // tags of its own fields
	Groups  []string // of Cache-Groups (RFC 9875)
	Depends []string // what it is made of: "tag:NAME", or "url:" and a URI without its scheme
}

// IsEmpty reports whether there are none.
func (l *Labels) IsEmpty() bool {
	return len(l.Rule)+len(l.Tags)+len(l.Groups)+len(l.Depends) == 0
}

// lists are the kinds of labels in the order in which they are packed.
func (l *Labels) lists() [4]*[]string { return [...]*[]string{&l.Rule, &l.Tags, &l.Groups, &l.Depends} }

// AllTags returns the tags of both origins, each once.
func (l *Labels) AllTags() []string { return unique(append(append([]string{}, l.Rule...), l.Tags...)) }

// appendLabels packs labels: of each kind the number, then each with its length before it. None at all take no room.
func appendLabels(b []byte, l *Labels) []byte {
	if l == nil || l.IsEmpty() {
		return b
	}
	for _, list := range l.lists() {
		b = binary.AppendUvarint(b, uint64(len(*list)))
		for _, s := range *list {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	return b
}

// labelsSize is the room that labels take at most.
func labelsSize(l *Labels) int {
	if l == nil || l.IsEmpty() {
		return 0
	}
	n := 0
	for _, list := range l.lists() {
		n += binary.MaxVarintLen32
		for _, s := range *list {
			n += binary.MaxVarintLen32 + len(s)
		}
	}
	return n
}

// Labels returns the labels of the entry. The strings may be kept: they point into the entry. It allocates, and is for those who
// change or list entries, not for hits.
func (e *Entry) Labels() (l Labels) {
	rest := e.cut(e.key+e.uri+e.vary+e.head, e.labels)
	if len(rest) == 0 {
		return l
	}
	for _, list := range l.lists() {
		var count uint64
		for count, rest = cutUvarint(rest); count > 0; count-- {
			var size uint64
			size, rest = cutUvarint(rest)
			*list = append(*list, text(rest[:size]))
			rest = rest[size:]
		}
	}
	return l
}

func cutUvarint(b []byte) (uint64, []byte) {
	v, n := binary.Uvarint(b)
	return v, b[n:]
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
