package invalidation

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// wireRecord is a record as it stands in a log and in the queue on disk, without
// its place and time, which the log gives it. A name is never given a second
// meaning; what a reader does not know it takes for the worst.
type wireRecord struct {
	Selectors  [][2]string `json:"s"` // kind and value
	Strategy   string      `json:"y,omitempty"`
	TTL        int64       `json:"t,omitempty"` // milliseconds
	Dependents bool        `json:"d,omitempty"`
	Origin     string      `json:"o,omitempty"`
	Waits      bool        `json:"w,omitempty"`
}

// encode returns the wire form of r.
func (r *Record) encode() []byte {
	w := wireRecord{TTL: r.TTL.Milliseconds(), Dependents: r.Dependents, Origin: r.Origin, Waits: r.Waits}
	if r.Strategy != Immediate {
		w.Strategy = r.Strategy.String()
	}
	for _, s := range r.Selectors {
		w.Selectors = append(w.Selectors, [2]string{s.Kind.String(), s.Value})
	}
	b, err := json.Marshal(w)
	if err != nil {
		panic(err) // strings and numbers can always be written
	}
	return b
}

// decode reads the wire form. What it does not understand selects everything,
// and ends it: too much, never too little.
func decode(b []byte) Record {
	var w wireRecord
	if err := json.Unmarshal(b, &w); err != nil || len(w.Selectors) == 0 {
		return Record{Selectors: []Selector{{Kind: KindAll}}}
	}
	r := Record{TTL: time.Duration(w.TTL) * time.Millisecond, Dependents: w.Dependents, Origin: w.Origin, Waits: w.Waits}
	if i := slices.Index(strategyNames[:], w.Strategy); i >= 0 {
		r.Strategy = Strategy(i)
	}
	for _, s := range w.Selectors {
		kind := slices.Index(kindNames[:], s[0])
		if kind < 0 {
			kind = int(KindAll)
		}
		sel := Selector{Kind(kind), s[1]}
		if sel.Kind == KindAll {
			sel.Value = ""
		}
		r.Selectors = append(r.Selectors, sel)
	}
	return r
}

// parseEpoch reads what Epoch.String has written.
func parseEpoch(text string) (Epoch, error) {
	var e Epoch
	if _, err := fmt.Sscanf(text, "%016x", &e); err != nil || len(text) != 16 {
		return 0, fmt.Errorf("%q is no epoch", text)
	}
	return e, nil
}
