// Package cache holds stored responses: it finds them, stores them, freshens them, drops them, and says what it found.
//
// A stored response is an [Entry]. All entries of one cache key are its [Variants]. Both are built once, completely, and then
// shared without copying: whatever changes (a 304, a new variant, a part that was completed) is a new value that takes the old
// one's place. Nobody may change what [Cache.Find] returns.
//
// A response may have encoded forms, which are entries too. They are never selected by themselves: [Entry.Answer] puts one in the
// place of the response that was selected, where the client accepts it.
//
// Whether an entry may be used is not decided here: [rfc9111.Decide] knows HTTP, [invalidation.State] knows what was purged, and
// Find only brings the two together. No entry has to be deleted for a purge to hold; deleting is housekeeping.
//
// A [Cache] is safe for concurrent use.
package cache
