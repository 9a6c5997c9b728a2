package control_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/internal/store"
)

func TestMain(m *testing.M) { pgtest.MainWithExamples(m) }

// A lab is one migrated database, its owner's pool, a worker's, and the Plane of an operator.
type lab struct {
	login  string // the operator's
	other  string // of somebody who is a worker and an operator
	owner  *pgxpool.Pool
	worker *pgxpool.Pool
	pool   *pgxpool.Pool // the operator's
	plane  *control.Plane
}

func open(t *testing.T) *lab {
	t.Helper()
	url := pgtest.Database(t)
	l := &lab{login: pgtest.Login(t, url, "operator"), other: pgtest.Login(t, url, "worker", "operator")}
	l.owner, l.worker, l.pool = pool(t, url), pool(t, pgtest.Login(t, url, "worker")), pool(t, l.login)
	l.plane = control.New(l.pool)
	return l
}

func pool(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	must(t, err)
	config.ConnConfig.RuntimeParams["statement_timeout"] = "2min" // a wrong lock fails the test and does not hang it
	p, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// connect opens a connection of the operator.
func (l *lab) connect(t *testing.T) *pgx.Conn { t.Helper(); return dial(t, l.login) }

func dial(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

// begin begins a transaction of somebody else, a worker or an operator.
func (l *lab) begin(t *testing.T) pgx.Tx {
	t.Helper()
	return begin(t, dial(t, l.other), pgx.ReadCommitted)
}

func (l *lab) enqueue(t *testing.T, n int, arguments string) []uuid.UUID {
	t.Helper()
	return labtest.Enqueue(t, l.worker, n, arguments)
}

// The helpers of package labtest under short names.
var (
	run        = labtest.Run
	begin      = labtest.Begin
	commit     = labtest.Commit
	rollback   = labtest.Rollback
	eventually = labtest.Eventually
	wantCode   = labtest.WantCode
)

func one[T any](t *testing.T, db labtest.DB, query string, args ...any) T {
	t.Helper()
	return labtest.One[T](t, db, query, args...)
}

func column[T any](t *testing.T, db labtest.DB, query string, args ...any) []T {
	t.Helper()
	return labtest.Column[T](t, db, query, args...)
}

// mutate puts another body into a function: see labtest.Mutate.
func (l *lab) mutate(t *testing.T, function string, pairs ...string) {
	t.Helper()
	labtest.Mutate(t, l.owner, function, pairs...)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// awaitBlocked waits until n connections of this database wait for a lock.
func (l *lab) awaitBlocked(t *testing.T, n int) {
	t.Helper()
	eventually(t, "a connection waits for a lock", func() bool {
		return one[int](t, l.owner, `select count(distinct k.pid) from pg_locks k join pg_stat_activity a using (pid)
			where a.datname = current_database() and not k.granted`) >= n
	})
}

// patient lets a function wait for a lock for as long as the test takes to release it, and not for the second that it has.
func (l *lab) patient(t *testing.T, function string) {
	t.Helper()
	l.mutate(t, function, "SET lock_timeout TO '1s'", "SET lock_timeout TO '1min'")
}

// A hand is a registered worker, whose lease outlives a test on a slow machine.
type hand struct {
	id    uuid.UUID
	epoch int64
}

func (l *lab) hire(t *testing.T, node, slots string) hand {
	t.Helper()
	w := hand{id: uuid.New()}
	row, err := store.New(l.worker).Register(t.Context(), store.RegisterParams{
		Worker: w.id, Node: node, Namespace: "ns", Host: "h", Pid: 1, Boot: "b", Version: "v",
		LeaseUs: 3_600_000_000, Slots: []byte(slots), Tasks: []byte(`{"t": {"kind": "go"}, "u": {}}`),
	})
	must(t, err)
	w.epoch = row.Epoch
	return w
}

// claim claims up to n jobs of a queue and returns them with the claim's id.
func claim(t *testing.T, db control.DB, w hand, queue string, n int32) ([]uuid.UUID, uuid.UUID) {
	t.Helper()
	id := uuid.New()
	rows, err := store.New(db).Claim(t.Context(), store.ClaimParams{
		Worker: w.id, Epoch: w.epoch, Claim: id, Seq: 1, Total: n,
		Queues: []string{queue}, Limits: []int32{n}, First: []int32{1}, Last: []int32{20},
		Lanes: labtest.Lanes, Lows: make([]int64, len(labtest.Lanes)),
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
			return slices.ContainsFunc(rows, func(r *store.PutBackRow) bool { return r.JobID == job })
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
	jobs, id := claim(t, l.worker, w, "default", n)
	if len(jobs) != int(n) {
		t.Fatalf("claimed %d of %d", len(jobs), n)
	}
	putBack(t, l.worker, w, id, "discard", 0, reason, "boom: "+reason, jobs...)
	run(t, l.owner, "delete from stem.workers where id = $1", w.id)
	slices.SortFunc(jobs, compare)
	return jobs
}

func compare(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }

// wantPlace checks that a job is in exactly one table, and in which.
func (l *lab) wantPlace(t *testing.T, job uuid.UUID, want string) {
	t.Helper()
	if got := labtest.Places(t, l.owner, job); !slices.Equal(got, []string{want}) {
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
