package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// drain ends the session cleanly: see Worker.Run.
func (s *session) drain(life context.Context) error {
	s.log.InfoContext(life, "draining", "worker", s.id, "grace", s.config.ShutdownGrace)
	s.setIdle(life, false)
	s.releaseBuffers()
	deadline := time.NewTimer(s.config.ShutdownGrace)
	defer deadline.Stop()
	if !s.waitEmpty(life, deadline.C) {
		s.stopHandlers(ErrShutdown)
		if !s.waitEmpty(life, time.After(1500*time.Millisecond)) {
			s.releaseStubborn(life)
			s.waitEmpty(life, time.After(500*time.Millisecond))
		}
	}
	if life.Err() != nil {
		return s.abandon(life)
	}
	ctx, cancel := context.WithTimeout(life, 2*time.Second)
	defer cancel()
	if _, err := s.db.Deregister(ctx, s.id, s.epoch); err != nil {
		s.log.WarnContext(life, "deregister", "worker", s.id, "error", err)
	}
	s.activeMu.Lock()
	left := len(s.active)
	s.activeMu.Unlock()
	s.mu.Lock()
	unstored := s.pending
	s.mu.Unlock()
	if left > 0 || unstored > 0 {
		return fmt.Errorf("worker: shutdown grace over: %d handlers would not end, %d outcomes could not be stored; those jobs run again",
			left, unstored)
	}
	s.log.InfoContext(life, "worker stopped", "worker", s.id)
	return nil
}

// releaseBuffers puts back what was claimed and not begun.
func (s *session) releaseBuffers() {
	s.mu.Lock()
	s.closed = true
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

// releaseStubborn puts back jobs whose handlers would not end.
func (s *session) releaseStubborn(life context.Context) {
	s.activeMu.Lock()
	stubborn := slices.Collect(maps.Values(s.active))
	s.activeMu.Unlock()
	for _, h := range stubborn {
		s.log.ErrorContext(life, "handler still running after the shutdown grace; its job goes back to the line",
			"job_id", h.run.ID, "task", h.run.Task, "queue", h.run.Queue)
		s.settle(h, outcome{verb: verbRelease, err: ErrShutdown.Error()})
	}
}

// waitEmpty waits until everything is settled; false when the limit or the session's end came first.
func (s *session) waitEmpty(life context.Context, limit <-chan time.Time) bool {
	for {
		if s.isEmpty() {
			return true
		}
		select {
		case <-s.kicked:
		case <-limit:
			return false
		case <-life.Done():
			return false
		}
	}
}

// abandon ends a lost session: its handlers were cancelled, and nothing they write will count. It waits for them, since they
// hold the user's resources, but not for ever.
func (s *session) abandon(life context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stopHandlers(ErrLeaseLost)
	ended := make(chan struct{})
	go func() { s.handles.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(max(s.config.ShutdownGrace, s.config.Lease)):
		s.log.ErrorContext(life, "handlers still running after their lease was lost", "worker", s.id)
	}
	return context.Cause(life)
}
