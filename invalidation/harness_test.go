package invalidation

import (
	"context"
	"strings"
)

// thing is something stored that carries a stamp.
type thing struct {
	stamp Stamp
	key   [16]byte
	uri   []byte
	tags  []uint64
	names []byte
}

func (t *thing) URI() []byte      { return t.uri }
func (t *thing) Tags() []uint64   { return t.tags }
func (t *thing) TagNames() []byte { return t.names }

// thing makes what was born at born, with the given tags and groups.
func (s *State) thing(born Birth, uri string, marks ...Selector) *thing {
	t := &thing{uri: []byte(uri)}
	copy(t.key[:], uri[max(0, len(uri)-16):])
	for _, m := range marks {
		t.tags = append(t.tags, s.Hash(m))
		if m.Kind == KindTag {
			t.names = append(t.names, m.Value+"\n"...)
		}
	}
	t.stamp = s.Stamp(born, t.key, t.uri)
	return t
}

func (s *State) check(t *thing) Standing { return s.Check(&t.stamp, t) }

// selects reports naively whether a selector selects what has a URI, a key, and
// tags and groups.
func selects(sel Selector, uri, key string, marks []Selector) bool {
	_, rest, _ := strings.Cut(uri, ":")
	switch sel.Kind {
	case KindURL:
		return sel.Value == uri || sel.Value == rest
	case KindKey:
		return sel.Value == key
	case KindTag, KindGroup:
		for _, m := range marks {
			if m == sel {
				return true
			}
		}
		return false
	case KindPattern, KindBan:
		names := ""
		for _, m := range marks {
			if m.Kind == KindTag {
				names += m.Value + "\n"
			}
		}
		m, err := compile(sel)
		return err != nil || m.matches([]byte(uri), []byte(names))
	}
	return true // all, and what is not known
}

// append logs and applies a record as it is.
func (p *Purger) append(r Record) {
	a, err := p.log.Append(context.Background(), r, false)
	if err != nil {
		panic(err)
	}
	p.appended(context.Background(), a.Record)
}
