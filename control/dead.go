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
	SignedWith  string    // the id of a key
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
		Queue: f.Queue, Task: f.Task, Reason: f.Reason, Fingerprint: f.Fingerprint, SigKeyID: f.SignedWith,
		Since: store.Stamp(f.Since), Until: store.Stamp(f.Until), BeforeAt: store.Stamp(f.BeforeDiedAt), BeforeID: f.BeforeID, Max: int32(limit), //nolint:gosec // a page
	})
	if err != nil {
		return nil, wrap("list dead letters", err)
	}
	page := make([]DeadJob, 0, len(rows))
	for _, r := range rows {
		page = append(page, DeadJob{
			ID: r.ID, Queue: r.Queue, Task: r.Task, Reason: r.Reason, Error: r.Error, Fingerprint: r.Fingerprint,
			DiedAt: store.Instant(r.DiedAt), CreatedAt: store.Instant(r.CreatedAt),
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
		SigKeyID: f.SignedWith, Since: store.Stamp(f.Since), Until: store.Stamp(f.Until),
	})
	if err != nil {
		return nil, wrap("group dead letters", err)
	}
	groups := make([]DeadGroup, 0, len(rows))
	for _, r := range rows {
		groups = append(groups, DeadGroup{
			Reason: r.Reason, Fingerprint: r.Fingerprint, Tasks: r.Tasks, Queues: r.Queues, Count: r.Letters,
			FirstAt: store.Instant(r.FirstAt), LastAt: store.Instant(r.LastAt), SampleID: r.SampleID, SampleError: r.SampleError,
		})
	}
	return groups, nil
}

// pageBytes is how much payload one page of DeadLetters holds, unless a single letter is larger.
const pageBytes = 8 << 20

// DeadLetters is Dead with everything about each letter: three statements a page, however many letters it has. One that is
// replayed or purged meanwhile is left out.
func (p *Plane) DeadLetters(ctx context.Context, f DeadFilter) iter.Seq2[Detail, error] {
	return func(yield func(Detail, error) bool) {
		for more := true; more; {
			page, err := p.deadPage(ctx, f, pageSize)
			if err != nil {
				yield(Detail{}, err)
				return
			}
			more = len(page) == pageSize
			for ids := range lighter(page, pageBytes) {
				letters, err := p.details(ctx, ids)
				if err != nil {
					yield(Detail{}, wrap("dead letters", err))
					return
				}
				for _, d := range letters {
					if d.State == "dead" && !yield(d, nil) {
						return
					}
				}
			}
			if more {
				f.BeforeDiedAt, f.BeforeID = page[pageSize-1].DiedAt, page[pageSize-1].ID
			}
		}
	}
}

// lighter splits a page into runs of ids whose payloads come to at most limit bytes.
func lighter(page []DeadJob, limit int) iter.Seq[[]uuid.UUID] {
	return func(yield func([]uuid.UUID) bool) {
		var ids []uuid.UUID
		bytes := 0
		for _, d := range page {
			if len(ids) > 0 && bytes+d.PayloadBytes > limit {
				if !yield(ids) {
					return
				}
				ids, bytes = nil, 0
			}
			ids = append(ids, d.ID)
			bytes += d.PayloadBytes
		}
		if len(ids) > 0 {
			yield(ids)
		}
	}
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
