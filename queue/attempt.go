package queue

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/answer"
)

// isPool tells whether a second try gets a connection of its own.
func isPool(db DB) bool {
	switch h := db.(type) {
	case *pgxpool.Pool:
		return true
	case sqlDB:
		_, is := h.handle.(*sql.DB)
		return is
	default:
		return false
	}
}

// attempt sends the jobs once. doubt means that they may be there although err is not nil: the statement may have been sent,
// the handle commits by itself, and the server has not said what came of it. What tells is where the attempt failed: taking a
// connection comes first and sends nothing, and whether a connection is open is asked before, because afterwards a closed
// one says nothing about when it was closed.
func (q *Queue) attempt(ctx context.Context, db DB, jobs []built) (receipts []Receipt, doubt bool, err error) {
	if pool, is := db.(*pgxpool.Pool); is && len(jobs) == 1 && jobs[0].shareable() {
		return q.share(ctx, pool, jobs[0])
	}
	return q.attemptAlone(ctx, db, jobs)
}

// attemptAlone is attempt in a statement of its own.
func (q *Queue) attemptAlone(ctx context.Context, db DB, jobs []built) (receipts []Receipt, doubt bool, err error) {
	switch h := db.(type) {
	case *pgxpool.Pool:
		conn, err := h.Acquire(ctx)
		if err != nil {
			return nil, false, err
		}
		defer conn.Release()
		db = conn
	case sqlDB:
		if pool, is := h.handle.(*sql.DB); is {
			// On a connection database/sql does not repeat by itself what pgx calls safe to retry.
			conn, err := pool.Conn(ctx)
			if err != nil {
				return nil, false, err
			}
			defer func() { _ = conn.Close() }() // it only goes back to the pool
			db = SQL(conn)
		}
	}
	sendable, commits := inspect(ctx, db)
	receipts, err = q.send(ctx, db, jobs)
	return receipts, err != nil && sendable && commits && !answer.Refused(err) && !answer.Unsent(err), err
}

// inspect tells whether a statement can be sent on this connection, and whether it commits by itself.
func inspect(ctx context.Context, db DB) (sendable, commits bool) {
	sendable = ctx.Err() == nil
	switch h := db.(type) {
	case *pgxpool.Conn:
		return inspect(ctx, h.Conn())
	case *pgx.Conn:
		return sendable && !h.IsClosed() && !h.PgConn().IsBusy(), h.PgConn().TxStatus() == 'I'
	case sqlDB:
		if conn, is := h.handle.(*sql.Conn); is {
			sendable = sendable && conn.Raw(func(any) error { return nil }) == nil
		}
		return sendable, !h.inTx
	default: // a pgx.Tx, or something that behaves like one: the caller's COMMIT decides
		return sendable, false
	}
}
