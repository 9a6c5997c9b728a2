package scheduler

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing"
)

// Enable switches a schedule on, or ends its pause, and signs it: it fires at the instants after this. False: it is on. ErrRefused means that
// its signature is not accepted; with reviewed, because somebody has looked at what would run, it is signed anew all the same.
func (t *Table) Enable(ctx context.Context, id, reason string, reviewed bool) (changed bool, err error) {
	r, err := t.row(ctx, t.queries, id)
	if err != nil || r.Enabled && !r.PausedAt.Valid {
		return false, err
	}
	now, err := t.Now(ctx)
	if err != nil {
		return false, err
	}
	return true, t.resign(ctx, r, "enable", reason, reviewed, func(o *order, w *row) {
		w.time(&o.timing, true, now, false)
	})
}

// Disable switches a schedule off: no instant after this fires. With keys it is signed as switched off; without, the signature stays that of
// the schedule when it was on, and whoever may write to the table can switch it on again. False: it is off.
func (t *Table) Disable(ctx context.Context, id, reason string) (changed bool, err error) {
	r, err := t.row(ctx, t.queries, id)
	if err != nil || !r.Enabled {
		return false, err
	}
	signs := t.config.Keys.Policy() != signing.Off && t.config.Keys.CanSign(signing.UseSchedule) == nil
	if o, _ := orderOf(r); signs {
		if action, _ := o.judge(t.config.Keys); action == signing.Run {
			return true, t.resign(ctx, r, "disable", reason, false, func(*order, *row) {})
		}
	}
	err = t.inTx(ctx, "disable", func(q *store.Queries) error {
		changed, err = q.DisableSchedule(ctx, id, reason)
		return err
	})
	return changed, err
}

// Resign signs schedules with the active key as they are: those named, or all. Nothing else of them changes. ErrRefused is as in Enable.
func (t *Table) Resign(ctx context.Context, reason string, reviewed bool, ids ...string) (int, error) {
	if t.config.Keys.Policy() == signing.Off {
		return 0, errors.New("scheduler: resign: this process signs nothing: set STEM_SIGNING_KEYS")
	}
	rows := t.rows(ctx)
	if len(ids) > 0 {
		found, err := named(ctx, t.queries, ids...)
		if err != nil {
			return 0, err
		}
		rows = each(found)
	}
	var list []row
	for r, err := range rows {
		if err != nil {
			return 0, err
		}
		w, err := t.renewed(r, reviewed, r.Enabled, func(_ *order, w *row) { w.KeepNext = true })
		if err != nil {
			return 0, err
		}
		list = append(list, w)
	}
	return len(list), t.inTx(ctx, "resign", func(q *store.Queries) error { return t.send(ctx, q, "resign", reason, list) })
}

// resign writes one schedule as it is, switched on or off, signed anew.
func (t *Table) resign(ctx context.Context, r *store.ReadSchedulesRow, action, reason string, reviewed bool, also func(*order, *row)) error {
	w, err := t.renewed(r, reviewed, action == "enable", also)
	if err != nil {
		return err
	}
	return t.inTx(ctx, action, func(q *store.Queries) error { return t.send(ctx, q, action, reason, []row{w}) })
}

func (t *Table) renewed(r *store.ReadSchedulesRow, reviewed, enabled bool, also func(*order, *row)) (row, error) {
	o, err := t.admitted(r, reviewed)
	if err != nil {
		return row{}, err
	}
	if len(r.Sig) > 0 && t.config.Keys.Policy() == signing.Off {
		return row{}, fmt.Errorf("scheduler: schedule %q: %w", r.ID, ErrUnsigned)
	}
	o.message.Enabled = enabled
	w, err := t.prepare(o, r.Version, false)
	if err == nil {
		w.WasEnabled = &r.Enabled
		also(o, &w)
	}
	return w, err
}

// admitted returns the order of a row that may be believed.
func (t *Table) admitted(r *store.ReadSchedulesRow, reviewed bool) (*order, error) {
	o, err := orderOf(r)
	action, refusal := o.judge(t.config.Keys)
	if action != signing.Run && action != signing.Count && !reviewed {
		return nil, fmt.Errorf("scheduler: schedule %q: %w: %s: %s", r.ID, ErrRefused, refusal.Reason, refusal.Detail)
	}
	if err == nil {
		err = o.understand()
	}
	if err != nil {
		return nil, fmt.Errorf("scheduler: schedule %q: %w", r.ID, err)
	}
	return o, nil
}

// Delete removes schedules, all or none; their ledger stays until it is pruned. ErrNotFound if there is none of an id.
func (t *Table) Delete(ctx context.Context, reason string, ids ...string) error {
	rows, err := named(ctx, t.queries, ids...)
	if err != nil {
		return err
	}
	var found []string
	var versions []int64
	for _, r := range rows {
		found, versions = append(found, r.ID), append(versions, r.Version)
	}
	return t.inTx(ctx, "delete", func(q *store.Queries) error { return q.DeleteSchedules(ctx, found, versions, reason) })
}

// Trigger enqueues the job of a schedule now, once, on or off, and leaves its next instant where it is. The job stands for no instant.
func (t *Table) Trigger(ctx context.Context, id, reason string) (queue.Receipt, error) {
	var receipt queue.Receipt
	err := t.locked(ctx, "trigger", id, func(tx pgx.Tx, o *order, now time.Time) error {
		requests, err := o.requests(t.queue, t.config.Encryption, time.Time{})
		if err != nil {
			return err
		}
		receipts, err := t.queue.Enqueue(ctx, tx, requests...)
		if err != nil {
			return err
		}
		receipt = receipts[0]
		l := ledger{Action: "trigger", Reason: reason}
		if receipt.Duplicate {
			l.add(id, now, Duplicate, uuid.Nil, 0, pgtype.Int8{}, "triggered; job "+receipt.ID.String()+" holds its unique key")
		} else {
			l.add(id, now, Triggered, receipt.ID, 0, pgtype.Int8{}, "")
		}
		return store.Over(tx).RecordRuns(ctx, store.RecordRunsParams(l))
	})
	return receipt, err
}

// locked does something with one schedule that nobody else can change or fire meanwhile. A producer whose clock was far from the server's
// has learnt the server's time from the first try.
func (t *Table) locked(ctx context.Context, action, id string, do func(pgx.Tx, *order, time.Time) error) error {
	try := func() error {
		return pgx.BeginFunc(ctx, t.db, func(tx pgx.Tx) error {
			q := store.Over(tx)
			locked, err := q.LockSchedules(ctx, []string{id}, 1, 0)
			if err != nil {
				return err
			}
			if len(locked) == 0 {
				return fmt.Errorf("schedule %.140q: %w", id, ErrNotFound)
			}
			r, err := t.row(ctx, q, id)
			if err != nil {
				return err
			}
			o, err := t.admitted(r, false)
			if err != nil {
				return err
			}
			return do(tx, o, store.Instant(locked[0].ServerTime))
		})
	}
	err := try()
	if errors.Is(err, queue.ErrClock) {
		err = try()
	}
	return wrap(action, err)
}

// A Verdict says what a scheduler would make of the signature of a schedule.
type Verdict struct {
	ID      string
	Version int64
	Key     string // that it says it was signed with
	Action  signing.Action
	Reason  string // "" where it fires
	Detail  string // for people
}

// Refused tells whether the schedule would not fire with these keys.
func (v *Verdict) Refused() bool { return v.Action == signing.Bury || v.Action == signing.Release }

// each yields what is there already.
func each(rows []*store.ReadSchedulesRow) iter.Seq2[*store.ReadSchedulesRow, error] {
	return func(yield func(*store.ReadSchedulesRow, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// Verify says of each schedule what a scheduler with the table's keys would do: all, or those named that are there.
func (t *Table) Verify(ctx context.Context, ids ...string) iter.Seq2[Verdict, error] {
	return func(yield func(Verdict, error) bool) {
		rows := t.rows(ctx)
		if len(ids) > 0 {
			found, err := t.queries.ReadSchedules(ctx, ids, "", 0)
			if err != nil {
				yield(Verdict{}, wrap("read", err))
				return
			}
			rows = each(found)
		}
		for r, err := range rows {
			if err != nil {
				yield(Verdict{}, err)
				return
			}
			if !yield(t.verdict(r), nil) {
				return
			}
		}
	}
}

func (t *Table) verdict(r *store.ReadSchedulesRow) Verdict {
	o, unread := orderOf(r)
	v := Verdict{ID: r.ID, Version: r.Version, Key: r.SigKeyID}
	var refusal *signing.Refusal
	if v.Action, refusal = o.judge(t.config.Keys); refusal != nil {
		v.Reason, v.Detail = string(refusal.Reason), refusal.Detail
	}
	if unread == nil {
		unread = o.understand()
	}
	if unread != nil && !v.Refused() {
		v.Action, v.Reason, v.Detail = signing.Bury, "malformed_row", unread.Error()
	}
	return v
}
