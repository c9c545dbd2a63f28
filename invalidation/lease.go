package invalidation

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Partition is what an instance does with its copies while it is cut off from
// the log: while it cannot know whether they were purged.
type Partition uint8

// What it does.
const (
	// Serve answers from them: availability first.
	Serve Partition = iota
	// Revalidate validates each before use.
	Revalidate
	// Bypass uses none.
	Bypass

	partitions = iota
)

var partitionNames = [partitions]string{"serve", "revalidate", "bypass"}

// String is the name in configuration.
func (p Partition) String() string { return partitionNames[p] }

// ErrPartition is returned for what names no Partition.
var ErrPartition = errors.New("not what may be done while cut off: it is serve, revalidate or bypass")

// ParsePartition reads the name of a Partition. The error matches ErrPartition.
func ParsePartition(text string) (Partition, error) {
	i := slices.Index(partitionNames[:], text)
	if i < 0 {
		return 0, fmt.Errorf("%q: %w", text, ErrPartition)
	}
	return Partition(i), nil
}

// lease is the right to answer from copies, up to a time. A nil one never ends:
// it is of a log that is in this process.
type lease struct{ until time.Time }

// OnPartition returns what is done while cut off.
func (s *State) OnPartition() Partition { return Partition(s.partition.Load()) }

// SetOnPartition sets what is done while cut off.
func (s *State) SetOnPartition(p Partition) { s.partition.Store(uint32(p)) }

// CutOff returns what is to be done with copies for a request that was read at
// now, or before: Serve where the instance holds its lease, else what it does
// while cut off. Now must have been read after the request was: a clock that is
// read in the background sleeps where the process does.
func (s *State) CutOff(now time.Time) Partition {
	p := s.OnPartition()
	if p == Serve || s.Leased(now) {
		return Serve
	}
	return p
}

// Leased reports whether the lease is held at now.
func (s *State) Leased(now time.Time) bool {
	l := s.lease.Load()
	// By the monotonic clock, and by the wall clock too: the first stands still
	// while the machine is suspended, and the second may be set back.
	return l == nil || now.Before(l.until) && now.Round(0).Before(l.until.Round(0))
}

// lend makes the lease end at until. Until it is called there is none to end.
func (s *State) lend(until time.Time) { s.lease.Store(&lease{until}) }
