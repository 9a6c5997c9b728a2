package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/store"
)

// A call with many jobs goes in pieces through one pipeline, without a sync in between: still one transaction, all or none, but the server
// works at a piece while the next is encoded and sent.
const (
	piece     = 1000
	pipelined = 2 * piece // from this many jobs on
)

// pipelineFor returns the connection to send a call in pieces on, nil where it goes in one statement: through handles that are not pgx's or
// prepare nothing, or whose statements are traced; and with unique keys, which one statement takes in an order in which no two wait for each other.
func pipelineFor(ctx context.Context, db DB, jobs []built) (*pgx.Conn, error) {
	if len(jobs) < pipelined || slices.ContainsFunc(jobs, func(b built) bool { return b.envelope.UniqueKey != nil }) {
		return nil, nil
	}
	var conn *pgx.Conn
	switch h := db.(type) {
	case *pgxpool.Conn:
		conn = h.Conn()
	case *pgx.Conn:
		conn = h
	case pgx.Tx:
		// Its connection may be somebody else's by now: only the transaction itself knows whether it is over.
		if _, err := h.Exec(ctx, ""); err != nil {
			return nil, err
		}
		conn = h.Conn()
	default:
		return nil, nil
	}
	if c := conn.Config(); c.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement || c.Tracer != nil {
		return nil, nil
	}
	return conn, nil
}

// sendPieces enqueues through a pipeline and returns the receipts and the last answer.
func sendPieces(ctx context.Context, conn *pgx.Conn, jobs []built) ([]Receipt, *store.EnqueueManyRow, error) {
	sql, _ := store.EnqueueManyCall(store.EnqueueManyParams{})
	statement, err := conn.Prepare(ctx, sql, sql)
	if err != nil {
		return nil, nil, err
	}
	pipeline := conn.PgConn().StartPipeline(ctx)
	for part := range slices.Chunk(jobs, piece) {
		_, args := store.EnqueueManyCall(manyParams(part))
		var call pgx.ExtendedQueryBuilder
		if err := call.Build(conn.TypeMap(), statement, args); err != nil {
			// Without a sync, which would commit what has been sent, this closes the connection.
			return nil, nil, errors.Join(fmt.Errorf("encode the jobs: %w", err), pipeline.Close())
		}
		pipeline.SendQueryPrepared(statement.Name, call.ParamValues, call.ParamFormats, call.ResultFormats)
		if err := pipeline.Flush(); err != nil {
			return nil, nil, errors.Join(err, pipeline.Close())
		}
	}
	if err := pipeline.Sync(); err != nil {
		return nil, nil, errors.Join(err, pipeline.Close())
	}
	receipts := make([]Receipt, 0, len(jobs))
	var last *store.EnqueueManyRow
	for part := range slices.Chunk(jobs, piece) {
		if last, err = pieceAnswer(conn, pipeline); err != nil {
			break
		}
		var got []Receipt
		if got, err = manyReceipts(part, last); err != nil {
			break
		}
		receipts = append(receipts, got...)
	}
	// The commit's own answer comes with the sync: a deferred trigger may fail there.
	if closed := pipeline.Close(); err == nil {
		err = closed
	}
	return receipts, last, err
}

func pieceAnswer(conn *pgx.Conn, pipeline *pgconn.Pipeline) (*store.EnqueueManyRow, error) {
	results, err := pipeline.GetResults()
	if err != nil {
		return nil, err
	}
	reader, is := results.(*pgconn.ResultReader)
	if !is {
		return nil, fmt.Errorf("the server answered with a %T", results)
	}
	rows := pgx.RowsFromResultReader(conn.TypeMap(), reader) //nolint:rowserrcheck // the next line does
	row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[store.EnqueueManyRow])
	return &row, err
}
