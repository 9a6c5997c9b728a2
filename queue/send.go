package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/stemqueue/stem/internal/store"
)

// send calls the one function for one job, the other for many, in pieces where there are very many; the first is faster than arrays of one.
func (q *Queue) send(ctx context.Context, db DB, jobs []built) ([]Receipt, error) {
	started := time.Now()
	var receipts []Receipt
	var serverTime time.Time
	conn, err := pipelineFor(ctx, db, jobs)
	if err != nil {
		return nil, q.translate(err)
	}
	switch {
	case len(jobs) == 1:
		row, err := store.Over(db).EnqueueOne(ctx, oneParams(&jobs[0]))
		if err != nil {
			return nil, q.translate(err)
		}
		receipts, serverTime = []Receipt{{ID: row.JobID, Duplicate: row.Duplicate, XID: row.Xid}}, row.ServerTime.Time
	case conn != nil:
		all, row, err := sendPieces(ctx, conn, jobs)
		if err != nil {
			return nil, q.translate(err)
		}
		receipts, serverTime = all, row.ServerTime.Time
	default:
		row, err := store.Over(db).EnqueueMany(ctx, manyParams(jobs))
		if err != nil {
			return nil, q.translate(err)
		}
		if receipts, err = manyReceipts(jobs, row); err != nil {
			return nil, err
		}
		serverTime = row.ServerTime.Time
	}
	// The server read its clock somewhere in between: half the round trip is the best guess.
	q.offset.Store(int64(serverTime.Sub(started.Add(time.Since(started) / 2))))
	return receipts, nil
}

// manyReceipts reads who stands for each job: nobody else, when the server names none. The list comes as text, since
// database/sql cannot scan an array.
func manyReceipts(jobs []built, row *store.EnqueueManyRow) ([]Receipt, error) {
	receipts := make([]Receipt, len(jobs))
	for i := range jobs {
		receipts[i] = Receipt{ID: jobs[i].envelope.ID, XID: row.Xid}
	}
	if row.Holders == "" {
		return receipts, nil
	}
	holders := strings.Split(row.Holders, ",")
	if len(holders) != len(jobs) {
		return nil, fmt.Errorf("the server answered for %d jobs of %d", len(holders), len(jobs))
	}
	for i, text := range holders {
		holder, err := uuid.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("the server named job %q: %w", text, err)
		}
		receipts[i].Duplicate = holder != receipts[i].ID
		receipts[i].ID = holder
	}
	return receipts, nil
}

// translate turns the server's answer into this package's conditions, and learns the server's time from ST002.
func (q *Queue) translate(err error) error {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	switch {
	case pg.Code == "ST002":
		var seconds float64
		if _, scanErr := fmt.Sscanf(pg.Detail, "server_time=%g", &seconds); scanErr == nil {
			q.offset.Store(int64(time.Until(time.UnixMicro(int64(seconds * 1e6)))))
		}
		return fmt.Errorf("%w: %w", ErrClock, err)
	case pg.Code == "23505" && strings.HasPrefix(pg.ConstraintName, "jobs_"):
		return fmt.Errorf("%w: %w", ErrDuplicateID, err)
	case pg.Code == "25P02":
		return fmt.Errorf("%w: %w", ErrTxAborted, err)
	default:
		return err
	}
}

func headerJSON(headers map[string]string) []byte {
	if len(headers) == 0 {
		return nil
	}
	b, err := json.Marshal(headers)
	if err != nil {
		panic(err) // a map of strings
	}
	return b
}

func oneParams(b *built) store.EnqueueOneParams {
	e, s := &b.envelope, b.spec
	return store.EnqueueOneParams{
		ID: e.ID, Task: e.Task, Queue: e.Queue, Payload: e.Payload, Codec: e.Codec, Headers: headerJSON(e.Headers),
		Priority: int16(e.Priority), MaxAttempts: int16(e.MaxAttempts), //nolint:gosec // checked by problems
		RunAt: store.Stamp(e.RunAt), DelayUs: e.Delay.Microseconds(), NominalAt: store.Stamp(e.NominalAt), ExpiresAt: store.Stamp(e.ExpiresAt),
		HardLimitUs: e.HardLimit.Microseconds(), SoftLimitUs: e.SoftLimit.Microseconds(),
		UniqueKey: e.UniqueKey, UniqueScope: int16(s.uniqueScope), UniquePeriodUs: s.uniquePeriod.Microseconds(), Replace: s.replace,
		Origin: e.Origin, PayloadVersion: int32(e.PayloadVersion), GroupName: e.Group, IssuedAt: store.Stamp(e.IssuedAt), //nolint:gosec // checked
		Sig: e.Signature.Bytes, SigKeyID: e.Signature.KeyID, SigAlg: e.Signature.Algorithm, Wake: !s.silent,
	}
}

// manyParams makes a column of each field. What all jobs have in common is sent once, what none has not at all.
func manyParams(jobs []built) store.EnqueueManyParams {
	p := store.EnqueueManyParams{
		Ids: make([]uuid.UUID, len(jobs)), Payloads: make([][]byte, len(jobs)),
		Tasks:           column(jobs, func(b *built) string { return b.envelope.Task }),
		Queues:          column(jobs, func(b *built) string { return b.envelope.Queue }),
		Codecs:          column(jobs, func(b *built) string { return b.envelope.Codec }),
		Priorities:      column(jobs, func(b *built) int16 { return int16(b.envelope.Priority) }), //nolint:gosec // checked by problems
		RunAts:          column(jobs, func(b *built) pgtype.Timestamptz { return store.Stamp(b.envelope.RunAt) }),
		DelaysUs:        column(jobs, func(b *built) int64 { return b.envelope.Delay.Microseconds() }),
		NominalAts:      column(jobs, func(b *built) pgtype.Timestamptz { return store.Stamp(b.envelope.NominalAt) }),
		ExpiresAts:      column(jobs, func(b *built) pgtype.Timestamptz { return store.Stamp(b.envelope.ExpiresAt) }),
		MaxAttempts:     column(jobs, func(b *built) int16 { return int16(b.envelope.MaxAttempts) }), //nolint:gosec // checked by problems
		HardLimitsUs:    column(jobs, func(b *built) int64 { return b.envelope.HardLimit.Microseconds() }),
		SoftLimitsUs:    column(jobs, func(b *built) int64 { return b.envelope.SoftLimit.Microseconds() }),
		Origins:         column(jobs, func(b *built) string { return b.envelope.Origin }),
		PayloadVersions: column(jobs, func(b *built) int32 { return int32(b.envelope.PayloadVersion) }), //nolint:gosec // checked by problems
		GroupNames:      column(jobs, func(b *built) string { return b.envelope.Group }),
		IssuedAts:       column(jobs, func(b *built) pgtype.Timestamptz { return store.Stamp(b.envelope.IssuedAt) }),
		SigKeyIds:       column(jobs, func(b *built) string { return b.envelope.Signature.KeyID }),
		SigAlgs:         column(jobs, func(b *built) string { return b.envelope.Signature.Algorithm }),
	}
	var headers, signed, unique bool
	for i := range jobs {
		e := &jobs[i].envelope
		p.Ids[i], p.Payloads[i] = e.ID, e.Payload
		headers, signed, unique = headers || len(e.Headers) > 0, signed || e.Signature.Bytes != nil, unique || e.UniqueKey != nil
		p.Wake = p.Wake || !jobs[i].spec.silent
	}
	if headers {
		p.Headers = each(jobs, func(b *built) json.RawMessage { return headerJSON(b.envelope.Headers) })
	}
	if signed {
		p.Sigs = each(jobs, func(b *built) []byte { return b.envelope.Signature.Bytes })
	}
	if unique {
		p.UniqueKeys = each(jobs, func(b *built) []byte { return b.envelope.UniqueKey })
		p.UniqueScopes = each(jobs, func(b *built) int16 { return int16(b.spec.uniqueScope) })
		p.UniquePeriodsUs = each(jobs, func(b *built) int64 { return b.spec.uniquePeriod.Microseconds() })
		p.Replace = each(jobs, func(b *built) bool { return b.spec.replace })
	}
	return p
}

// column is each, or one value when all are alike, or nil when that is the zero value: stem.enqueue_many knows these forms.
func column[T comparable](jobs []built, field func(*built) T) []T {
	first := field(&jobs[0])
	for i := range jobs {
		if field(&jobs[i]) != first {
			return each(jobs, field)
		}
	}
	if first == *new(T) {
		return nil
	}
	return []T{first}
}

func each[T any](jobs []built, field func(*built) T) []T {
	list := make([]T, len(jobs))
	for i := range jobs {
		list[i] = field(&jobs[i])
	}
	return list
}
