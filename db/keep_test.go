package db_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/store"
)

// cancelled claims a job for a new worker and sets its cancel flag.
func (l *lab) cancelled(t *testing.T) (hand, uuid.UUID, uuid.UUID) {
	t.Helper()
	w, id, jobs := l.held(t, 1)
	run(t, l.owner, "update stem.running set cancel_at = clock_timestamp()")
	return w, id, jobs[0]
}

// endings ends jobs of queue default by way of each function that writes to stem.finished, and returns them.
var endings = map[string]func(t *testing.T, l *lab) []uuid.UUID{
	"_replace_waiting": func(t *testing.T, l *lab) []uuid.UUID {
		t.Helper()
		holder := enqueueKey(t, l.me, "unique_key => 'k'")
		next := enqueueKey(t, l.me, "unique_key => 'k', replace => true")
		run(t, l.owner, "delete from stem.ready where job_id = $1", next)
		run(t, l.owner, "delete from stem.unique_keys")
		return []uuid.UUID{holder}
	},
	"void_claim": func(t *testing.T, l *lab) []uuid.UUID {
		t.Helper()
		w, id, job := l.cancelled(t)
		if n, err := store.New(l.me).VoidClaim(t.Context(), w.id, id); err != nil || n != 1 {
			t.Fatalf("voided %d, %v", n, err)
		}
		return []uuid.UUID{job}
	},
	"finish": func(t *testing.T, l *lab) []uuid.UUID {
		t.Helper()
		w, id, jobs := l.held(t, 2)
		finish(t, l.me, w, id, jobs...)
		return jobs
	},
	"put_back": func(t *testing.T, l *lab) []uuid.UUID {
		t.Helper()
		w, id, job := l.cancelled(t)
		putBack(t, l.me, w, id, verb{name: "fail", age: 5}, job)
		return []uuid.UUID{job}
	},
	"complete": func(t *testing.T, l *lab) []uuid.UUID {
		t.Helper()
		w, id, jobs := l.held(t, 1)
		if err := store.New(l.me).Complete(t.Context(), completeParams(w, id, jobs[0])); err != nil {
			t.Fatal(err)
		}
		return jobs
	},
	"rescue": func(t *testing.T, l *lab) []uuid.UUID {
		t.Helper()
		w, _, job := l.cancelled(t)
		rescuer := l.hire(t)
		declareLost(t, l.me, rescuer, w, l.expire(t, w))
		rescue(t, l.me, rescuer, w)
		return []uuid.UUID{job}
	},
	"due": func(t *testing.T, l *lab) []uuid.UUID {
		t.Helper()
		job := enqueue(t, l.me, 1, "delay => '1 hour', expires_at => now() + interval '2 hours'")[0]
		run(t, l.owner, "update stem.scheduled set run_at = now() - interval '2 hours', expires_at = now() - interval '1 hour'")
		run(t, l.me, "select stem.due(10)")
		return []uuid.UUID{job}
	},
	"_cancel_job": func(t *testing.T, l *lab) []uuid.UUID {
		t.Helper()
		jobs := append(enqueue(t, l.me, 1, ""), enqueue(t, l.me, 1, "delay => '1 hour'")...)
		run(t, l.as(t, "operator"), "select stem.cancel($1, 'test')", jobs)
		return jobs
	},
	"purge_queue": func(t *testing.T, l *lab) []uuid.UUID {
		t.Helper()
		jobs := append(enqueue(t, l.me, 1, ""), enqueue(t, l.me, 1, "delay => '1 hour'")...)
		run(t, l.as(t, "operator"), "select stem.purge_queue('default', 10, 'test')")
		return jobs
	},
}

// TestKeepsNothing walks all functions that write to stem.finished, so that a new one cannot forget a queue that keeps nothing:
// each has a way to end a job here, which leaves a row by default and none in such a queue; and each of its statements says so.
func TestKeepsNothing(t *testing.T) {
	t.Parallel()
	l := open(t)
	const insert = "insert into stem.finished "
	// The ring carries rows from leaf to leaf.
	writers := column[string](t, l.owner, `select proname from pg_proc where pronamespace = 'stem'::regnamespace
		and prosrc ~ 'insert\s+into\s+stem\.finished' and proname not like '\_ring\_%' order by 1`)
	if len(writers) < 9 {
		t.Fatalf("found only %v", writers)
	}
	for _, function := range writers {
		source := one[string](t, l.owner, "select prosrc from pg_proc where pronamespace = 'stem'::regnamespace and proname = $1", function)
		for _, statement := range strings.Split(source, insert)[1:] {
			body, _, _ := strings.Cut(statement, ";")
			body, _, _ = strings.Cut(body, "\n        ), ") // the next CTE
			if !strings.Contains(body, "<> all (v_drop)") && !strings.Contains(body, "<> all (stem._keep_nothing())") {
				t.Errorf("stem.%s writes to stem.finished without leaving out the queues of stem._keep_nothing:\n%s", function, body)
			}
		}
		if endings[function] == nil {
			t.Errorf("stem.%s writes to stem.finished: give it a way to end a job in this test", function)
		}
	}
	for function, end := range endings {
		t.Run(function, func(t *testing.T) {
			t.Parallel()
			l := open(t)
			if !slices.Contains(writers, function) {
				t.Errorf("stem.%s does not write to stem.finished any more", function)
			}
			for _, job := range end(t, l) {
				if got := one[int](t, l.owner, "select count(*) from stem.finished where job_id = $1", job); got != 1 {
					t.Errorf("%d finished rows of a queue that keeps its history, want 1; the job is in %v", got, l.place(t, job))
				}
			}
			run(t, l.owner, "insert into stem.queues (name, keep_finished) values ('default', false)")
			for _, job := range end(t, l) {
				if got := l.place(t, job); len(got) != 0 {
					t.Errorf("in a queue that keeps nothing the job is in %v", got)
				}
			}
		})
	}
}
