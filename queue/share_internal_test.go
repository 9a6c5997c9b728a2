package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/pgtest"
)

// gathering is a queue whose first enqueue is held in the database until the gate opens, so that those after it gather.
type gathering struct {
	*testing.T
	q     *Queue
	pool  *pgxpool.Pool
	owner *pgxpool.Pool
	gate  pgx.Tx
}

func gather(t *testing.T) *gathering {
	t.Helper()
	url := pgtest.Database(t)
	open := func(url string) *pgxpool.Pool {
		pool, err := pgxpool.New(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return pool
	}
	q, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	g := &gathering{T: t, q: q, pool: open(pgtest.Login(t, url, "producer")), owner: open(url)}
	// Task "slow" waits for the gate, task "bad" is refused.
	g.exec(`create function public.gate() returns trigger language plpgsql as $$ begin
		if new.task = 'slow' then perform pg_advisory_xact_lock_shared(4711); end if;
		if new.task = 'bad' then raise exception 'refused' using errcode = 'TEST1'; end if;
		return new; end $$`)
	g.exec("create trigger gate before insert on stem.jobs for each row execute function public.gate()")
	return g
}

func (g *gathering) exec(sql string) {
	g.Helper()
	if _, err := g.owner.Exec(g.Context(), sql); err != nil {
		g.Fatal(err)
	}
}

// close keeps slow jobs in their statement.
func (g *gathering) close() {
	g.Helper()
	tx, err := g.owner.Begin(g.Context())
	if err != nil {
		g.Fatal(err)
	}
	if _, err := tx.Exec(g.Context(), "select pg_advisory_xact_lock(4711)"); err != nil {
		g.Fatal(err)
	}
	g.gate = tx
}

func (g *gathering) open() {
	g.Helper()
	if err := g.gate.Rollback(g.Context()); err != nil {
		g.Fatal(err)
	}
}

// answer is what an Enqueue gave.
type given struct {
	receipts []Receipt
	err      error
}

func (g *gathering) enqueue(ctx context.Context, task string, options ...Option) chan given {
	c := make(chan given, 1)
	go func() {
		r, err := g.q.Enqueue(ctx, g.pool, Raw(task, []byte("{}"), "", options...))
		c <- given{r, err}
	}()
	return c
}

// until waits for a state of the sharing of jobs that notify; nil when there is none.
func (g *gathering) until(what string, holds func(*sharing) bool) {
	g.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		g.q.sharings.mu.Lock()
		ok := holds(g.q.sharings.of[sharingKey{g.pool, false}])
		g.q.sharings.mu.Unlock()
		if ok {
			return
		}
		<-time.After(time.Millisecond)
	}
	g.Fatalf("never: %s", what)
}

func (g *gathering) count(task string) (n int) {
	g.Helper()
	if err := g.owner.QueryRow(g.Context(), "select count(*) from stem.jobs where task = $1", task).Scan(&n); err != nil {
		g.Fatal(err)
	}
	return n
}

// hold puts the pool in the state in which a statement is on its way, without one; and nobody loses patience.
func (g *gathering) hold() (release func()) {
	g.q.sharings.patience = time.Hour
	key, s := sharingKey{g.pool, false}, &sharing{}
	g.q.sharings.mu.Lock()
	g.q.sharings.of = map[sharingKey]*sharing{key: s}
	g.q.sharings.mu.Unlock()
	return func() { g.q.nextShared(key, s) }
}

// The first goes at once, alone; those that come while it is on its way go together, after it.
func TestSingleEnqueuesShareStatements(t *testing.T) {
	t.Parallel()
	g := gather(t)
	g.q.sharings.patience = time.Hour
	g.close()
	first := g.enqueue(t.Context(), "slow")
	g.until("the first is on its way", func(s *sharing) bool { return s != nil })
	var calls []chan given
	for range 31 {
		calls = append(calls, g.enqueue(t.Context(), "quick"))
	}
	g.until("the others wait", func(s *sharing) bool { return len(s.waiting) == 31 })
	g.open()
	alone := <-first
	if alone.err != nil {
		t.Fatal(alone.err)
	}
	xids := map[string]int{}
	for _, call := range calls {
		got := <-call
		if got.err != nil {
			t.Fatal(got.err)
		}
		xids[got.receipts[0].XID]++
	}
	if len(xids) != 1 || xids[alone.receipts[0].XID] != 0 {
		t.Errorf("transaction %s for the first, %v for the others; want one for all of them, and another", alone.receipts[0].XID, xids)
	}
	g.until("nothing is kept when nobody enqueues", func(s *sharing) bool { return s == nil })
}

// Whatever shares with whatever: each caller gets the receipt of its own job.
func TestManyProducersGetTheirOwnReceipts(t *testing.T) {
	t.Parallel()
	g := gather(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	tasks := map[uuid.UUID]string{}
	for producer := range 32 {
		all.Go(func() {
			for i := range 20 {
				task := fmt.Sprintf("t%d.%d", producer, i)
				r, err := g.q.Enqueue(t.Context(), g.pool, Raw(task, []byte("{}"), ""))
				if err != nil || len(r) != 1 || r[0].Duplicate {
					t.Errorf("%+v, %v", r, err)
					return
				}
				mu.Lock()
				tasks[r[0].ID] = task
				mu.Unlock()
			}
		})
	}
	all.Wait()
	rows, _ := g.owner.Query(t.Context(), "select id, task from stem.jobs")
	inTable, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct {
		ID   uuid.UUID
		Task string
	}])
	if err != nil {
		t.Fatal(err)
	}
	if len(tasks) != 640 || len(inTable) != 640 {
		t.Errorf("%d receipts and %d jobs, want 640 of each", len(tasks), len(inTable))
	}
	for _, job := range inTable {
		if tasks[job.ID] != job.Task {
			t.Errorf("job %s is of task %q, its receipt was given for %q", job.ID, job.Task, tasks[job.ID])
		}
	}
	g.until("nothing is kept when nobody enqueues", func(s *sharing) bool { return s == nil })
}

// A job that the server refuses fails alone.
func TestARefusedJobSpoilsNoOther(t *testing.T) {
	t.Parallel()
	g := gather(t)
	release := g.hold()
	calls := map[string]chan given{}
	for _, task := range []string{"good", "bad", "better"} {
		calls[task] = g.enqueue(t.Context(), task)
	}
	g.until("three wait", func(s *sharing) bool { return len(s.waiting) == 3 })
	release()
	for task, call := range calls {
		got := <-call
		switch {
		case task == "bad" && (got.err == nil || errors.Is(got.err, ErrCommitUnknown) || g.count(task) != 0):
			t.Errorf("bad: %v, %d jobs; want its own refusal", got.err, g.count(task))
		case task != "bad" && (got.err != nil || len(got.receipts) != 1 || g.count(task) != 1):
			t.Errorf("%s: %+v, %v; want it enqueued", task, got.receipts, got.err)
		}
	}
}

// Who gives up while waiting has enqueued nothing; who gives up after the statement left does not know; the others of the statement
// get their answers.
func TestACallerMayLeave(t *testing.T) {
	t.Parallel()
	g := gather(t)
	release := g.hold()
	early, leaveEarly := context.WithCancel(t.Context())
	late, leaveLate := context.WithCancel(t.Context())
	waits, rides, stays := g.enqueue(early, "waits"), g.enqueue(late, "slow"), g.enqueue(t.Context(), "stays")
	g.until("three wait", func(s *sharing) bool { return len(s.waiting) == 3 })
	leaveEarly()
	if got := <-waits; !errors.Is(got.err, context.Canceled) || errors.Is(got.err, ErrCommitUnknown) {
		t.Errorf("left while waiting: %v, want only that it was cancelled", got.err)
	}
	g.close()
	release()
	g.until("they are on their way", func(s *sharing) bool { return s != nil && len(s.waiting) == 0 })
	leaveLate()
	if got := <-rides; !errors.Is(got.err, ErrCommitUnknown) {
		t.Errorf("left on the way: %v, want ErrCommitUnknown", got.err)
	}
	g.open()
	if got := <-stays; got.err != nil {
		t.Errorf("stayed: %v", got.err)
	}
	if g.count("waits") != 0 || g.count("slow") != 1 || g.count("stays") != 1 {
		t.Errorf("%d, %d and %d jobs, want 0, 1 and 1", g.count("waits"), g.count("slow"), g.count("stays"))
	}
}

// A statement that does not end keeps nobody for longer than sharedPatience, and one that everybody has left is given up.
func TestAStuckStatementStopsNobody(t *testing.T) {
	t.Parallel()
	g := gather(t)
	g.close()
	ctx, leave := context.WithCancel(t.Context())
	stuck := g.enqueue(ctx, "slow")
	labtest.Eventually(t, "a statement is on its way", func() bool {
		return labtest.One[bool](t, g.owner, "select exists (select from pg_locks where locktype = 'advisory' and objid = 4711 and not granted and database = (select oid from pg_database where datname = current_database()))")
	})
	for range 3 {
		if got := <-g.enqueue(t.Context(), "quick"); got.err != nil {
			t.Fatal(got.err)
		}
	}
	leave()
	if got := <-stuck; !errors.Is(got.err, ErrCommitUnknown) {
		t.Errorf("%v, want ErrCommitUnknown", got.err)
	}
	g.until("the statement was given up", func(s *sharing) bool { return s == nil })
	g.open()
}

// What may wait for somebody, or be there already, goes alone.
func TestSomeGoAlone(t *testing.T) {
	t.Parallel()
	for name, job := range map[string]Request{
		"unique key": Raw("t", nil, "", UntilFinished("k")),
		"own id":     Raw("t", nil, "", WithID(newIDs(time.Now(), 1)[0])),
		"large":      Raw("t", make([]byte, sharedBytes), ""),
	} {
		b := built{spec: job.spec}
		b.envelope.Payload = job.raw
		if b.shareable() {
			t.Errorf("%s: shareable", name)
		}
	}
}
