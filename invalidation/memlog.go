package invalidation

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// MemLog is the log of an instance that is alone. It gives each record its
// place; it does not keep them, because the only one who would read them has
// applied each as it came.
type MemLog struct {
	epoch Epoch
	head  atomic.Uint64
}

// NewMemLog begins a log in an epoch of its own.
func NewMemLog() *MemLog {
	return &MemLog{epoch: Epoch(1 + rand.Uint64N(1<<64-1))} // 0 is no epoch
}

// Head returns the position of the last record.
func (l *MemLog) Head() Position { return Position{l.epoch, Seq(l.head.Load())} }

// Append gives r the next position and the time, and returns it so.
func (l *MemLog) Append(r Record) Record {
	r.Position = Position{l.epoch, Seq(l.head.Add(1))}
	r.At = time.Now()
	return r
}
