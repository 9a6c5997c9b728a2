package main

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

func limitScenarios() []scenario {
	return []scenario{{name: "limits", about: "what the server itself can do: rows of a bigint key and 200 bytes, one connection", unit: "rows/s", takes: 2, gives: costs, open: openLimits}}
}

func openLimits(ctx context.Context, l *lab) ([]variant, func(), error) {
	if err := l.database(ctx, "bench_limits"); err != nil {
		return nil, nil, err
	}
	pool, err := l.pool(ctx, "bench_limits", 4)
	if err != nil {
		return nil, nil, err
	}
	n := l.count(500_000, 100_000, 5_000)
	of := func(name string, run func(context.Context) error, loaded bool) variant {
		return variant{name: name, contenders: []contender{{name: "postgres", run: func(ctx context.Context) (sample, error) {
			if _, err := pool.Exec(ctx, "drop table if exists rows; create table rows (id bigint primary key, payload bytea not null)"); err != nil {
				return sample{}, err
			}
			if loaded {
				if err := copyRows(ctx, pool, n); err != nil {
					return sample{}, err
				}
			}
			if err := settleDown(ctx, pool); err != nil {
				return sample{}, err
			}
			g, err := l.gauge(ctx, pool)
			if err != nil {
				return sample{}, err
			}
			if err := run(ctx); err != nil {
				return sample{}, err
			}
			if err := g.stop(ctx); err != nil {
				return sample{}, err
			}
			return g.sample(ctx, n)
		}}}}
	}
	return []variant{
		of("COPY, one statement", func(ctx context.Context) error { return copyRows(ctx, pool, n) }, false),
		of("INSERT from unnest, 1 000 rows a statement", func(ctx context.Context) error { return insertRows(ctx, pool, n) }, false),
		of("DELETE, one statement", func(ctx context.Context) error { _, err := pool.Exec(ctx, "delete from rows"); return err }, true),
		of("DELETE and INSERT elsewhere, one statement", func(ctx context.Context) error {
			_, err := pool.Exec(ctx, "drop table if exists done; create table done (id bigint primary key, at timestamptz not null)")
			if err != nil {
				return err
			}
			_, err = pool.Exec(ctx, "with d as (delete from rows returning id) insert into done select id, clock_timestamp() from d")
			return err
		}, true),
	}, pool.Close, nil
}

func copyRows(ctx context.Context, pool *pgxpool.Pool, n int) error {
	payload := []byte(padding + padding[:40])
	_, err := pool.CopyFrom(ctx, pgx.Identifier{"rows"}, []string{"id", "payload"},
		pgx.CopyFromSlice(n, func(i int) ([]any, error) { return []any{int64(i), payload}, nil }))
	return err
}

func insertRows(ctx context.Context, pool *pgxpool.Pool, n int) error {
	const batch = 1000
	payloads := make([][]byte, batch)
	for i := range payloads {
		payloads[i] = []byte(padding + padding[:40])
	}
	ids := make([]int64, batch)
	for start := 0; start < n; start += batch {
		for i := range ids {
			ids[i] = int64(start + i)
		}
		if _, err := pool.Exec(ctx, "insert into rows select * from unnest($1::bigint[], $2::bytea[])", ids, payloads); err != nil {
			return err
		}
	}
	return nil
}
