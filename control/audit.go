package control

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/stemqueue/stem/internal/store"
)

// An AuditFilter says which rows of the audit log. The zero AuditFilter means all of them.
type AuditFilter struct {
	Action string
	Actor  string
	Target string
	Since  time.Time // included
	Until  time.Time // excluded
	Before int64     // a cursor: only ids below this one, which was the last of another list
}

// An AuditEntry says who did what, to what, and why.
type AuditEntry struct {
	ID          int64
	At          time.Time
	Actor       string // the login
	Application string // its application_name
	Action      string // cancel, retry, replay, purge_dead, purge_queue, pause, resume, …
	Target      string // "job <id>", "12 jobs", "queue mail"
	Reason      string
	Affected    int64
	Detail      json.RawMessage // an object; for jobs, "jobs" has each id with what became of it
}

// Audit lists the audit log, newest first, a page at a time.
func (p *Plane) Audit(ctx context.Context, f AuditFilter) iter.Seq2[AuditEntry, error] {
	return func(yield func(AuditEntry, error) bool) {
		for {
			rows, err := p.queries.ListAudit(ctx, store.ListAuditParams{
				Action: f.Action, Actor: f.Actor, Target: f.Target, Since: store.Stamp(f.Since), Until: store.Stamp(f.Until),
				Before: f.Before, Max: pageSize,
			})
			if err != nil {
				yield(AuditEntry{}, wrap("list the audit log", err))
				return
			}
			for _, r := range rows {
				if !yield(AuditEntry{
					ID: r.ID, At: store.Instant(r.At), Actor: r.Actor, Application: r.Application, Action: r.Action, Target: r.Target,
					Reason: r.Reason, Affected: r.Affected, Detail: r.Detail,
				}, nil) {
					return
				}
				f.Before = r.ID
			}
			if len(rows) < pageSize {
				return
			}
		}
	}
}
