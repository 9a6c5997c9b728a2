package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/store"
)

// A Result says what became of one job. Done means that the action did something; Outcome says what, or why not:
//
//	cancelled   Cancel: it was waiting, and will not run
//	running     Cancel: its worker was asked to stop it (Done); elsewhere: it runs, nothing was done
//	replayed    Replay, Retry: back from the dead letters
//	due         Retry: it was waiting for a retry and is due now
//	reissued    Reissue: gone; the job in Successor is enqueued in its stead
//	purged      PurgeDead: gone
//	ready, scheduled, dead, finished, unknown   what the job is: nothing was done
//	duplicate   Replay, Retry, Reissue: the job in Holder has its unique key
//	expired, envelope_missing   Replay, Retry, Reissue: it would not run
//	needs_resign   Replay, Retry, Reissue: its signature was refused, and nobody says that it was reviewed: see Edit
//	invalid     Reissue: the producer does not take it; Detail says why
//	busy        another transaction holds the job, a second long: try later
type Result struct {
	ID        uuid.UUID
	Outcome   string
	Done      bool
	Holder    uuid.UUID
	Successor uuid.UUID
	Detail    string // for people, where the outcome does not say it all
}

// A Bulk says how a bulk action goes about it.
type Bulk struct {
	Reason   string         // for the audit log
	Delay    time.Duration  // ReplayAll: when they are due
	Batch    int            // jobs in one transaction, 1 to 10 000; zero means 500
	Progress func(Progress) // called after each batch, from the same goroutine; nil means nobody looks
}

// Progress counts what a bulk action has done so far.
type Progress struct {
	Seen     int64            // jobs that matched
	Done     int64            // of these, acted upon
	Outcomes map[string]int64 // by Result.Outcome
}

const (
	batchSize = 500
	maxBatch  = 10_000
)

// Cancel takes waiting jobs out of the line and asks the workers of running ones to stop them. More than 10 000 ids go in several
// transactions, unless the handle is one; on an error it returns what was done before.
func (p *Plane) Cancel(ctx context.Context, reason string, ids ...uuid.UUID) ([]Result, error) {
	return p.each(ctx, "cancel", ids, func(q *store.Queries, ids []uuid.UUID) ([]Result, error) {
		rows, err := q.Cancel(ctx, ids, reason)
		return results(rows, func(r *store.CancelRow) Result { return result(r.JobID, r.Result, "cancelled", "running") }), err
	})
}

// Retry makes jobs run now: dead letters are replayed, those that wait for a retry become due. Others are left alone.
func (p *Plane) Retry(ctx context.Context, reason string, ids ...uuid.UUID) ([]Result, error) {
	return p.each(ctx, "retry", ids, func(q *store.Queries, ids []uuid.UUID) ([]Result, error) {
		rows, err := q.RetryNow(ctx, ids, reason)
		return results(rows, func(r *store.RetryNowRow) Result { return result(r.JobID, r.Result, "replayed", "due") }), err
	})
}

// Replay puts dead letters back in the line, due after delay: the same id and envelope, and so the same signature, one generation
// more, counters at zero but for the attempt. Their unique keys are taken again; one whose key is taken stays where it is.
func (p *Plane) Replay(ctx context.Context, reason string, delay time.Duration, ids ...uuid.UUID) ([]Result, error) {
	return p.each(ctx, "replay", ids, func(q *store.Queries, ids []uuid.UUID) ([]Result, error) {
		rows, err := q.Replay(ctx, ids, delay.Microseconds(), reason)
		return results(rows, func(r *store.ReplayRow) Result { return result(r.JobID, r.Result, "replayed") }), err
	})
}

// PurgeDead forgets dead letters for good.
func (p *Plane) PurgeDead(ctx context.Context, reason string, ids ...uuid.UUID) ([]Result, error) {
	return p.each(ctx, "purge dead letters", ids, func(q *store.Queries, ids []uuid.UUID) ([]Result, error) {
		rows, err := q.PurgeDead(ctx, ids, reason)
		return results(rows, func(r *store.PurgeDeadRow) Result { return result(r.JobID, r.Result, "purged") }), err
	})
}

// CancelAll cancels every job that the filter lists; without States these are the ready, scheduled and running ones. A job that
// begins to run between the list and its batch is asked to stop. An error or a cancelled context leaves whole batches done:
// calling again goes on with the rest.
func (p *Plane) CancelAll(ctx context.Context, f Filter, b Bulk) (Progress, error) {
	live := []string{"ready", "scheduled", "running"}
	if f.States == nil {
		f.States = live
	}
	for _, s := range f.States {
		if !slices.Contains(live, s) {
			return Progress{}, fmt.Errorf("control: cancel: jobs that are %q cannot be cancelled, only %s", s, strings.Join(live, ", "))
		}
	}
	return b.run(func(size int) ([]uuid.UUID, bool, error) {
		rows, next, err := p.jobPage(ctx, f, size)
		f.Before = next
		ids := make([]uuid.UUID, 0, len(rows))
		for _, r := range rows {
			ids = append(ids, r.JobID)
		}
		return ids, next != uuid.Nil, err
	}, func(ids []uuid.UUID) ([]Result, error) { return p.Cancel(ctx, b.Reason, ids...) })
}

// ReplayAll replays every dead letter that the filter lists, the latest first. One that dies again meanwhile is not met again.
// It can be called again after an error, and goes on with the rest; set Until to the start to leave out what died since.
func (p *Plane) ReplayAll(ctx context.Context, f DeadFilter, b Bulk) (Progress, error) {
	return b.run(p.deadPages(ctx, f), func(ids []uuid.UUID) ([]Result, error) { return p.Replay(ctx, b.Reason, b.Delay, ids...) })
}

// PurgeDeadAll forgets every dead letter that the filter lists. It can be called again after an error, and goes on with the rest.
func (p *Plane) PurgeDeadAll(ctx context.Context, f DeadFilter, b Bulk) (Progress, error) {
	return b.run(p.deadPages(ctx, f), func(ids []uuid.UUID) ([]Result, error) { return p.PurgeDead(ctx, b.Reason, ids...) })
}

func (p *Plane) deadPages(ctx context.Context, f DeadFilter) func(int) ([]uuid.UUID, bool, error) {
	return func(size int) ([]uuid.UUID, bool, error) {
		page, err := p.deadPage(ctx, f, size)
		ids := make([]uuid.UUID, 0, len(page))
		for _, d := range page {
			ids = append(ids, d.ID)
			f.BeforeDiedAt, f.BeforeID = d.DiedAt, d.ID
		}
		return ids, len(page) == size, err
	}
}

// run pages through a list and acts on each page. The cursor is past a page before it is acted upon, so what stays in the list
// (a duplicate, a busy one) does not hold up the rest.
func (b Bulk) run(page func(size int) (ids []uuid.UUID, more bool, err error), act func([]uuid.UUID) ([]Result, error)) (Progress, error) {
	size, err := b.size()
	if err != nil {
		return Progress{}, err
	}
	done := Progress{Outcomes: map[string]int64{}}
	for more := true; more; {
		var ids []uuid.UUID
		if ids, more, err = page(size); err != nil {
			return done, err
		}
		if len(ids) == 0 {
			continue
		}
		list, err := act(ids)
		done.add(list)
		if err != nil {
			return done, err
		}
		b.report(done)
	}
	return done, nil
}

func (b Bulk) size() (int, error) {
	if b.Batch < 0 || b.Batch > maxBatch {
		return 0, fmt.Errorf("control: a batch of %d is out of range: 1 to %d", b.Batch, maxBatch)
	}
	if b.Batch == 0 {
		return batchSize, nil
	}
	return b.Batch, nil
}

// report hands out a copy, because the next batch changes the map.
func (b Bulk) report(done Progress) {
	if b.Progress != nil {
		done.Outcomes = maps.Clone(done.Outcomes)
		b.Progress(done)
	}
}

func (d *Progress) add(list []Result) {
	for _, r := range list {
		d.Seen++
		d.Outcomes[r.Outcome]++
		if r.Done {
			d.Done++
		}
	}
}

// each acts on ids in batches, each in a transaction of its own where the handle allows. What was busy is asked again, once all
// the rest is done: mostly a claim or another operator's batch had it, and that takes milliseconds.
func (p *Plane) each(ctx context.Context, action string, ids []uuid.UUID, call func(*store.Queries, []uuid.UUID) ([]Result, error)) ([]Result, error) {
	var all []Result
	for round := 1; ; round++ {
		for batch := range slices.Chunk(ids, maxBatch) {
			var list []Result
			err := p.act(ctx, func(q *store.Queries) (err error) {
				list, err = call(q, batch)
				return err
			})
			if err != nil {
				return all, wrap(action, err)
			}
			all = append(all, list...)
		}
		busy := func(r Result) bool { return r.Outcome == "busy" }
		if _, own := p.own(); !own || round == 3 || !slices.ContainsFunc(all, busy) {
			return all, nil
		}
		if err := pause(ctx, time.Duration(round)*50*time.Millisecond); err != nil {
			return all, wrap(action, err)
		}
		ids = ids[:0:0]
		for _, r := range all {
			if busy(r) {
				ids = append(ids, r.ID)
			}
		}
		all = slices.DeleteFunc(all, busy)
	}
}

func results[R any](rows []R, f func(R) Result) []Result {
	list := make([]Result, 0, len(rows))
	for _, r := range rows {
		list = append(list, f(r))
	}
	return list
}

func result(id uuid.UUID, outcome string, done ...string) Result {
	r := Result{ID: id, Outcome: outcome, Done: slices.Contains(done, outcome)}
	if holder, ok := strings.CutPrefix(outcome, "duplicate of "); ok {
		r.Outcome = "duplicate"
		r.Holder, _ = uuid.Parse(holder) // the database's own uuid
	}
	return r
}
