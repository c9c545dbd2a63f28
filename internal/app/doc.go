// Package app puts the parts together and runs them: it is the only place where they meet.
//
// [New] builds everything that can fail, the listeners among it, and starts nothing. [App.Run] starts the parts in order, and stops
// them in reverse when its context ends: first nobody new is let in, then what is under way is finished, and what others need is
// stopped last. [App.Reload] replaces what a configuration may change while everything runs.
package app
