// Package invalidation remembers purges instead of hunting for what they hit.
//
// Every purge is a [Record] in one totally ordered log. Whatever can be purged
// carries a [Stamp], which says where in that log it was born: the position
// that this instance had applied when the request for it left for the origin.
// It holds as long as no record after that position selects it, and whoever
// reads it asks [State.Check]. So a response that was under way when the purge
// came is stored with an old birth and refused at its first reading, without a
// lock, and nobody has to delete anything for a purge to hold.
//
//	state := invalidation.NewState(1_000_000)
//	purger := invalidation.NewPurger(invalidation.NewMemLog(), state, store.Drop)
//
//	born := state.Applied()              // before the request is sent
//	response := fetch(uri)
//	stamp := state.Stamp(born, uri)      // travels inside what is stored
//	...
//	if state.Check(&stamp) == invalidation.Valid {
//		// The response may be reused, as far as purges are concerned.
//	}
//
// # Guarantees
//
// When [Purger.Purge] has returned, no Check that begins later calls Valid
// what was born before the purge and is selected by it. What is forgotten,
// because the state is bounded, turns what was born before it into Unsure: it
// must be validated before use. An error is always on the side of too much
// invalidation: hashes are compared instead of URIs, and a collision (64 bits,
// seeded at random) can only end what should have stayed.
//
// All types are safe for concurrent use, except that [State.Apply] must be
// called in the order of the log; a [Purger] sees to that.
package invalidation
