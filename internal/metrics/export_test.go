package metrics

// Flush writes what waits, as Run does from time to time.
func (l *AccessLog) Flush() { l.flush() }

// LotBytes is what a lot takes.
const LotBytes = lotBytes
