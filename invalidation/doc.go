// Package invalidation remembers purges instead of hunting for what they hit.
//
// Every purge is a [Record] in one totally ordered [Log]. Whatever can be purged
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
//	born := state.Birth()                // before the request is sent
//	response := fetch(uri)
//	stamp := state.Stamp(born, key, uri) // travels inside what is stored
//	...
//	if state.Check(&stamp, response) == invalidation.Valid {
//		// The response may be reused, as far as purges are concerned.
//	}
//
// # Several instances
//
// Instances that share a [RedisLog] each have a [Follower], which applies the
// records of all in order and without gaps, and a [Purger] made from it:
//
//	follower := invalidation.NewFollower(log, state, invalidation.FollowerOptions{Lease: 2 * time.Second})
//	purger := follower.Purger(pending)
//	go follower.Run(ctx)
//	go purger.Drain(ctx) // appends what had to wait for the log
//
// A follower that is up to date holds a lease for a while, and may answer from
// its copies while it does ([State.CutOff]). A purge waits until all have applied
// it, or until no lease from before it can live any longer.
//
// # Patterns
//
// A glob is compared with the path, or with host and path where it does not
// begin with a slash; with the query only where it has a question mark. A star
// is any run of characters but slashes, or but dots in a host; two stars are any
// run; "/x/**" matches "/x" too. Hosts are in lower case and without a port.
// "re:" and an expression (RE2) is compared with host, path and query in one, and
// matches anywhere in it. A glob with a colon before its first slash, "user:*",
// is for what is no URL, such as the values of a program; all other patterns are
// for URLs alone.
//
// # Guarantees
//
// When [Purger.Purge] has returned, no Check that begins later on this instance
// calls Valid what was born before the purge and is selected by it; the [Receipt]
// says what holds on others. What is forgotten, because the state is bounded,
// turns what was born before it into Unsure: it must be validated before use. An
// error is always on the side of too much invalidation: hashes are compared
// instead of names, and a collision (64 bits, seeded at random) can only end what
// should have stayed.
//
// Of all records that select something the worst decides, in whatever order they
// came: see [Standing].
//
// All types are safe for concurrent use, except that [State.Apply] must be
// called in the order of the log; a [Follower] sees to that.
package invalidation
