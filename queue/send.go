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

// send calls the one function for one job, the other for many; the first is faster than arrays of one.
func (q *Queue) send(ctx context.Context, db DB, jobs []built) ([]Receipt, error) {
	started := time.Now()
	var receipts []Receipt
	var serverTime time.Time
	if len(jobs) == 1 {
		row, err := store.Over(db).EnqueueOne(ctx, oneParams(&jobs[0]))
		if err != nil {
			return nil, q.translate(err)
		}
		receipts, serverTime = []Receipt{{ID: row.JobID, Duplicate: row.Duplicate, XID: row.Xid}}, row.ServerTime.Time
	} else {
		rows, err := store.Over(db).EnqueueMany(ctx, manyParams(jobs))
		if err != nil {
			return nil, q.translate(err)
		}
		if len(rows) != len(jobs) {
			return nil, fmt.Errorf("the server answered for %d jobs of %d", len(rows), len(jobs))
		}
		receipts = make([]Receipt, len(rows))
		for i, row := range rows {
			receipts[i] = Receipt{ID: row.JobID, Duplicate: row.Duplicate, XID: row.Xid}
		}
		serverTime = rows[0].ServerTime.Time
	}
	// The server read its clock somewhere in between: half the round trip is the best guess.
	q.offset.Store(int64(serverTime.Sub(started.Add(time.Since(started) / 2))))
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

func stamp(t time.Time) pgtype.Timestamptz { return pgtype.Timestamptz{Time: t, Valid: !t.IsZero()} }

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
		RunAt: stamp(e.RunAt), DelayUs: e.Delay.Microseconds(), NominalAt: stamp(e.NominalAt), ExpiresAt: stamp(e.ExpiresAt),
		HardLimitUs: e.HardLimit.Microseconds(), SoftLimitUs: e.SoftLimit.Microseconds(),
		UniqueKey: e.UniqueKey, UniqueScope: int16(s.uniqueScope), UniquePeriodUs: s.uniquePeriod.Microseconds(), Replace: s.replace,
		Origin: e.Origin, PayloadVersion: int32(e.PayloadVersion), GroupName: e.Group, IssuedAt: stamp(e.IssuedAt), //nolint:gosec // checked
		Sig: e.Signature.Bytes, SigKeyID: e.Signature.KeyID, SigAlg: e.Signature.Algorithm, Wake: !s.silent,
	}
}

func manyParams(jobs []built) store.EnqueueManyParams {
	n := len(jobs)
	p := store.EnqueueManyParams{
		Ids: make([]uuid.UUID, n), Tasks: make([]string, n), Queues: make([]string, n), Payloads: make([][]byte, n),
		Codecs: make([]string, n), Headers: make([]json.RawMessage, n), Priorities: make([]int16, n), RunAts: make([]pgtype.Timestamptz, n),
		DelaysUs: make([]int64, n), NominalAts: make([]pgtype.Timestamptz, n), ExpiresAts: make([]pgtype.Timestamptz, n),
		MaxAttempts: make([]int16, n), HardLimitsUs: make([]int64, n), SoftLimitsUs: make([]int64, n), UniqueKeys: make([][]byte, n),
		UniqueScopes: make([]int16, n), UniquePeriodsUs: make([]int64, n), Replace: make([]bool, n), Origins: make([]string, n),
		PayloadVersions: make([]int32, n), GroupNames: make([]string, n), IssuedAts: make([]pgtype.Timestamptz, n),
		Sigs: make([][]byte, n), SigKeyIds: make([]string, n), SigAlgs: make([]string, n),
	}
	for i := range jobs {
		one := oneParams(&jobs[i])
		p.Ids[i], p.Tasks[i], p.Queues[i], p.Payloads[i] = one.ID, one.Task, one.Queue, one.Payload
		p.Codecs[i], p.Headers[i], p.Priorities[i], p.RunAts[i] = one.Codec, one.Headers, one.Priority, one.RunAt
		p.DelaysUs[i], p.NominalAts[i], p.ExpiresAts[i] = one.DelayUs, one.NominalAt, one.ExpiresAt
		p.MaxAttempts[i], p.HardLimitsUs[i], p.SoftLimitsUs[i] = one.MaxAttempts, one.HardLimitUs, one.SoftLimitUs
		p.UniqueKeys[i], p.UniqueScopes[i], p.UniquePeriodsUs[i] = one.UniqueKey, one.UniqueScope, one.UniquePeriodUs
		p.Replace[i], p.Origins[i], p.PayloadVersions[i] = one.Replace, one.Origin, one.PayloadVersion
		p.GroupNames[i], p.IssuedAts[i], p.Sigs[i] = one.GroupName, one.IssuedAt, one.Sig
		p.SigKeyIds[i], p.SigAlgs[i] = one.SigKeyID, one.SigAlg
		p.Wake = p.Wake || one.Wake
	}
	return p
}
