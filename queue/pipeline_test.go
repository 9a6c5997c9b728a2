package queue

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

func many(n int, options ...Option) []Request {
	list := make([]Request, n)
	for i := range list {
		list[i] = Raw("t", []byte("{}"), "", options...)
	}
	return list
}

// handles are those that a call goes in pieces through.
func handles(t *testing.T, pool *pgxpool.Pool) map[string]DB {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Release)
	return map[string]DB{"pool": pool, "connection": conn.Conn()}
}

func TestACallInPiecesIsOneTransaction(t *testing.T) {
	t.Parallel()
	owner, pool := open(t)
	q := newQueue(t, Config{})
	stored := 0
	for name, db := range handles(t, pool) {
		receipts, err := q.Enqueue(t.Context(), db, many(2500)...)
		if err != nil {
			t.Fatal(name, err)
		}
		stored += 2500
		var own, transactions int
		ids := make([]uuid.UUID, len(receipts))
		for i, r := range receipts {
			ids[i] = r.ID
			if r.Duplicate || r.XID != receipts[0].XID {
				t.Fatalf("%s: receipt %d is %+v, the first %+v", name, i, r, receipts[0])
			}
		}
		if err := owner.QueryRow(t.Context(), "select count(*), count(distinct xmin::text) from stem.jobs where id = any ($1)", ids).Scan(&own, &transactions); err != nil {
			t.Fatal(err)
		}
		if own != 2500 || transactions != 1 || !slices.IsSortedFunc(ids, func(a, b uuid.UUID) int { return slices.Compare(a[:6], b[:6]) }) {
			t.Errorf("%s: %d jobs of these ids, in %d transactions", name, own, transactions)
		}

		// One job in the last piece is refused by the server: none is stored, and the connection goes on.
		again := append(many(2499), Raw("t", nil, "text/plain", WithID(ids[0])))
		if _, err := q.Enqueue(t.Context(), db, again...); !errors.Is(err, ErrDuplicateID) {
			t.Errorf("%s: got %v, want ErrDuplicateID", name, err)
		}
		if n := count(t, owner); n != stored {
			t.Errorf("%s: %d jobs, want %d", name, n, stored)
		}
		if _, err := q.Enqueue(t.Context(), db, job); err != nil {
			t.Errorf("%s: afterwards: %v", name, err)
		}
		stored++
	}
	// A refusal at the commit.
	if _, err := owner.Exec(t.Context(), `create function no() returns trigger language plpgsql as $$ begin raise exception 'not at all'; end $$;
		create constraint trigger no after insert on stem.jobs_0 deferrable initially deferred for each row execute function no();
		do $$ begin for i in 1..7 loop execute format('create constraint trigger no after insert on stem.jobs_%s deferrable initially deferred
			for each row execute function no()', i); end loop; end $$`); err != nil {
		t.Fatal(err)
	}
	if receipts, err := q.Enqueue(t.Context(), pool, many(2000)...); err == nil || errors.Is(err, ErrCommitUnknown) || receipts != nil {
		t.Errorf("refused at the commit: %d receipts, %v", len(receipts), err)
	}
	if n := count(t, owner); n != stored {
		t.Errorf("%d jobs, want %d", n, stored)
	}
}

func TestACallInPiecesBelongsToTheCallersTransaction(t *testing.T) {
	t.Parallel()
	owner, pool := open(t, func(c *pgxpool.Config) { c.MaxConns = 1 })
	q := newQueue(t, Config{})
	for _, commit := range []bool{false, true} {
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.Enqueue(t.Context(), tx, many(2000)...); err != nil {
			t.Fatal(err)
		}
		if n := count(t, owner); n != 0 {
			t.Errorf("%d jobs before the commit", n)
		}
		if commit {
			err = tx.Commit(t.Context())
		} else {
			err = tx.Rollback(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		// The connection is in another transaction now, which is none of this handle's.
		other, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.Enqueue(t.Context(), tx, many(2000)...); !errors.Is(err, pgx.ErrTxClosed) {
			t.Errorf("through a transaction that is over: %v", err)
		}
		if err := other.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(t, owner); n != 2000 {
		t.Errorf("%d jobs, want 2000", n)
	}
}

func TestACallInPiecesWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	var s scissors
	owner, pool := open(t, func(c *pgxpool.Config) { s.fit(c.ConnConfig) })
	q := newQueue(t, Config{})
	if _, err := q.Enqueue(t.Context(), pool, many(2000)...); err != nil { // which prepares the statement
		t.Fatal(err)
	}
	before := count(t, owner)
	s.cuts.Store(0)
	s.armed.Store(1)
	receipts, err := q.Enqueue(t.Context(), pool, many(3000)...)
	if err != nil || len(receipts) != 3000 || s.cuts.Load() != 1 {
		t.Fatalf("%d receipts, %v, %d cuts: want that a second try resolves it", len(receipts), err, s.cuts.Load())
	}
	if got := count(t, owner) - before; got != 3000 {
		t.Errorf("%d jobs more, want 3000", got)
	}
}

func TestUniqueJobsGoInOneStatement(t *testing.T) {
	t.Parallel()
	_, pool := open(t)
	q := newQueue(t, Config{})
	requests := append(many(2000), Raw("t", nil, "text/plain", UntilFinished("k")), Raw("t", nil, "text/plain", UntilFinished("k")))
	receipts, err := q.Enqueue(t.Context(), pool, requests...)
	if err != nil || len(receipts) != 2002 || receipts[2000].Duplicate || !receipts[2001].Duplicate || receipts[2001].ID != receipts[2000].ID {
		t.Fatalf("%v, %+v", err, receipts[max(0, len(receipts)-2):])
	}
}
