package db_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/store"
)

// TestPutBack walks every verb through the table of contract.md, section 5: where the job goes, what is charged, what is kept
// of the attempt.
func TestPutBack(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := l.hire(t)
	const second = 1_000_000
	for _, c := range []struct {
		name     string
		before   string // set on the running row
		verb     verb
		target   string
		counters [5]int // attempt, failures, crashes, releases, generation; all zero: not asked
		attempt  string // outcome of the attempt's row, "" for none
		reason   string // of the dead row
	}{
		{"fail", "", verb{name: "fail", delay: second, age: 5, text: "boom"}, "scheduled", [5]int{1, 1, 0, 0, 1}, "failed", ""},
		{"fail resets crashes", "crashes = 2, lane = 105", verb{name: "fail", delay: second, age: 5}, "scheduled", [5]int{1, 1, 0, 0, 1}, "failed", ""},
		{"exhausted", "failures = 19", verb{name: "fail", delay: second, age: 5, text: "boom"}, "dead", [5]int{1, 20, 0, 0, 1}, "failed", "exhausted"},
		{"discard", "", verb{name: "discard", age: 5, text: "no"}, "dead", [5]int{1, 1, 0, 0, 1}, "discarded", "discard"},
		{"reject", "", verb{name: "reject", age: -1, reason: "undecodable", text: "depth 201"}, "dead", [5]int{1, 0, 0, 0, 1}, "rejected", "undecodable"},
		{"release before it began", "", verb{name: "release", age: -1}, "ready", [5]int{1, 0, 0, 1, 1}, "", ""},
		{"release of a handler", "", verb{name: "release", age: 5}, "ready", [5]int{1, 0, 0, 1, 1}, "released", ""},
		{"snooze", "", verb{name: "release", delay: second, age: 5}, "scheduled", [5]int{1, 0, 0, 1, 1}, "released", ""},
		{"release of a suspect", "crashes = 1, lane = 105", verb{name: "release", age: -1}, "ready", [5]int{1, 0, 1, 1, 1}, "", ""},
		{"release 1000", "releases = 999", verb{name: "release", age: -1}, "ready", [5]int{1, 0, 0, 1000, 1}, "", ""},
		{"release 1001", "releases = 1000", verb{name: "release", age: -1}, "dead", [5]int{1, 0, 0, 1001, 1}, "", "release_limit"},
		{"first wait", "", verb{name: "wait", delay: second, grace: second, age: -1, reason: "unknown_task"}, "scheduled", [5]int{1, 0, 0, 1, 1}, "waiting", ""},
		{"wait within grace", "grace_since = clock_timestamp()", verb{name: "wait", delay: second, grace: 600 * second, age: -1, reason: "unknown_task"}, "scheduled", [5]int{1, 0, 0, 1, 1}, "waiting", ""},
		{"wait over grace", "grace_since = clock_timestamp() - interval '11 minutes'", verb{name: "wait", delay: second, grace: 600 * second, age: -1, reason: "unknown_task"}, "dead", [5]int{1, 0, 0, 1, 1}, "waiting", "unknown_task"},
		{"cancelled wins over fail", "cancel_at = now()", verb{name: "fail", delay: second, age: 5}, "cancelled", [5]int{}, "cancelled", ""},
		{"cancelled wins over release", "cancel_at = now()", verb{name: "release", age: 5}, "cancelled", [5]int{}, "cancelled", ""},
		{"cancelled wins over wait", "cancel_at = now()", verb{name: "wait", grace: second, age: -1}, "cancelled", [5]int{}, "cancelled", ""},
		{"discard wins over cancelled", "cancel_at = now()", verb{name: "discard", age: 5}, "dead", [5]int{1, 1, 0, 0, 1}, "discarded", "discard"},
	} {
		enqueue(t, l.me, 1, "")
		rows, id := claimAs(t, l.me, claimParams(w, 1))
		job := rows[0].JobID
		if c.before != "" {
			run(t, l.owner, "update stem.running set "+c.before+" where job_id = $1", job)
		}
		if got := putBack(t, l.me, w, id, c.verb, job); !slices.Equal(got, []string{c.target}) {
			t.Errorf("%s: got target %v, want %s", c.name, got, c.target)
		}
		l.wantPlace(t, job, c.target)
		if c.counters != ([5]int{}) {
			if got := l.counters(t, job); got != c.counters {
				t.Errorf("%s: got counters %v, want %v", c.name, got, c.counters)
			}
		}
		var want []string
		if c.attempt != "" {
			want = []string{c.attempt}
		}
		if got := column[string](t, l.owner, "select outcome from stem.attempts where job_id = $1", job); !slices.Equal(got, want) {
			t.Errorf("%s: got attempts %v, want %v", c.name, got, want)
		}
		if c.target == "dead" {
			if got := one[string](t, l.owner, "select reason from stem.dead where id = $1", job); got != c.reason {
				t.Errorf("%s: got reason %s, want %s", c.name, got, c.reason)
			}
		}
		run(t, l.owner, "delete from stem.ready") // the next case claims its own job
	}
}

// TestWrongClaim presents a claim id that is not the job's: nothing changes.
func TestWrongClaim(t *testing.T) {
	t.Parallel()
	l := open(t)
	w, id, jobs := l.held(t, 1)
	if got := finish(t, l.me, w, uuid.New(), jobs[0]); len(got) != 0 {
		t.Errorf("finish moved %v", got)
	}
	if got := putBack(t, l.me, w, uuid.New(), verb{name: "discard"}, jobs[0]); len(got) != 0 {
		t.Errorf("put_back moved %v", got)
	}
	l.wantPlace(t, jobs[0], "running")
	if got := claimStates(t, l.me, uuid.New(), jobs[0], 1); got != "gone" {
		t.Errorf("got %s, want gone", got)
	}
	// The answer to a finish was lost: the repeat moves nothing, and the state says that this very attempt finished.
	finish(t, l.me, w, id, jobs[0])
	if got := finish(t, l.me, w, id, jobs[0]); len(got) != 0 {
		t.Errorf("the repeat moved %v", got)
	}
	if got := claimStates(t, l.me, id, jobs[0], 1); got != "finished" {
		t.Errorf("got %s, want finished", got)
	}
	if got := claimStates(t, l.me, id, jobs[0], 2); got != "gone" {
		t.Errorf("another attempt: got %s, want gone", got)
	}
}

// TestSettleNamesAJobTwice: a job that stands twice in one batch is moved once, as its first mention says, and spoils nothing for
// the others: the batch would be repeated with the same error for ever.
func TestSettleNamesAJobTwice(t *testing.T) {
	t.Parallel()
	l := open(t)
	w, id, jobs := l.held(t, 2)
	p := finishParams(w, id, []uuid.UUID{jobs[0], jobs[0], jobs[1]}, "completed")
	p.Outcomes[1] = "cancelled"
	done, err := finishJobs(t.Context(), l.me, p)
	if err != nil || len(done) != 3 {
		t.Errorf("finished %v, %v; want all of them", done, err)
	}
	l.wantPlace(t, jobs[0], "completed")
	l.wantPlace(t, jobs[1], "completed")

	for _, c := range []struct {
		first, second, want string
		flag                bool
	}{
		{"release", "release", "ready", false},
		{"fail", "release", "scheduled", false},
		{"release", "discard", "ready", false},
		{"discard", "release", "dead", false},
		{"fail", "fail", "cancelled", true},
	} {
		w, id, jobs := l.held(t, 2)
		if c.flag {
			run(t, l.owner, "update stem.running set cancel_at = now()")
		}
		p := putBackParams(w, id, verb{age: 5}, jobs[1], jobs[0], jobs[1])
		p.Verbs = []string{c.first, c.first, c.second}
		rows, err := store.New(l.me).PutBack(t.Context(), p)
		if err != nil || len(rows) != 2 {
			t.Errorf("%s, %s: put back %v, %v; want both once", c.first, c.second, rows, err)
		}
		l.wantPlace(t, jobs[0], c.want)
		l.wantPlace(t, jobs[1], c.want)
		if c.want == "ready" { // in the order given
			if got := column[uuid.UUID](t, l.owner, "select job_id from stem.ready order by pos"); !slices.Equal(got, []uuid.UUID{jobs[1], jobs[0]}) {
				t.Errorf("%s, %s: the line is %v", c.first, c.second, got)
			}
		}
		run(t, l.owner, "delete from stem.ready")
	}
}

// TestDeadHistory: a dead row is a full copy of the envelope with every attempt, and a ticket without an envelope is buried too.
func TestDeadHistory(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := l.hire(t)
	job := enqueue(t, l.me, 1, `args => '{"a": 1}', max_attempts => 2, headers => '{"tenant": "t1"}', priority => 7`)[0]
	for i, text := range []string{"first", "second"} {
		rows, id := claimAs(t, l.me, claimParams(w, 1))
		if len(rows) != 1 || rows[0].Attempt != int32(i+1) {
			t.Fatalf("got %+v", rows)
		}
		putBack(t, l.me, w, id, verb{name: "fail", delay: 1, age: 5, text: text}, job)
		run(t, l.me, "select stem.due(10)")
	}
	got := one[string](t, l.owner, `select concat_ws('|', task, queue, convert_from(payload, 'UTF8'), headers->>'tenant', priority, reason, error,
		history->0->>'error', history->1->>'error', history->1->>'attempt', jsonb_array_length(history)) from stem.dead where id = $1`, job)
	if want := `t|default|{"a": 1}|t1|7|exhausted|second|first|second|2|2`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	run(t, l.owner, `insert into stem.ready (queue, lane, pos, job_id, slot, max_attempts)
		values ('default', 5, nextval('stem.ticket_pos'), $1, 3, 20)`, newID(t))
	rows, id := claimAs(t, l.me, claimParams(w, 1))
	if rows[0].Task.Valid {
		t.Fatalf("got %+v, want it without a task", rows[0])
	}
	putBack(t, l.me, w, id, verb{name: "reject", reason: "envelope_missing", age: -1}, rows[0].JobID)
	if got := one[string](t, l.owner, "select reason || ' ' || task from stem.dead where id = $1", rows[0].JobID); got != "envelope_missing envelope_missing" {
		t.Errorf("got %s", got)
	}
}

// TestAnUnknownTaskWaitsForAWorkerThatKnowsIt: over its grace, a job is given up only when no live worker of its queue has
// registered its task. One that has may be busy for hours.
func TestAnUnknownTaskWaitsForAWorkerThatKnowsIt(t *testing.T) {
	t.Parallel()
	over := verb{name: "wait", delay: 1_000_000, grace: 600_000_000, age: -1, reason: "unknown_task"}
	key := over
	key.reason = "signature_key_unknown"
	for _, tt := range []struct {
		name, slots, tasks, change string
		verb                       verb
		want                       string
	}{
		{"knows it", `{"default": 1}`, `{"t": {}}`, "", over, "scheduled"},
		{"says odd things of it", `{"default": "x"}`, `{"t": [1]}`, "", over, "scheduled"},
		{"knows another", `{"default": 1}`, `{"u": {"t": 1}}`, "", over, "dead"},
		{"serves another queue", `{"mail": 1}`, `{"t": {}}`, "", over, "dead"},
		{"is silent", `{"default": 1}`, `{"t": {}}`, "update stem.workers set lease_until = now() - interval '1 second' where node = 'evil'", over, "dead"},
		{"is no help", `{"default": 1}`, `{"t": {}}`, "", key, "dead"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := open(t)
			w, claim, jobs := l.held(t, 1)
			if _, err := l.registerAs(t, uuid.New(), tt.slots, tt.tasks); err != nil {
				t.Fatal(err)
			}
			run(t, l.owner, "update stem.running set grace_since = clock_timestamp() - interval '11 minutes'")
			if tt.change != "" {
				run(t, l.owner, tt.change)
			}
			if got := putBack(t, l.me, w, claim, tt.verb, jobs...); !slices.Equal(got, []string{tt.want}) {
				t.Errorf("got %v, want %s", got, tt.want)
			}
			l.wantPlace(t, jobs[0], tt.want)
		})
	}
}
