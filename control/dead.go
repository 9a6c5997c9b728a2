package control

import (
	"context"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/store"
)

// A DeadFilter says which dead letters. The zero DeadFilter means all of them.
type DeadFilter struct {
	Queue       string
	Task        string
	Reason      string
	Fingerprint string
	Since       time.Time // of the death, by the server's clock; included
	Until       time.Time // excluded

	// A cursor: only what died before this letter, the last of another list. Set both or none.
	BeforeDiedAt time.Time
	BeforeID     uuid.UUID
}

// A DeadJob is a dead letter as a list shows it; Plane.DeadLetter has the rest.
type DeadJob struct {
	ID          uuid.UUID
	Queue       string
	Task        string
	Reason      string
	Error       string
	Fingerprint string // equal for equal errors of one task
	DiedAt      time.Time
	CreatedAt   time.Time

	Attempt      int
	Failures     int
	Crashes      int
	Releases     int
	Generation   int
	MaxAttempts  int
	Priority     int
	Origin       string
	Group        string
	Worker       uuid.UUID
	SignatureKey string // empty for an unsigned job
	PayloadBytes int
}

// A DeadGroup counts dead letters that have their reason, or their fingerprint, in common.
type DeadGroup struct {
	Reason      string   // empty when grouped by fingerprint
	Fingerprint string   // empty when grouped by reason
	Tasks       []string // at most 20
	Queues      []string // at most 20
	Count       int64
	FirstAt     time.Time
	LastAt      time.Time
	SampleID    uuid.UUID // the latest of them
	SampleError string
}

// Dead lists dead letters, latest death first, a page at a time. What dies meanwhile is not met.
func (p *Plane) Dead(ctx context.Context, f DeadFilter) iter.Seq2[DeadJob, error] {
	return func(yield func(DeadJob, error) bool) {
		for {
			page, err := p.deadPage(ctx, f, pageSize)
			if err != nil {
				yield(DeadJob{}, err)
				return
			}
			for _, d := range page {
				if !yield(d, nil) {
					return
				}
			}
			if len(page) < pageSize {
				return
			}
			f.BeforeDiedAt, f.BeforeID = page[pageSize-1].DiedAt, page[pageSize-1].ID
		}
	}
}

func (p *Plane) deadPage(ctx context.Context, f DeadFilter, limit int) ([]DeadJob, error) {
	rows, err := p.queries.ListDead(ctx, store.ListDeadParams{
		Queue: f.Queue, Task: f.Task, Reason: f.Reason, Fingerprint: f.Fingerprint, Since: bound(f.Since), Until: bound(f.Until),
		BeforeAt: bound(f.BeforeDiedAt), BeforeID: f.BeforeID, Max: int32(limit), //nolint:gosec // a page
	})
	if err != nil {
		return nil, wrap("list dead letters", err)
	}
	page := make([]DeadJob, 0, len(rows))
	for _, r := range rows {
		page = append(page, DeadJob{
			ID: r.ID, Queue: r.Queue, Task: r.Task, Reason: r.Reason, Error: r.Error, Fingerprint: r.Fingerprint,
			DiedAt: at(r.DiedAt), CreatedAt: at(r.CreatedAt),
			Attempt: int(r.Attempt), Failures: int(r.Failures), Crashes: int(r.Crashes), Releases: int(r.Releases),
			Generation: int(r.Generation), MaxAttempts: int(r.MaxAttempts), Priority: int(r.Priority), Origin: r.Origin,
			Group: r.GroupName, Worker: r.Worker, SignatureKey: r.SigKeyID, PayloadBytes: int(r.Bytes),
		})
	}
	return page, nil
}

// DeadGroups counts the same set, by "reason" or by "fingerprint", the largest group first, at most 1000 groups.
func (p *Plane) DeadGroups(ctx context.Context, f DeadFilter, by string) ([]DeadGroup, error) {
	rows, err := p.queries.DeadGroups(ctx, store.DeadGroupsParams{
		By: by, Queue: f.Queue, Task: f.Task, Reason: f.Reason, Fingerprint: f.Fingerprint,
		Since: bound(f.Since), Until: bound(f.Until),
	})
	if err != nil {
		return nil, wrap("group dead letters", err)
	}
	groups := make([]DeadGroup, 0, len(rows))
	for _, r := range rows {
		groups = append(groups, DeadGroup{
			Reason: r.Reason, Fingerprint: r.Fingerprint, Tasks: r.Tasks, Queues: r.Queues, Count: r.Letters,
			FirstAt: at(r.FirstAt), LastAt: at(r.LastAt), SampleID: r.SampleID, SampleError: r.SampleError,
		})
	}
	return groups, nil
}

// DeadLetter returns everything about one dead letter, ErrNotFound when there is none with this id.
func (p *Plane) DeadLetter(ctx context.Context, id uuid.UUID) (*Detail, error) {
	d, err := p.Job(ctx, id)
	if err != nil {
		return nil, err
	}
	if d.State != "dead" {
		return nil, unknownJob("dead letter", id)
	}
	return d, nil
}
