package integration_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// zombieTasks are handlers that ignore their contexts: each attempt goes on until its gate is open, and then ends in the way
// that the task names; the second ends well.
func zombieTasks(reg *worker.Registry, pool *pgxpool.Pool, begin func(*queue.Run) error) {
	ctx := context.Background()
	for name, end := range map[string]func(*queue.Run) error{
		"nil":    func(*queue.Run) error { return nil },
		"error":  func(*queue.Run) error { return errors.New("this must not count") },
		"snooze": func(*queue.Run) error { return worker.Snooze(time.Hour) },
		"complete": func(run *queue.Run) error {
			tx, err := pool.Begin(ctx)
			if err != nil {
				return err
			}
			defer tx.Rollback(ctx)
			if _, err := tx.Exec(ctx, "insert into effects values ($1, $2)", run.ID, run.Attempt); err != nil {
				return err
			}
			if err := worker.CompleteRun(ctx, tx, run); err != nil {
				return err
			}
			return tx.Commit(ctx)
		},
	} {
		reg.HandleFunc("zombie."+name, func(_ context.Context, run *queue.Run) error {
			if err := begin(run); err != nil {
				return err
			}
			for open := false; !open; <-time.After(5 * time.Millisecond) {
				if err := pool.QueryRow(ctx, "select exists (select from gates where attempt = $1)", run.Attempt).Scan(&open); err != nil {
					return err
				}
			}
			var err error
			if run.Attempt == 1 || name == "complete" {
				err = end(run)
			}
			_, noted := pool.Exec(ctx, "insert into ends values ($1, $2, $3)", run.ID, run.Attempt, fmt.Sprint(err))
			return errors.Join(err, noted)
		})
	}
}

// A worker is stopped for longer than its lease while a handler runs. Another takes the job. When the first goes on, nothing
// of what it does with the job may count, and it says so once.
func TestNothingThatAStoppedWorkerDoesCounts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, task string
		goesOn     bool   // the handler ends only after the second attempt has
		says       string // what the handler is told
	}{
		{"nil", "zombie.nil", false, "<nil>"},
		{"error", "zombie.error", false, "this must not count"},
		{"snooze", "zombie.snooze", false, "snoozed"},
		{"complete", "zombie.complete", false, worker.ErrLeaseLost.Error()},
		{"heartbeat", "zombie.nil", true, "<nil>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			for _, table := range []string{"gates (attempt int)", "ends (job uuid, attempt int, said text)", "effects (job uuid, attempt int)"} {
				if _, err := f.pool.Exec(t.Context(), "create table "+table); err != nil {
					t.Fatal(err)
				}
			}
			stopped := f.start(2)
			r := f.enqueue(raw(tt.task))[0]
			f.eventually("the job has begun", func() bool { return f.number("select count(*) from runs") == 1 })
			old := f.worker(stopped)
			stopped.signal(t, syscall.SIGSTOP)
			second := f.start(2)
			f.eventually("it has begun elsewhere", func() bool { return f.number("select count(*) from runs where attempt = 2") == 1 })
			heir := f.worker(second)

			if !tt.goesOn {
				f.open(1) // the handler ends as soon as its process goes on
			}
			stopped.signal(t, syscall.SIGCONT)
			f.eventually("it names the claim", func() bool { return stopped.log.count("lost claim", r.ID.String(), "attempt=1") == 1 })
			f.eventually("it starts afresh", func() bool { return stopped.log.count("worker started") == 2 })
			if !tt.goesOn {
				f.ended(r, 1, tt.says)
			}
			f.belongsTo(r, heir, old)

			f.open(2)
			if got := f.wait(r); got.State != "completed" || got.Attempt != 2 {
				t.Errorf("got %s after %d attempts: %s", got.State, got.Attempt, got.Error)
			}
			f.ended(r, 2, "")
			if tt.goesOn {
				f.open(1)
				f.ended(r, 1, tt.says)
			}
			if n := f.number("select count(*) from stem.finished where job_id = $1 and attempt = 2 and worker = $2 and outcome = 'completed'", r.ID, heir); n != 1 {
				t.Errorf("completed %d times by the second worker, want once", n)
			}
			if n := f.number("select count(*) from stem.finished") + f.number("select count(*) from stem.dead"); n != 1 {
				t.Errorf("%d ends of one job", n)
			}
			if n := f.number("select count(*) from stem.attempts where not (attempt = 1 and outcome = 'lost')"); n != 0 {
				t.Errorf("%d attempts were recorded besides the lost one", n)
			}
			if n := f.number("select count(*) from effects where attempt = 1"); n != 0 {
				t.Errorf("%d rows of the lost attempt", n)
			}
			if n, m := stopped.log.count("lost claim"), second.log.count("lost claim"); n != 1 || m != 0 {
				t.Errorf("%d and %d lines about lost claims, want 1 and none", n, m)
			}
		})
	}
}

// worker returns the present identity of a process.
func (f *fleet) worker(p *process) uuid.UUID {
	f.t.Helper()
	var id uuid.UUID
	if err := f.pool.QueryRow(f.t.Context(), "select id from stem.workers where pid = $1", p.cmd.Process.Pid).Scan(&id); err != nil {
		f.t.Fatal(err)
	}
	return id
}

// open lets the handlers of an attempt end.
func (f *fleet) open(attempt int) {
	f.t.Helper()
	if _, err := f.pool.Exec(f.t.Context(), "insert into gates values ($1)", attempt); err != nil {
		f.t.Fatal(err)
	}
}

// ended waits for the handler of an attempt, which must have been told that, "" meaning anything.
func (f *fleet) ended(r queue.Receipt, attempt int, says string) {
	f.t.Helper()
	var said string
	f.eventually(fmt.Sprintf("the handler of attempt %d has ended", attempt), func() bool {
		return f.pool.QueryRow(f.t.Context(), "select said from ends where job = $1 and attempt = $2", r.ID, attempt).Scan(&said) == nil
	})
	if !strings.Contains(said, says) {
		f.t.Errorf("the handler of attempt %d was told %q, want %q", attempt, said, says)
	}
}

// belongsTo checks that the job runs as the second attempt of that worker, and that the one before has not come back.
func (f *fleet) belongsTo(r queue.Receipt, heir, old uuid.UUID) {
	f.t.Helper()
	if n := f.number("select count(*) from stem.running where job_id = $1 and attempt = 2 and worker = $2", r.ID, heir); n != 1 {
		f.t.Error("the second worker has lost its claim")
	}
	if n := f.number("select (select count(*) from stem.ready) + (select count(*) from stem.scheduled) + (select count(*) from stem.finished)"); n != 0 {
		f.t.Errorf("%d tickets or outcomes besides the claim", n)
	}
	if n := f.number("select count(*) from stem.workers where id = $1", old); n != 0 {
		f.t.Error("a heartbeat has brought the lost lease back")
	}
}
