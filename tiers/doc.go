// Package tiers holds what the cache keeps: a bounded memory tier, and a remote
// one that is never in the way.
//
// [Memory] maps keys to immutable values, shared without copying, and is
// bounded in bytes: each value's own cost, as its user states it, plus the
// tier's bookkeeping per entry, so that the budget is what the process really
// grows by. It is split into shards; each shard is a mutex above its own index,
// its own recency list (simplelru of golang-lru), its own byte count and its
// own expiry wheel. Nothing is shared between shards, so there is no order in
// which locks must be taken.
//
// # Which entries stay
//
// [Auto] is W-TinyLFU: a new value enters a small window, about one percent
// of the bytes, and is there for whoever asks next. When the shard is full, a
// value that leaves the window must have been asked for more often than what
// would have to make room for it, by a compact sketch of recent accesses
// (sketch.go, admission.go). A crawler that touches every page once therefore
// passes through the window and leaves the rest alone. While a shard is not
// full, everything is admitted. [LRU] is plain least recently used.
//
// # What the collector sees
//
// Entries live in slabs of 256 and refer to each other by number. With Auto
// only the window is a linked list; the other entries are kept in a clock, an
// array of numbers and a hand, so an entry has no pointers but those of its key
// and value types. Linked elements for all entries, as LRU has them, cost a
// collection of 1,000,000 entries 0.2 seconds of processor time.
//
// # The remote tier
//
// [Remote] keeps values in a [Backend], which is [Redis]: a key is a hash of
// frames (frame.go), with an index of them. Every operation has a deadline and
// a breaker round it; while the store is away nobody waits for it, and a ping
// beside the requests finds out when it is back. Writes go through a bounded
// queue that drops, and counts, rather than grows. Concurrent reads of one thing
// are one. A [Remote.Delete] holds here although the store may not know of it
// yet, and keeps what was fetched before it from being stored after it.
// [Remote.Sweep] takes out what nobody will use again, on one instance at a
// time and no faster than it was told.
package tiers
