package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// runner runs parts and stops them in the reverse of the order in which they were started.
type runner struct {
	ctx    context.Context // of the whole; parts outlive it until they are stopped
	parts  []*part
	failed chan error // the first part that ended by itself
}

// part is something that runs.
type part struct {
	name   string
	end    func(context.Context) error // nil: cancelling is enough
	beside bool                        // it stops together with the part before it
	cancel context.CancelFunc
	done   chan struct{}
	err    error // of run; read it after done is closed
}

func newRunner(ctx context.Context) *runner { return &runner{ctx: ctx, failed: make(chan error, 1)} }

// start runs a part until it is stopped: by end, which is given the time that is left, and then by cancelling the context of run. A
// part that ends with an error before that stops everything; one that ends without has done its work.
func (r *runner) start(name string, run, end func(context.Context) error) {
	r.add(name, run, end, false)
}

// startBeside is start for a part that stops at the same time as the one that was started before it.
func (r *runner) startBeside(name string, run, end func(context.Context) error) {
	r.add(name, run, end, true)
}

func (r *runner) add(name string, run, end func(context.Context) error, beside bool) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.ctx))
	p := &part{name: name, end: end, beside: beside, cancel: cancel, done: make(chan struct{})}
	r.parts = append(r.parts, p)
	go func() {
		defer close(p.done)
		if p.err = run(ctx); p.err == nil {
			return
		}
		p.err = fmt.Errorf("%s: %w", name, p.err)
		if ctx.Err() == nil {
			select {
			case r.failed <- p.err:
			default: // another part was the first
			}
		}
	}()
}

// wait returns when the context of the whole has ended, with nil, or when a part has failed, with its error.
func (r *runner) wait() error {
	select {
	case <-r.ctx.Done():
		return nil
	case err := <-r.failed:
		return err
	}
}

// stop ends the parts, the last first, and waits for each. ctx bounds how long they may take to finish their work; what it means
// that it has ended is up to them.
func (r *runner) stop(ctx context.Context) error {
	var errs []error
	for end := len(r.parts); end > 0; {
		begin := end - 1
		for begin > 0 && r.parts[begin].beside {
			begin--
		}
		errs = append(errs, stopTogether(ctx, r.parts[begin:end])...)
		end = begin
	}
	return errors.Join(errs...)
}

func stopTogether(ctx context.Context, parts []*part) []error {
	errs := make([]error, len(parts))
	var stopping sync.WaitGroup
	for i, p := range parts {
		stopping.Go(func() { errs[i] = p.stop(ctx) })
	}
	stopping.Wait()
	return errs
}

func (p *part) stop(ctx context.Context) (err error) {
	if p.end != nil {
		if err = p.end(ctx); err != nil {
			err = fmt.Errorf("%s: %w", p.name, err)
		}
	}
	p.cancel()
	<-p.done
	return errors.Join(err, p.err)
}
