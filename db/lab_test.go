package db_test

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/internal/store"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// A lab is one migrated database, its owner's pool, and connections of a worker's login.
type lab struct {
	url   string
	login string
	owner *pgxpool.Pool
	me    *pgx.Conn // the login's first connection
}

func open(t *testing.T) *lab {
	t.Helper()
	l := &lab{url: pgtest.Database(t)}
	l.login = pgtest.Login(t, l.url, "worker")
	owner, err := pgxpool.New(t.Context(), l.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(owner.Close)
	l.owner, l.me = owner, l.connect(t)
	return l
}

// connect opens one more connection of the worker.
func (l *lab) connect(t *testing.T) *pgx.Conn { t.Helper(); return dial(t, l.login) }

// as opens a connection of a login of its own that is a member of one role.
func (l *lab) as(t *testing.T, role string) *pgx.Conn {
	t.Helper()
	return dial(t, pgtest.Login(t, l.url, role))
}

// dial connects. The connection gives up on a lock after a minute, so that a wrong lock fails the test and does not hang it.
func dial(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	run(t, conn, "set lock_timeout = '1min'")
	return conn
}

func (l *lab) begin(t *testing.T) pgx.Tx {
	t.Helper()
	return begin(t, l.connect(t), pgx.ReadCommitted)
}

// beginAs begins a transaction of a login of its own that is a member of one role.
func (l *lab) beginAs(t *testing.T, role string) pgx.Tx {
	t.Helper()
	return begin(t, l.as(t, role), pgx.ReadCommitted)
}

// The helpers of package labtest under short names.
var (
	run        = labtest.Run
	begin      = labtest.Begin
	commit     = labtest.Commit
	rollback   = labtest.Rollback
	eventually = labtest.Eventually
	code       = labtest.Code
	wantCode   = labtest.WantCode
)

func one[T any](t *testing.T, db labtest.DB, query string, args ...any) T {
	t.Helper()
	return labtest.One[T](t, db, query, args...)
}

func column[T any](t *testing.T, db labtest.DB, query string, args ...any) []T {
	t.Helper()
	return labtest.Column[T](t, db, query, args...)
}

// mutate puts another body into a function: see labtest.Mutate.
func (l *lab) mutate(t *testing.T, function string, pairs ...string) {
	t.Helper()
	labtest.Mutate(t, l.owner, function, pairs...)
}

func pid(db store.DBTX) uint32 {
	switch c := db.(type) {
	case *pgx.Conn:
		return c.PgConn().PID()
	case pgx.Tx:
		return c.Conn().PgConn().PID()
	default:
		panic("a handle without a connection of its own")
	}
}

// gate is a CTE that stops a statement after its snapshot was taken, until the test opens the gate.
const gate = "gate as materialized (select pg_advisory_xact_lock_shared(4711))"

// closeGate takes the lock that gate waits for, and returns what opens it.
func (l *lab) closeGate(t *testing.T) (openGate func()) {
	t.Helper()
	conn, err := l.owner.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	run(t, conn.Conn(), "select pg_advisory_lock(4711)")
	done := false
	openGate = func() {
		if done {
			return
		}
		done = true
		_, err := conn.Conn().Exec(context.WithoutCancel(t.Context()), "select pg_advisory_unlock(4711)")
		conn.Release()
		if err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(openGate)
	return openGate
}

// awaitBlocked waits until the connection with that process id waits for a lock.
func (l *lab) awaitBlocked(t *testing.T, process uint32) {
	t.Helper()
	eventually(t, "a connection waits for a lock", func() bool { return labtest.Blocked(t, l.owner, process) })
}

// isBlocked tells whether the call waits for a lock: true as soon as it does, false when it ended.
func (l *lab) isBlocked(t *testing.T, process uint32, done <-chan struct{}) bool {
	t.Helper()
	return labtest.Blocks(t, l.owner, process, done)
}

func newID(t *testing.T) uuid.UUID {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id
}
