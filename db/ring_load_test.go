package db_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/internal/store"
)

// A ledger is what the clients of TestRingUnderLoad were told.
type ledger struct {
	mu       sync.Mutex
	enqueued map[uuid.UUID]bool
	claimed  map[string]bool // job and attempt
	failed   map[uuid.UUID]int64
	ended    map[uuid.UUID]string
	wrong    []string
}

func (b *ledger) note(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *ledger) end(job uuid.UUID, outcome string) {
	b.note(func() {
		if was := b.ended[job]; was != "" {
			b.wrong = append(b.wrong, fmt.Sprintf("%s %s and %s", job, was, outcome))
		}
		b.ended[job] = outcome
	})
}

// produce enqueues three jobs now and one for later.
func (b *ledger) produce(ctx context.Context, c *pgx.Conn) error {
	rows, err := c.Query(ctx, "select stem.enqueue('t', delay => case when i = 1 then interval '20 milliseconds' end) from generate_series(1, 4) i")
	if err != nil {
		return err
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	b.note(func() {
		for _, job := range list {
			b.enqueued[job] = true
		}
	})
	return err
}

// work claims up to n jobs; the even ones of the first attempt fail, some are released, the others are finished.
func (b *ledger) work(ctx context.Context, c *pgx.Conn, w hand, n int) (claimed int, err error) {
	db := store.New(c)
	p := claimParams(w, n)
	rows, err := db.Claim(ctx, p)
	if err != nil {
		return 0, err
	}
	var fail, release, done []uuid.UUID
	b.note(func() {
		for i, r := range rows {
			turn := fmt.Sprint(r.JobID, r.Attempt)
			if r.Task.String != "t" || b.claimed[turn] {
				b.wrong = append(b.wrong, fmt.Sprintf("claimed %+v", r))
			}
			b.claimed[turn] = true
			switch {
			case r.Attempt == 1 && i%2 == 0:
				fail = append(fail, r.JobID)
			case r.Attempt == 2 && i%3 == 0:
				release = append(release, r.JobID)
			default:
				done = append(done, r.JobID)
			}
		}
	})
	for name, left := range map[string][]uuid.UUID{"fail": fail, "release": release} {
		// What a cancel has locked does not move, and is put back again.
		for len(left) > 0 {
			moved, err := db.PutBack(ctx, putBackParams(w, p.Claim, verb{name: name, delay: 10_000, age: -1}, left...))
			if err != nil {
				return 0, err
			}
			left = b.settled(left, name, moved)
		}
	}
	for left := done; len(left) > 0; {
		if left, err = b.finish(ctx, c, w, p.Claim, left); err != nil {
			return 0, err
		}
	}
	return len(rows), nil
}

// finish finishes jobs as a worker does, and returns those that it has to try again: another held them, perhaps for longer than finish waits.
func (b *ledger) finish(ctx context.Context, c *pgx.Conn, w hand, claim uuid.UUID, jobs []uuid.UUID) (left []uuid.UUID, err error) {
	moved, err := finishJobs(ctx, c, finishParams(w, claim, jobs, "completed"))
	if code(err) == "55P03" {
		return jobs, nil
	}
	for _, job := range moved {
		b.end(job, "completed")
	}
	return without(jobs, moved), err
}

// settled books what put_back moved, and returns the rest of jobs.
func (b *ledger) settled(jobs []uuid.UUID, verb string, moved []*store.PutBackRow) (left []uuid.UUID) {
	list := make([]uuid.UUID, len(moved))
	for i, r := range moved {
		list[i] = r.JobID
		if r.Target == "cancelled" {
			b.end(r.JobID, "cancelled")
		}
		if verb == "fail" { // one that is released before it began leaves no trace
			b.note(func() { b.failed[r.JobID]++ })
		}
	}
	return without(jobs, list)
}

func without(list, gone []uuid.UUID) (left []uuid.UUID) {
	for _, job := range list {
		if !slices.Contains(gone, job) {
			left = append(left, job)
		}
	}
	return left
}

// cancel cancels one of the jobs that have not ended.
func (b *ledger) cancel(ctx context.Context, c *pgx.Conn) error {
	var job uuid.UUID
	b.note(func() {
		for id := range b.enqueued {
			if b.ended[id] == "" {
				job = id
				break
			}
		}
	})
	var result string
	err := c.QueryRow(ctx, "select result from stem.cancel(array[$1::uuid], 'test')", job).Scan(&result)
	if result == "cancelled" {
		b.end(job, result)
	}
	return err
}

// A slow worker holds a few jobs for eight turns of the ring, so that their leaf is emptied while they run.
type slow struct {
	*ledger
	w      hand
	turned atomic.Int64
	jobs   []uuid.UUID
	claim  uuid.UUID
	until  int64
}

func (s *slow) step(ctx context.Context, c *pgx.Conn) (err error) {
	switch {
	case len(s.jobs) == 0:
		p := claimParams(s.w, 5)
		var rows []*store.ClaimRow
		rows, err = store.New(c).Claim(ctx, p)
		s.jobs, s.claim, s.until = jobsOf(rows), p.Claim, s.turned.Load()+8
	case s.turned.Load() < s.until:
		_, err = c.Exec(ctx, "select 1")
	default:
		s.jobs, err = s.finish(ctx, c, s.w, s.claim, s.jobs)
	}
	return err
}

// TestRingUnderLoad turns the ring 20 times, in batches of 40, beside two producers, two workers whose jobs fail, are released and
// finish, one that holds jobs for long, a due move and an operator who cancels. Afterwards every job that was enqueued has ended once, with one finished row,
// one envelope beside it, and all of its attempts; no attempt was claimed twice or without its envelope.
func TestRingUnderLoad(t *testing.T) {
	t.Parallel()
	l := open(t)
	l.mutate(t, "rotate", "v_now - 6 * v_period, 2000)", "v_now - 6 * v_period, 40)")
	l.mutate(t, "_ring_move", "limit 50000", "limit 70", "limit 50000", "limit 70", "limit 50000", "limit 70",
		"v_seen = 50000", "v_seen = 70")
	b := &ledger{enqueued: map[uuid.UUID]bool{}, claimed: map[string]bool{}, failed: map[uuid.UUID]int64{}, ended: map[uuid.UUID]string{}}
	enqueue(t, l.me, 200, "queue => 'asleep'")
	for range 500 { // a backlog, so that tickets get as old as a turn of the ring
		if err := b.produce(t.Context(), l.me); err != nil {
			t.Fatal(err)
		}
	}

	stop := make(chan struct{})
	var group sync.WaitGroup
	client := func(role string, step func(ctx context.Context, c *pgx.Conn) error) {
		c := l.as(t, role)
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if err := step(t.Context(), c); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	w := l.hire(t)
	for range 2 {
		client("producer", b.produce)
		client("worker", func(ctx context.Context, c *pgx.Conn) error { _, err := b.work(ctx, c, w, 5); return err })
	}
	slow := &slow{ledger: b, w: w}
	client("worker", slow.step)
	client("operator", b.cancel)
	client("worker", func(ctx context.Context, c *pgx.Conn) error { _, err := store.New(c).Due(ctx, 100); return err })
	for range 20 {
		l.turn(t)
		slow.turned.Add(1)
	}
	close(stop)
	group.Wait()
	for slow.turned.Add(8); len(slow.jobs) > 0; { // it is done
		if err := slow.step(t.Context(), l.me); err != nil {
			t.Fatal(err)
		}
	}
	b.check(t, l, w)
}

// check runs what is left and compares the books with the tables.
func (b *ledger) check(t *testing.T, l *lab, w hand) {
	t.Helper()
	eventually(t, "every job has ended", func() bool {
		if _, err := store.New(l.me).Due(t.Context(), 1000); err != nil {
			t.Fatal(err)
		}
		if _, err := b.work(t.Context(), l.me, w, 100); err != nil {
			t.Fatal(err)
		}
		return one[int](t, l.owner, `select count(*) from (select queue from stem.ready union all select queue from stem.scheduled
			union all select queue from stem.running) x where queue = 'default'`) == 0
	})
	for _, what := range b.wrong {
		t.Error(what)
	}
	if len(b.ended) != len(b.enqueued) {
		t.Errorf("%d of %d jobs ended", len(b.ended), len(b.enqueued))
	}
	type row struct {
		ID        uuid.UUID
		Rows      int
		Outcome   string
		Envelopes int
		Attempts  int64
	}
	rows, err := l.owner.Query(t.Context(), `select f.job_id, count(*), min(f.outcome),
			(select count(*) from stem.jobs j where j.slot = min(f.slot) and j.id = f.job_id),
			(select count(*) from stem.list_attempts(f.job_id))
		from stem.finished f group by f.job_id`)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(b.enqueued) {
		t.Errorf("%d jobs have a finished row, of %d", len(list), len(b.enqueued))
	}
	for _, r := range list {
		if want := (row{r.ID, 1, b.ended[r.ID], 1, b.failed[r.ID]}); r != want {
			t.Errorf("got %+v, want %+v", r, want)
		}
	}
	const asleep = "select count(*) from stem.ready r join stem.jobs j on j.slot = r.slot and j.id = r.job_id where r.queue = 'asleep'"
	if n := one[int](t, l.owner, asleep); n != 200 {
		t.Errorf("%d of the 200 jobs that nobody claims are left", n)
	}
	t.Logf("%d jobs", len(list))
}
