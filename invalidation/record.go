package invalidation

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Epoch identifies one life of a log. Nobody has drawn the same before, so that
// sequence numbers of different lives are never compared. Zero is none.
type Epoch uint64

// String is the form for people and for JSON: 16 hexadecimal digits. A decimal
// number would lose its last digits in every JavaScript client.
func (e Epoch) String() string {
	const digits = 16
	s := strconv.FormatUint(uint64(e), 16)
	return "0000000000000000"[:digits-len(s)] + s
}

// Seq numbers the records of a log, from 1 and without gaps.
type Seq uint64

// Position is a place in a log. Seq means something only within its Epoch;
// Seq 0 is the place before the first record.
type Position struct {
	Epoch Epoch
	Seq   Seq
}

// Strategy is what becomes of what a record selects.
type Strategy uint8

// The strategies.
const (
	// Immediate makes it invalid, and its memory is freed at once.
	Immediate Strategy = iota
	// Lazy makes it invalid; its memory is freed when it is next touched.
	Lazy
	// Soft makes it stale: it may be served while it is refreshed, within the
	// times in which stale responses may be served at all.
	Soft
	// TTL cuts its remaining lifetime to that of the record.
	TTL
	// Smart makes it stale where it is asked for often, and invalid where not.
	Smart

	strategies = iota
)

var strategyNames = [strategies]string{"immediate", "lazy", "soft", "ttl", "smart"}

// String is the name of the strategy in configuration, metrics and logs.
func (s Strategy) String() string {
	if int(s) < len(strategyNames) {
		return strategyNames[s]
	}
	return "strategy(" + strconv.Itoa(int(s)) + ")"
}

// ErrStrategy is returned for what names no strategy.
var ErrStrategy = fmt.Errorf("not a strategy: it is immediate, lazy, soft, smart, or ttl= and a duration, such as ttl=10s")

// ParseStrategy reads the name of a strategy; "" is immediate. Of "ttl=10s" it
// returns the duration too. The error matches ErrStrategy.
func ParseStrategy(text string) (Strategy, time.Duration, error) {
	if text == "" {
		return Immediate, 0, nil
	}
	if duration, ok := strings.CutPrefix(text, "ttl="); ok {
		d, err := time.ParseDuration(duration)
		if err != nil || d < 0 {
			return 0, 0, fmt.Errorf("%q: %w", text, ErrStrategy)
		}
		return TTL, d, nil
	}
	for i, name := range strategyNames {
		if text == name && Strategy(i) != TTL {
			return Strategy(i), 0, nil
		}
	}
	return 0, 0, fmt.Errorf("%q: %w", text, ErrStrategy)
}

// Record is one invalidation. It hits what was born before it and is selected
// by any of its selectors. Records are never changed once they are in a log.
type Record struct {
	Position
	// Origin is the instance that was asked for the purge. Where Waits, it wants
	// to be told by each instance that has applied it.
	Origin    string
	Waits     bool
	At        time.Time // when it was logged, by the clock of the log
	Selectors []Selector
	Strategy  Strategy
	TTL       time.Duration // of the strategy TTL: what is left from At on
	// Dependents says that the selectors hold what depends on others, so that a
	// response under way, which has not told yet what it depends on, may be hit.
	Dependents bool
}

// class is what the state must tell apart: strategies of one class end the same.
// The classes are in the order of what they do, the least first.
type class uint8

const (
	cut class = iota
	soften
	judge
	end

	classes = iota
)

// class returns the class of a strategy. One that this program does not know
// ends what it hits: too much, never too little.
func (s Strategy) class() class {
	switch s {
	case TTL:
		return cut
	case Soft:
		return soften
	case Smart:
		return judge
	}
	return end
}
