package scheduler

import "context"

// FireOnce fires one batch of what is due, on the scheduler's pool, without Run.
func (s *Scheduler) FireOnce(ctx context.Context) (int, error) {
	s.own = s.pool
	n, _, err := s.fire(ctx, 0)
	return n, err
}
