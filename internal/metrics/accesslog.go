package metrics

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cacheproxy/cacheproxy/cache"
)

const (
	// lotBytes bounds the lines of one lot that wait to be written. Where all lots are full, lines are dropped: a slow disk must cost
	// lines, not answers.
	lotBytes = 512 << 10
	// wakeBytes is how much waits in a lot when the writer is woken before its time.
	wakeBytes = 64 << 10
	// writeEvery is how long a line waits at most.
	writeEvery = 50 * time.Millisecond
)

// Format is how lines of the log are written.
type Format uint8

const (
	JSON Format = iota // as slog.JSONHandler does
	Text               // as slog.TextHandler does
)

// AccessLog writes one line for each request, in the form of a slog record with the message "access". It never blocks the request:
// lines go into lots in memory, which Run writes out. It is safe for concurrent use.
//
// A line goes into the first lot that has room and that nobody else is writing to. So lines keep their order while there is little to do, and do not
// wait for one another when there is much.
type AccessLog struct {
	w      io.Writer
	append func([]byte, *cache.Report) []byte
	off    atomic.Bool
	lots   []lot
	wake   chan struct{} // one value: a lot has become large
	lost   atomic.Uint64
}

type lot struct {
	mu    sync.Mutex // guards the following
	lines []byte
	spare []byte // what lines was before, to be used again
	_     [64]byte
}

// NewAccessLog returns a log that writes to w, in large pieces that end with a line's end. Run must be running for anything to be
// written.
func NewAccessLog(w io.Writer, f Format) *AccessLog {
	l := &AccessLog{w: w, append: appendJSON, lots: make([]lot, 2*runtime.GOMAXPROCS(0)), wake: make(chan struct{}, 1)}
	if f == Text {
		l.append = appendText
	}
	return l
}

// Enable turns the log on or off. It is on at first.
func (l *AccessLog) Enable(on bool) { l.off.Store(!on) }

// Lost returns how many lines were dropped because they came faster than they could be written.
func (l *AccessLog) Lost() uint64 { return l.lost.Load() }

// Observe logs one request. It is a [cache.Observer].
func (l *AccessLog) Observe(r *cache.Report) {
	if l.off.Load() {
		return
	}
	for i := range l.lots {
		if at := &l.lots[i]; at.mu.TryLock() && l.put(at, r) {
			return
		}
	}
	at := &l.lots[len(l.lots)-1]
	at.mu.Lock() // for the time that others need for a line
	if !l.put(at, r) {
		l.lost.Add(1)
	}
}

// put appends a line to a lot that the caller has locked, unless it is full, and unlocks it.
func (l *AccessLog) put(at *lot, r *cache.Report) bool {
	before := len(at.lines)
	if before >= lotBytes {
		at.mu.Unlock()
		return false
	}
	at.lines = l.append(at.lines, r)
	after := len(at.lines)
	at.mu.Unlock()
	if before < wakeBytes && after >= wakeBytes {
		select {
		case l.wake <- struct{}{}:
		default: // it has been woken
		}
	}
	return true
}

// Run writes the lines until ctx ends, and then those that are left. It returns nil.
func (l *AccessLog) Run(ctx context.Context) error {
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.flush()
			return nil
		case <-l.wake:
		case <-tick.C:
		}
		l.flush()
	}
}

// flush writes what the lots hold. Lines that cannot be written are lost, and counted: a full disk or a closed pipe must not stop the
// proxy.
func (l *AccessLog) flush() {
	for i := range l.lots {
		at := &l.lots[i]
		at.mu.Lock()
		lines := at.lines
		at.lines, at.spare = at.spare[:0], nil
		at.mu.Unlock()
		if len(lines) > 0 {
			if _, err := l.w.Write(lines); err != nil {
				l.lost.Add(uint64(bytes.Count(lines, []byte{'\n'})))
			}
		}
		at.mu.Lock()
		at.spare = lines
		at.mu.Unlock()
	}
}
