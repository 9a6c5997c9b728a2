package db_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/store"
)

// TestDeclareLostRefuses: the heartbeat moved since the rescuer looked, the lease is not over, the rescuer is gone itself, the
// victim is the rescuer.
func TestDeclareLostRefuses(t *testing.T) {
	t.Parallel()
	l := open(t)
	victim, rescuer := l.hire(t), l.hire(t)
	alive := one[pgtype.Timestamptz](t, l.owner, "select heartbeat_at from stem.workers where id = $1", victim.id)
	if declareLost(t, l.me, rescuer, victim, alive) {
		t.Error("declared lost within its lease")
	}
	seen := l.expire(t, victim)
	if declareLost(t, l.me, hand{rescuer.id, rescuer.epoch + 1}, victim, seen) {
		t.Error("declared lost by a rescuer of another epoch")
	}
	if declareLost(t, l.me, rescuer, rescuer, l.expire(t, rescuer)) {
		t.Error("declared itself lost")
	}
	if !beat(t, l.me, victim).Alive {
		t.Error("an expired lease that nobody moved was not renewed")
	}
	l.expire(t, victim)
	if declareLost(t, l.me, rescuer, victim, seen) {
		t.Error("declared lost although its heartbeat moved")
	}
	if !declareLost(t, l.me, rescuer, victim, l.expire(t, victim)) || beat(t, l.me, victim).Alive {
		t.Error("the silent worker was not declared lost")
	}
}

// TestRescueCharges: of a queue with two slots the first two in claim order are charged, the prefetched rest is not.
func TestRescueCharges(t *testing.T) {
	t.Parallel()
	l := open(t)
	victim, rescuer := l.hire(t), l.hire(t)
	high := enqueue(t, l.me, 1, "priority => 9")
	low := enqueue(t, l.me, 3, "priority => 1")
	second := claimParams(victim, 10)
	first := claimParams(victim, 1)
	first.Limits = []int32{1}
	first.Seq, second.Seq = 1, 2
	claimAs(t, l.me, first)
	claimAs(t, l.me, second)
	declareLost(t, l.me, rescuer, victim, l.expire(t, victim))
	if r := rescue(t, l.me, hand{rescuer.id, 99}, victim); r.Moved != 0 {
		t.Errorf("a rescuer of another epoch moved %d", r.Moved)
	}
	r := rescue(t, l.me, rescuer, victim)
	if r.Moved != 4 || r.Charged != 2 || r.Buried != 0 || r.Remaining != 0 {
		t.Fatalf("got %+v", r)
	}
	for i, job := range append(high, low...) {
		want, lane := [5]int{1, 0, 0, 0, 1}, "prefetched"
		if i < 2 {
			want, lane = [5]int{1, 1, 1, 0, 1}, "suspect"
		}
		if got := l.counters(t, job); got != want {
			t.Errorf("job %d: got counters %v, want %v", i, got, want)
		}
		if got := one[string](t, l.owner, "select case when lane >= 100 then 'suspect' else 'prefetched' end from stem.scheduled where job_id = $1", job); got != lane {
			t.Errorf("job %d stands in a %s lane, want %s", i, got, lane)
		}
	}
}

// TestRescueChargesOnce: a prefetched job that another transaction holds while rescue passes is not charged by the pass that
// finds it free. Mutant that it catches: the count of those that can have begun made anew in each pass, over what is left.
func TestRescueChargesOnce(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		t.Run(map[bool]string{false: "as it is", true: "mutant: counted in each pass"}[mutant], func(t *testing.T) {
			t.Parallel()
			l := open(t)
			if mutant {
				l.mutate(t, "rescue", "if v_begun is null then", "if true then")
			}
			victim, _, jobs := l.held(t, 4) // two slots
			rescuer := l.hire(t)
			tx := l.beginAs(t, "operator")
			run(t, tx, "select stem.cancel($1, 'changed his mind')", []uuid.UUID{jobs[3]})
			declareLost(t, l.me, rescuer, victim, l.expire(t, victim))
			if r := rescue(t, l.me, rescuer, victim); r.Moved != 3 || r.Charged != 2 || r.Remaining != 1 {
				t.Fatalf("first pass: got %+v", r)
			}
			rollback(t, tx)
			want := int32(0)
			if mutant {
				want = 1
			}
			if r := rescue(t, l.me, rescuer, victim); r.Moved != 1 || r.Charged != want || r.Remaining != 0 {
				t.Fatalf("second pass: got %+v, want %d charged", r, want)
			}
			if got := l.counters(t, jobs[3]); !mutant && got != [5]int{1, 0, 0, 0, 1} {
				t.Errorf("the prefetched job has counters %v", got)
			}
		})
	}
}

// TestRescueBuriesPoison: the third crash is the last; an exhausted job is dead for that; a cancelled one is cancelled.
func TestRescueBuriesPoison(t *testing.T) {
	t.Parallel()
	l := open(t)
	victim, rescuer := l.hireWith(t, `{"default": 10}`, 1_000_000), l.hire(t)
	jobs := enqueue(t, l.me, 4, "max_attempts => 5, unique_key => null")
	claim(t, l.me, victim, 10)
	run(t, l.owner, "update stem.running set crashes = 2, failures = 2 where job_id = $1", jobs[0])
	run(t, l.owner, "update stem.running set failures = 4 where job_id = $1", jobs[1])
	run(t, l.owner, "update stem.running set cancel_at = now(), crashes = 2 where job_id = $1", jobs[2])
	run(t, l.owner, "update stem.running set crashes = 1, failures = 1 where job_id = $1", jobs[3])
	declareLost(t, l.me, rescuer, victim, l.expire(t, victim))
	before := one[time.Time](t, l.owner, "select clock_timestamp()")
	if r := rescue(t, l.me, rescuer, victim); r.Moved != 4 || r.Buried != 2 {
		t.Fatalf("got %+v", r)
	}
	for i, want := range []string{"dead", "dead", "cancelled", "scheduled"} {
		l.wantPlace(t, jobs[i], want)
	}
	for i, want := range []string{"poison", "exhausted"} {
		if got := one[string](t, l.owner, "select reason from stem.dead where id = $1", jobs[i]); got != want {
			t.Errorf("job %d: got reason %s, want %s", i, got, want)
		}
	}
	if at := one[time.Time](t, l.owner, "select run_at from stem.scheduled where job_id = $1", jobs[3]); at.Sub(before) < 30*time.Second {
		t.Errorf("the second crash waits %v, less than 30 s", at.Sub(before))
	}
}

// TestTwoRescuers: one has the victim, the other passes by and finds nothing left afterwards.
func TestTwoRescuers(t *testing.T) {
	t.Parallel()
	l := open(t)
	victim, _, jobs := l.held(t, 5)
	a, b := l.hire(t), l.hire(t)
	declareLost(t, l.me, a, victim, l.expire(t, victim))
	tx := l.begin(t)
	if r := rescue(t, tx, a, victim); r.Moved != 5 {
		t.Fatalf("got %+v", r)
	}
	call := labtest.Start(func() (*store.RescueRow, error) {
		return store.New(l.me).Rescue(t.Context(), b.id, b.epoch, victim.id, 3)
	})
	if l.isBlocked(t, pid(l.me), call.Done) {
		t.Error("the second rescuer waits for the first")
	}
	if r := call.Wait(t); r.Moved != 0 {
		t.Errorf("the second moved %d", r.Moved)
	}
	commit(t, tx)
	if r := rescue(t, l.me, b, victim); r.Moved != 0 || r.Remaining != 0 {
		t.Errorf("got %+v", r)
	}
	l.wantPlace(t, jobs[0], "scheduled")
}

// TestAdoptOrphans: a claim whose worker is in no table gets a lost worker after a minute, and rescue moves it.
func TestAdoptOrphans(t *testing.T) {
	t.Parallel()
	l := open(t)
	victim, _, jobs := l.held(t, 1)
	rescuer := l.hire(t)
	run(t, l.owner, "delete from stem.workers where id = $1", victim.id)
	adopt := func(want int32) {
		t.Helper()
		if n, err := store.New(l.me).AdoptOrphans(t.Context()); err != nil || n != want {
			t.Fatalf("adopted %d, %v, want %d", n, err, want)
		}
	}
	adopt(0)
	run(t, l.owner, "update stem.running set claimed_at = claimed_at - interval '2 minutes'")
	adopt(1)
	adopt(0)
	rescue(t, l.me, rescuer, victim)
	l.wantPlace(t, jobs[0], "scheduled")

	// It comes again, after it was cleared: what can have begun is counted anew.
	run(t, l.owner, `insert into stem.running (job_id, claim_id, worker, seq, pos, queue, lane, slot, attempt, failures, crashes, releases,
		generation, max_attempts, claimed_at) values (gen_random_uuid(), gen_random_uuid(), $1, 9, 9, 'default', 5, 0, 1, 0, 0, 0, 1, 20,
		now() - interval '2 minutes')`, victim.id)
	adopt(1)
	if r := rescue(t, l.me, rescuer, victim); r.Moved != 1 || r.Charged != 1 {
		t.Errorf("the second time: got %+v", r)
	}
}

// TestRescueSurvivesAnySlots: what a worker said of its slots cannot stop the rescue of what it held (L4). Before the guard of
// the cast this was 22P02, for ever.
func TestRescueSurvivesAnySlots(t *testing.T) {
	t.Parallel()
	for _, slots := range []string{`{"default":"many"}`, `{"default":null}`, `{"default":[1]}`, `{"default":1e30}`, `{}`} {
		l := open(t)
		victim, rescuer := l.hire(t), l.hire(t)
		enqueue(t, l.me, 2, "")
		claimAs(t, l.me, claimParams(victim, 10))
		run(t, l.owner, "update stem.workers set slots = $2 where id = $1", victim.id, slots)
		declareLost(t, l.me, rescuer, victim, l.expire(t, victim))
		if r := rescue(t, l.me, rescuer, victim); r.Moved != 2 || r.Charged != 2 || r.Remaining != 0 {
			t.Errorf("slots %s: got %+v", slots, r)
		}
	}
}
