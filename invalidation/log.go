package invalidation

import (
	"context"
	"time"
)

// Log is where records get their order. All its methods are atomic, and safe for
// concurrent use. They take no longer than they are allowed to: an error comes in
// time, and says nothing of whether what was asked for has been done.
//
// A log may lose what it has acknowledged, all or the last of it. It is then in
// another epoch, and every answer says so.
type Log interface {
	// Append gives r the next place and the time, keeps it, and tells all who
	// listen. With members, the register is returned as it is then.
	Append(ctx context.Context, r Record, members bool) (Appended, error)

	// Sync reports where an instance stands, returns records behind that, and
	// renews its lease where these are all that there are.
	Sync(ctx context.Context, r Report) (Synced, error)

	// Members returns the register, and where the log stands.
	Members(ctx context.Context) ([]Member, Position, error)

	// Forget takes a member out of the register, unless it has reported since it
	// was returned by Members.
	Forget(ctx context.Context, m Member) error

	// Leave takes an instance out of the register, which will answer nothing
	// from its copies any more.
	Leave(ctx context.Context, id string) error

	// Listen calls told with what concerns the instance, in any order and with
	// gaps, until ctx ends or the connection breaks. It must not block for long.
	// The first message, and the first after each gap that it knows of, is empty.
	Listen(ctx context.Context, id string, told func(Message)) error
}

// Appended is what has become of a record.
type Appended struct {
	Record  Record // with its place
	Members []Member
	// Replicated says that as many replicas hold it as the log was told to wait for.
	Replicated bool
}

// Report is where an instance stands. Without an ID nothing is reported, and no
// lease is granted: it is for who only reads.
type Report struct {
	ID      string
	Applied Position
	Lease   time.Duration // that is asked for
	Tell    []string      // instances that want to be told of this report
}

// Synced is the answer to a report.
type Synced struct {
	Head  Position // of the last record
	Floor Seq      // the oldest record that is kept is the next
	// Records are those behind what was applied, in order: up to a limit, and
	// from the floor on where what was applied is below it or of another epoch.
	Records []Record
	// Granted says that the lease counts, from before the report was sent, once
	// Records have been applied: with them it is up to date. It is granted
	// together with them, and not in a second step, because a record could come
	// in between; and not only to who has applied all already, because where
	// purges come fast that would be nobody.
	Granted bool
}

// Member is an entry of the register.
type Member struct {
	ID      string
	Applied Position
	Lease   time.Duration // that it asks for
	Idle    time.Duration // since its last report, by the clock of the log
	report  string        // as it stands in the register: each report makes another
}

// Message is what is told to those who listen. What is not set is not meant.
type Message struct {
	Record *Record
	Report *Report // of an instance that has applied what this one waits for
}
