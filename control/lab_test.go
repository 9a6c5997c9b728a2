package control_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/internal/store"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// A lab is one migrated database, its owner's pool, and a Plane whose login may only execute the functions.
type lab struct {
	login string
	owner *pgxpool.Pool
	pool  *pgxpool.Pool // the login's
	plane *control.Plane
}

func open(t *testing.T) *lab {
	t.Helper()
	url := pgtest.Database(t)
	l := &lab{login: pgtest.Login(t, url)}
	l.owner, l.pool = pool(t, url), pool(t, l.login)
	l.plane = control.New(l.pool)
	return l
}

func pool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	must(t, err)
	config.ConnConfig.RuntimeParams["statement_timeout"] = "30s" // a wrong lock fails the test and does not hang it
	p, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func (l *lab) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), l.login)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func (l *lab) begin(t *testing.T) pgx.Tx {
	t.Helper()
	tx, err := l.connect(t).BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
	return tx
}

func commit(t *testing.T, tx pgx.Tx) {
	t.Helper()
	must(t, tx.Commit(t.Context()))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, db control.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.Exec(t.Context(), query, args...); err != nil {
		t.Fatalf("%.200s: %v", query, err)
	}
}

func one[T any](t *testing.T, db control.DB, query string, args ...any) T {
	t.Helper()
	var v T
	if err := db.QueryRow(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%.200s: %v", query, err)
	}
	return v
}

func column[T any](t *testing.T, db control.DB, query string, args ...any) []T {
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

// mutate puts another body into a function of this database: the form that a test says it would catch.
func (l *lab) mutate(t *testing.T, function string, pairs ...string) {
	t.Helper()
	text := one[string](t, l.owner, "select pg_get_functiondef($1::regproc)", "stem."+function)
	for pair := range slices.Chunk(pairs, 2) {
		if !strings.Contains(text, pair[0]) {
			t.Fatalf("stem.%s does not contain %q any more: adapt this mutation", function, pair[0])
		}
		text = strings.Replace(text, pair[0], pair[1], 1)
	}
	run(t, l.owner, text)
}

// eventually polls until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// pending is a call on another connection that is still running.
type pending[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func start[T any](call func() (T, error)) *pending[T] {
	p := &pending[T]{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.value, p.err = call()
	}()
	return p
}

func (p *pending[T]) wait(t *testing.T) T {
	t.Helper()
	<-p.done
	must(t, p.err)
	return p.value
}

// awaitBlocked waits until n connections of this database wait for a lock.
func (l *lab) awaitBlocked(t *testing.T, n int) {
	t.Helper()
	eventually(t, "a connection waits for a lock", func() bool {
		return one[int](t, l.owner, `select count(distinct k.pid) from pg_locks k join pg_stat_activity a using (pid)
			where a.datname = current_database() and not k.granted`) >= n
	})
}

func wantCode(t *testing.T, err error, want string) {
	t.Helper()
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || e.Code != want {
		t.Errorf("got %v, want an error with code %s", err, want)
	}
}

// enqueue makes jobs through the SQL door, with more of its named arguments, such as "queue => 'mail'".
func (l *lab) enqueue(t *testing.T, n int, arguments string) []uuid.UUID {
	t.Helper()
	if arguments != "" {
		arguments = ", " + arguments
	}
	return column[uuid.UUID](t, l.pool, "select stem.enqueue('t'"+arguments+") from generate_series(1, $1)", n)
}

// A hand is a registered worker.
type hand struct {
	id    uuid.UUID
	epoch int64
}

func (l *lab) hire(t *testing.T, node, slots string) hand {
	t.Helper()
	w := hand{id: uuid.New()}
	row, err := store.New(l.pool).Register(t.Context(), store.RegisterParams{
		Worker: w.id, Node: node, Namespace: "ns", Host: "h", Pid: 1, Boot: "b", Version: "v",
		LeaseUs: 30_000_000, Slots: []byte(slots), Tasks: []byte(`{"t": {"kind": "go"}, "u": {}}`),
	})
	must(t, err)
	w.epoch = row.Epoch
	return w
}

var lanes = []int16{9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 100, 101, 102, 103, 104, 105, 106, 107, 108, 109}

// claim claims up to n jobs of a queue and returns them with the claim's id.
func claim(t *testing.T, db control.DB, w hand, queue string, n int32) ([]uuid.UUID, uuid.UUID) {
	t.Helper()
	id := uuid.New()
	rows, err := store.New(db).Claim(t.Context(), store.ClaimParams{
		Worker: w.id, Epoch: w.epoch, Claim: id, Seq: 1, Total: n,
		Queues: []string{queue}, Limits: []int32{n}, First: []int32{1}, Last: []int32{20},
		Lanes: lanes, Lows: make([]int64, len(lanes)),
	})
	must(t, err)
	list := make([]uuid.UUID, len(rows))
	for i, r := range rows {
		list[i] = r.JobID
	}
	return list, id
}

// putBack ends attempts with a verb of stem.put_back.
func putBack(t *testing.T, db control.DB, w hand, id uuid.UUID, verb string, delay time.Duration, reason, text string, jobs ...uuid.UUID) {
	t.Helper()
	n := len(jobs)
	// What another transaction holds is skipped, and tried again as the worker does.
	eventually(t, "all are put back", func() bool {
		rows, err := store.New(db).PutBack(t.Context(), store.PutBackParams{
			Worker: w.id, Jobs: jobs, Claims: slices.Repeat([]uuid.UUID{id}, len(jobs)), Verbs: slices.Repeat([]string{verb}, len(jobs)),
			DelaysUs: slices.Repeat([]int64{delay.Microseconds()}, len(jobs)), GracesUs: make([]int64, len(jobs)),
			AgesUs: slices.Repeat([]int64{5}, len(jobs)), Reasons: slices.Repeat([]string{reason}, len(jobs)),
			Errors: slices.Repeat([]string{text}, len(jobs)), Fingerprints: make([]string, len(jobs)),
		})
		must(t, err)
		jobs = slices.DeleteFunc(slices.Clone(jobs), func(job uuid.UUID) bool {
			return slices.ContainsFunc(rows, func(r store.PutBackRow) bool { return r.JobID == job })
		})
		n -= len(rows)
		return n == 0
	})
}

// kill enqueues n jobs and gives them up with the reason.
func (l *lab) kill(t *testing.T, n int32, reason, arguments string) []uuid.UUID {
	t.Helper()
	w := l.hire(t, "undertaker", `{"default": 1}`)
	l.enqueue(t, int(n), arguments)
	jobs, id := claim(t, l.pool, w, "default", n)
	if len(jobs) != int(n) {
		t.Fatalf("claimed %d of %d", len(jobs), n)
	}
	putBack(t, l.pool, w, id, "discard", 0, reason, "boom: "+reason, jobs...)
	run(t, l.owner, "delete from stem.workers where id = $1", w.id)
	slices.SortFunc(jobs, compare)
	return jobs
}

func compare(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }

// wantPlace checks that a job is in exactly one table, and in which.
func (l *lab) wantPlace(t *testing.T, job uuid.UUID, want string) {
	t.Helper()
	got := column[string](t, l.owner, `
		select 'ready' from stem.ready where job_id = $1
		union all select 'scheduled' from stem.scheduled where job_id = $1
		union all select 'running' from stem.running where job_id = $1
		union all select outcome from stem.finished where job_id = $1
		union all select 'dead' from stem.dead where id = $1`, job)
	if !slices.Equal(got, []string{want}) {
		t.Errorf("job is in %v, want only in %s", got, want)
	}
}

// wantOutcome checks the single result of an action.
func wantOutcome(t *testing.T, list []control.Result, want string) {
	t.Helper()
	if len(list) != 1 || list[0].Outcome != want {
		t.Errorf("got %+v, want one %s", list, want)
	}
}

// outcomes are the results of an action by job.
func outcomes(list []control.Result) map[uuid.UUID]string {
	m := map[uuid.UUID]string{}
	for _, r := range list {
		m[r.ID] = r.Outcome
	}
	return m
}
