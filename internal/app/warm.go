package app

import (
	"context"
	"time"
)

const (
	// warmLimit bounds how long an instance is not ready for the sake of its memory.
	warmLimit = 30 * time.Second
	// noteEvery is how often the hot keys are noted.
	noteEvery = time.Minute
	// noteLimit bounds the last note, at the end.
	noteLimit = time.Second
)

// warm fills memory with what was hot before the start, and then notes what is, until ctx ends.
func (a *App) warm(ctx context.Context) error {
	l1 := a.started.Cache.L1
	ready := time.AfterFunc(warmLimit, func() { a.warming.Store(false) }) // it goes on behind the requests
	begin := time.Now()
	n, err := a.cache.Warm(ctx, l1.WarmKeys, int(l1.WarmRate))
	ready.Stop()
	a.warming.Store(false)
	if ctx.Err() != nil {
		return nil // memory has only the first of the hot keys: the list stays as it is
	}
	if err != nil {
		a.log.Warn("memory was not filled from redis", "responses", n, "error", err)
	} else {
		a.log.Info("memory was filled from redis", "responses", n, "after", time.Since(begin).Round(time.Millisecond).String())
	}
	tick := time.NewTicker(noteEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteLimit)
			defer cancel()
			a.note(last)
			return nil
		case <-tick.C:
			a.note(ctx)
		}
	}
}

func (a *App) note(ctx context.Context) {
	if err := a.cache.NoteHot(ctx, a.started.Cache.L1.WarmKeys); err != nil {
		a.log.Debug("hot keys were not noted", "error", err)
	}
}
