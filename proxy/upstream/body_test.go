package upstream

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The idle time-out is the origin's: it runs while a Read waits, and not while
// the client is busy with what it got.
func TestBodyIsTimedWhileItIsReadOnly(t *testing.T) {
	const idle = time.Minute
	tests := []struct {
		name   string
		origin time.Duration // before each piece
		client time.Duration // after each piece
		pieces int           // read before the time-out; all are 4
	}{
		{"both at once", 0, 0, 4},
		{"a slow client", 0, 10 * idle, 4},
		{"an origin just in time", idle - time.Second, 0, 4},
		{"both slow", idle - time.Second, 10 * idle, 4},
		{"an origin too late", idle + time.Second, 0, 0},
		{"an origin too late for a slow client", 11*idle + 2*time.Second, 10 * idle, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source, sink := io.Pipe()
				ctx, cancel := context.WithCancelCause(t.Context())
				context.AfterFunc(ctx, func() { source.Close() })
				released := 0
				timedOut := errors.New("timed out")
				b := newBody(source, idle, cancel, func(err error) error {
					if cause := context.Cause(ctx); cause != errSilent {
						t.Errorf("the body failed (%v) because of %v", err, cause)
					}
					return timedOut
				}, func() { released++ })
				var wg sync.WaitGroup
				defer wg.Wait()
				wg.Go(func() {
					for range 4 {
						time.Sleep(tt.origin)
						if _, err := sink.Write([]byte("piece")); err != nil {
							return // the reader has given up
						}
					}
					sink.Close()
				})
				begin := time.Now()
				pieces := 0
				var err error
				for {
					if _, err = io.ReadFull(b, make([]byte, 5)); err != nil {
						break
					}
					pieces++
					time.Sleep(tt.client)
				}
				want := io.EOF
				if tt.pieces < 4 {
					want = timedOut
					if d := time.Since(begin); d != idle {
						t.Errorf("timed out after %v, want %v", d, idle)
					}
				}
				if err != want || pieces != tt.pieces {
					t.Errorf("%d pieces, then %v; want %d, then %v", pieces, err, tt.pieces, want)
				}
				b.Close()
				if released != 1 {
					t.Errorf("the place was given back %d times, want once", released)
				}
			})
		})
	}
}

// Whoever gives up a body from outside ends a Read that waits.
func TestBodyIsClosedWhileItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, _ := io.Pipe()
		released := 0
		b := newBody(source, time.Minute, func(error) {}, func(err error) error { return err }, func() { released++ })
		ended := make(chan error)
		go func() {
			_, err := b.Read(make([]byte, 1))
			ended <- err
		}()
		synctest.Wait()
		b.Close()
		if err := <-ended; err == nil {
			t.Error("Read of a closed body returned no error")
		}
		if released != 1 {
			t.Errorf("the place was given back %d times, want once", released)
		}
	})
}
