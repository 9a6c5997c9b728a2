package queue

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/stemqueue/stem/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.MainWithExamples(m) }

var job = Raw("t", []byte("{}"), "")

func newQueue(t *testing.T, config Config) *Queue {
	t.Helper()
	q, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// open returns a pool of the database's owner, and one of a producer.
func open(t *testing.T, options ...func(*pgxpool.Config)) (owner *pgxpool.Pool, pool *pgxpool.Pool) {
	t.Helper()
	url := pgtest.Database(t)
	connect := func(url string, options ...func(*pgxpool.Config)) *pgxpool.Pool {
		config, err := pgxpool.ParseConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range options {
			o(config)
		}
		p, err := pgxpool.NewWithConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return p
	}
	return connect(url), connect(pgtest.Login(t, url, "producer"), options...)
}

func count(t *testing.T, owner *pgxpool.Pool) int {
	t.Helper()
	var n int
	if err := owner.QueryRow(t.Context(), "select count(*) from stem.jobs").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestEnqueueOnEveryHandle: each handle enqueues, and a rolled-back transaction leaves nothing.
func TestEnqueueOnEveryHandle(t *testing.T) {
	t.Parallel()
	owner, pool := open(t, func(c *pgxpool.Config) { c.MaxConns = 10 })
	q := newQueue(t, Config{})
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDBFromPool(pool)
	t.Cleanup(func() { _ = db.Close() })
	sqlTx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	sqlConn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sqlConn.Close() }()
	want := 0
	for name, handle := range map[string]DB{
		"pool": pool, "conn": conn.Conn(), "tx": tx, "sql.Tx": SQL(sqlTx), "sql.DB": SQL(db), "sql.Conn": SQL(sqlConn),
	} {
		for _, jobs := range [][]Request{{job}, {job, Raw("t", []byte("{}"), "", Header("a", "b"), Group("g"), After(time.Hour), UntilFinished(name))}} {
			receipts, err := q.Enqueue(t.Context(), handle, jobs...)
			if err != nil || len(receipts) != len(jobs) || receipts[0].XID == "" || receipts[0].ID == uuid.Nil {
				t.Fatalf("%s: %+v, %v", name, receipts, err)
			}
			if name != "tx" && name != "sql.Tx" {
				want += len(jobs)
			}
		}
	}
	if err := errors.Join(tx.Rollback(t.Context()), sqlTx.Rollback()); err != nil {
		t.Fatal(err)
	}
	if got := count(t, owner); got != want {
		t.Errorf("%d jobs, want %d", got, want)
	}
}

// TestBulk: receipts come in order, and one bad row of 10 000 means none.
func TestBulk(t *testing.T) {
	t.Parallel()
	owner, pool := open(t)
	q := newQueue(t, Config{})
	requests, ids := make([]Request, MaxBatch), newIDs(time.Now(), MaxBatch)
	for i := range requests {
		requests[i] = Raw("t", []byte("{}"), "", WithID(ids[i]))
	}
	_, err := q.Enqueue(t.Context(), pool, Raw("t", []byte("{}"), "", WithID(ids[7777])))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Enqueue(t.Context(), pool, requests...); !errors.Is(err, ErrDuplicateID) {
		t.Errorf("got %v, want ErrDuplicateID", err)
	}
	if got := count(t, owner); got != 1 {
		t.Fatalf("%d jobs after a refused bulk, want 1", got)
	}
	ids[7777] = newIDs(time.Now(), 1)[0]
	requests[7777] = Raw("t", []byte("{}"), "", WithID(ids[7777]))
	receipts, err := q.Enqueue(t.Context(), pool, requests...)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range receipts {
		if r.ID != ids[i] || r.Duplicate {
			t.Fatalf("receipt %d: %+v, want %s", i, r, ids[i])
		}
	}
}

// TestHooks: they run in order, and their headers are stored.
func TestHooks(t *testing.T) {
	t.Parallel()
	owner, pool := open(t)
	var order []string
	hook := func(name string) Hook {
		return func(ctx context.Context, jobs []*Envelope, next func(context.Context) ([]Receipt, error)) ([]Receipt, error) {
			order = append(order, name)
			jobs[0].Headers = map[string]string{"by": jobs[0].Headers["by"] + name}
			return next(ctx)
		}
	}
	q := newQueue(t, Config{Hooks: []Hook{hook("a"), hook("b")}})
	if _, err := q.Enqueue(t.Context(), pool, job); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(order, []string{"a", "b"}) {
		t.Errorf("order %v", order)
	}
	var stored string
	if err := owner.QueryRow(t.Context(), "select headers->>'by' from stem.jobs").Scan(&stored); err != nil || stored != "ab" {
		t.Errorf("stored %q, %v", stored, err)
	}
}

// TestHeadersOfHooksStayWithTheirJobs: what a hook writes into the headers of one job reaches neither the others of its task nor its next ones.
func TestHeadersOfHooksStayWithTheirJobs(t *testing.T) {
	t.Parallel()
	owner, pool := open(t)
	task := NewTask[int]("counted", Header("of", "the task"))
	n := 0
	q := newQueue(t, Config{Hooks: []Hook{func(ctx context.Context, jobs []*Envelope, next func(context.Context) ([]Receipt, error)) ([]Receipt, error) {
		for _, j := range jobs {
			n++
			j.Headers[fmt.Sprint("hook ", n)] = ""
		}
		return next(ctx)
	}}})
	for range 2 {
		if _, err := q.Enqueue(t.Context(), pool, task.New(1), task.New(2)); err != nil {
			t.Fatal(err)
		}
	}
	rows, _ := owner.Query(t.Context(), "select headers::text from stem.jobs order by id")
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`{"of": "the task", "hook 1": ""}`, `{"of": "the task", "hook 2": ""}`, `{"of": "the task", "hook 3": ""}`, `{"of": "the task", "hook 4": ""}`}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("stored\n%q, want\n%q", got, want)
	}
}

// TestErrors: the conditions that callers branch on.
func TestErrors(t *testing.T) {
	t.Parallel()
	owner, pool := open(t)
	q := newQueue(t, Config{})
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = tx.Exec(t.Context(), "select 1/0")
	if _, err := q.Enqueue(t.Context(), tx, job); !errors.Is(err, ErrTxAborted) {
		t.Errorf("got %v, want ErrTxAborted", err)
	}
	_ = tx.Rollback(t.Context())

	// A clock that is an hour off: a transaction is spoilt, and the offset is learnt from the error; a pool tries again by itself.
	q.offset.Store(int64(time.Hour))
	if tx, err = pool.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Enqueue(t.Context(), tx, job); !errors.Is(err, ErrClock) {
		t.Errorf("got %v, want ErrClock", err)
	}
	_ = tx.Rollback(t.Context())
	if off := time.Duration(q.offset.Load()); off.Abs() > time.Minute {
		t.Errorf("learnt an offset of %v", off)
	}
	q.offset.Store(int64(-time.Hour))
	if _, err := q.Enqueue(t.Context(), pool, job); err != nil || count(t, owner) != 1 {
		t.Errorf("got %v and %d jobs, want the second try to succeed", err, count(t, owner))
	}
	old := newIDs(time.Now().Add(-time.Hour), 1)[0]
	if _, err := q.Enqueue(t.Context(), pool, Raw("t", []byte("{}"), "", WithID(old))); !errors.Is(err, ErrClock) {
		t.Errorf("an old id of the caller's: got %v, want ErrClock", err)
	}
}

// cutter drops the connection in place of the server's next answer, once it is armed.
type cutter struct {
	net.Conn
	armed *atomic.Int32
}

func (c cutter) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == nil && c.armed.Add(-1) >= 0 {
		return 0, errors.Join(net.ErrClosed, c.Close())
	}
	return n, err
}

func cutting(armed *atomic.Int32) func(*pgxpool.Config) {
	return func(c *pgxpool.Config) {
		c.MaxConns = 1
		dial := c.ConnConfig.DialFunc
		c.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			return cutter{conn, armed}, err
		}
	}
}

// TestLostAnswer: the connection dies after the statement was sent. A pool resolves it by sending the same ids again; a
// connection of its own answers ErrCommitUnknown, with the ids; a COMMIT that got no answer is resolved by its xid.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	var armed atomic.Int32
	owner, pool := open(t, cutting(&armed))
	q := newQueue(t, Config{})
	enqueue := func(db DB) ([]Receipt, error) { return q.Enqueue(t.Context(), db, job) }
	for range 2 { // the second uses the prepared statement: one round trip
		if _, err := enqueue(pool); err != nil {
			t.Fatal(err)
		}
	}
	armed.Store(1)
	receipts, err := enqueue(pool)
	if err != nil || len(receipts) != 1 || count(t, owner) != 3 {
		t.Fatalf("pool: %v, %v, %d jobs", receipts, err, count(t, owner))
	}

	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := enqueue(conn.Conn()); err != nil {
			t.Fatal(err)
		}
	}
	armed.Store(1)
	_, err = enqueue(conn.Conn())
	conn.Release()
	unknown, ok := errors.AsType[*CommitUnknownError](err)
	if !ok || !errors.Is(err, ErrCommitUnknown) || len(unknown.IDs) != 1 {
		t.Fatalf("conn: got %v, want ErrCommitUnknown", err)
	}
	if _, err := q.Enqueue(t.Context(), pool, Raw("t", []byte("{}"), "", WithID(unknown.IDs[0]))); !errors.Is(err, ErrDuplicateID) {
		t.Errorf("the same id again: got %v, want ErrDuplicateID", err)
	}

	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if receipts, err = enqueue(tx); err != nil {
		t.Fatal(err)
	}
	if status, err := CommitStatus(t.Context(), owner, receipts[0].XID); err != nil || status != TxInProgress {
		t.Errorf("before the commit: %q, %v", status, err)
	}
	armed.Store(1)
	err = Commit(t.Context(), tx, receipts...)
	if unknown, ok = errors.AsType[*CommitUnknownError](err); !ok || unknown.XID != receipts[0].XID {
		t.Fatalf("commit: got %v, want ErrCommitUnknown with the xid", err)
	}
	if status, err := CommitStatus(t.Context(), pool, unknown.XID); err != nil || status != TxCommitted {
		t.Errorf("got %q, %v, want committed", status, err)
	}
}

// TestWait: how a job ended, as soon as it has.
func TestWait(t *testing.T) {
	t.Parallel()
	owner, pool := open(t)
	q := newQueue(t, Config{})
	if _, err := Wait(t.Context(), pool, newIDs(time.Now(), 1)[0]); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	receipts, err := q.Enqueue(t.Context(), pool, job)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Wait(ctx, pool, receipts[0].ID); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	if _, err := owner.Exec(t.Context(), `with d as (delete from stem.ready returning *)
		insert into stem.finished (slot, job_id, attempt, outcome, result) select slot, job_id, 1, 'completed', '7' from d`); err != nil {
		t.Fatal(err)
	}
	r, err := Wait(t.Context(), pool, receipts[0].ID)
	if err != nil || !r.Completed() || string(r.Value) != "7" || r.Attempt != 1 {
		t.Errorf("got %+v, %v", r, err)
	}
}
