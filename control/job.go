package control

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

// A Filter says which jobs. The zero Filter means all of them; each field that is set narrows it.
type Filter struct {
	States []string // ready, scheduled, running, dead, completed, cancelled, expired, replaced; any other is an error
	Queue  string
	Task   string
	Origin string
	Group  string
	Since  time.Time // of the id, which carries the producer's clock; included
	Until  time.Time // excluded
	Before uuid.UUID // a cursor: only ids below this one, which was the last of another list
}

// A Job is a job as a list shows it. Times are in UTC by the server's clock, zero where they do not apply.
type Job struct {
	ID     uuid.UUID
	State  string // as in Filter, or "unknown" from Plane.Job: its envelope is there, its ticket is gone
	Queue  string
	Task   string
	Origin string
	Group  string

	Priority    int
	MaxAttempts int
	Attempt     int // claims so far
	Failures    int // of these, charged
	Crashes     int // workers lost since the last normal outcome
	Releases    int // times it was put back uncharged
	Generation  int // 1, and one more for each replay

	CreatedAt time.Time
	DueAt     time.Time // scheduled
	ClaimedAt time.Time // running
	CancelAt  time.Time // running: since when it is asked to stop
	StartedAt time.Time // finished
	EndedAt   time.Time // finished or dead
	ExpiresAt time.Time
	Worker    uuid.UUID // running: who has it; finished or dead: who had it
	Reason    string    // dead
}

// A Detail is everything about one job.
type Detail struct {
	Job
	Envelope bool // false: the ticket has no envelope, and what follows is empty

	Payload        []byte
	Codec          string
	Headers        json.RawMessage // an object of strings; nil for none
	RunAt          time.Time       // as the producer gave it
	Delay          time.Duration
	NominalAt      time.Time
	HardLimit      time.Duration
	SoftLimit      time.Duration
	UniqueKey      []byte
	UniqueScope    int // 1 until started, 2 until finished, 3 for a period
	PayloadVersion int
	IssuedAt       time.Time // the producer's clock
	Signature      []byte
	SignatureKey   string
	Algorithm      string

	Error       string // dead
	Fingerprint string // dead
	Result      []byte // finished
	Ahead       int64  // ready: how many of its queue are claimed first, counted to 10 000; -1 otherwise
	Attempts    []Attempt
}

// An Attempt is a run that ended in anything but plain success.
type Attempt struct {
	Attempt     int
	Generation  int
	Worker      uuid.UUID
	StartedAt   time.Time
	EndedAt     time.Time
	Outcome     string // failed, discarded, rejected, released, waiting, lost, cancelled
	Error       string
	Fingerprint string
}

const (
	pageSize = 200
	// scanSize bounds what one statement looks at, so that a filter that matches one in a million cannot run into
	// statement_timeout: 5 000 tickets with their envelopes take 12 ms.
	scanSize = 5000
)

// Jobs lists jobs, newest id first, a page at a time. No job comes twice, and none that stays within the filter is missed, while
// others are enqueued and move. Break out of the loop whenever you have enough; after an error the loop is over.
func (p *Plane) Jobs(ctx context.Context, f Filter) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		for {
			rows, next, err := p.jobPage(ctx, f, pageSize)
			if err != nil {
				yield(Job{}, err)
				return
			}
			for _, r := range rows {
				if !yield(jobOf(r), nil) {
					return
				}
			}
			if next == uuid.Nil {
				return
			}
			f.Before = next
		}
	}
}

// jobPage returns at most limit jobs and the id to go on from, or uuid.Nil at the end. It may return none and still go on.
func (p *Plane) jobPage(ctx context.Context, f Filter, limit int) ([]*store.ListJobsRow, uuid.UUID, error) {
	scan := scanSize
	if f.Queue == "" && f.Task == "" && f.Origin == "" && f.Group == "" && f.States == nil {
		scan = limit // everything matches
	}
	rows, err := p.queries.ListJobs(ctx, store.ListJobsParams{
		States: f.States, Queue: f.Queue, Task: f.Task, Origin: f.Origin, GroupName: f.Group,
		Since: store.Stamp(f.Since), Until: store.Stamp(f.Until), Before: f.Before,
		Max: int32(limit), Scan: int32(max(scan, limit)), //nolint:gosec // both are small constants
	})
	if err != nil {
		return nil, uuid.Nil, wrap("list jobs", err)
	}
	if n := len(rows); n > 0 && rows[n-1].State == "" {
		return rows[:n-1], rows[n-1].JobID, nil
	}
	if len(rows) == limit {
		return rows, rows[limit-1].JobID, nil
	}
	return rows, uuid.Nil, nil
}

// CountJobs counts what Jobs would list: exactly, in short statements, so over millions it takes its time.
func (p *Plane) CountJobs(ctx context.Context, f Filter) (int64, error) {
	var total int64
	for {
		row, err := p.queries.CountJobs(ctx, store.CountJobsParams{
			States: f.States, Queue: f.Queue, Task: f.Task, Origin: f.Origin, GroupName: f.Group,
			Since: store.Stamp(f.Since), Until: store.Stamp(f.Until), Before: f.Before, Scan: scanSize,
		})
		if err != nil {
			return total, wrap("count jobs", err)
		}
		total += row.Matched
		if row.NextBefore == uuid.Nil {
			return total, nil
		}
		f.Before = row.NextBefore
	}
}

// Job returns everything about one job, ErrNotFound when Stem does not know it.
func (p *Plane) Job(ctx context.Context, id uuid.UUID) (*Detail, error) {
	list, err := p.details(ctx, []uuid.UUID{id})
	switch {
	case err != nil:
		return nil, wrap("job", err)
	case len(list) == 0:
		return nil, unknownJob("job", id)
	}
	return &list[0], nil
}

// details returns everything about jobs, in the order given, with two statements. Those that are not known are left out.
func (p *Plane) details(ctx context.Context, ids []uuid.UUID) ([]Detail, error) {
	rows, err := p.queries.ShowJobs(ctx, ids)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	attempts, err := p.attempts(ctx, ids)
	if err != nil {
		return nil, err
	}
	list := make([]Detail, 0, len(rows))
	for _, r := range rows {
		d := detailOf(r)
		d.Attempts = attempts[r.JobID]
		list = append(list, d)
	}
	return list, nil
}

// Attempts lists a job's attempts that ended in anything but plain success, oldest first, over all its generations. A job that
// is not known has none.
func (p *Plane) Attempts(ctx context.Context, id uuid.UUID) ([]Attempt, error) {
	byJob, err := p.attempts(ctx, []uuid.UUID{id})
	return byJob[id], wrap("attempts", err)
}

func (p *Plane) attempts(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID][]Attempt, error) {
	rows, err := p.queries.ListAttempts(ctx, ids)
	if err != nil {
		return nil, err
	}
	byJob := make(map[uuid.UUID][]Attempt, len(ids))
	for _, r := range rows {
		byJob[r.JobID] = append(byJob[r.JobID], Attempt{
			Attempt: int(r.Attempt), Generation: int(r.Generation), Worker: r.Worker, StartedAt: store.Instant(r.StartedAt), EndedAt: store.Instant(r.EndedAt),
			Outcome: r.Outcome, Error: r.Error, Fingerprint: r.Fingerprint,
		})
	}
	return byJob, nil
}

// Open puts readable payload and result in the place of encrypted ones; of others it does nothing. Codec stays what is stored. Its errors
// are encryption.ErrUnknownKey, also for a nil codec, and encryption.ErrNotSealed; and that of headers which are no strings.
func (d *Detail) Open(c encryption.Codec) error {
	if _, sealed := encryption.Unwrap(d.Codec); sealed {
		e, err := d.envelope()
		if err != nil {
			return err
		}
		if err := e.Open(c); err != nil {
			return err
		}
		d.Payload = e.Payload
	}
	if encryption.IsSealedResult(d.Result) {
		result := queue.Result{ID: d.ID, State: d.State, Attempt: d.Attempt, Generation: d.Generation, Sealed: d.Result}
		if err := result.Open(c); err != nil {
			return err
		}
		d.Result = result.Value
	}
	return nil
}

// envelope is what the producer made, as it is stored.
func (d *Detail) envelope() (queue.Envelope, error) {
	e := queue.Envelope{
		ID: d.ID, Task: d.Task, Queue: d.Queue, Payload: d.Payload, Codec: d.Codec, Priority: d.Priority, MaxAttempts: d.MaxAttempts,
		RunAt: d.RunAt, Delay: d.Delay, NominalAt: d.NominalAt, ExpiresAt: d.ExpiresAt, HardLimit: d.HardLimit, SoftLimit: d.SoftLimit,
		UniqueKey: d.UniqueKey, Origin: d.Origin, PayloadVersion: d.PayloadVersion, Group: d.Group, IssuedAt: d.IssuedAt,
		Signature: signing.Signature{Bytes: d.Signature, KeyID: d.SignatureKey, Algorithm: d.Algorithm},
	}
	if len(d.Headers) > 0 {
		if err := json.Unmarshal(d.Headers, &e.Headers); err != nil {
			return e, fmt.Errorf("headers: %w", err)
		}
	}
	return e, nil
}

func jobOf(r *store.ListJobsRow) Job {
	return Job{
		ID: r.JobID, State: r.State, Queue: r.Queue, Task: r.Task, Origin: r.Origin, Group: r.GroupName,
		Priority: int(r.Priority), MaxAttempts: int(r.MaxAttempts), Attempt: int(r.Attempt), Failures: int(r.Failures),
		Crashes: int(r.Crashes), Releases: int(r.Releases), Generation: int(r.Generation),
		CreatedAt: store.Instant(r.CreatedAt), DueAt: store.Instant(r.DueAt), ClaimedAt: store.Instant(r.ClaimedAt), CancelAt: store.Instant(r.CancelAt),
		StartedAt: store.Instant(r.StartedAt), EndedAt: store.Instant(r.EndedAt), ExpiresAt: store.Instant(r.ExpiresAt), Worker: r.Worker, Reason: r.Reason,
	}
}

func detailOf(r *store.ShowJobsRow) Detail {
	return Detail{
		Job: Job{
			ID: r.JobID, State: r.State, Queue: r.Queue, Task: r.Task, Origin: r.Origin, Group: r.GroupName,
			Priority: int(r.Priority), MaxAttempts: int(r.MaxAttempts), Attempt: int(r.Attempt), Failures: int(r.Failures),
			Crashes: int(r.Crashes), Releases: int(r.Releases), Generation: int(r.Generation),
			CreatedAt: store.Instant(r.CreatedAt), DueAt: store.Instant(r.DueAt), ClaimedAt: store.Instant(r.ClaimedAt), CancelAt: store.Instant(r.CancelAt),
			StartedAt: store.Instant(r.StartedAt), EndedAt: store.Instant(r.EndedAt), ExpiresAt: store.Instant(r.ExpiresAt), Worker: r.Worker, Reason: r.Reason,
		},
		Envelope: r.Envelope, Payload: r.Payload, Codec: r.Codec, Headers: r.Headers, RunAt: store.Instant(r.RunAt), Delay: store.Span(r.DelayUs),
		NominalAt: store.Instant(r.NominalAt), HardLimit: store.Span(r.HardLimitUs), SoftLimit: store.Span(r.SoftLimitUs), UniqueKey: r.UniqueKey,
		UniqueScope: int(r.UniqueScope), PayloadVersion: int(r.PayloadVersion), IssuedAt: store.Instant(r.IssuedAt),
		Signature: r.Sig, SignatureKey: r.SigKeyID, Algorithm: r.SigAlg,
		Error: r.Error, Fingerprint: r.Fingerprint, Result: r.Result, Ahead: r.Ahead,
	}
}
