package db_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/internal/store"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// A lab is one migrated database, its owner's pool, and connections of a login that may only execute the functions.
type lab struct {
	url   string
	login string
	owner *pgxpool.Pool
	me    *pgx.Conn // the login's first connection
}

func open(t *testing.T) *lab {
	t.Helper()
	l := &lab{url: pgtest.Database(t)}
	l.login = pgtest.Login(t, l.url)
	owner, err := pgxpool.New(t.Context(), l.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(owner.Close)
	l.owner, l.me = owner, l.connect(t)
	return l
}

// connect opens one more connection of the login. It gives up on a lock after ten seconds, so that a wrong lock fails
// the test and does not hang it.
func (l *lab) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), l.login)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	run(t, conn, "set lock_timeout = '10s'")
	return conn
}

func (l *lab) begin(t *testing.T) pgx.Tx {
	t.Helper()
	return begin(t, l.connect(t), pgx.ReadCommitted)
}

func begin(t *testing.T, conn *pgx.Conn, level pgx.TxIsoLevel) pgx.Tx {
	t.Helper()
	tx, err := conn.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: level})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	return tx
}

func commit(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func rollback(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, db store.DBTX, query string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// one returns the single value of a query.
func one[T any](t *testing.T, db store.DBTX, query string, args ...any) T {
	t.Helper()
	var v T
	if err := db.QueryRow(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

func column[T any](t *testing.T, db store.DBTX, query string, args ...any) []T {
	t.Helper()
	rows, err := db.Query(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return list
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

// mutate puts another body into a function of this database: the form that a test says it would catch, or a gate in the
// middle of a statement. The text that is replaced must be there.
func (l *lab) mutate(t *testing.T, function string, pairs ...string) {
	t.Helper()
	text := one[string](t, l.owner, "select pg_get_functiondef($1::regproc)", "stem."+function)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("stem.%s does not contain %q any more: adapt this mutation", function, pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	run(t, l.owner, text)
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

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// awaitBlocked waits until the connection with that process id waits for a lock.
func (l *lab) awaitBlocked(t *testing.T, process uint32) {
	t.Helper()
	eventually(t, "a connection waits for a lock", func() bool {
		return one[bool](t, l.owner, "select exists (select from pg_locks where pid = $1 and not granted)", process)
	})
}

// pending is a call on another connection that is still running.
type pending[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func start[T any](call func() (T, error)) *pending[T] {
	p := &pending[T]{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.value, p.err = call()
	}()
	return p
}

func (p *pending[T]) wait(t *testing.T) T {
	t.Helper()
	<-p.done
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.value
}

// isBlocked tells whether the call waits for a lock: true as soon as it does, false when it ended.
func (l *lab) isBlocked(t *testing.T, process uint32, done <-chan struct{}) bool {
	t.Helper()
	blocked := false
	eventually(t, "the call ends or blocks", func() bool {
		select {
		case <-done:
			return true
		default:
		}
		blocked = one[bool](t, l.owner, "select exists (select from pg_locks where pid = $1 and not granted)", process)
		return blocked
	})
	return blocked
}

func code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

func wantCode(t *testing.T, err error, want string) {
	t.Helper()
	if got := code(err); got != want {
		t.Fatalf("got code %q (%v), want %q", got, err, want)
	}
}

func newID(t *testing.T) uuid.UUID {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id
}
