package bench

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var small = Options{Jobs: 100, Duration: 100 * time.Millisecond, Node: "lab"}

func wantClean(t *testing.T, owner *pgxpool.Pool) {
	t.Helper()
	for _, table := range []string{"ready", "scheduled", "running", "finished", "dead", "queues", "workers", "unique_keys"} {
		if n := labtest.One[int](t, owner, "select count(*) from stem."+table); n != 0 {
			t.Errorf("%d rows in stem.%s", n, table)
		}
	}
}

// The login is a member of all roles and has no other right.
func TestRun(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	owner, pool := pgtest.Open(t, url), pgtest.Open(t, pgtest.Login(t, url))
	var seen []string
	o := small
	o.Progress = func(_, total int, section string) {
		seen = append(seen, section)
		if total != len(sections)+1 {
			t.Errorf("%d sections of %d", len(seen), total)
		}
	}
	r, err := Run(t.Context(), pool, o)
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != len(sections)+2 || seen[len(seen)-1] != "done" {
		t.Errorf("progress: %q", seen)
	}
	for _, name := range []string{bulkOne, bulkFour, drained, singleOne, singleEight} {
		if got := r.rate(name); got.PerSecond() <= 0 || got.What == "" {
			t.Errorf("rate %s: %+v", name, got)
		}
	}
	for _, name := range []string{roundTrip, commit, singleOne, singleEight, pickup} {
		if got := r.latency(name); got.P50 <= 0 || got.P99 < got.P95 || got.P95 < got.P50 || got.Samples == 0 {
			t.Errorf("latency %s: %+v", name, got)
		}
	}
	for _, name := range []string{notify, synchronous} {
		if got := r.cost(name); !got.measured() || got.Samples == 0 {
			t.Errorf("cost %s: %+v", name, got)
		}
	}
	if got := r.rate(drained).Jobs; got != o.Jobs+8 {
		t.Errorf("%d drained, want what was enqueued in bulk", got)
	}
	// At least these: Postgres runs without fsync, and the login sees no other's transactions.
	for _, name := range []string{"fsync_off", "transactions_hidden"} {
		if !slices.ContainsFunc(r.Warnings, func(w Warning) bool { return w.Name == name }) {
			t.Errorf("no warning %s in %+v", name, r.Warnings)
		}
	}
	if slices.ContainsFunc(r.Warnings, func(w Warning) bool { return w.Name == "pooler" || w.Name == "listen_deaf" || w.Name == "busy" }) {
		t.Errorf("false warnings in %+v", r.Warnings)
	}
	if len(r.Meaning) < 5 || r.Server == "" || r.Took <= 0 {
		t.Errorf("got %+v", r)
	}
	wantClean(t, owner)
	got := r.Left
	if n := labtest.One[int](t, owner, "select count(*) from stem.jobs"); got.Envelopes != n || got.Bytes != int64(n)*envelopeBytes || got.Queue || n > o.MostJobs() {
		t.Errorf("left %+v, the database has %d envelopes, at most %d were announced", got, n, o.MostJobs())
	}
}

// What an envelope takes is what the report says, give or take a fifth.
func TestEnvelopeBytes(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	r := newRun(t, pool)
	for range 8 {
		if err := r.enqueue(t.Context(), pool, r.requests(500)...); err != nil {
			t.Fatal(err)
		}
	}
	got := labtest.One[int64](t, pool, `select sum(pg_relation_size(c.oid))::bigint from pg_class c
		where c.relnamespace = 'stem'::regnamespace and c.relname ~ '^jobs_\d(_pkey)?$'`) / 4000
	if got < envelopeBytes*8/10 || got > envelopeBytes*12/10 {
		t.Errorf("an envelope takes %d bytes, %d are reported", got, envelopeBytes)
	}
}

func newRun(t *testing.T, pool *pgxpool.Pool) *run {
	t.Helper()
	r, err := begin(pool, small)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestAnInterruptionCleansUp(t *testing.T) {
	t.Parallel()
	for _, s := range sections {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			pool := pgtest.Pool(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o := small
			o.Duration = 10 * time.Minute // it would not end by itself in time
			o.Progress = func(_, _ int, section string) {
				if section == s.name {
					cancel()
				}
			}
			r, err := Run(ctx, pool, o)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			wantClean(t, pool)
			if r.Left.Queue {
				t.Error("the queue is said to be there")
			}
		})
	}
}

func TestWhatCannotBeCleanedUpIsAnError(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	plane := control.New(pool)
	o := small
	var name string
	o.Progress = func(_, _ int, section string) {
		if section != "done" {
			return
		}
		name = labtest.One[string](t, pool, "select name from stem.queues")
		if _, err := plane.Pause(t.Context(), name, "why not"); err != nil {
			t.Error(err)
		}
	}
	r, err := Run(t.Context(), pool, o)
	if err == nil || !strings.Contains(err.Error(), "clean up queue "+name) || !r.Left.Queue || r.Queue != name {
		t.Errorf("got %v, left %+v", err, r.Left)
	}
}

// A worker refuses such a session.
func TestAWorkerThatEndsIsAnError(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t, func(c *pgxpool.Config) {
		c.ConnConfig.RuntimeParams["default_transaction_isolation"] = "repeatable read"
	})
	_, err := Run(t.Context(), pool, small)
	if err == nil || !strings.Contains(err.Error(), "default_transaction_isolation") {
		t.Errorf("got %v", err)
	}
	wantClean(t, pool)
}

func TestThroughAPooler(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	owner := pgtest.Open(t, url)
	pool := pgtest.Open(t, pgtest.PgBouncer(t, url), func(c *pgxpool.Config) {
		c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	})
	r, err := Run(t.Context(), pool, small)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(r.Warnings, func(w Warning) bool { return w.Name == "listen_deaf" }) {
		t.Errorf("got %+v, want the warning that LISTEN is deaf", r.Warnings)
	}
	if got := r.cost(synchronous); got.Skipped == "" || got.measured() {
		t.Errorf("got %+v: a session setting went through a pooler", got)
	}
	wantClean(t, owner)

	// With a connection of its own for LISTEN there is nothing to warn of.
	r2 := newRun(t, pool)
	r2.Listen = owner.Config().ConnConfig
	if err := r2.look(t.Context()); err != nil || !r2.facts.Pooled || r2.facts.Deaf || !r2.facts.Direct {
		t.Errorf("%v, facts %+v", err, r2.facts)
	}
	r2.Listen = r2.Listen.Copy()
	r2.Listen.Database = "no_such_database"
	if err := r2.look(t.Context()); err != nil || !r2.facts.Deaf {
		t.Errorf("%v, facts %+v", err, r2.facts)
	}
}

func TestTheOldestTransactionIsSeen(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	r := newRun(t, pool)
	if err := r.seeTransactions(t.Context()); err != nil || r.facts.Hidden || r.facts.Oldest != 0 {
		t.Errorf("%v, facts %+v", err, r.facts)
	}
	connect := func() *pgx.Conn {
		conn, err := pgx.ConnectConfig(t.Context(), pool.Config().ConnConfig)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
		return conn
	}
	idle := labtest.Begin(t, connect(), pgx.ReadCommitted) // holds nothing back
	labtest.Run(t, idle, "select 1")
	writer := labtest.Begin(t, connect(), pgx.ReadCommitted)
	labtest.Run(t, writer, "select pg_current_xact_id()")
	if err := r.seeTransactions(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.facts.Oldest <= 0 || r.facts.PID != int(writer.Conn().PgConn().PID()) || r.facts.State != "idle in transaction" {
		t.Errorf("got %+v", r.facts)
	}
}

func TestACommitIsNotMeasuredWhereItWouldBeSeen(t *testing.T) {
	t.Parallel()
	r := newRun(t, pgtest.Pool(t))
	r.facts.Settings = map[string]string{"wal_level": "logical"}
	if err := r.floor(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.report.latency(commit); got.Skipped == "" || got.Samples != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestWithoutASchemaNothingIsDone(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	pool := pgtest.Open(t, url)
	labtest.Run(t, pool, "drop schema stem cascade")
	r, err := Run(t.Context(), pool, small)
	labtest.WantCode(t, err, "3F000")
	if r.Left != (Left{}) {
		t.Errorf("left %+v", r.Left)
	}
}

func TestALoginThatMayNotMakesNoQueue(t *testing.T) {
	t.Parallel()
	r, err := Run(t.Context(), pgtest.Open(t, pgtest.Login(t, pgtest.Database(t), "worker")), small)
	labtest.WantCode(t, err, "42501")
	if r.Left != (Left{}) {
		t.Errorf("left %+v", r.Left)
	}
}
