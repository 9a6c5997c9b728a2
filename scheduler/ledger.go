package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/stemqueue/stem/internal/store"
)

// ledger collects rows of stem.schedule_runs.
type ledger store.RecordRunsParams

func (l *ledger) add(schedule string, at time.Time, o Outcome, job uuid.UUID, jitter time.Duration, drift pgtype.Int8, note string) {
	l.Schedules = append(l.Schedules, schedule)
	l.Nominals = append(l.Nominals, store.Stamp(at))
	l.Outcomes = append(l.Outcomes, string(o))
	l.Jobs = append(l.Jobs, job)
	l.JittersUs = append(l.JittersUs, jitter.Microseconds())
	l.DriftsUs = append(l.DriftsUs, drift)
	l.Notes = append(l.Notes, clip(note))
}

// record writes what became of each instant.
func (f *firing) record(ctx context.Context) error {
	var l ledger
	for _, d := range f.due {
		for i, r := range d.decision.runs {
			jitter := d.order.timing.Delay(r.at)
			var drift pgtype.Int8
			if r.fires {
				late := f.now.Sub(r.at.Add(jitter))
				drift = pgtype.Int8{Int64: late.Microseconds(), Valid: true}
				if late > f.config.Tolerance {
					f.log.WarnContext(ctx, "schedule fired late", "schedule", d.row.ID, "nominal_at", r.at, "drift", late, "job_id", d.jobs[i])
				}
			}
			l.add(d.row.ID, r.at, r.outcome, d.jobs[i], jitter, drift, r.note)
		}
	}
	if len(l.Schedules) == 0 {
		return nil
	}
	return f.db.RecordRuns(ctx, store.RecordRunsParams(l))
}

// advance moves the schedules on. One of which more instants are due than were decided is due again now, and goes behind the others.
func (f *firing) advance(ctx context.Context) error {
	var p store.AdvanceSchedulesParams
	for _, d := range f.due {
		if due := d.decision.due; !due.IsZero() && due.Before(f.now) {
			d.decision.due = f.now
		}
		var last time.Time
		var lastJob uuid.UUID
		fired := int32(0)
		for i, r := range d.decision.runs {
			if r.at.After(last) {
				last = r.at
			}
			if r.fires {
				lastJob, fired = d.jobs[i], fired+1
			}
		}
		refused := ""
		if d.instead != nil && d.instead.outcome == Rejected {
			refused = clip(d.instead.why)
		}
		p.Ids = append(p.Ids, d.row.ID)
		p.Versions = append(p.Versions, d.row.Version)
		p.NextAts = append(p.NextAts, store.Stamp(d.decision.next))
		p.DueAts = append(p.DueAts, store.Stamp(d.decision.due))
		p.LastAts = append(p.LastAts, store.Stamp(last))
		p.QueuedAts = append(p.QueuedAts, store.Stamp(d.decision.queued))
		p.LastJobs = append(p.LastJobs, lastJob)
		p.Fired = append(p.Fired, fired)
		p.Paused = append(p.Paused, d.paused)
		p.Refused = append(p.Refused, refused)
		p.Failed = append(p.Failed, d.failed)
	}
	moved, err := f.db.AdvanceSchedules(ctx, p)
	if err == nil && int(moved) != len(f.due) {
		err = fmt.Errorf("scheduler: %d of %d locked schedules were moved on", moved, len(f.due))
	}
	return err
}
