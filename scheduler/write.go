package scheduler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/internal/store"
)

// row is an entry of stem.apply_schedules.
type row struct {
	ID          string            `json:"id"`
	Expected    int64             `json:"expected"`
	Version     int64             `json:"version"`
	Enabled     bool              `json:"enabled"`
	Spec        string            `json:"spec"`
	Zone        string            `json:"zone"`
	Policies    string            `json:"policies"`
	JitterUs    int64             `json:"jitter_us"`
	ExpireAt    *time.Time        `json:"expire_at"`
	Task        string            `json:"task"`
	Queue       string            `json:"queue"`
	Codec       string            `json:"codec"`
	Payload     []byte            `json:"payload"`
	Headers     map[string]string `json:"headers"`
	Priority    int               `json:"priority"`
	MaxAttempts int               `json:"max_attempts"`
	HardLimitUs *int64            `json:"hard_limit_us"`
	SoftLimitUs *int64            `json:"soft_limit_us"`
	Sig         []byte            `json:"sig"`
	SigKeyID    *string           `json:"sig_key_id"`
	SigAlg      *string           `json:"sig_alg"`
	Description *string           `json:"description"`
	NextAt      *time.Time        `json:"next_at"`
	DueAt       *time.Time        `json:"due_at"`
	KeepNext    bool              `json:"keep_next"`
	WasEnabled  *bool             `json:"was_enabled"` // null for a new one
}

// prepare signs an order as the version after the expected one; what is new in it is encrypted first.
func (t *Table) prepare(o *order, expected int64, seal bool) (row, error) {
	if seal {
		if err := o.seal(t.config.Encryption); err != nil {
			return row{}, fmt.Errorf("scheduler: %w", err)
		}
	}
	m := &o.message
	m.Version = expected + 1
	var err error
	if o.signature, err = t.config.Keys.Sign(m); err != nil {
		return row{}, fmt.Errorf("scheduler: schedule %q: %w", m.ID, err)
	}
	s := o.signature
	return row{
		ID: m.ID, Expected: expected, Version: m.Version, Enabled: m.Enabled, Spec: m.Spec, Zone: m.Zone, Policies: m.Policies,
		JitterUs: m.Jitter.Microseconds(), ExpireAt: set(m.End, m.End.IsZero()), Task: m.Task, Queue: m.Queue, Codec: m.Codec,
		Payload: append([]byte{}, m.Payload...), Headers: m.Headers, Priority: m.Priority, MaxAttempts: m.MaxAttempts,
		HardLimitUs: set(m.HardLimit.Microseconds(), m.HardLimit == 0), SoftLimitUs: set(m.SoftLimit.Microseconds(), m.SoftLimit == 0),
		Sig: s.Bytes, SigKeyID: set(s.KeyID, s.KeyID == ""), SigAlg: set(s.Algorithm, s.Algorithm == ""),
		Description: set(o.description, o.description == ""),
	}, nil
}

// set is null where there is nothing.
func set[T any](value T, none bool) *T {
	if none {
		return nil
	}
	return &value
}

// time says when a schedule is due next: after now, or where its timing stays as it is in the table.
func (r *row) time(t *Timing, enabled bool, now time.Time, keep bool) {
	r.KeepNext = keep
	if enabled && !keep {
		next := t.after(now)
		r.NextAt = set(next, next.IsZero())
		r.DueAt = set(t.due(next), next.IsZero())
	}
}

const applyBatch = 1000

// send writes rows in the caller's transaction.
func (t *Table) send(ctx context.Context, q *store.Queries, action, reason string, rows []row) error {
	for part := range slices.Chunk(rows, applyBatch) {
		entries, err := json.Marshal(part)
		if err != nil {
			return err
		}
		if err := q.ApplySchedules(ctx, entries, action, reason); err != nil {
			return err
		}
	}
	return nil
}

func (t *Table) inTx(ctx context.Context, action string, do func(*store.Queries) error) error {
	try := func() error {
		return pgx.BeginFunc(ctx, t.db, func(tx pgx.Tx) error { return do(store.Over(tx)) })
	}
	err := try()
	// Two that prune what the other one changes wait for each other. The other one goes on now, if it is given the time, and this one is told.
	for range 3 {
		if pg, is := errors.AsType[*pgconn.PgError](err); !is || pg.Code != "40P01" {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
			err = try()
		}
	}
	return wrap(action, err)
}
