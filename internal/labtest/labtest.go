// Package labtest is what tests of the SQL functions share: short ways to ask a database, calls that run while another
// transaction holds something, and mutants.
//
// A test of a race puts the obvious form of a function back into its own database (Mutate), runs the race, and expects that
// form to fail: so it is known to see what it says it sees.
package labtest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// DB is a pool, a connection or a transaction.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Run executes a statement.
func Run(t *testing.T, db DB, query string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), query, args...); err != nil {
		t.Fatalf("%.200s: %v", query, err)
	}
}

// One returns the single value of a query.
func One[T any](t *testing.T, db DB, query string, args ...any) T {
	t.Helper()
	var v T
	if err := db.QueryRow(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%.200s: %v", query, err)
	}
	return v
}

// Column returns the values of a query with one column.
func Column[T any](t *testing.T, db DB, query string, args ...any) []T {
	t.Helper()
	rows, err := db.Query(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%.200s: %v", query, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%.200s: %v", query, err)
	}
	return list
}

// Begin begins a transaction, which is rolled back at the end of the test unless it has ended by then.
func Begin(t *testing.T, conn *pgx.Conn, level pgx.TxIsoLevel) pgx.Tx {
	t.Helper()
	tx, err := conn.BeginTx(t.Context(), pgx.TxOptions{IsoLevel: level})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	return tx
}

// Commit commits.
func Commit(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Rollback rolls back.
func Rollback(t *testing.T, tx pgx.Tx) {
	t.Helper()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// Code is the SQLSTATE of an error, or nothing.
func Code(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// WantCode stops the test unless the error has that SQLSTATE.
func WantCode(t *testing.T, err error, want string) {
	t.Helper()
	if got := Code(err); got != want {
		t.Fatalf("got code %q (%v), want %q", got, err, want)
	}
}

// Mutate puts another body into a function of schema stem, in this database: the form that a test says it would catch, or a
// gate in the middle of a statement. It replaces the first of each pair of texts, which must be there, by the second.
func Mutate(t *testing.T, owner DB, function string, pairs ...string) {
	t.Helper()
	text := One[string](t, owner, "select pg_get_functiondef($1::regproc)", "stem."+function)
	for pair := range slices.Chunk(pairs, 2) {
		if !strings.Contains(text, pair[0]) {
			t.Fatalf("stem.%s does not contain %q any more: adapt this mutation", function, pair[0])
		}
		text = strings.Replace(text, pair[0], pair[1], 1)
	}
	Run(t, owner, text)
}

// Enqueue makes jobs through the SQL door, with more of its named arguments, such as "queue => 'mail'".
func Enqueue(t *testing.T, db DB, n int, arguments string) []uuid.UUID {
	t.Helper()
	if arguments != "" {
		arguments = ", " + arguments
	}
	return Column[uuid.UUID](t, db, "select stem.enqueue('t'"+arguments+") from generate_series(1, $1)", n)
}

// Lanes are those of a queue in the order of claims, suspects last.
var Lanes = []int16{9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109}

// Places are all the tables that have a job, or its outcome for stem.finished: exactly one, unless something is wrong.
func Places(t *testing.T, owner DB, job uuid.UUID) []string {
	t.Helper()
	return Column[string](t, owner, `
		select 'ready' from stem.ready where job_id = $1
		union all select 'scheduled' from stem.scheduled where job_id = $1
		union all select 'running' from stem.running where job_id = $1
		union all select outcome from stem.finished where job_id = $1
		union all select 'dead' from stem.dead where id = $1`, job)
}
