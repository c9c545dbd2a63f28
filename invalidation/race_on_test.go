//go:build race

package invalidation

// raceEnabled says that the race detector is built in: it multiplies memory
// and time, so what measures those is skipped.
const raceEnabled = true
