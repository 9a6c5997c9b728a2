package integration_test

import (
	"context"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// busyFleet registers an innocent that takes a while and, as long as there is a row in "fed", enqueues another, so that the
// line never gets shorter; and a poison that kills its process: the first time not before it has company, so that innocents are
// charged with it.
func busyFleet(reg *worker.Registry, pool *pgxpool.Pool, begin func(*queue.Run) error) {
	var company atomic.Int64
	reg.HandleFunc("innocent", func(ctx context.Context, _ *queue.Run) error {
		company.Add(1)
		defer company.Add(-1)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
			_, err := pool.Exec(ctx, "select stem.enqueue('innocent') from fed")
			return err
		}
	})
	reg.HandleFunc("poison.in.company", func(ctx context.Context, run *queue.Run) error {
		if err := begin(run); err != nil {
			return err
		}
		// Only now: whoever was there before begin may have ended meanwhile.
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for run.Attempt == 1 && company.Load() == 0 {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-tick.C:
			}
		}
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	})
}

// crowd keeps a fleet of processes busy: one that died is replaced.
type crowd struct {
	*fleet
	alive     []*process
	all       []*process
	shortened bool
}

func newCrowd(f *fleet, workers int) *crowd {
	c := &crowd{fleet: f}
	requests := make([]queue.Request, 400)
	for i := range requests {
		requests[i] = raw("innocent")
	}
	c.enqueue(requests...)
	for range workers {
		c.hire()
	}
	return c
}

func (c *crowd) hire() {
	p := c.start(4)
	c.alive, c.all = append(c.alive, p), append(c.all, p)
}

// tend does what a supervisor does. It also moves the clock of the poison: instead of waiting the 30 s that follow its second
// crash, the test makes it due.
func (c *crowd) tend(poison queue.Receipt) {
	for i := 0; i < len(c.alive); i++ {
		select {
		case <-c.alive[i].done:
			c.alive = append(c.alive[:i], c.alive[i+1:]...)
			c.hire()
		default:
		}
	}
	if !c.shortened {
		tag, err := c.pool.Exec(c.t.Context(), `update stem.scheduled s set run_at = clock_timestamp() where job_id = $1 and crashes = 2
			and run_at > (select max(ended_at) from stem.attempts a where a.job_id = s.job_id) + interval '20 seconds'`, poison.ID)
		if err != nil {
			c.t.Fatal(err)
		}
		c.shortened = tag.RowsAffected() == 1
	}
}

// TestByDefaultAPoisonOfABusyFleetIsBuriedAlone: three crashes bury it. No worker is ever idle, so that suspects would wait for
// ever if nobody took the duty of running them.
func TestByDefaultAPoisonOfABusyFleetIsBuriedAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.maxCrashes = 0
	idle := []string{
		"create table fed ()", "insert into fed default values",
		"create table idle (worker uuid, queues text[])",
		"create function note_idle() returns trigger language plpgsql as $$ begin insert into idle values (new.id, new.idle); return null; end $$",
		"create trigger note_idle after update of idle on stem.workers for each row when (new.idle <> '{}') execute function note_idle()",
	}
	for _, statement := range idle {
		if _, err := f.pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	c := newCrowd(f, 3)
	poison := f.enqueue(raw("poison.in.company", queue.Priority(9)))[0]
	began := time.Now()
	f.eventually("the poison is buried", func() bool {
		c.tend(poison)
		return f.number("select count(*) from stem.dead") > 0
	})
	t.Logf("buried after %v", time.Since(began).Round(time.Millisecond))
	if n := f.number("select count(*) from idle"); n != 0 {
		t.Errorf("workers were idle %d times: this test is about a fleet that never is", n)
	}
	if _, err := f.pool.Exec(t.Context(), "delete from fed"); err != nil {
		t.Fatal(err)
	}
	f.eventually("every innocent has ended", func() bool {
		return f.number("select (select count(*) from stem.ready) + (select count(*) from stem.scheduled) + (select count(*) from stem.running)") == 0
	})
	c.judge(poison)
}

func (c *crowd) judge(poison queue.Receipt) {
	t := c.t
	t.Helper()
	if got := c.wait(poison); got.State != "dead" || got.Reason != "poison" {
		t.Errorf("the poison: got %s (%s), want dead (poison)", got.State, got.Reason)
	}
	if n := c.number("select count(*) from runs where job = $1", poison.ID); n != 3 {
		t.Errorf("the poison ran %d times, want 3", n)
	}
	if n := c.number("select count(*) from stem.dead"); n != 1 {
		t.Errorf("%d dead letters, want the poison alone", n)
	}
	innocents := c.number("select count(*) from stem.jobs where task = 'innocent'")
	if n := c.number("select count(*) from stem.finished where outcome = 'completed'"); n != innocents {
		t.Errorf("%d of %d innocents completed", n, innocents)
	}
	t.Logf("%d innocents", innocents)
	// Charged once, because they ran beside it; never again, because from then on both run alone.
	rows, err := c.pool.Query(t.Context(), "select count(*) from stem.attempts where outcome = 'lost' and job_id <> $1 group by job_id", poison.ID)
	if err != nil {
		t.Fatal(err)
	}
	lost, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		t.Fatal(err)
	}
	if len(lost) == 0 || len(lost) > 3 {
		t.Errorf("%d innocents were charged, want those that ran beside the poison: 1 to 3", len(lost))
	}
	for _, n := range lost {
		if n != 1 {
			t.Errorf("an innocent was charged %d times", n)
		}
	}
	if !c.shortened {
		t.Error("the second crash was not followed by a pause of 30 s")
	}
	deaths, duties := 0, 0
	for _, p := range c.all {
		select {
		case <-p.done:
			deaths++
		default:
		}
		if p.log.has("running suspects alone") {
			duties++
		}
	}
	if deaths != 3 {
		t.Errorf("%d processes died, want 3", deaths)
	}
	if duties == 0 {
		t.Error("no worker took the duty")
	}
}
