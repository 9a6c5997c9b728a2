package db_test

import (
	"context"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/store"
)

// enqueue makes jobs through the SQL door: see labtest.Enqueue.
func enqueue(t *testing.T, db store.DBTX, n int, arguments string) []uuid.UUID {
	t.Helper()
	return labtest.Enqueue(t, db, n, arguments)
}

// A hand is a registered worker.
type hand struct {
	id    uuid.UUID
	epoch int64
}

// hire registers a worker whose lease outlives a test on a slow machine: see expire.
func (l *lab) hire(t *testing.T) hand {
	t.Helper()
	return l.hireWith(t, `{"default": 2}`, 3_600_000_000)
}

func (l *lab) hireWith(t *testing.T, slots string, leaseMicros int64) hand {
	t.Helper()
	w := hand{id: uuid.New()}
	row, err := store.New(l.me).Register(t.Context(), store.RegisterParams{
		Worker: w.id, Node: "n", Namespace: "ns", Host: "h", Pid: 1, Boot: "b", Version: "v",
		LeaseUs: leaseMicros, Slots: []byte(slots), Tasks: []byte(`{"t": {}}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.epoch = row.Epoch
	return w
}

// lanes of one queue, highest first, without marks.
var lanes = labtest.Lanes

func claimParams(w hand, n int) store.ClaimParams {
	return store.ClaimParams{
		Worker: w.id, Epoch: w.epoch, Claim: uuid.New(), Seq: 1, Total: int32(n),
		Queues: []string{"default"}, Limits: []int32{int32(n)}, First: []int32{1}, Last: []int32{int32(len(lanes))},
		Lanes: lanes, Lows: make([]int64, len(lanes)),
	}
}

// claim claims up to n jobs of queue default and returns them in the order of the line.
func claim(t *testing.T, db store.DBTX, w hand, n int) []*store.ClaimRow {
	t.Helper()
	rows, _ := claimAs(t, db, claimParams(w, n))
	return rows
}

func claimAs(t *testing.T, db store.DBTX, p store.ClaimParams) ([]*store.ClaimRow, uuid.UUID) {
	t.Helper()
	rows, err := store.New(db).Claim(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(rows, func(a, b *store.ClaimRow) int {
		if a.Lane != b.Lane {
			return int(b.Lane) - int(a.Lane)
		}
		return int(a.Pos - b.Pos)
	})
	return rows, p.Claim
}

func jobsOf(rows []*store.ClaimRow) []uuid.UUID {
	list := make([]uuid.UUID, len(rows))
	for i, r := range rows {
		list[i] = r.JobID
	}
	return list
}

// held claims n jobs of queue default for a new worker: the usual beginning of a settle test.
func (l *lab) held(t *testing.T, n int) (hand, uuid.UUID, []uuid.UUID) {
	t.Helper()
	w := l.hire(t)
	enqueue(t, l.me, n, "")
	rows, id := claimAs(t, l.me, claimParams(w, n))
	if len(rows) != n {
		t.Fatalf("claimed %d of %d", len(rows), n)
	}
	return w, id, jobsOf(rows)
}

func repeat[T any](v T, n int) []T { return slices.Repeat([]T{v}, n) }

func finishParams(w hand, id uuid.UUID, jobs []uuid.UUID, outcome string) store.FinishParams {
	n := len(jobs)
	return store.FinishParams{
		Worker: w.id, Jobs: jobs, Claims: repeat(id, n), Outcomes: repeat(outcome, n),
		AgesUs: repeat(int64(5), n), Results: make([][]byte, n),
	}
}

func finish(t *testing.T, db store.DBTX, w hand, id uuid.UUID, jobs ...uuid.UUID) []uuid.UUID {
	t.Helper()
	done, err := finishJobs(t.Context(), db, finishParams(w, id, jobs, "completed"))
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// finishJobs returns the jobs that were moved: stem.finish names the others.
func finishJobs(ctx context.Context, db store.DBTX, p store.FinishParams) ([]uuid.UUID, error) {
	stayed, err := store.New(db).Finish(ctx, p)
	if err != nil {
		return nil, err
	}
	return without(p.Jobs, stayed), nil
}

// A verb is one put_back.
type verb struct {
	name         string
	delay, grace int64 // microseconds
	age          int64 // -1: the handler never began
	reason, text string
}

func putBackParams(w hand, id uuid.UUID, v verb, jobs ...uuid.UUID) store.PutBackParams {
	n := len(jobs)
	return store.PutBackParams{
		Worker: w.id, Jobs: jobs, Claims: repeat(id, n), Verbs: repeat(v.name, n), DelaysUs: repeat(v.delay, n),
		GracesUs: repeat(v.grace, n), AgesUs: repeat(v.age, n), Reasons: repeat(v.reason, n), Errors: repeat(v.text, n),
		Fingerprints: repeat("", n),
	}
}

// putBack returns where the jobs went, in no order.
func putBack(t *testing.T, db store.DBTX, w hand, id uuid.UUID, v verb, jobs ...uuid.UUID) []string {
	t.Helper()
	rows, err := store.New(db).PutBack(t.Context(), putBackParams(w, id, v, jobs...))
	if err != nil {
		t.Fatal(err)
	}
	list := make([]string, len(rows))
	for i, r := range rows {
		list[i] = r.Target
	}
	return list
}

func completeParams(w hand, id, job uuid.UUID) store.CompleteParams {
	return store.CompleteParams{Job: job, Claim: id, Worker: w.id, AgeUs: -1}
}

// place says where a job is: every state table that has it.
func (l *lab) place(t *testing.T, job uuid.UUID) []string {
	t.Helper()
	return labtest.Places(t, l.owner, job)
}

func (l *lab) wantPlace(t *testing.T, job uuid.UUID, want string) {
	t.Helper()
	if got := l.place(t, job); !slices.Equal(got, []string{want}) {
		t.Errorf("job is in %v, want only in %s", got, want)
	}
}

// counters are attempt, failures, crashes, releases, generation, wherever the job is.
func (l *lab) counters(t *testing.T, job uuid.UUID) [5]int {
	t.Helper()
	var c [5]int
	err := l.owner.QueryRow(t.Context(), `
		select attempt, failures, crashes, releases, generation from (
			select job_id, attempt, failures, crashes, releases, generation from stem.ready
			union all select job_id, attempt, failures, crashes, releases, generation from stem.scheduled
			union all select job_id, attempt, failures, crashes, releases, generation from stem.running
			union all select id, attempt, failures, crashes, releases, generation from stem.dead) x
		where job_id = $1`, job).Scan(&c[0], &c[1], &c[2], &c[3], &c[4])
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// expire makes a worker's lease look over, and returns the heartbeat that a rescuer saw.
func (l *lab) expire(t *testing.T, w hand) pgtype.Timestamptz {
	t.Helper()
	return one[pgtype.Timestamptz](t, l.owner,
		"update stem.workers set lease_until = clock_timestamp() - interval '1 second' where id = $1 returning heartbeat_at", w.id)
}

func declareLost(t *testing.T, db store.DBTX, rescuer, victim hand, seen pgtype.Timestamptz) bool {
	t.Helper()
	lost, err := store.New(db).DeclareLost(t.Context(), rescuer.id, rescuer.epoch, victim.id, seen)
	if err != nil {
		t.Fatal(err)
	}
	return lost
}

func rescue(t *testing.T, db store.DBTX, rescuer, victim hand) *store.RescueRow {
	t.Helper()
	row, err := store.New(db).Rescue(t.Context(), rescuer.id, rescuer.epoch, victim.id, 3)
	if err != nil {
		t.Fatal(err)
	}
	return row
}

func beat(t *testing.T, db store.DBTX, w hand) *store.HeartbeatRow {
	t.Helper()
	row, err := store.New(db).Heartbeat(t.Context(), store.HeartbeatParams{Worker: w.id, Epoch: w.epoch})
	if err != nil {
		t.Fatal(err)
	}
	return row
}
