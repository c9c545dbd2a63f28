package app

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cacheproxy/cacheproxy/internal/config"
)

func TestPartsStopInReverse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		ctx, cancel := context.WithCancel(t.Context())
		r := newRunner(ctx)
		for _, name := range []string{"first", "second", "third"} {
			r.start(name, func(ctx context.Context) error {
				<-ctx.Done()
				order = append(order, name)
				return nil
			}, nil)
		}
		cancel()
		if err := r.wait(); err != nil {
			t.Errorf("wait = %v", err)
		}
		synctest.Wait()
		if order != nil {
			t.Errorf("%q ended with the context of the whole; they must outlive it until they are stopped", order)
		}
		if err := r.stop(t.Context()); err != nil {
			t.Errorf("stop = %v", err)
		}
		if want := []string{"third", "second", "first"}; !slices.Equal(order, want) {
			t.Errorf("they stopped in the order %q, want %q", order, want)
		}
	})
}

func TestPartThatFailsStopsTheWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		r := newRunner(t.Context())
		r.start("quiet", func(context.Context) error { return nil }, nil) // has done its work
		r.start("worker", untilDone, nil)
		r.start("bad", func(context.Context) error {
			time.Sleep(time.Second)
			return broken
		}, nil)
		if err := r.wait(); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "bad: ") {
			t.Errorf("wait = %v, want bad: broken", err)
		}
		if err := r.stop(t.Context()); !errors.Is(err, broken) {
			t.Errorf("stop = %v", err)
		}
	})
}

func TestPartIsGivenTheTimeThatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRunner(t.Context())
		r.start("slow", untilDone, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		if err := r.stop(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Minute {
			t.Errorf("stop = %v after %v, want that the minute was up", err, time.Since(begin))
		}
	})
}

func TestPercent(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		room, live int64
		want       int
	}{
		{64 * mib, 256 * mib, 25},  // a full cache of the default size
		{64 * mib, 64 * mib, 100},  // Go's own choice
		{64 * mib, 4 * mib, 1600},  // nearly empty
		{64 * mib, 0, 6400},        // nothing yet
		{64 * mib, 1 << 50, 10},    // never none at all
		{1 << 40, 4 * mib, 10_000}, // nor without bound
	} {
		if got := percent(tt.room, tt.live); got != tt.want {
			t.Errorf("percent(%d, %d) = %d, want %d", tt.room, tt.live, got, tt.want)
		}
	}
}

func TestConnectionLimit(t *testing.T) {
	for _, text := range []struct {
		connections int
		want        func(n int64) bool
	}{
		{7, func(n int64) bool { return n == 7 }},
		{0, func(n int64) bool { return n >= fewest && n <= most && n < fileLimit() }},
	} {
		cfg := &config.Config{Limits: config.Limits{Connections: text.connections}}
		if n := connectionLimit(cfg); !text.want(n) {
			t.Errorf("connections %d: the limit is %d of %d files", text.connections, n, fileLimit())
		}
	}
}
