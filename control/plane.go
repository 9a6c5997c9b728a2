package control

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/internal/store"
)

// ErrNotFound means that there is no such job, dead letter or queue.
var ErrNotFound = errors.New("not found")

// DB is what a Plane needs of a database handle: *pgxpool.Pool, *pgx.Conn and pgx.Tx have it.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// A Plane sees and does what an operator may. It has no state of its own and is as safe for concurrent use as its handle is.
type Plane struct {
	db      DB
	queries *store.Queries
}

// New returns a Plane over db, whose login needs EXECUTE on the functions of schema stem that it calls, and no right on a table.
func New(db DB) *Plane {
	return &Plane{db: db, queries: store.Over(db)}
}

// beginner is what tells a handle that can have a transaction of its own from one that is a transaction.
type beginner interface {
	BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error)
}

// own returns the handle as a beginner, unless it is inside somebody's transaction: then that is the one to act in.
func (p *Plane) own() (beginner, bool) {
	b, ok := p.db.(beginner)
	if !ok {
		return nil, false
	}
	switch c := p.db.(type) {
	case *pgx.Conn:
		ok = c.PgConn().TxStatus() == 'I'
	case interface{ Conn() *pgx.Conn }:
		ok = c.Conn().PgConn().TxStatus() == 'I'
	}
	return b, ok
}

// act runs f in a transaction of its own where the handle allows: see inTx.
func (p *Plane) act(ctx context.Context, f func(*store.Queries) error) error {
	b, ok := p.own()
	if !ok {
		return f(p.queries)
	}
	return inTx(ctx, b, func(tx pgx.Tx) error { return f(store.Over(tx)) })
}

// inTx runs f in a transaction at READ COMMITTED, whatever the login's default is, because the functions look again with fresh
// snapshots. What Postgres ended for a deadlock or a serialization failure is repeated.
func inTx(ctx context.Context, b beginner, f func(pgx.Tx) error) error {
	const tries = 5
	for try := 1; ; try++ {
		err := pgx.BeginTxFunc(ctx, b, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, f)
		if try == tries || !repeatable(err) {
			return err
		}
		if err := pause(ctx, time.Duration(try)*20*time.Millisecond); err != nil {
			return err
		}
	}
}

func repeatable(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40P01" || e.Code == "40001")
}

// pause waits for half to one and a half of d, so that two who met do not meet again.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d/2 + rand.N(d)):
		return nil
	}
}

func wrap(action string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrNotFound
	}
	return fmt.Errorf("control: %s: %w", action, err)
}

func unknownJob(action string, id uuid.UUID) error {
	return fmt.Errorf("control: %s %s: %w", action, id, ErrNotFound)
}
