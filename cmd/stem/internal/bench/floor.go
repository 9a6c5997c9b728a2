package bench

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// floor measures what no enqueue can be faster than: a round trip, and a transaction that writes one record to the log.
func (r *run) floor(ctx context.Context) error {
	conn, err := r.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	took, err := r.repeat(ctx, conn, "select 1")
	if err != nil {
		return err
	}
	r.facts.RoundTrip = median(took)
	r.report.Latencies = append(r.report.Latencies, latencyOf(roundTrip, "round trip: select 1", took))

	const what = "commit of one log record"
	if r.facts.Settings["wal_level"] == "logical" {
		r.report.Latencies = append(r.report.Latencies, Latency{
			Name: commit, What: what, Skipped: "wal_level is logical, and the record would be seen by whoever reads the changes",
		})
		return nil
	}
	took, err = r.repeat(ctx, conn, "select pg_logical_emit_message(true, 'stem.bench', '')")
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == "42501" {
		r.report.Latencies = append(r.report.Latencies, Latency{Name: commit, What: what, Skipped: pe.Message})
		return nil
	}
	if err != nil {
		return err
	}
	r.report.Latencies = append(r.report.Latencies, latencyOf(commit, what, took))
	return nil
}

// repeat runs a statement 500 times, or for half the duration of a section, but 20 times at least. The first runs are not counted.
func (r *run) repeat(ctx context.Context, conn *pgxpool.Conn, statement string) ([]time.Duration, error) {
	var took []time.Duration
	deadline := time.Now().Add(r.Duration / 2)
	for n := range 500 {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		began := time.Now()
		one, cancel := steady(ctx)
		_, err := conn.Exec(one, statement)
		cancel()
		if err != nil {
			return nil, err
		}
		if n >= 3 {
			took = append(took, time.Since(began))
		}
		if len(took) >= 20 && time.Now().After(deadline) {
			break
		}
	}
	return took, nil
}
