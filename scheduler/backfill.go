package scheduler

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/stemqueue/stem/internal/store"
)

// BackfillCount counts what a backfill has done so far.
type BackfillCount struct {
	Instants   int64 // in the time that is asked about
	Enqueued   int64
	Had        int64 // had their job before
	Duplicates int64 // were not enqueued, because another job holds the unique key
}

// Backfill says how past instants are made up for.
type Backfill struct {
	From, To time.Time // both count; what is not past yet is left to the schedulers
	Reason   string
	DryRun   bool                // count only
	Progress func(BackfillCount) // after each transaction; nil means nobody looks
}

const backfillBatch = 500

// Backfill enqueues a job for each past instant of a schedule that has none: what was skipped, overlapped or rejected, and what was before
// the schedule was made. Each instant once, however often it is asked for, as long as the ledger remembers. The policies for missed runs and
// for the previous run do not apply. An error leaves whole batches done, and calling again goes on with the rest.
func (t *Table) Backfill(ctx context.Context, id string, b Backfill) (BackfillCount, error) {
	var done BackfillCount
	if b.To.Before(b.From) {
		return done, fmt.Errorf("scheduler: backfill: from %s is after to %s", b.From.Format(time.RFC3339), b.To.Format(time.RFC3339))
	}
	for from, more := b.From.Add(-time.Microsecond), true; more; {
		step, last := BackfillCount{}, time.Time{}
		err := t.locked(ctx, "backfill", id, func(tx pgx.Tx, o *order, now time.Time) error {
			step = BackfillCount{}
			at := pastInstants(&o.timing, from, earlier(b.To, now))
			more = len(at) == backfillBatch
			if len(at) == 0 {
				return nil
			}
			last = at[len(at)-1]
			f := filling{Table: t, ctx: ctx, tx: tx, order: o, reason: b.Reason, dryRun: b.DryRun}
			return f.fill(at, &step)
		})
		if err != nil {
			return done, err
		}
		from = last
		done.add(step)
		if b.Progress != nil && step.Instants > 0 {
			b.Progress(done)
		}
	}
	return done, nil
}

func (d *BackfillCount) add(s BackfillCount) {
	d.Instants += s.Instants
	d.Enqueued += s.Enqueued
	d.Had += s.Had
	d.Duplicates += s.Duplicates
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// pastInstants are the next ones after from, up to a batch, whose runs would have been due by to.
func pastInstants(t *Timing, from, to time.Time) []time.Time {
	var list []time.Time
	for at := t.after(from); len(list) < backfillBatch && !at.IsZero() && !t.due(at).After(to); at = t.after(at) {
		list = append(list, at)
	}
	return list
}

// filling is one transaction of a backfill.
type filling struct {
	*Table
	ctx    context.Context //nolint:containedctx // lives as long as the call
	tx     pgx.Tx
	order  *order
	reason string
	dryRun bool
}

func (f *filling) fill(at []time.Time, count *BackfillCount) error {
	id := f.order.message.ID
	had, err := store.Over(f.tx).RunsWithJobs(f.ctx, id, store.Stamp(at[0]), store.Stamp(at[len(at)-1]))
	if err != nil {
		return err
	}
	count.Instants, count.Had = int64(len(at)), int64(len(had))
	at = slices.DeleteFunc(at, func(t time.Time) bool {
		return slices.ContainsFunc(had, func(h pgtype.Timestamptz) bool { return h.Time.Equal(t) })
	})
	if f.dryRun {
		count.Enqueued = int64(len(at))
		return nil
	}
	if len(at) == 0 {
		return nil
	}
	requests, err := f.order.requests(f.queue, f.config.Encryption, at...)
	if err != nil {
		return err
	}
	receipts, err := f.queue.Enqueue(f.ctx, f.tx, requests...)
	if err != nil {
		return err
	}
	l := ledger{Action: "backfill", Reason: f.reason}
	for i, r := range receipts {
		if r.Duplicate {
			count.Duplicates++
			continue
		}
		count.Enqueued++
		l.add(id, at[i], Backfilled, r.ID, f.order.timing.Delay(at[i]), pgtype.Int8{}, "")
	}
	if len(l.Schedules) == 0 {
		return nil
	}
	return store.Over(f.tx).RecordRuns(f.ctx, store.RecordRunsParams(l))
}
