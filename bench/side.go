package main

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// load is the payload of both systems, about 200 bytes of JSON.
type load struct {
	N    int64  `json:"n"`    // the job's number, or its transaction's
	Sent int64  `json:"sent"` // nanoseconds of this machine's clock
	Pad  string `json:"pad"`
}

// Kind is River's name of the task.
func (load) Kind() string { return "bench.noop" }

// padding is the same in all jobs of a run. Different ones would cost River more, whose GIN index has every value of the arguments.
var padding = pad(1)

// pad makes 160 letters from a seed.
func pad(seed uint64) string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, 160)
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	return string(b)
}

func newLoad(n, sent int64) load { return load{N: n, Sent: sent, Pad: padding} }

func loads(n int) []load {
	list := make([]load, n)
	for i := range list {
		list[i] = newLoad(int64(i), 0)
	}
	return list
}

// setting is how a worker is set up.
type setting struct {
	slots    int
	defaults bool // the system's own defaults, but for the slots
	rare     bool // River's inserting client notifies at most each 100 ms, its default
	queues   int  // 0 and 1: the default queue alone
	// Recovery: Stem's lease and River's RescueStuckJobsAfter; 0 means the default.
	lease, rescueAfter time.Duration
}

// side is one of the two systems, in a database of its own.
type side interface {
	name() string
	database() string
	pool() *pgxpool.Pool
	// describe names version and settings.
	describe(s setting) string
	// reset leaves no job.
	reset(ctx context.Context) error
	// enqueue inserts in one call, the fastest that there is for this number of jobs. A nil tx means its own.
	enqueue(ctx context.Context, tx pgx.Tx, jobs []load) error
	// work starts a worker and returns how to stop it.
	work(ctx context.Context, s setting, handler func(load)) (stop func() error, err error)
	// unfinished tells whether any job waits or runs.
	unfinished(ctx context.Context) (bool, error)
	// finished counts the jobs that the database says are completed.
	finished(ctx context.Context) (int, error)
	close()
}

// query1 reads one value.
func query1[T any](ctx context.Context, db interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}, sql string, args ...any,
) (T, error) {
	var v T
	err := db.QueryRow(ctx, sql, args...).Scan(&v)
	return v, err
}

// settleDown makes the statistics true and writes dirty pages out before a timed section.
func settleDown(ctx context.Context, pool *pgxpool.Pool) error {
	if _, err := pool.Exec(ctx, "vacuum analyze"); err != nil {
		return err
	}
	_, err := pool.Exec(ctx, "checkpoint")
	return err
}
