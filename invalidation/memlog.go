package invalidation

import (
	"cmp"
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"
)

// MemLog is a log in this process: for an instance that is alone, and for tests
// of several.
type MemLog struct {
	mu        sync.Mutex // guards the following
	epoch     Epoch
	head      Seq
	records   []Record // the last ones, as many as are kept
	keep      int
	members   map[string]Member
	reported  map[string]time.Time
	reports   uint64
	listeners map[*listener]struct{}
}

// listener is who listens to a MemLog.
type listener struct {
	id   string
	told chan Message
}

// page is how many records Sync returns at most.
const page = 1000

// NewMemLog begins a log in an epoch of its own that keeps no records: who is
// alone has applied each as it came.
func NewMemLog() *MemLog { return NewMemLogOf(0) }

// NewMemLogOf begins a log in an epoch of its own that keeps so many records.
func NewMemLogOf(records int) *MemLog {
	return &MemLog{
		epoch: newEpoch(), keep: records,
		members: map[string]Member{}, reported: map[string]time.Time{}, listeners: map[*listener]struct{}{},
	}
}

func newEpoch() Epoch { return Epoch(1 + rand.Uint64N(1<<64-1)) } // 0 is no epoch

// Head returns the position of the last record.
func (l *MemLog) Head() Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Position{l.epoch, l.head}
}

// Lose lets the log forget all but its first records, as a failover to a server
// that lags does. It goes on in another epoch.
func (l *MemLog) Lose(head Seq) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch, l.head = newEpoch(), min(l.head, head)
	l.records = slices.DeleteFunc(l.records, func(r Record) bool { return r.Seq > l.head })
	for i := range l.records {
		l.records[i].Epoch = l.epoch
	}
	clear(l.members)
}

// Append implements Log.
func (l *MemLog) Append(_ context.Context, r Record, members bool) (Appended, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.head++
	r.Position, r.At = Position{l.epoch, l.head}, time.Now()
	if l.records = append(l.records, r); len(l.records) > l.keep {
		l.records = slices.Delete(l.records, 0, len(l.records)-l.keep)
	}
	l.tell(Message{Record: &r}, nil)
	a := Appended{Record: r, Replicated: true}
	if members {
		a.Members = l.list()
	}
	return a, nil
}

// tell sends a message to those who listen, or to some of them. Who does not
// keep up misses it, and does not know.
func (l *MemLog) tell(m Message, ids []string) {
	for who := range l.listeners {
		if ids != nil && !slices.Contains(ids, who.id) {
			continue
		}
		select {
		case who.told <- m:
		default:
		}
	}
}

// Sync implements Log.
func (l *MemLog) Sync(_ context.Context, r Report) (Synced, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Synced{Head: Position{l.epoch, l.head}, Floor: l.head - Seq(len(l.records))}
	from := s.Floor
	same := r.Applied.Epoch == l.epoch && r.Applied.Seq <= l.head
	if same {
		from = max(from, r.Applied.Seq)
	}
	s.Records = slices.Clone(l.records[from-s.Floor:])
	s.Records = s.Records[:min(len(s.Records), page)]
	if r.ID == "" || !same {
		return s, nil
	}
	s.Granted = from+Seq(len(s.Records)) == l.head
	l.reports++
	l.members[r.ID] = Member{ID: r.ID, Applied: r.Applied, Lease: r.Lease, report: strconv.FormatUint(l.reports, 10)}
	l.reported[r.ID] = time.Now()
	if len(r.Tell) > 0 {
		l.tell(Message{Report: &r}, r.Tell)
	}
	return s, nil
}

// Members implements Log.
func (l *MemLog) Members(context.Context) ([]Member, Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list(), Position{l.epoch, l.head}, nil
}

func (l *MemLog) list() []Member {
	members := slices.SortedFunc(maps.Values(l.members), func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	for i, m := range members {
		members[i].Idle = time.Since(l.reported[m.ID])
	}
	return members
}

// Forget implements Log.
func (l *MemLog) Forget(_ context.Context, m Member) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.members[m.ID].report == m.report {
		delete(l.members, m.ID)
	}
	return nil
}

// Leave implements Log.
func (l *MemLog) Leave(_ context.Context, id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.members, id)
	return nil
}

// Listen implements Log.
func (l *MemLog) Listen(ctx context.Context, id string, told func(Message)) error {
	who := &listener{id: id, told: make(chan Message, page)}
	l.mu.Lock()
	l.listeners[who] = struct{}{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.listeners, who)
	}()
	told(Message{})
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-who.told:
			told(m)
		}
	}
}
