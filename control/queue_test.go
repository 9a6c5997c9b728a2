package control_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/stemqueue/stem/control"
)

// TestPauseAndResume: S12, and idle workers are told when it is over.
func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	l := open(t)
	l.enqueue(t, 1, "")
	w := l.hire(t, "n", `{"default": 1}`)
	changed, err := l.plane.Pause(t.Context(), "default", "bad deploy")
	must(t, err)
	again, err := l.plane.Pause(t.Context(), "default", "me too")
	must(t, err)
	if !changed || again {
		t.Errorf("changed %t, again %t", changed, again)
	}
	q, err := l.plane.Queue(t.Context(), "default")
	must(t, err)
	who := one[string](t, l.pool, "select session_user")
	if !q.Paused || q.PausedBy != who || q.PausedWhy != "bad deploy" || q.PausedSince.IsZero() {
		t.Errorf("%+v", q)
	}
	if held, _ := claim(t, l.worker, w, "default", 1); len(held) > 0 {
		t.Error("a paused queue was claimed from")
	}
	listener := l.connect(t)
	run(t, listener, "listen stem_wake")
	changed, err = l.plane.Resume(t.Context(), "default", "")
	must(t, err)
	again, err = l.plane.Resume(t.Context(), "default", "")
	must(t, err)
	if !changed || again {
		t.Errorf("changed %t, again %t", changed, again)
	}
	wait, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if n, err := listener.WaitForNotification(wait); err != nil || n.Payload != "default" {
		t.Errorf("notification: %+v, %v", n, err)
	}
	if held, _ := claim(t, l.worker, w, "default", 1); len(held) != 1 {
		t.Error("nothing to claim after the pause")
	}
	_, err = l.plane.Pause(t.Context(), "no such\nname", "")
	wantCode(t, err, "23514")
}

// TestSetQueue: a setting holds from then on, nil leaves it, and the audit log has what it was before.
func TestSetQueue(t *testing.T) {
	t.Parallel()
	l := open(t)
	set := func(queue string, s control.QueueSettings) bool {
		t.Helper()
		changed, err := l.plane.SetQueue(t.Context(), queue, s, "disk")
		must(t, err)
		return changed
	}
	if !set("mail", control.QueueSettings{KeepFinished: new(false)}) || set("mail", control.QueueSettings{KeepFinished: new(false)}) ||
		set("mail", control.QueueSettings{}) || set("new", control.QueueSettings{KeepFinished: new(true)}) {
		t.Error("what changed is not what was said to change")
	}
	for queue, want := range map[string]bool{"mail": false, "new": true} {
		q, err := l.plane.Queue(t.Context(), queue)
		must(t, err)
		if q.KeepFinished != want {
			t.Errorf("queue %s keeps finished jobs: %t, want %t", queue, q.KeepFinished, want)
		}
	}
	job := l.enqueue(t, 1, "queue => 'mail'")[0]
	_, err := l.plane.Cancel(t.Context(), "", job)
	must(t, err)
	if n := one[int](t, l.owner, "select count(*) from stem.finished"); n != 0 {
		t.Errorf("%d finished rows of a queue that keeps none", n)
	}
	var first control.AuditEntry
	for e, err := range l.plane.Audit(t.Context(), control.AuditFilter{Action: "set_queue", Target: "queue mail"}) {
		must(t, err)
		first = e // the oldest comes last
	}
	if want := `{"after": {"keep_finished": false}, "before": {"keep_finished": true}}`; string(first.Detail) != want ||
		first.Reason != "disk" || first.Affected != 1 {
		t.Errorf("audit row %+v with %s, want %s", first, first.Detail, want)
	}
	_, err = l.plane.SetQueue(t.Context(), "no such\nname", control.QueueSettings{KeepFinished: new(true)}, "")
	wantCode(t, err, "23514")
}

func TestForgetQueue(t *testing.T) {
	t.Parallel()
	l := open(t)
	forget := func(queue string) bool {
		t.Helper()
		changed, err := l.plane.ForgetQueue(t.Context(), queue, "tidy")
		must(t, err)
		return changed
	}
	if forget("mail") {
		t.Error("a queue without settings was forgotten")
	}
	_, err := l.plane.SetQueue(t.Context(), "mail", control.QueueSettings{KeepFinished: new(false)}, "")
	must(t, err)
	job := l.enqueue(t, 1, "queue => 'mail'")[0]
	if !forget("mail") || forget("mail") {
		t.Error("want it forgotten once")
	}
	q, err := l.plane.Queue(t.Context(), "mail")
	must(t, err)
	if !q.KeepFinished || q.Ready.N != 1 {
		t.Errorf("got %+v, want the defaults, and its job left alone", q)
	}
	_, err = l.plane.Cancel(t.Context(), "", job)
	must(t, err)
	if _, err = l.plane.Queue(t.Context(), "mail"); !errors.Is(err, control.ErrNotFound) {
		t.Errorf("got %v, want it not found", err)
	}

	_, err = l.plane.Pause(t.Context(), "mail", "broken")
	must(t, err)
	if forget("mail") {
		t.Error("a pause was forgotten")
	}
	var done []int64
	for e, err := range l.plane.Audit(t.Context(), control.AuditFilter{Action: "forget_queue", Target: "queue mail"}) {
		must(t, err)
		done = append(done, e.Affected)
	}
	if diff := cmp.Diff([]int64{0, 0, 1, 0}, done); diff != "" {
		t.Errorf("audit, newest first: %s", diff)
	}
}

func TestPurgeQueueIsResumable(t *testing.T) {
	t.Parallel()
	l := open(t)
	l.enqueue(t, 20, "queue => 'mail'")
	l.enqueue(t, 4, "queue => 'mail', priority => 9")
	keyed := l.enqueue(t, 1, "queue => 'mail', delay => '1 hour', unique_key => 'k'")[0]
	other := l.enqueue(t, 1, "queue => 'other'")[0]
	n, err := l.plane.Waiting(t.Context(), "mail")
	must(t, err)
	if n != 25 {
		t.Errorf("%d wait", n)
	}
	ctx, stop := context.WithCancel(t.Context())
	_, err = l.plane.PurgeQueue(ctx, "mail", control.Bulk{Batch: 10, Progress: func(control.Progress) { stop() }})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	done, err := l.plane.PurgeQueue(t.Context(), "mail", control.Bulk{Batch: 10, Reason: "bad import"})
	must(t, err)
	if diff := cmp.Diff(control.Progress{Seen: 15, Done: 15, Outcomes: map[string]int64{"cancelled": 15}}, done); diff != "" {
		t.Error(diff)
	}
	l.wantPlace(t, keyed, "cancelled")
	l.wantPlace(t, other, "ready")
	if n := one[int](t, l.owner, "select count(*) from stem.unique_keys"); n != 0 {
		t.Errorf("%d unique keys are still taken", n)
	}
}

// TestPurgeQueueBesideAClaim: rows that a claim in flight holds are left to it. Mutant that it catches: a plain lock.
func TestPurgeQueueBesideAClaim(t *testing.T) {
	t.Parallel()
	l := open(t)
	l.enqueue(t, 5, "")
	w := l.hire(t, "n", `{"default": 2}`)
	tx := l.begin(t)
	held, _ := claim(t, tx, w, "default", 2)
	done, err := l.plane.PurgeQueue(t.Context(), "default", control.Bulk{})
	must(t, err)
	if done.Done != 3 {
		t.Errorf("purged %d", done.Done)
	}
	commit(t, tx)
	for _, job := range held {
		l.wantPlace(t, job, "running")
	}
}

func TestQueues(t *testing.T) {
	t.Parallel()
	l := open(t)
	l.kill(t, 2, "broken", "")
	l.enqueue(t, 3, "queue => 'mail'")
	l.enqueue(t, 2, "queue => 'mail', delay => '1 hour'")
	w := l.hire(t, "one", `{"mail": 4, "idle": 1}`)
	l.hire(t, "two", `{"mail": 6, "odd": "x"}`)
	claim(t, l.worker, w, "mail", 1)
	run(t, l.owner, "insert into stem.queues (name, keep_finished) values ('named', false)")
	run(t, l.owner, "update stem.jobs set created_at = created_at - interval '1 hour' where queue = 'mail'")
	list, err := l.plane.Queues(t.Context())
	must(t, err)
	exact := func(n int64) control.Count { return control.Count{N: n, Exact: true} }
	want := []control.Queue{
		{Name: "default", KeepFinished: true, Ready: exact(0), Scheduled: exact(0), Dead: exact(2)},
		{Name: "idle", KeepFinished: true, Ready: exact(0), Scheduled: exact(0), Dead: exact(0), Workers: 1, Slots: 1},
		{Name: "mail", KeepFinished: true, Ready: exact(2), Scheduled: exact(2), Running: 1, Dead: exact(0), Workers: 2, Slots: 10},
		{Name: "named", Ready: exact(0), Scheduled: exact(0), Dead: exact(0)},
		{Name: "odd", KeepFinished: true, Ready: exact(0), Scheduled: exact(0), Dead: exact(0), Workers: 1},
	}
	if age := list[2].Oldest; age < time.Hour || age > time.Hour+5*time.Minute {
		t.Errorf("the oldest is ready since %v", age)
	}
	list[2].Oldest = 0
	if diff := cmp.Diff(want, list); diff != "" {
		t.Error(diff)
	}
	if _, err := l.plane.Queue(t.Context(), "nobody"); !errors.Is(err, control.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// TestQueueCountsAreSampledWhenLarge: the sample must be near, and say that it is one.
func TestQueueCountsAreSampledWhenLarge(t *testing.T) {
	t.Parallel()
	l := open(t)
	const n = 100_000
	run(t, l.owner, `insert into stem.ready (queue, lane, pos, job_id, slot, max_attempts)
		select case when i % 4 = 0 then 'small' else 'big' end, 5, i, gen_random_uuid(), 0, 20 from generate_series(1, $1::int) i`, n)
	run(t, l.owner, "delete from stem.ready where queue = 'small' and pos > 400") // bloat is not counted
	run(t, l.owner, `insert into stem.scheduled (run_at, queue, lane, job_id, slot, max_attempts)
		select now() + i * interval '1 second', 'big', 5, gen_random_uuid(), 0, 20 from generate_series(1, $1::int) i`, n)
	big, err := l.plane.Queue(t.Context(), "big")
	must(t, err)
	near := func(got control.Count, want int64) bool { return !got.Exact && got.N > want*8/10 && got.N < want*12/10 }
	if !near(big.Ready, n*3/4) || !near(big.Scheduled, n) {
		t.Errorf("%+v", big)
	}
	small, err := l.plane.Queue(t.Context(), "small")
	must(t, err)
	if small.Ready != (control.Count{N: 100, Exact: true}) {
		t.Errorf("%+v", small.Ready)
	}
}

func TestWorkersAndTasks(t *testing.T) {
	t.Parallel()
	l := open(t)
	live, silent, gone := l.hire(t, "a", `{"default": 2}`), l.hire(t, "b", `{"default": 1}`), l.hire(t, "c", `{"default": 1}`)
	l.enqueue(t, 2, "")
	claim(t, l.worker, live, "default", 2)
	run(t, l.owner, `update stem.workers set lease_until = now() - interval '1 minute', tasks = '{"t": {}, "v": {}}' where id = $1`, silent.id)
	run(t, l.owner, `with g as (delete from stem.workers where id = $1 returning *)
		insert into stem.lost_workers (id, node, namespace, host, pid, started_at, heartbeat_at, slots)
		select id, node, namespace, host, pid, started_at, heartbeat_at, slots from g`, gone.id)
	run(t, l.owner, `insert into stem.lost_workers (id, node, namespace, host, pid, started_at, heartbeat_at, lost_at, slots)
		values (gen_random_uuid(), 'old', 'ns', 'h', 1, now(), now(), now() - interval '25 hours', '{}')`)
	list, err := l.plane.Workers(t.Context(), "ns")
	must(t, err)
	var got []string
	for _, w := range list {
		got = append(got, w.Node+" "+w.State)
	}
	if diff := cmp.Diff([]string{"a live", "b silent", "c lost"}, got); diff != "" {
		t.Fatal(diff)
	}
	if a := list[0]; a.ID != live.id || a.Running != 2 || a.Slots["default"] != 2 || a.LeaseLeft <= 0 || a.LeaseLeft > time.Hour || a.Silent < 0 {
		t.Errorf("%+v", a)
	}
	if list[1].LeaseLeft > -50*time.Second || list[2].LostAt.IsZero() {
		t.Errorf("%+v", list[1:])
	}
	tasks, err := l.plane.Tasks(t.Context(), "")
	must(t, err)
	want := []control.Task{
		{Name: "t", Kind: "go", Malformed: []string{}, Workers: 1, Nodes: []string{"a"}, Queues: []string{"default"}},
		{Name: "u", Malformed: []string{}, Workers: 1, Nodes: []string{"a"}, Queues: []string{"default"}},
	}
	if diff := cmp.Diff(want, tasks); diff != "" {
		t.Error(diff)
	}
	none, err := l.plane.Workers(t.Context(), "elsewhere")
	must(t, err)
	if len(none) > 0 {
		t.Errorf("%+v", none)
	}
}

// TestEachActionLeavesOneAuditRow: with the login as the actor, and whether or not it changed anything.
func TestEachActionLeavesOneAuditRow(t *testing.T) {
	t.Parallel()
	l := open(t)
	ctx, nobody := t.Context(), uuid.Must(uuid.NewV7())
	dead := l.kill(t, 2, "broken", "")
	ready := l.enqueue(t, 1, "")[0]
	actions := []struct {
		action, target string
		affected       int64
		act            func() error
	}{
		{"pause", "queue mail", 1, func() error { _, err := l.plane.Pause(ctx, "mail", "why"); return err }},
		{"pause", "queue mail", 0, func() error { _, err := l.plane.Pause(ctx, "mail", "why"); return err }},
		{"resume", "queue mail", 1, func() error { _, err := l.plane.Resume(ctx, "mail", "why"); return err }},
		{"cancel", "2 jobs", 1, func() error { _, err := l.plane.Cancel(ctx, "why", ready, nobody); return err }},
		{"replay", "job " + dead[0].String(), 1, func() error { _, err := l.plane.Replay(ctx, "why", 0, dead[0]); return err }},
		{"purge_dead", "job " + dead[1].String(), 1, func() error { _, err := l.plane.PurgeDead(ctx, "why", dead[1]); return err }},
		{"retry", "job " + nobody.String(), 0, func() error { _, err := l.plane.Retry(ctx, "why", nobody); return err }},
		{"purge_queue", "queue none", 0, func() error { _, err := l.plane.PurgeQueue(ctx, "none", control.Bulk{Reason: "why"}); return err }},
	}
	who := one[string](t, l.pool, "select session_user")
	for i, a := range actions {
		must(t, a.act())
		var list []control.AuditEntry
		for e, err := range l.plane.Audit(ctx, control.AuditFilter{}) {
			must(t, err)
			list = append(list, e)
		}
		if len(list) != i+1 {
			t.Fatalf("%d rows after %d actions", len(list), i+1)
		}
		if e := list[0]; e.Action != a.action || e.Target != a.target || e.Affected != a.affected || e.Actor != who || e.Reason != "why" {
			t.Errorf("got %+v, want %+v", e, a)
		}
	}
	for e, err := range l.plane.Audit(ctx, control.AuditFilter{Action: "cancel", Actor: who}) {
		must(t, err)
		if !strings.Contains(string(e.Detail), ready.String()+`": "cancelled`) {
			t.Errorf("the row does not say what became of the job: %s", e.Detail)
		}
	}
	_, err := l.plane.Pause(ctx, "mail", strings.Repeat("x", 5000))
	wantCode(t, err, "22023")
	if q, err := l.plane.Queue(ctx, "mail"); err != nil || q.Paused {
		t.Errorf("an action without its audit row: %+v, %v", q, err)
	}
}

func TestTasksShowWhatWorkersSay(t *testing.T) {
	t.Parallel()
	l := open(t)
	full := `{"kind": "command", "queue": "mail", "max_attempts": 5, "soft_limit_us": 1500000, "hard_limit_us": 2000000, "colour": "red"}`
	for node, tasks := range map[string]string{
		"a": `{"mail": ` + full + `, "plain": {"kind": "go", "queue": null}}`,
		"b": `{"mail": ` + full + `}`,
		"c": `{"mail": {"kind": "http"}}`,
		"d": `{"mail": {"kind": "Go!", "queue": "a b", "max_attempts": 0, "soft_limit_us": -1, "hard_limit_us": "1s"}, "no name": [1]}`,
	} {
		w := l.hire(t, node, `{"mail": 1, "default": 2}`)
		run(t, l.owner, "update stem.workers set tasks = $2::text::jsonb where id = $1", w.id, tasks)
	}
	got, err := l.plane.Tasks(t.Context(), "ns")
	must(t, err)
	served, fine := []string{"default", "mail"}, []string{}
	want := []control.Task{
		{
			Name: "mail", Kind: "command", Queue: "mail", MaxAttempts: 5, SoftLimit: 1500 * time.Millisecond, HardLimit: 2 * time.Second,
			Malformed: fine, Workers: 2, Nodes: []string{"a", "b"}, Queues: served,
		},
		{Name: "mail", Kind: "http", Malformed: fine, Workers: 1, Nodes: []string{"c"}, Queues: served},
		{
			Name: "mail", Malformed: []string{"kind", "queue", "max_attempts", "soft_limit_us", "hard_limit_us"},
			Workers: 1, Nodes: []string{"d"}, Queues: served,
		},
		{Name: "no name", Malformed: []string{"name", "entry"}, Workers: 1, Nodes: []string{"d"}, Queues: served},
		{Name: "plain", Kind: "go", Malformed: fine, Workers: 1, Nodes: []string{"a"}, Queues: served},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
