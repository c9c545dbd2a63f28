package tiers

import (
	"context"
	"errors"
	"time"

	"github.com/cacheproxy/cacheproxy/invalidation"
)

// Backend is a remote store of frames, as far as [Remote] needs it. A key holds
// frames under the names of fields, and an [Index] of them.
//
// Every method must return soon after its context has ended. Errors that the
// store itself has answered with, quickly, match [ErrRefused]; all others mean
// that it is away, slow or confused. A Backend is safe for concurrent use.
type Backend interface {
	// Get returns the index of key and the frames of the fields, nil where
	// there is none, in one round trip. The bytes must not be changed.
	Get(ctx context.Context, key string, fields ...string) (Index, [][]byte, error)

	// Set puts a frame in its place, where nothing of a later birth is there
	// and where the key's mark is that of the write; the other fields stay.
	// It reports whether it did.
	Set(ctx context.Context, key string, w Write) (stored bool, err error)

	// Delete removes all fields of key and marks it: from now on only writes
	// that know the mark are taken. The mark is forgotten after a time that is
	// longer than any write is under way.
	Delete(ctx context.Context, key, mark string) error

	// Claim gives the claim of key that is called name to the holder of token
	// for at most ttl, where nobody else has it, and then returns what Get
	// would. Where somebody does, it returns for how long at most.
	Claim(ctx context.Context, key, name, token string, ttl time.Duration, fields ...string) (Claimed, error)

	// Release gives a claim back, if token has it, and tells those who listen.
	Release(ctx context.Context, key, name, token string) error

	// Listen calls f with each key of which a claim has been released, or ended
	// by a write, from about now until ctx ends. It is a hint that may be lost.
	Listen(ctx context.Context, f func(key string)) error

	// Keep stores a value that is no frame under a name of its own, and Kept
	// returns it; nil where there is none.
	Keep(ctx context.Context, name string, value []byte, ttl time.Duration) error
	Kept(ctx context.Context, name string) ([]byte, error)

	// Ping reports whether the store answers.
	Ping(ctx context.Context) error
}

// Index is what a key holds beside its frames.
type Index struct {
	// Mark is that of the last Delete; "" where none is remembered. It is read
	// before a value is fetched, and given back when it is written: so what
	// was fetched before a Delete is not stored after it.
	Mark string
	// Notes are those of the writes whose frames are there, each once.
	Notes []string
}

// Write is a frame to be stored.
type Write struct {
	Field string
	Frame []byte
	// Note is what a reader who does not know the field should know of it.
	Note string
	Mark string
	// Of two frames for one field the one with the higher Born stays; within
	// different epochs, and at the same position, the one with the later Time.
	Born invalidation.Position
	Time time.Time
	TTL  time.Duration
	// Claim and Token are the claim that the write ends; "" where it ends none.
	Claim, Token string
}

// Claimed is the answer to a claim.
type Claimed struct {
	Won    bool
	Left   time.Duration // of the other's claim, where not won
	Index  Index
	Frames [][]byte
}

// ErrRefused says that the remote store answered, with an error: it is full, may
// only be read, or does not allow it. The store is well otherwise.
var ErrRefused = errors.New("refused by the remote store")
