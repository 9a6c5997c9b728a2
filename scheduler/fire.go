package scheduler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing"
)

const (
	batch       = 200  // schedules in one transaction
	batchRuns   = 1000 // and instants, shared evenly; each has at least one. As many as stem.lock_schedules tells of the ledger
	retryFailed = 10 * time.Second
)

// fire fires at most a batch of the schedules that came due since so long ago, 0 for all of them, in one transaction and returns how many it
// had locked, and whether more is due. When one of them cannot be fired, each goes alone, and the one is put off: a row must not keep others
// from firing (L4).
func (s *Scheduler) fire(ctx context.Context, back time.Duration) (n int, more bool, err error) {
	ids, broken, more, err := s.transact(ctx, nil, back)
	if err == nil || broken || len(ids) == 0 {
		return len(ids), more, err
	}
	s.log.WarnContext(ctx, "a batch of schedules was refused; firing each alone", "schedules", len(ids), "error", err)
	for _, id := range ids {
		_, broken, rest, err := s.transact(ctx, []string{id}, 0)
		if err != nil && !broken {
			err = s.putOff(ctx, id, err)
		}
		if taken(err) {
			continue // whoever holds it decides
		}
		if err != nil {
			return 0, false, err
		}
		more = more || rest
	}
	return len(ids), more || len(ids) == batch, nil
}

// transact locks schedules, those given or a batch of the due ones, and does all that is to be done about them, or nothing. broken says that
// an error is the connection's, and no schedule's; more, that not all that is due was decided.
func (s *Scheduler) transact(ctx context.Context, only []string, back time.Duration) (ids []string, broken, more bool, err error) {
	broken = true
	err = s.begin(ctx, func(f *firing) error {
		err := f.lock(ctx, only, back)
		if err != nil || len(f.due) == 0 {
			return err
		}
		for _, d := range f.due {
			ids = append(ids, d.row.ID)
		}
		err = f.all(ctx)
		broken = f.tx.Conn().IsClosed()
		more = len(ids) == batch || slices.ContainsFunc(f.due, func(d *dueSchedule) bool { return d.decision.due.Equal(f.now) })
		return err
	})
	return ids, broken, more && err == nil, err
}

// The limit is for a unique key that somebody's open transaction holds: the schedules of a batch wait for that of one of them.
const begin = "begin isolation level read committed; set local lock_timeout = '500ms'"

func (s *Scheduler) begin(ctx context.Context, do func(*firing) error) error {
	return pgx.BeginTxFunc(ctx, s.own, pgx.TxOptions{BeginQuery: begin}, func(tx pgx.Tx) error {
		return do(&firing{Scheduler: s, tx: tx, db: store.Over(tx)})
	})
}

// putOff lets others go first, in a transaction of its own.
func (s *Scheduler) putOff(ctx context.Context, id string, why error) error {
	return s.begin(ctx, func(f *firing) error {
		if err := f.lock(ctx, []string{id}, 0); err != nil || len(f.due) == 0 {
			return err
		}
		f.fail(ctx, f.due[0], why)
		return f.advance(ctx)
	})
}

// taken tells whether a lock was not to be had in time.
func taken(err error) bool {
	pg, is := errors.AsType[*pgconn.PgError](err)
	return is && pg.Code == "55P03"
}

// A firing is one transaction of a scheduler.
type firing struct {
	*Scheduler
	tx  pgx.Tx
	db  *store.Queries
	now time.Time
	due []*dueSchedule
}

// dueSchedule is a schedule that this transaction has locked.
type dueSchedule struct {
	row      *store.ReadSchedulesRow
	order    *order
	state    state
	instead  *circumstance // why none of its instants fires
	failed   string        // why nothing can be decided yet
	paused   string
	decision decision
	requests []queue.Request // for the runs that fire, in their order
	jobs     []uuid.UUID     // by run
}

// lock reads what it locks in a second statement: see stem.lock_schedules.
func (f *firing) lock(ctx context.Context, only []string, back time.Duration) error {
	locked, err := f.db.LockSchedules(ctx, only, batch, back.Microseconds())
	if err != nil || len(locked) == 0 {
		return err
	}
	at := make(map[string]int, len(locked))
	ids := make([]string, len(locked))
	for i, l := range locked {
		at[l.ID], ids[i] = i, l.ID
		f.now = store.Instant(l.ServerTime)
	}
	rows, err := f.db.ReadSchedules(ctx, ids, "", 0)
	if err != nil {
		return err
	}
	for _, r := range rows {
		if due := store.Instant(r.DueAt); !r.Enabled || due.IsZero() || due.After(f.now) {
			continue // asked for by name, and somebody was here first
		}
		d := &dueSchedule{row: r, state: state{next: store.Instant(r.NextAt), last: store.Instant(r.LastAt), queued: store.Instant(r.QueuedAt)}}
		for _, t := range locked[at[r.ID]].Done {
			d.state.done = append(d.state.done, store.Instant(t))
		}
		f.due = append(f.due, d)
	}
	slices.SortStableFunc(f.due, func(a, b *dueSchedule) int { return at[a.row.ID] - at[b.row.ID] })
	return nil
}

func (f *firing) all(ctx context.Context) error {
	for _, d := range f.due {
		f.admit(ctx, d)
	}
	if err := f.lookBack(ctx); err != nil {
		return err
	}
	for _, d := range f.due {
		if d.failed == "" {
			f.decide(ctx, d, max(batchRuns/len(f.due), 1))
		}
	}
	if err := f.cancelPrevious(ctx); err != nil {
		return err
	}
	if err := f.enqueue(ctx); err != nil {
		return err
	}
	if err := f.record(ctx); err != nil {
		return err
	}
	return f.advance(ctx)
}

// admit verifies a schedule and understands what it says; nothing of it is used before.
func (f *firing) admit(ctx context.Context, d *dueSchedule) {
	var unread error
	d.order, unread = orderOf(d.row)
	action, refusal := d.order.judge(f.config.Keys)
	if unread == nil {
		unread = d.order.understand()
	}
	switch action {
	case signing.Release:
		f.fail(ctx, d, refusal)
	case signing.Run, signing.Count:
		if unread != nil {
			f.fail(ctx, d, unread)
		}
	default:
		d.instead = &circumstance{Rejected, string(refusal.Reason) + ": " + refusal.Detail}
		if f.said.mayLog(d.row.ID) {
			f.log.ErrorContext(ctx, "schedule refused; it does not fire", "schedule", d.row.ID, "version", d.row.Version, "key_id", d.row.SigKeyID,
				"reason", refusal.Reason, "detail", refusal.Detail)
		}
	}
}

// fail puts a schedule off: it keeps its instants, and others go first.
func (f *firing) fail(ctx context.Context, d *dueSchedule, why error) {
	d.failed = clip(why.Error())
	d.decision = decision{next: d.state.next, queued: d.state.queued, due: f.now.Add(retryFailed)}
	d.requests = nil
	if f.said.mayLog(d.row.ID) {
		f.log.ErrorContext(ctx, "schedule cannot fire; trying again", "schedule", d.row.ID, "retry_in", retryFailed, "error", why)
	}
}

// lookBack finds out how the runs before ended, for those whose policies ask.
func (f *firing) lookBack(ctx context.Context) error {
	var jobs []uuid.UUID
	var ids []string
	most := 0
	for _, d := range f.due {
		if d.failed != "" || d.instead != nil {
			continue
		}
		if d.order.terms.Previous != PreviousAllow && d.row.LastJob != uuid.Nil {
			jobs = append(jobs, d.row.LastJob)
		}
		if n := d.order.terms.PauseAfterFailures; n > 0 {
			ids, most = append(ids, d.row.ID), max(most, n)
		}
	}
	if len(jobs) == 0 && len(ids) == 0 {
		return nil
	}
	recent := map[string][]uuid.UUID{}
	if len(ids) > 0 {
		rows, err := f.db.RecentRuns(ctx, ids, int32(2*most+20))
		if err != nil {
			return err
		}
		for _, r := range rows {
			recent[r.Schedule] = append(recent[r.Schedule], r.JobID)
			jobs = append(jobs, r.JobID)
		}
	}
	rows, err := f.db.JobStates(ctx, jobs)
	if err != nil {
		return err
	}
	states := make(map[uuid.UUID]string, len(rows))
	for _, r := range rows {
		states[r.JobID] = r.State
	}
	for _, d := range f.due {
		d.state.going = slices.Contains([]string{"ready", "scheduled", "running"}, states[d.row.LastJob])
		if d.failed == "" && d.instead == nil {
			if n := d.order.terms.PauseAfterFailures; n > 0 && failures(recent[d.row.ID], states) >= n {
				d.paused = fmt.Sprintf("%d failures in a row", n)
				d.instead = &circumstance{Skipped, "paused after " + d.paused}
			}
		}
	}
	return nil
}

// failures counts how many of the latest jobs that ended, newest first, are dead letters.
func failures(jobs []uuid.UUID, states map[uuid.UUID]string) int {
	n := 0
	for _, id := range jobs {
		switch states[id] {
		case "dead":
			n++
		case "completed":
			return n
		}
	}
	return n
}

func (f *firing) decide(ctx context.Context, d *dueSchedule, limit int) {
	switch {
	case d.order.timing.Spec != nil:
		d.decision = d.order.decide(d.state, f.now, f.config.Tolerance, limit, d.instead)
	case !d.state.next.IsZero() && !slices.ContainsFunc(d.state.done, d.state.next.Equal): // refused, and not to be understood
		d.decision.runs = []run{{at: d.state.next, outcome: Rejected, note: d.instead.why}}
	}
	if d.paused != "" {
		d.decision.next, d.decision.due, d.decision.queued = time.Time{}, time.Time{}, time.Time{}
		f.log.ErrorContext(ctx, "schedule paused", "schedule", d.row.ID, "why", d.paused)
	}
	var at []time.Time
	for _, r := range d.decision.runs {
		if r.fires {
			at = append(at, r.at)
		}
	}
	if len(at) == 0 {
		return
	}
	var err error
	if d.requests, err = d.order.requests(f.queue, f.config.Encryption, at...); err != nil {
		f.fail(ctx, d, err)
	}
}

func (f *firing) cancelPrevious(ctx context.Context) error {
	var ids []string
	for _, d := range f.due {
		if d.decision.cancel {
			ids = append(ids, d.row.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	cancelled, err := f.db.CancelPrevious(ctx, ids)
	for _, c := range cancelled {
		f.log.InfoContext(ctx, "the run before was cancelled", "schedule", c.Schedule, "job_id", c.JobID, "result", c.Result)
	}
	return err
}

// enqueue enqueues the jobs of all schedules in as few statements as there may be.
func (f *firing) enqueue(ctx context.Context) error {
	var requests []queue.Request
	for _, d := range f.due {
		requests = append(requests, d.requests...)
	}
	receipts := make([]queue.Receipt, 0, len(requests))
	for part := range slices.Chunk(requests, queue.MaxBatch) {
		got, err := f.queue.Enqueue(ctx, f.tx, part...)
		if err != nil {
			return err
		}
		receipts = append(receipts, got...)
	}
	for _, d := range f.due {
		d.jobs = make([]uuid.UUID, len(d.decision.runs))
		for i := range d.decision.runs {
			r := &d.decision.runs[i]
			if !r.fires {
				continue
			}
			receipt := receipts[0]
			receipts = receipts[1:]
			if receipt.Duplicate {
				r.outcome, r.fires, r.note = Duplicate, false, joined(r.note, "job "+receipt.ID.String()+" holds its unique key")
				continue
			}
			d.jobs[i] = receipt.ID
		}
	}
	return nil
}

// clip makes a text fit for a column, whatever is in it.
func clip(text string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(text[:min(len(text), 4000)], "\x00", ""), "")
}
