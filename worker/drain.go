package worker

import (
	"context"
	"fmt"
	"time"
)

// drain ends the session cleanly: see Worker.Run. The modes get harder by themselves.
func (s *session) drain(life context.Context) error {
	s.log.InfoContext(life, "draining", "worker", s.id, "grace", s.config.ShutdownGrace)
	s.releaseBuffers()
	d := &drainage{session: s, dispatching: s.dispatched, handling: s.handlersEnd()}
	if !d.wait(life, s.stop.soft) {
		d.waitClaimed(life)
		s.stopHandlers(ErrShutdown)
		if !d.wait(life, s.stop.hard) {
			s.releaseStubborn(life)
			last := make(chan struct{})
			timer := time.AfterFunc(hardPatience, func() { close(last) })
			defer timer.Stop()
			if !d.wait(life, last) {
				d.waitStored(life)
			}
		}
	}
	if life.Err() == nil {
		s.deregister(life)
	}
	if life.Err() != nil && context.Cause(life) != errOver { //nolint:errorlint // our own
		return s.abandon(life)
	}
	if err := d.verdict(); err != nil {
		return err
	}
	s.log.InfoContext(life, "worker stopped", "worker", s.id)
	return nil
}

func (s *session) deregister(life context.Context) {
	ctx, cancel := context.WithTimeout(life, 2*time.Second)
	defer cancel()
	if _, err := s.db.Deregister(ctx, s.id, s.epoch); err != nil {
		s.log.WarnContext(life, "deregister", "worker", s.id, "error", err)
	}
}

// drainage waits for the end of what a session still does.
type drainage struct {
	*session
	dispatching <-chan struct{} // closed when nothing is claimed any more; nil once that was seen
	handling    <-chan struct{} // closed when no handler runs any more; nil once that was seen
}

// wait waits until no handler runs and everything is settled; false when the limit or the session's end came first.
func (d *drainage) wait(life context.Context, limit <-chan struct{}) bool {
	for d.handling != nil || !d.stored() || d.zombieCount() > 0 {
		if !d.step(life, limit) {
			return false
		}
	}
	return true
}

// claimPatience is how long a claim in flight is waited for before handlers are stopped. A frozen database may not answer at all.
const claimPatience = 200 * time.Millisecond

// waitClaimed waits a moment for a claim in flight: it could take again what the stopped handlers are about to put back, and each claim
// counts as an attempt.
func (d *drainage) waitClaimed(life context.Context) {
	late := make(chan struct{})
	timer := time.AfterFunc(claimPatience, func() { close(late) })
	defer timer.Stop()
	for d.dispatching != nil {
		if !d.step(life, late) {
			return
		}
	}
}

// waitStored waits until everything is settled, whatever handlers do.
func (d *drainage) waitStored(life context.Context) {
	for !d.stored() {
		if !d.step(life, nil) {
			return
		}
	}
}

func (d *drainage) stored() bool { return d.dispatching == nil && d.isEmpty() }

// step waits until something changed.
func (d *drainage) step(life context.Context, limit <-chan struct{}) bool {
	select {
	case <-d.dispatching:
		d.dispatching = nil
		d.releaseBuffers() // what the last claim took
	case <-d.handling:
		d.handling = nil
	case <-d.kicked:
	case <-d.freed:
	case <-limit:
		return false
	case <-life.Done():
		return false
	}
	return true
}

// verdict is nil after a clean drain.
func (d *drainage) verdict() error {
	d.mu.Lock()
	unstored := d.pending
	d.mu.Unlock()
	left := d.handlerCount()
	switch {
	case left > 0 || unstored > 0:
		return fmt.Errorf("worker: shutdown: %d handlers are still running, %d jobs could not be put back or settled; those run again",
			left, unstored)
	case d.dispatching != nil:
		return fmt.Errorf("worker: shutdown: the database does not answer; what a claim has taken meanwhile, if anything, goes back when the lease of %v is over",
			d.config.Lease)
	}
	return nil
}

// releaseBuffers puts back what was claimed and not begun. Nothing begins any more after this.
func (s *session) releaseBuffers() {
	s.mu.Lock()
	s.closeLines()
	var unbegun []*held
	for _, l := range s.lines {
		unbegun = append(unbegun, l.buffer...)
		l.buffer = nil
	}
	s.mu.Unlock()
	for _, h := range unbegun {
		s.settle(h, outcome{verb: verbRelease})
	}
}

// releaseStubborn puts back jobs whose handlers have not ended.
func (s *session) releaseStubborn(life context.Context) {
	for _, h := range s.runningHandlers() {
		if h.settled.Load() {
			continue
		}
		s.log.WarnContext(life, "handler still running at the end of the shutdown; its job goes back to the line",
			"job_id", h.run.ID, "task", h.run.Task, "queue", h.run.Queue)
		s.settle(h, outcome{verb: verbRelease, err: ErrShutdown.Error()})
	}
}

// abandon ends a lost session: its handlers are cancelled, and nothing they write will count.
func (s *session) abandon(life context.Context) error {
	s.mu.Lock()
	s.closeLines()
	s.mu.Unlock()
	s.stopHandlers(ErrLeaseLost)
	return context.Cause(life)
}
