package scheduler

import (
	"context"
	"time"
)

// FireOnce fires one batch of what is due, on the scheduler's pool, without Run.
func (s *Scheduler) FireOnce(ctx context.Context) (int, error) {
	s.own = s.pool
	n, _, err := s.fire(ctx, 0)
	return n, err
}

// Round is one of Run's, on the scheduler's pool: it fires, and does not pause, until nothing that it can have is due.
func (s *Scheduler) Round(ctx context.Context) (time.Duration, error) {
	s.own = s.pool
	return s.round(ctx, ctx)
}
