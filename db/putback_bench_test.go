package db_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/internal/store"
)

const benchBatch = 100

// line is a database with a worker, for measuring one connection's work: docs/adr/0004-unknown-tasks.md.
type line struct {
	*testing.B
	pool   *pgxpool.Pool
	q      *store.Queries
	worker hand
}

func newLine(b *testing.B, jobs int, task string) *line {
	b.Helper()
	pool := pgtest.Open(b, pgtest.Database(b))
	l := &line{B: b, pool: pool, q: store.New(pool), worker: hand{id: uuid.New()}}
	row, err := l.q.Register(b.Context(), store.RegisterParams{
		Worker: l.worker.id, Node: "n", Namespace: "ns", Host: "h", Pid: 1, Boot: "b", Version: "v",
		LeaseUs: 3_600_000_000, Slots: []byte(`{"default": 100}`), Tasks: []byte(`{}`),
	})
	l.must(err)
	l.worker.epoch = row.Epoch
	l.run("select stem.enqueue($1, '{}') from generate_series(1, $2)", task, jobs)
	return l
}

func (l *line) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *line) run(query string, args ...any) {
	l.Helper()
	_, err := l.pool.Exec(l.Context(), query, args...)
	l.must(err)
}

// claim takes a batch and returns its jobs.
func (l *line) claim() (uuid.UUID, []uuid.UUID) {
	l.Helper()
	p := claimParams(l.worker, benchBatch)
	rows, err := l.q.Claim(l.Context(), p)
	l.must(err)
	return p.Claim, jobsOf(rows)
}

// measure runs round, which does the whole of a batch, and reports what a job of it costs.
func (l *line) measure(round func()) {
	var before, after int64
	wal := "select (pg_current_wal_insert_lsn() - '0/0')::bigint"
	l.must(l.pool.QueryRow(l.Context(), wal).Scan(&before))
	began, rounds := time.Now(), 0
	for l.Loop() {
		round()
		rounds++
	}
	took := time.Since(began)
	l.must(l.pool.QueryRow(l.Context(), wal).Scan(&after))
	jobs := float64(rounds * benchBatch)
	l.ReportMetric(jobs/took.Seconds(), "jobs/s")
	l.ReportMetric(float64(after-before)/jobs, "WAL-B/job")
}

// BenchmarkRun is what a job costs that is claimed and completed: the measure for BenchmarkPutBack.
func BenchmarkRun(b *testing.B) {
	l := newLine(b, 500*benchBatch, "t")
	l.measure(func() {
		claim, jobs := l.claim()
		if len(jobs) < benchBatch {
			b.Fatal("the line is empty: run with -benchtime 400x")
		}
		_, err := l.q.Finish(b.Context(), finishParams(l.worker, claim, jobs, "completed"))
		l.must(err)
	})
}

// BenchmarkPutBack is what a job costs each time that a worker claims it and puts it back because it does not know the task:
// claim, put back, and the move to the line when it is due again.
func BenchmarkPutBack(b *testing.B) {
	l := newLine(b, 10*benchBatch, "t")
	wait := verb{"wait", 1, 3_600_000_000, -1, "unknown_task", `no handler for task "t" in this worker`}
	l.measure(func() {
		claim, jobs := l.claim()
		if len(jobs) < benchBatch {
			b.Fatal("the line is empty: run with -benchtime 400x")
		}
		_, err := l.q.PutBack(b.Context(), putBackParams(l.worker, claim, wait, jobs...))
		l.must(err)
		_, err = l.q.Due(b.Context(), benchBatch)
		l.must(err)
	})
}

// BenchmarkFilteredClaim is the rejected alternative: the task in the ready row, and a claim that takes known tasks only. It
// claims a batch that stands behind so many tickets of other services, and gives it back.
func BenchmarkFilteredClaim(b *testing.B) {
	for _, ahead := range []int{0, 1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("walk/ahead=%d", ahead), func(b *testing.B) {
			l := newLine(b, ahead, "foreign")
			l.run("alter table stem.ready add column task text")
			l.run("update stem.ready set task = 'foreign'")
			l.run("select stem.enqueue('own', '{}') from generate_series(1, $1)", benchBatch)
			l.run("update stem.ready set task = 'own' where task is null")
			l.run("vacuum stem.ready")
			l.mutateClaim("r.pos > p_lows[i]", "r.pos > p_lows[i] and r.task = any (array['own', 'other'])")
			l.measure(l.claimAndReturn)
		})
	}
	for _, tasks := range []int{1, 10, 50} {
		b.Run(fmt.Sprintf("probe/tasks=%d", tasks), func(b *testing.B) {
			l := newLine(b, benchBatch, "own")
			l.run("alter table stem.ready add column task text")
			l.run("update stem.ready set task = 'own1'")
			l.run("create index on stem.ready (queue, task, lane, pos)")
			l.run("vacuum stem.ready")
			l.mutateClaim("from generate_series(q.first, q.last) i\n",
				fmt.Sprintf("from generate_series(q.first, q.last) i cross join unnest(array(select 'own' || n from generate_series(1, %d) n)) k(task)\n", tasks),
				"r.pos > p_lows[i]", "r.pos > p_lows[i] and r.task = k.task")
			l.measure(l.claimAndReturn)
		})
	}
}

// BenchmarkTaskInReady is what the column and the index of BenchmarkFilteredClaim/probe cost each job that is enqueued and claimed.
func BenchmarkTaskInReady(b *testing.B) {
	for _, with := range []bool{false, true} {
		b.Run(fmt.Sprintf("with=%v", with), func(b *testing.B) {
			l := newLine(b, 0, "own")
			if with {
				l.run("alter table stem.ready add column task text default 'email.welcome'")
				l.run("create index on stem.ready (queue, task, lane, pos)")
			}
			l.measure(func() {
				l.run("select stem.enqueue('own', '{}') from generate_series(1, $1)", benchBatch)
				if _, jobs := l.claim(); len(jobs) != benchBatch {
					b.Fatalf("claimed %d", len(jobs))
				}
			})
		})
	}
}

func (l *line) mutateClaim(pairs ...string) {
	l.Helper()
	var text string
	l.must(l.pool.QueryRow(l.Context(), "select pg_get_functiondef('stem.claim'::regproc)").Scan(&text))
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			l.Fatalf("stem.claim does not contain %q any more: adapt this benchmark", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	l.run(text)
}

func (l *line) claimAndReturn() {
	tx, err := l.pool.Begin(l.Context())
	l.must(err)
	rows, err := store.New(tx).Claim(l.Context(), claimParams(l.worker, benchBatch))
	l.must(err)
	if len(rows) != benchBatch {
		l.Fatalf("claimed %d", len(rows))
	}
	l.must(tx.Rollback(l.Context()))
}
