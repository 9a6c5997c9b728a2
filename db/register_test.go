package db_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/internal/store"
)

// registerAs registers a worker as the login, with what it says of itself.
func (l *lab) registerAs(t *testing.T, id uuid.UUID, slots, tasks string) (hand, error) {
	t.Helper()
	row, err := store.New(l.me).Register(t.Context(), store.RegisterParams{
		Worker: id, Node: "evil", Namespace: "ns", Host: "h", Pid: 1, Boot: "b", Version: "v",
		LeaseUs: 3_600_000_000, Slots: []byte(slots), Tasks: []byte(tasks),
	})
	return hand{id: id, epoch: row.Epoch}, err
}

// many makes an object with so many members.
func many(n int, name, value string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%s%d":%s`, name, i, value)
	}
	return "{" + strings.TrimPrefix(b.String(), ",") + "}"
}

// TestRegistrationsStopNothing: whatever a worker registers, every statement that reads it goes on, for this worker's jobs and
// for others (L4).
func TestRegistrationsStopNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ slots, tasks string }{
		"scalars":       {`{"default": 2}`, `{"a": 1, "b": "kind", "c": null, "d": ["kind", "queue"], "e": true, "": {}}`},
		"wrong types":   {`{"default": "x"}`, `{"a": {"kind": {}, "queue": [], "max_attempts": "5", "soft_limit_us": {"a": 1}, "hard_limit_us": false}}`},
		"huge numbers":  {`{"default": 1e131071}`, `{"a": {"max_attempts": 1e131071, "soft_limit_us": 1e40, "hard_limit_us": -9223372036854775809}}`},
		"odd numbers":   {`{"default": -1.5}`, `{"a": {"max_attempts": 1.5, "soft_limit_us": 9999999999999999, "hard_limit_us": 1e-16383}}`},
		"odd names":     {`{"": 1, "\u001b[2J": 2}`, `{"\u001b[31m": {"kind": "\u001b[0m"}, "` + strings.Repeat("x", 100_000) + `": {"kind": "go"}}`},
		"deep":          {`{"default": 2}`, `{"a": {"kind": ` + strings.Repeat("[", 3000) + strings.Repeat("]", 3000) + `}}`},
		"many of both":  {many(30_000, "q", "1"), many(60_000, "t", "{}")},
		"many nothings": {`{}`, many(60_000, "t", "0")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := open(t)
			// Far above what these statements take on a busy machine, far below what a product of both objects would: 1.8 billion rows.
			run(t, l.me, "set statement_timeout = '3min'")
			friend := l.hire(t)
			victim, err := l.registerAs(t, uuid.New(), c.slots, c.tasks)
			if err != nil {
				t.Fatal(err)
			}
			jobs := enqueue(t, l.me, 2, "")
			if rows := claim(t, l.me, victim, 2); len(rows) != 2 {
				t.Fatalf("claimed %d", len(rows))
			}
			l.readEverything(t, friend)
			declareLost(t, l.me, friend, victim, l.expire(t, victim))
			if r := rescue(t, l.me, friend, victim); r.Moved != 2 || r.Remaining != 0 {
				t.Errorf("rescue: got %+v", r)
			}
			for _, job := range jobs {
				l.wantPlace(t, job, "scheduled")
			}
			l.readEverything(t, friend)
		})
	}
}

// readEverything calls what reads the workers' rows.
func (l *lab) readEverything(t *testing.T, w hand) {
	t.Helper()
	q := store.New(l.as(t, "observer"))
	tasks, err := q.ListTasks(t.Context(), "")
	if err != nil {
		t.Error(err)
	}
	friendly := 0
	for _, task := range tasks {
		if task.Task == "t" && task.Workers == 1 && len(task.Malformed) == 0 {
			friendly++
		}
	}
	if friendly != 1 {
		t.Errorf("the friend's task is listed %d times among %d", friendly, len(tasks))
	}
	if _, err := q.ListWorkers(t.Context(), ""); err != nil {
		t.Error(err)
	}
	if _, err := q.ListQueues(t.Context(), ""); err != nil {
		t.Error(err)
	}
	q = store.New(l.me)
	if _, err := q.Watch(t.Context(), w.id); err != nil {
		t.Error(err)
	}
	if _, err := q.AdoptOrphans(t.Context()); err != nil {
		t.Error(err)
	}
	if row := beat(t, l.me, w); !row.Alive {
		t.Error("the friend is not alive")
	}
	if _, err := q.TakeDuty(t.Context(), w.id, w.epoch, "default", 1); err != nil {
		t.Error(err)
	}
}

// TestRegistrationsAreBounded: what is too large, or no object, is refused where it comes from.
func TestRegistrationsAreBounded(t *testing.T) {
	t.Parallel()
	l := open(t)
	for _, c := range []struct{ slots, tasks string }{
		{`{}`, `[]`},
		{`{}`, `null`},
		{`{}`, `"t"`},
		{`[]`, `{}`},
		{`{}`, `{"t": "` + strings.Repeat("x", 1<<20) + `"}`},
		{`{"q": "` + strings.Repeat("x", 1<<20) + `"}`, `{}`},
	} {
		_, err := l.registerAs(t, uuid.New(), c.slots, c.tasks)
		if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "23514" {
			t.Errorf("slots %.20s, tasks %.20s: got %v, want a check violation", c.slots, c.tasks, err)
		}
	}
	if n := one[int](t, l.owner, "select count(*) from stem.workers"); n != 0 {
		t.Errorf("%d workers", n)
	}
}

// TestALostWorkersIdDoesNotProtect: one that registers under the id of a lost worker is declared lost and rescued again. Before
// the ON CONFLICT of declare_lost that was 23505, for a day.
func TestALostWorkersIdDoesNotProtect(t *testing.T) {
	t.Parallel()
	l := open(t)
	friend := l.hire(t)
	victim, _, jobs := l.held(t, 1)
	declareLost(t, l.me, friend, victim, l.expire(t, victim))
	rescue(t, l.me, friend, victim)
	again, err := l.registerAs(t, victim.id, `{"default": 1}`, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	run(t, l.owner, "update stem.scheduled set run_at = now() - interval '1 second'")
	run(t, l.owner, "select stem.due(100)")
	rows := claim(t, l.me, again, 1)
	if len(rows) != 1 || rows[0].JobID != jobs[0] {
		t.Fatalf("claimed %v", jobsOf(rows))
	}
	if !declareLost(t, l.me, friend, again, l.expire(t, again)) {
		t.Fatal("not declared lost")
	}
	if r := rescue(t, l.me, friend, again); r.Moved != 1 || r.Charged != 1 || r.Remaining != 0 {
		t.Errorf("got %+v", r)
	}
}

// TestALostWorkersIdMayLeave: one that registered under the id of a lost worker deregisters, and what it held is rescued.
func TestALostWorkersIdMayLeave(t *testing.T) {
	t.Parallel()
	l := open(t)
	friend := l.hire(t)
	victim, _, _ := l.held(t, 1)
	declareLost(t, l.me, friend, victim, l.expire(t, victim))
	rescue(t, l.me, friend, victim)
	again, err := l.registerAs(t, victim.id, `{"default": 1}`, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	enqueue(t, l.me, 1, "")
	if rows := claim(t, l.me, again, 1); len(rows) != 1 {
		t.Fatalf("claimed %d", len(rows))
	}
	if gone, err := store.New(l.me).Deregister(t.Context(), again.id, again.epoch); err != nil || !gone {
		t.Fatalf("deregister: %v, %v", gone, err)
	}
	if r := rescue(t, l.me, friend, again); r.Moved != 1 || r.Charged != 1 || r.Remaining != 0 {
		t.Errorf("got %+v", r)
	}
}
