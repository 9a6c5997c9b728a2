package control

import (
	"context"
	"iter"

	"github.com/google/uuid"
)

// Retryable lists those jobs of the filter that Retry would make run now: the dead ones, and those that wait for a retry. A job
// that was merely enqueued for later is not among them.
func (p *Plane) Retryable(ctx context.Context, f Filter) iter.Seq2[Job, error] {
	if f.States == nil {
		f.States = []string{"scheduled", "dead"}
	}
	return func(yield func(Job, error) bool) {
		for job, err := range p.Jobs(ctx, f) {
			if err == nil && job.State != "dead" && (job.State != "scheduled" || job.Attempt == 0) {
				continue
			}
			if !yield(job, err) {
				return
			}
		}
	}
}

// RetryAll retries what Retryable lists, newest first. It can be called again after an error, and goes on with the rest.
func (p *Plane) RetryAll(ctx context.Context, f Filter, b Bulk) (Progress, error) {
	return b.run(func(size int) ([]uuid.UUID, bool, error) {
		ids := make([]uuid.UUID, 0, size)
		for job, err := range p.Retryable(ctx, f) {
			if err != nil {
				return nil, false, err
			}
			ids = append(ids, job.ID)
			f.Before = job.ID
			if len(ids) == size {
				return ids, true, nil
			}
		}
		return ids, false, nil
	}, func(ids []uuid.UUID) ([]Result, error) { return p.Retry(ctx, b.Reason, ids...) })
}

// CountDead counts what Dead would list.
func (p *Plane) CountDead(ctx context.Context, f DeadFilter) (int64, error) {
	groups, err := p.DeadGroups(ctx, f, "reason")
	var total int64
	for _, g := range groups {
		total += g.Count
	}
	return total, err
}
