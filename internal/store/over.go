// Package store holds the calls of the functions of schema stem. sqlc generates it from db/queries, but for this file.
package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Over is New for handles of any query mode. In pgx's mode exec, which poolers need, nobody asks the server for the types of
// the arguments, and pgx itself knows no array of google's UUIDs.
func Over(db DBTX) *Queries { return New(known{db}) }

// known passes arguments on in types that every pgx connection knows.
type known struct{ db DBTX }

func (k known) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return k.db.Exec(ctx, sql, translate(args)...)
}

func (k known) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return k.db.Query(ctx, sql, translate(args)...) //nolint:rowserrcheck // the caller looks
}

func (k known) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return k.db.QueryRow(ctx, sql, translate(args)...)
}

func translate(args []any) []any {
	for i, arg := range args {
		ids, ok := arg.([]uuid.UUID)
		if !ok || ids == nil {
			continue
		}
		list := make([]pgtype.UUID, len(ids))
		for j, id := range ids {
			list[j] = pgtype.UUID{Bytes: id, Valid: true}
		}
		args[i] = list
	}
	return args
}

// ClaimEach is Claim for a worker: it shows each row to take and keeps none, which is 1.3 kB less for the garbage collector of
// every job that is run. The row is overwritten by the next; what its slices point to is not.
func (q *Queries) ClaimEach(ctx context.Context, p ClaimParams, take func(*ClaimRow)) error {
	rows, err := q.db.Query(ctx, claim,
		p.Worker, p.Epoch, p.Claim, p.Seq, p.Total, p.Queues, p.Limits, p.First, p.Last, p.Lanes, p.Lows)
	if err != nil {
		return err
	}
	defer rows.Close()
	var r ClaimRow
	into := []any{
		&r.Queue, &r.Lane, &r.Pos, &r.JobID, &r.Attempt, &r.Failures, &r.Crashes, &r.Releases, &r.Generation, &r.ClaimedAt, &r.Xid,
		&r.Expired, &r.Task, &r.EnvelopeQueue, &r.Payload, &r.Codec, &r.Headers, &r.Priority, &r.RunAt, &r.DelayUs, &r.NominalAt,
		&r.ExpiresAt, &r.MaxAttempts, &r.HardLimitUs, &r.SoftLimitUs, &r.UniqueKey, &r.Origin, &r.PayloadVersion, &r.GroupName,
		&r.IssuedAt, &r.CreatedAt, &r.Sig, &r.SigKeyID, &r.SigAlg,
	}
	for rows.Next() {
		r = ClaimRow{}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		take(&r)
	}
	return rows.Err()
}

// What stem.claim leaves out, because nearly all jobs have it.
const (
	UsualCodec  = "application/json"
	UsualOrigin = "app"
)

// EnqueueManyCall is EnqueueMany for who sends it himself: the statement, and its arguments in types that every pgx connection knows.
func EnqueueManyCall(p EnqueueManyParams) (sql string, args []any) {
	return enqueueMany, translate([]any{
		p.Ids, p.Tasks, p.Queues, p.Payloads, p.Codecs, p.Headers, p.Priorities, p.RunAts, p.DelaysUs, p.NominalAts, p.ExpiresAts,
		p.MaxAttempts, p.HardLimitsUs, p.SoftLimitsUs, p.UniqueKeys, p.UniqueScopes, p.UniquePeriodsUs, p.Replace, p.Origins,
		p.PayloadVersions, p.GroupNames, p.IssuedAts, p.Sigs, p.SigKeyIds, p.SigAlgs, p.Wake,
	})
}

// Instant turns a column into a time in UTC, zero for null.
func Instant(t pgtype.Timestamptz) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.Time.UTC()
}

// Stamp turns a time into an argument, null for zero.
func Stamp(t time.Time) pgtype.Timestamptz { return pgtype.Timestamptz{Time: t, Valid: !t.IsZero()} }

// Span turns a column of microseconds into a length of time.
func Span(us int64) time.Duration { return time.Duration(us) * time.Microsecond }
