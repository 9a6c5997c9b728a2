package integration_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stemqueue/stem/queue"
)

func TestAJobOfAKilledWorkerStartsElsewhere(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	victim := f.start(1)
	var warm []queue.Request
	for range 200 {
		warm = append(warm, raw("quick")) // so that it prefetches
	}
	for _, r := range f.enqueue(warm...) {
		f.wait(r)
	}
	receipts := f.enqueue(raw("first.blocks"), raw("short"), raw("short"))
	f.eventually("the first job has begun", func() bool { return f.number("select count(*) from runs") == 1 })
	f.start(4) // it takes what the victim left in the line, if anything
	f.eventually("every job is claimed", func() bool { return f.number("select count(*) from stem.ready") == 0 })
	held := f.number("select count(*) from stem.running r join stem.workers w on w.id = r.worker where w.pid = $1", victim.cmd.Process.Pid)
	killed := time.Now()
	victim.signal(t, syscall.SIGKILL)
	f.eventually("the job has begun again", func() bool {
		return f.number("select count(*) from runs where job = $1 and attempt > 1", receipts[0].ID) == 1
	})
	took := time.Since(killed)
	t.Logf("the job of a killed worker began again after %v (lease %v); the victim held %d jobs", took.Round(time.Millisecond), lease, held)
	if most := lease + lease/3 + time.Second; took > most+30*time.Second {
		t.Errorf("that is more than %v, and 30 s for a slow machine", most)
	}
	if got := f.wait(receipts[0]); got.State != "completed" || got.Attempt != 2 {
		t.Errorf("got %s after %d attempts: %s", got.State, got.Attempt, got.Error)
	}
	if n := f.number("select count(*) from stem.attempts where outcome = 'lost'"); n != 1 {
		t.Errorf("%d attempts recorded as lost, want the one that had begun", n)
	}
	for _, r := range receipts[1:] {
		if got := f.wait(r); got.State != "completed" {
			t.Errorf("behind it: got %s", got.State)
		}
	}
}

func TestAStoppedWorkerCannotWriteWhatItLost(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	stopped := f.start(1)
	r := f.enqueue(raw("first.blocks"))[0]
	f.eventually("the job has begun", func() bool { return f.number("select count(*) from runs") == 1 })
	stopped.signal(t, syscall.SIGSTOP)
	f.start(1)
	got := f.wait(r)
	if got.State != "completed" || got.Attempt != 2 {
		t.Errorf("got %s after %d attempts: %s", got.State, got.Attempt, got.Error)
	}
	stopped.signal(t, syscall.SIGCONT)
	f.eventually("it says that its lease was lost", func() bool { return stopped.log.has("lease lost") })
	f.eventually("it says which claim it lost", func() bool {
		return stopped.log.has(`msg="lost claim" job_id=` + r.ID.String() + " claim=")
	})
	f.eventually("it goes on under a new identity", func() bool {
		return stopped.log.has("starting afresh") &&
			f.number("select count(*) from stem.workers where pid = $1", stopped.cmd.Process.Pid) == 1
	})
	if n := f.number("select count(*) from stem.finished where job_id = $1", r.ID); n != 1 {
		t.Errorf("finished %d times", n)
	}
	if n := f.number("select count(*) from stem.attempts where job_id = $1 and outcome <> 'lost'", r.ID); n != 0 {
		t.Errorf("the stopped worker wrote %d outcomes", n)
	}
	if n := f.number("select (select count(*) from stem.ready) + (select count(*) from stem.scheduled) + (select count(*) from stem.running)"); n != 0 {
		t.Errorf("%d tickets are left", n)
	}
	// And it works: two at once need both workers.
	f.enqueue(raw("blocks"), raw("blocks"))
	f.eventually("the stopped worker runs jobs again", func() bool {
		return f.number("select count(distinct pid) from runs where job <> $1", r.ID) == 2
	})
}

func TestADrainPutsEverythingBackUncharged(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	w := f.start(1)
	var warm []queue.Request
	for range 200 {
		warm = append(warm, raw("quick"))
	}
	for _, r := range f.enqueue(warm...) {
		f.wait(r)
	}
	f.enqueue(raw("blocks"), raw("blocks"), raw("blocks"))
	f.eventually("one job has begun", func() bool { return f.number("select count(*) from runs") == 1 })
	asked := time.Now()
	w.signal(t, syscall.SIGTERM)
	select {
	case <-w.done:
		t.Logf("drained in %v with a grace of 1 s", time.Since(asked).Round(time.Millisecond))
	case <-time.After(13 * time.Second):
		t.Fatal("still there after the grace of 1 s, 2 s more, and 10 for a slow machine")
	}
	if w.err != nil {
		t.Errorf("exit: %v", w.err)
	}
	if n := f.number("select count(*) from stem.ready where failures = 0 and crashes = 0"); n != 3 {
		t.Errorf("%d of 3 jobs are back, uncharged", n)
	}
	if n := f.number("select count(*) from stem.running"); n != 0 {
		t.Errorf("%d claims left", n)
	}
	if n := f.number("select count(*) from stem.workers"); n != 0 {
		t.Errorf("%d workers left", n)
	}
}

func TestAPoisonIsBuriedAndNobodyElse(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	poison := raw("poison")
	requests := make([]queue.Request, 40)
	for i := range requests {
		requests[i] = raw("short")
	}
	requests[5] = poison
	receipts := f.enqueue(requests...)
	f.start(4)
	deaths := 0
	alive := []*process{f.start(4)}
	deadline := time.After(patience)
	for f.number("select count(*) from stem.dead") == 0 {
		for i, p := range alive {
			select {
			case <-p.done: // what a supervisor does
				deaths++
				alive[i] = f.start(4)
			case <-deadline:
				t.Fatal("the poison is not buried")
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	for i, r := range receipts {
		got := f.wait(r)
		if i == 5 {
			if got.State != "dead" || got.Reason != "poison" {
				t.Errorf("poison: got %s (%s)", got.State, got.Reason)
			}
			continue
		}
		if got.State != "completed" {
			t.Errorf("job %d: got %s (%s): %s", i, got.State, got.Reason, got.Error)
		}
	}
	if n := f.number("select count(*) from runs where job = $1", receipts[5].ID); n != 2 {
		t.Errorf("the poison ran %d times, want 2 (MaxCrashes)", n)
	}
}
