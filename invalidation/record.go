package invalidation

import (
	"strconv"
	"time"
)

// Epoch identifies one life of a log. It is drawn at random when a log begins,
// so that sequence numbers of different logs are never compared.
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

// Immediate makes what is selected invalid, and its memory is freed at once.
const Immediate Strategy = 0

// String is the name of the strategy in configuration, metrics and logs.
func (s Strategy) String() string {
	if s == Immediate {
		return "immediate"
	}
	return "strategy(" + strconv.Itoa(int(s)) + ")"
}

// Record is one invalidation. It hits what was born before it and is selected
// by any of its selectors. Records are never changed once they are in a log.
type Record struct {
	Position
	At        time.Time // when it was logged, by the wall clock
	Selectors []Selector
	Strategy  Strategy
}
