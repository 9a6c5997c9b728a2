package db_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/stemqueue/stem/internal/store"
)

func newIDs() uuid.UUID { return uuid.Must(uuid.NewV7()) }

func connectOwner(t *testing.T, l *lab) *pgx.Conn {
	t.Helper()
	conn, err := l.owner.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Release)
	return conn.Conn()
}

func oneJob(id uuid.UUID, changes ...func(*store.EnqueueOneParams)) store.EnqueueOneParams {
	p := store.EnqueueOneParams{
		ID: id, Task: "t", Queue: "default", Payload: []byte("{}"), Codec: "application/json", Priority: 5, MaxAttempts: 20,
		Origin: "app", IssuedAt: pgtype.Timestamptz{Time: time.Now(), Valid: true}, Wake: true,
	}
	for _, change := range changes {
		change(&p)
	}
	return p
}

func manyJobs(list ...uuid.UUID) store.EnqueueManyParams {
	n := len(list)
	return store.EnqueueManyParams{
		Ids: list, Tasks: repeat("t", n), Queues: repeat("default", n), Payloads: repeat([]byte("{}"), n), Codecs: repeat("application/json", n),
		Headers: make([]json.RawMessage, n), Priorities: repeat(int16(5), n), RunAts: make([]pgtype.Timestamptz, n), DelaysUs: make([]int64, n),
		NominalAts: make([]pgtype.Timestamptz, n), ExpiresAts: make([]pgtype.Timestamptz, n), MaxAttempts: repeat(int16(20), n),
		HardLimitsUs: make([]int64, n), SoftLimitsUs: make([]int64, n), UniqueKeys: make([][]byte, n), UniqueScopes: make([]int16, n),
		UniquePeriodsUs: make([]int64, n), Replace: make([]bool, n), Origins: repeat("app", n), PayloadVersions: make([]int32, n),
		GroupNames: make([]string, n), IssuedAts: repeat(pgtype.Timestamptz{Time: time.Now(), Valid: true}, n), Sigs: make([][]byte, n),
		SigKeyIds: make([]string, n), SigAlgs: make([]string, n), Wake: true,
	}
}
