package invalidation

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// answer takes what a script has returned apart. The first thing that is not as
// it should be is its error.
type answer struct {
	parts []any
	err   error
}

func answerOf(parts []any) *answer { return &answer{parts: parts} }

func (a *answer) fail(what any) {
	if a.err == nil {
		a.err = fmt.Errorf("an answer that makes no sense: %.100v", what)
	}
}

func (a *answer) at(i int) any {
	if i >= len(a.parts) {
		a.fail(a.parts)
		return nil
	}
	return a.parts[i]
}

func (a *answer) text(v any) string {
	s, ok := v.(string)
	if !ok {
		a.fail(v)
	}
	return s
}

func (a *answer) parse(v any) uint64 {
	if n, ok := v.(int64); ok && n >= 0 {
		return uint64(n)
	}
	n, err := strconv.ParseUint(a.text(v), 10, 64)
	if err != nil {
		a.fail(v)
	}
	return n
}

func (a *answer) number(i int) uint64 { return a.parse(a.at(i)) }

func (a *answer) time(i int) time.Time { return time.UnixMilli(int64(a.number(i))) }

func (a *answer) list(i int) []any {
	l, ok := a.at(i).([]any)
	if !ok {
		a.fail(a.at(i))
	}
	return l
}

func (a *answer) epoch(v any) Epoch {
	e, err := parseEpoch(a.text(v))
	if err != nil {
		a.fail(v)
	}
	return e
}

// position reads an epoch and a sequence number.
func (a *answer) position(epoch, seq int) Position {
	return Position{a.epoch(a.at(epoch)), Seq(a.number(seq))}
}

// record reads an entry of the stream: its id, and the fields r and a.
func (a *answer) record(epoch Epoch, entry any) Record {
	parts, _ := entry.([]any)
	if len(parts) != 2 {
		a.fail(entry)
		return Record{}
	}
	id, _, _ := strings.Cut(a.text(parts[0]), "-")
	fields, _ := parts[1].([]any)
	if len(fields) < 4 {
		a.fail(entry)
		return Record{}
	}
	r := decode([]byte(a.text(fields[1])))
	r.Position = Position{epoch, Seq(a.parse(id))}
	r.At = time.UnixMilli(int64(a.parse(fields[3])))
	return r
}

// members reads the register, a list of names and values. What is no report is
// passed over: the field with the epoch's word, and what a later version writes.
func (a *answer) members(i int, now time.Time) (members []Member) {
	list := a.list(i)
	for i := 0; i+1 < len(list); i += 2 {
		m := Member{ID: a.text(list[i]), report: a.text(list[i+1])}
		f := strings.Split(m.report, " ")
		if strings.HasPrefix(m.ID, ".") || len(f) != 4 {
			continue
		}
		m.Applied = Position{a.epoch(f[0]), Seq(a.parse(f[1]))}
		m.Lease = time.Duration(a.parse(f[2])) * time.Millisecond
		m.Idle = max(now.Sub(time.UnixMilli(int64(a.parse(f[3])))), 0)
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return members
}
