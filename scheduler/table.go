package scheduler

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

// Conditions that callers branch on, with errors.Is.
var (
	// ErrNotFound means that there is no such schedule.
	ErrNotFound = errors.New("no such schedule")
	// ErrChanged means that a schedule has changed since it was read: nothing was done.
	ErrChanged = errors.New("changed since it was read")
	// ErrRefused means that a schedule is not signed as it should be.
	ErrRefused = errors.New("signature refused")
	// ErrUnsigned means that a signed schedule would not be signed any more.
	ErrUnsigned = errors.New("it is signed, and this process signs nothing: set STEM_SIGNING_KEYS")
)

// A DB is what a Table needs of a handle: a *pgxpool.Pool, a *pgx.Conn, or a pgx.Tx, in which each action is a savepoint.
type DB interface {
	store.DBTX
	Begin(ctx context.Context) (pgx.Tx, error)
}

// TableConfig configures a Table. The zero value signs nothing and encrypts nothing.
type TableConfig struct {
	Keys       *signing.Ring    // signs what is applied and verifies what is there
	Encryption encryption.Codec // encrypts what jobs carry, at rest
}

// A Table is the schedules of a database as programs and operators see and change them. It is as safe for concurrent use as its handle.
type Table struct {
	db      DB
	queries *store.Queries
	queue   *queue.Queue
	config  TableConfig
}

// NewTable returns a table over db, whose login needs the rights of stem_operator to change it, those of stem_observer for List and
// History, and those of stem_scheduler for Trigger and Backfill. The queue checks the jobs and enqueues those of the last two.
func NewTable(db DB, q *queue.Queue, config TableConfig) *Table {
	return &Table{db: db, queries: store.Over(db), queue: q, config: config}
}

// A Schedule is a row of the table.
type Schedule struct {
	ID          string
	Version     int64
	Enabled     bool
	Spec        string // JSON, as spec.Spec.String writes it
	Zone        string
	Policies    Policies
	Jitter      time.Duration
	ExpireAt    time.Time
	Task, Queue string
	Description string
	Key         string // that it says it was signed with; "" where it is not
	Algorithm   string // of the signature
	Job         *Job   // nil from List
	UpdatedAt   time.Time
	UpdatedBy   string // the login

	DueAt     time.Time // when a scheduler looks at it next: NextAt and its jitter, or later; zero means never
	NextAt    time.Time // the nominal instant that comes next; zero means none
	LastAt    time.Time // the latest that was decided
	QueuedAt  time.Time // one that waits for the run before to end
	LastJob   uuid.UUID
	LastDrift *time.Duration // of that job: see Run.Drift; nil where the ledger does not know it any more, and from Get
	Fired     int64
	PausedAt  time.Time
	PausedWhy string
	Refused   string // why its signature was not accepted when it was last due
	Failed    string // why it could not be fired when it was last due
	Broken    error  // why what the row says cannot be understood
	timing    Timing
}

// A Job is what a schedule enqueues.
type Job struct {
	Payload     []byte // readable, unless Sealed
	Codec       string
	Sealed      bool // encrypted, and the table has not got the key
	Headers     map[string]string
	Priority    int
	MaxAttempts int
	HardLimit   time.Duration
	SoftLimit   time.Duration
	ExpiresIn   time.Duration
	UniqueKey   []byte // as it is stored
	Version     int
	Group       string
}

// The statuses of a schedule.
const (
	StatusActive   = "active"
	StatusDisabled = "disabled"
	StatusPaused   = "paused"   // after failures in a row
	StatusFinished = "finished" // no instant comes any more
	StatusRejected = "rejected" // its signature was refused when it was last due
	StatusFailing  = "failing"  // it could not be fired when it was last due, and is tried again
	StatusOverdue  = "overdue"  // nobody fires it
)

// overdueAfter is how long a schedule may be due before it looks as if no scheduler ran.
const overdueAfter = time.Minute

// Status says in a word how a schedule is at a time of the server's clock.
func (s *Schedule) Status(now time.Time) string {
	switch {
	case !s.Enabled:
		return StatusDisabled
	case s.Refused != "":
		return StatusRejected
	case s.Failed != "" || s.Broken != nil:
		return StatusFailing
	case !s.PausedAt.IsZero():
		return StatusPaused
	case s.DueAt.IsZero():
		return StatusFinished
	case now.Sub(s.DueAt) > overdueAfter:
		return StatusOverdue
	}
	return StatusActive
}

// Timing says when it fires; it is the zero Timing where Broken is set.
func (s *Schedule) Timing() Timing { return s.timing }

const page = 500

// List yields the schedules by id, without their Job.
func (t *Table) List(ctx context.Context) iter.Seq2[*Schedule, error] {
	return func(yield func(*Schedule, error) bool) {
		for after := ""; ; {
			rows, err := t.queries.ListSchedules(ctx, after, page)
			if err != nil {
				yield(nil, wrap("list", err))
				return
			}
			for _, r := range rows {
				if !yield(t.listed(r), nil) {
					return
				}
				after = r.ID
			}
			if len(rows) < page {
				return
			}
		}
	}
}

// listed fills a whole row from a part of one.
func (t *Table) listed(r *store.ListSchedulesRow) *Schedule {
	s := t.schedule(&store.ReadSchedulesRow{
		ID: r.ID, Version: r.Version, Enabled: r.Enabled, Spec: r.Spec, Zone: r.Zone, Policies: r.Policies, JitterUs: r.JitterUs,
		ExpireAt: r.ExpireAt, Task: r.Task, Queue: r.Queue, SigKeyID: r.SigKeyID, SigAlg: r.SigAlg, Description: r.Description,
		UpdatedAt: r.UpdatedAt, UpdatedBy: r.UpdatedBy, DueAt: r.DueAt, NextAt: r.NextAt, LastAt: r.LastAt, QueuedAt: r.QueuedAt,
		LastJob: r.LastJob, Fired: r.Fired, PausedAt: r.PausedAt, PausedWhy: r.PausedWhy, Refused: r.Refused, Failed: r.Failed,
	})
	s.Job = nil
	if r.DriftUs.Valid {
		s.LastDrift = new(store.Span(r.DriftUs.Int64))
	}
	return s
}

// Get returns one schedule, ErrNotFound if there is none of that id.
func (t *Table) Get(ctx context.Context, id string) (*Schedule, error) {
	r, err := t.row(ctx, t.queries, id)
	if err != nil {
		return nil, err
	}
	return t.schedule(r), nil
}

func (t *Table) row(ctx context.Context, q *store.Queries, id string) (*store.ReadSchedulesRow, error) {
	rows, err := named(ctx, q, id)
	if err != nil {
		return nil, err
	}
	return rows[0], nil
}

// named returns the whole rows of some ids, by id, or ErrNotFound if one is missing.
func named(ctx context.Context, q *store.Queries, ids ...string) ([]*store.ReadSchedulesRow, error) {
	rows, err := q.ReadSchedules(ctx, ids, "", 0)
	if err != nil {
		return nil, wrap("read", err)
	}
	for _, id := range ids {
		if !slices.ContainsFunc(rows, func(r *store.ReadSchedulesRow) bool { return r.ID == id }) {
			return nil, fmt.Errorf("scheduler: schedule %.140q: %w", id, ErrNotFound)
		}
	}
	return rows, nil
}

// rows yields all whole rows by id.
func (t *Table) rows(ctx context.Context) iter.Seq2[*store.ReadSchedulesRow, error] {
	return func(yield func(*store.ReadSchedulesRow, error) bool) {
		for after := ""; ; {
			rows, err := t.queries.ReadSchedules(ctx, nil, after, page)
			if err != nil {
				yield(nil, wrap("read", err))
				return
			}
			for _, r := range rows {
				if !yield(r, nil) {
					return
				}
				after = r.ID
			}
			if len(rows) < page {
				return
			}
		}
	}
}

func (t *Table) schedule(r *store.ReadSchedulesRow) *Schedule {
	o, err := orderOf(r)
	err = errors.Join(err, o.understand())
	m := &o.message
	s := &Schedule{
		ID: r.ID, Version: r.Version, Enabled: r.Enabled, Spec: r.Spec, Zone: r.Zone, Policies: o.terms.Policies, Jitter: m.Jitter,
		ExpireAt: m.End, Task: r.Task, Queue: r.Queue, Description: r.Description, Key: r.SigKeyID, Algorithm: r.SigAlg,
		UpdatedAt: store.Instant(r.UpdatedAt), UpdatedBy: r.UpdatedBy,
		DueAt: store.Instant(r.DueAt), NextAt: store.Instant(r.NextAt), LastAt: store.Instant(r.LastAt), QueuedAt: store.Instant(r.QueuedAt), LastJob: r.LastJob,
		Fired: r.Fired, PausedAt: store.Instant(r.PausedAt), PausedWhy: r.PausedWhy, Refused: r.Refused, Failed: r.Failed, Broken: err,
		timing: o.timing,
	}
	j := &Job{
		Headers: m.Headers, Priority: m.Priority, MaxAttempts: m.MaxAttempts, HardLimit: m.HardLimit, SoftLimit: m.SoftLimit,
		ExpiresIn: o.terms.ExpiresIn, UniqueKey: o.terms.UniqueKey, Version: o.terms.Version, Group: o.terms.Group,
	}
	if j.Payload, j.Codec, err = o.opened(t.config.Encryption); err != nil {
		j.Payload, j.Codec, j.Sealed = m.Payload, m.Codec, true
	}
	s.Job = j
	return s
}

// A Run is a row of the ledger.
type Run struct {
	Schedule   string
	NominalAt  time.Time // of a triggered one, when it was
	RecordedAt time.Time
	Outcome    Outcome
	JobID      uuid.UUID // zero where nothing was enqueued
	Jitter     time.Duration
	Drift      *time.Duration // from the instant and its jitter to the enqueue; nil where nothing was enqueued for an instant
	Note       string
	State      string // what the job is now: ready, scheduled, running, completed, cancelled, expired, replaced, dead, unknown
}

// RunFilter says which rows of the ledger are meant. Since and Until are about the nominal instants of one schedule, and about when the row was
// written where there is none.
type RunFilter struct {
	Schedule     string // "" means all
	Outcomes     []Outcome
	Since, Until time.Time
}

// History yields rows of the ledger, newest first.
func (t *Table) History(ctx context.Context, f RunFilter) iter.Seq2[Run, error] {
	var outcomes []string
	for _, o := range f.Outcomes {
		outcomes = append(outcomes, string(o))
	}
	p := store.ListRunsParams{Schedule: f.Schedule, Outcomes: outcomes, Since: store.Stamp(f.Since), Until: store.Stamp(f.Until), Max: page}
	return func(yield func(Run, error) bool) {
		for {
			rows, err := t.queries.ListRuns(ctx, p)
			if err != nil {
				yield(Run{}, wrap("history", err))
				return
			}
			for _, r := range rows {
				if !yield(runOf(r), nil) {
					return
				}
				p.Before, p.BeforeSchedule = r.RecordedAt, r.Schedule
				if f.Schedule != "" {
					p.Before = r.NominalAt
				}
			}
			if len(rows) < page {
				return
			}
		}
	}
}

func runOf(r *store.ListRunsRow) Run {
	run := Run{
		Schedule: r.Schedule, NominalAt: store.Instant(r.NominalAt), RecordedAt: store.Instant(r.RecordedAt), Outcome: Outcome(r.Outcome),
		JobID: r.JobID, Jitter: store.Span(r.JitterUs), Note: r.Note, State: r.State,
	}
	if r.DriftUs.Valid {
		run.Drift = new(store.Span(r.DriftUs.Int64))
	}
	return run
}

// Now is the time by the server's clock.
func (t *Table) Now(ctx context.Context) (time.Time, error) {
	now, err := t.queries.ServerTime(ctx)
	return store.Instant(now), wrap("read the clock", err)
}

func wrap(action string, err error) error {
	if err == nil {
		return nil
	}
	if pg, is := errors.AsType[*pgconn.PgError](err); is && pg.Code == "ST003" {
		return fmt.Errorf("scheduler: %s: %w: %w", action, ErrChanged, err)
	}
	return fmt.Errorf("scheduler: %s: %w", action, err)
}
