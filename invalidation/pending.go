package invalidation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Pending are the purges that wait for the log, in order, on disk. One process
// has them at a time. Its methods are safe for concurrent use.
type Pending struct {
	limit int64
	n     atomic.Int64 // those on the disk, and those that are being written
	place func() (file string, err error)

	mu sync.Mutex // guards db, while it is opened and closed
	db *bolt.DB   // nil until there was something to keep
}

var pendingBucket = []byte("purges")

// OpenPending opens the file, or makes it, for at most limit purges. More that
// are there already stay.
func OpenPending(file string, limit int) (*Pending, error) {
	p := DeferPending(func() (string, error) { return file, nil }, limit)
	return p, p.open()
}

// DeferPending is OpenPending for a file that is opened when the first purge has
// to be kept; place is asked for its name then, until it gives one.
func DeferPending(place func() (file string, err error), limit int) *Pending {
	return &Pending{limit: int64(limit), place: place}
}

// open opens the file where that was not done before.
func (p *Pending) open() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.db != nil {
		return nil
	}
	file, err := p.place()
	if err != nil {
		return err
	}
	// It waits for no other process: the directory's lock keeps them away.
	db, err := bolt.Open(file, 0o600, &bolt.Options{Timeout: time.Second, NoFreelistSync: true})
	if err == nil {
		db.MaxBatchDelay = time.Millisecond
		err = db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(pendingBucket)
			if err == nil {
				p.n.Store(int64(b.Stats().KeyN))
			}
			return err
		})
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("open the purges that wait for the log in %s: %w", file, err)
	}
	p.db = db
	return nil
}

// Close closes the file. Nothing may be purged afterwards.
func (p *Pending) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.db == nil {
		return nil
	}
	return p.db.Close()
}

// Len returns how many there are.
func (p *Pending) Len() int { return int(p.n.Load()) }

// reserve takes a place for push. The error matches ErrFull.
func (p *Pending) reserve() error {
	if err := p.open(); err != nil {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	if p.n.Add(1) > p.limit {
		p.n.Add(-1)
		return ErrFull
	}
	return nil
}

// push keeps a record behind all others, for which reserve has taken a place.
// When it returns without error it is on the disk.
func (p *Pending) push(r Record) error {
	err := p.db.Batch(func(tx *bolt.Tx) error {
		b := tx.Bucket(pendingBucket)
		seq, err := b.NextSequence()
		if err != nil {
			return err
		}
		at := binary.BigEndian.AppendUint64(nil, uint64(r.At.UnixMilli()))
		return b.Put(binary.BigEndian.AppendUint64(nil, seq), append(at, r.encode()...))
	})
	if err != nil {
		p.n.Add(-1)
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return nil
}

// kept is a record that waits, and where.
type kept struct {
	Record
	place []byte
}

// oldest returns the oldest records, so many at most.
func (p *Pending) oldest(limit int) (list []kept, err error) {
	err = p.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(pendingBucket).Cursor()
		for k, v := c.First(); k != nil && len(list) < limit; k, v = c.Next() {
			list = append(list, kept{readPending(v), append([]byte(nil), k...)})
		}
		return nil
	})
	return list, err
}

// remove takes records away.
func (p *Pending) remove(list []kept) error {
	err := p.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(pendingBucket)
		for _, w := range list {
			if err := b.Delete(w.place); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		p.n.Add(-int64(len(list)))
	}
	return err
}

// readPending reads a value; what is none of ours selects everything.
func readPending(v []byte) Record {
	if len(v) < 8 {
		return decode(nil)
	}
	r := decode(v[8:])
	r.At = time.UnixMilli(int64(binary.BigEndian.Uint64(v)))
	return r
}
