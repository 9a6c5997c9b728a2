package control_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/internal/store"
)

func (l *lab) list(t *testing.T, f control.Filter) []control.Job {
	t.Helper()
	var list []control.Job
	for job, err := range l.plane.Jobs(t.Context(), f) {
		must(t, err)
		list = append(list, job)
	}
	return list
}

func TestJobsAndCountsByEveryFilter(t *testing.T) {
	t.Parallel()
	l := open(t)
	dead := l.kill(t, 1, "broken", "")
	mail := l.enqueue(t, 3, "queue => 'mail'")
	later := l.enqueue(t, 2, "delay => '1 hour'")
	_, err := l.plane.Cancel(t.Context(), "", mail[0])
	must(t, err)
	run(t, l.owner, "update stem.jobs set task = 'u', origin = 'schedule:x', group_name = 'g' where id = $1", mail[1])
	all := slices.Concat(dead, mail, later)
	slices.SortFunc(all, func(a, b uuid.UUID) int { return compare(b, a) })
	tests := map[string]struct {
		filter control.Filter
		want   []uuid.UUID
	}{
		"all":         {control.Filter{}, all},
		"queue":       {control.Filter{Queue: "mail"}, mail},
		"state":       {control.Filter{States: []string{"dead", "cancelled"}}, []uuid.UUID{dead[0], mail[0]}},
		"scheduled":   {control.Filter{States: []string{"scheduled"}}, later},
		"no state":    {control.Filter{States: []string{}}, nil},
		"both":        {control.Filter{States: []string{"ready"}, Queue: "mail"}, mail[1:]},
		"task":        {control.Filter{Task: "u"}, mail[1:2]},
		"origin":      {control.Filter{Origin: "schedule:x"}, mail[1:2]},
		"group":       {control.Filter{Group: "g"}, mail[1:2]},
		"since":       {control.Filter{Since: time.Now().Add(time.Hour)}, nil},
		"until":       {control.Filter{Until: time.Now().Add(-time.Hour)}, nil},
		"window":      {control.Filter{Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)}, all},
		"before time": {control.Filter{Since: time.Unix(-5e9, 0), Until: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}, all},
		"cursor":      {control.Filter{Before: all[2]}, all[3:]},
	}
	for name, test := range tests {
		var got []uuid.UUID
		for _, job := range l.list(t, test.filter) {
			got = append(got, job.ID)
		}
		want := slices.Clone(test.want)
		slices.SortFunc(want, func(a, b uuid.UUID) int { return compare(b, a) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		n, err := l.plane.CountJobs(t.Context(), test.filter)
		must(t, err)
		if n != int64(len(want)) {
			t.Errorf("%s: counted %d, listed %d", name, n, len(want))
		}
	}
	for _, err := range l.plane.Jobs(t.Context(), control.Filter{States: []string{"waiting"}}) {
		wantCode(t, err, "22023")
	}
}

// TestPagesMissNothingWhileJobsMove: while somebody pages, jobs are enqueued, claimed, put back, made due, finished and cancelled.
// None comes twice, none that was there at the start is missed. Mutants that it catches: paging by offset, and a cursor taken
// from one table of several.
func TestPagesMissNothingWhileJobsMove(t *testing.T) {
	t.Parallel()
	l := open(t)
	start := slices.Concat(l.enqueue(t, 500, ""), l.enqueue(t, 300, "delay => '1 millisecond'"), l.kill(t, 100, "broken", ""))
	w := l.hire(t, "n", `{"default": 1000}`)
	seen := map[uuid.UUID]int{}
	for job, err := range l.plane.Jobs(t.Context(), control.Filter{}) {
		must(t, err)
		seen[job.ID]++
		if len(seen)%150 != 0 {
			continue
		}
		l.enqueue(t, 20, "")
		_, err := store.New(l.worker).Due(t.Context(), 100)
		must(t, err)
		held, id := claim(t, l.worker, w, "default", 120)
		putBack(t, l.worker, w, id, "fail", time.Hour, "", "boom", held[:40]...)
		putBack(t, l.worker, w, id, "discard", 0, "broken", "boom", held[40:60]...)
		_, err = l.plane.Cancel(t.Context(), "", held[:20]...)
		must(t, err)
		_, err = l.plane.ReplayAll(t.Context(), control.DeadFilter{}, control.Bulk{})
		must(t, err)
	}
	for _, id := range start {
		if seen[id] != 1 {
			t.Errorf("job %s came %d times", id, seen[id])
		}
	}
}

// TestARareFilterGoesOnBeyondEmptyPages: a page may hold nothing and the list still goes on. Mutant that it catches: an empty
// page ends the list.
func TestARareFilterGoesOnBeyondEmptyPages(t *testing.T) {
	t.Parallel()
	l := open(t)
	rare := l.enqueue(t, 2, "queue => 'rare'")
	run(t, l.owner, `insert into stem.ready (queue, lane, pos, job_id, slot, max_attempts)
		select 'default', 5, nextval('stem.ticket_pos'), stem.uuid7(), 0, 20 from generate_series(1, 12000)`)
	if list := l.list(t, control.Filter{Queue: "rare"}); len(list) != len(rare) {
		t.Errorf("listed %d", len(list))
	}
	n, err := l.plane.CountJobs(t.Context(), control.Filter{Queue: "rare"})
	must(t, err)
	if n != 2 {
		t.Errorf("counted %d", n)
	}
	all, err := l.plane.CountJobs(t.Context(), control.Filter{})
	must(t, err)
	if all != 12002 {
		t.Errorf("counted %d of all", all)
	}
	done, err := l.plane.CancelAll(t.Context(), control.Filter{Queue: "rare"}, control.Bulk{})
	must(t, err)
	if done.Done != 2 {
		t.Errorf("cancelled %+v", done)
	}
}

// TestAPageIsAMergeAndNotASort holds the plan, on empty tables too: 0.3 ms over 500 000 tickets against 255 ms.
// Mutant that it catches: leaves without their own ORDER BY in stem._tickets.
func TestAPageIsAMergeAndNotASort(t *testing.T) {
	t.Parallel()
	l := open(t)
	plan := func() string {
		return strings.Join(column[string](t, l.owner, `explain select * from stem._tickets t
			where t.kind = any ('{ready,scheduled,running,dead,finished}'::text[]) and t.job_id < 'ffffffff-ffff-ffff-ffff-ffffffffffff'
			order by t.job_id desc limit 200`), "\n")
	}
	for _, guc := range []string{"enable_seqscan", "enable_bitmapscan", "enable_sort", "enable_hashjoin", "enable_mergejoin"} {
		settings := one[[]string](t, l.owner, "select proconfig from pg_proc where oid = 'stem.list_jobs'::regproc")
		if !slices.Contains(settings, guc+"=off") {
			t.Errorf("list_jobs does not set %s", guc)
		}
	}
	run(t, l.owner, `do $$ begin execute format('alter role %I in database %I set enable_seqscan = off', current_user, current_database());
		execute format('alter role %I in database %I set enable_bitmapscan = off', current_user, current_database());
		execute format('alter role %I in database %I set enable_sort = off', current_user, current_database()); end $$`)
	l.owner.Reset()
	if p := plan(); !strings.Contains(p, "Merge Append") || strings.Contains(p, "Sort  (") {
		t.Errorf("the plan is\n%s", p)
	}
	view := one[string](t, l.owner, "select pg_get_viewdef('stem._tickets'::regclass)")
	run(t, l.owner, "create or replace view stem._tickets as "+strings.ReplaceAll(view, "ORDER BY f.job_id DESC", ""))
	if p := plan(); !strings.Contains(p, "Sort  (") {
		t.Errorf("the mutant is not caught:\n%s", p)
	}
}

func TestJobShowsEverything(t *testing.T) {
	t.Parallel()
	l := open(t)
	ids := l.enqueue(t, 1, "priority => 9")
	job := l.enqueue(t, 1, `args => '{"n": 1}', headers => '{"tenant": "t1"}', hard_limit => '1 minute', unique_key => 'k', max_attempts => 4`)[0]
	d, err := l.plane.Job(t.Context(), job)
	must(t, err)
	if d.ID != job || d.State != "ready" || d.Ahead != 1 || string(d.Payload) != `{"n": 1}` || string(d.Headers) != `{"tenant": "t1"}` ||
		d.HardLimit != time.Minute || string(d.UniqueKey) != "t\x00k" || d.UniqueScope != 2 || d.MaxAttempts != 4 || !d.Envelope ||
		d.Origin != "app" || d.CreatedAt.Location() != time.UTC {
		t.Errorf("%+v", d)
	}
	w := l.hire(t, "n", `{"default": 2}`)
	_, claimID := claim(t, l.worker, w, "default", 2)
	if _, err := store.New(l.worker).Finish(t.Context(), store.FinishParams{
		Worker: w.id, Jobs: []uuid.UUID{job}, Claims: []uuid.UUID{claimID}, Outcomes: []string{"completed"}, AgesUs: []int64{1000},
		Results: [][]byte{[]byte("42")},
	}); err != nil {
		t.Fatal(err)
	}
	d, err = l.plane.Job(t.Context(), job)
	must(t, err)
	if d.State != "completed" || string(d.Result) != "42" || d.Worker != w.id || d.Ahead != -1 || d.EndedAt.Before(d.StartedAt) {
		t.Errorf("%+v", d)
	}
	run(t, l.owner, "delete from stem.jobs where id = $1", ids[0])
	d, err = l.plane.Job(t.Context(), ids[0])
	must(t, err)
	if d.State != "running" || d.Envelope {
		t.Errorf("a ticket without an envelope: %+v", d)
	}
	if _, err := l.plane.Job(t.Context(), uuid.New()); !errors.Is(err, control.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestDeadListsAndGroups(t *testing.T) {
	t.Parallel()
	l := open(t)
	broken := l.kill(t, 3, "broken", "")
	other := l.kill(t, 1, "other", "")
	run(t, l.owner, "update stem.dead set died_at = died_at - interval '1 day' where id = $1", broken[0])
	// One death time for many: the id is what keeps the order.
	run(t, l.owner, "update stem.dead set died_at = (select max(died_at) from stem.dead) where id = any ($1)", broken[1:])
	list := func(f control.DeadFilter) (ids []uuid.UUID) {
		for d, err := range l.plane.Dead(t.Context(), f) {
			must(t, err)
			ids = append(ids, d.ID)
		}
		return ids
	}
	d, err := l.plane.DeadLetter(t.Context(), other[0])
	must(t, err)
	for name, test := range map[string]struct {
		filter control.DeadFilter
		want   []uuid.UUID
	}{
		"reason":      {control.DeadFilter{Reason: "other"}, other},
		"fingerprint": {control.DeadFilter{Fingerprint: d.Fingerprint}, other},
		"since":       {control.DeadFilter{Since: time.Now().Add(-time.Hour), Reason: "broken"}, []uuid.UUID{broken[2], broken[1]}},
		"until":       {control.DeadFilter{Until: time.Now().Add(-time.Hour)}, broken[:1]},
		"queue":       {control.DeadFilter{Queue: "mail"}, nil},
		"task":        {control.DeadFilter{Task: "t", Reason: "other"}, other},
		"cursor":      {control.DeadFilter{BeforeDiedAt: d.EndedAt, BeforeID: broken[2], Reason: "broken"}, []uuid.UUID{broken[1], broken[0]}},
	} {
		if diff := cmp.Diff(test.want, list(test.filter)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, by := range []string{"reason", "fingerprint"} {
		groups, err := l.plane.DeadGroups(t.Context(), control.DeadFilter{}, by)
		must(t, err)
		if len(groups) != 2 || groups[0].Count != 3 || groups[1].Count != 1 || groups[1].SampleID != other[0] || groups[1].SampleError != "boom: other" ||
			!slices.Equal(groups[0].Tasks, []string{"t"}) || groups[0].FirstAt.After(groups[0].LastAt.Add(-23*time.Hour)) {
			t.Errorf("by %s: %+v", by, groups)
		}
		if (groups[1].Reason == "other") != (by == "reason") || (groups[1].Fingerprint == d.Fingerprint) != (by == "fingerprint") {
			t.Errorf("by %s: %+v", by, groups[1])
		}
	}
	_, err = l.plane.DeadGroups(t.Context(), control.DeadFilter{}, "payload")
	wantCode(t, err, "22023")
}

// TestViewsSurviveBadBytes: F21, F22. Mutant that it catches: a plain convert_from(payload, 'UTF8')::jsonb.
func TestViewsSurviveBadBytes(t *testing.T) {
	t.Parallel()
	l := open(t)
	payloads := map[string]struct{ text, json bool }{
		`{"a": 1}`:                       {true, true},
		"plain text":                     {true, false},
		"":                               {true, false},
		"a\x00b":                         {false, false},
		"\xff\xfe":                       {false, false},
		`{"a": "\u0000"}`:                {true, false},
		`{"a": "\ud800"}`:                {true, false},
		`[1e999999999]`:                  {true, false},
		strings.Repeat("[", 1_000_000):   {true, false},
		"\u202egpj.exe\u200b\x1b[31mred": {true, false},
	}
	for payload, want := range payloads {
		job := l.enqueue(t, 1, "")[0]
		run(t, l.owner, "update stem.jobs set payload = $2 where id = $1", job, []byte(payload))
		var text, json *string
		must(t, l.pool.QueryRow(t.Context(), "select text, json::text from stem.job_payloads where job_id = $1", job).Scan(&text, &json))
		if (text != nil) != want.text || (json != nil) != want.json {
			t.Errorf("%.20q: text %t, json %t", payload, text != nil, json != nil)
		}
	}
	dead := l.kill(t, 1, "broken", "")
	_, err := l.plane.Replay(t.Context(), "", 0, dead...)
	must(t, err)
	if n := one[int](t, l.pool, "select count(*) from stem.job_status where state = 'ready' and task = 't'"); n != len(payloads)+1 {
		t.Errorf("%d jobs in the view", n)
	}
	_, err = l.worker.Exec(t.Context(), "select from stem.job_status")
	wantCode(t, err, "42501")
	if _, err := l.owner.Exec(t.Context(), `select convert_from('\x00', 'UTF8')::jsonb`); err == nil {
		t.Error("the mutant is not caught")
	}
}

// TestHostileTextIsBound: filters are parameters, so text is only ever compared.
func TestHostileTextIsBound(t *testing.T) {
	t.Parallel()
	l := open(t)
	l.enqueue(t, 1, "")
	l.kill(t, 1, "broken", "")
	for _, text := range []string{
		`'; drop table stem.jobs; --`, `$1`, `%`, `_`, `\`, `" or ""="`, "\u202e\u2066rtl", "\x1b[2J\r\n\t\x7f", strings.Repeat("x", 1<<20), "\u00e9\u0301", `{"a":1}`,
	} {
		for _, f := range []control.Filter{{Queue: text}, {Task: text}, {Origin: text}, {Group: text}} {
			if list := l.list(t, f); len(list) > 0 {
				t.Errorf("%.20q found %d jobs", text, len(list))
			}
		}
		for _, f := range []control.DeadFilter{{Queue: text}, {Task: text}, {Reason: text}, {Fingerprint: text}} {
			for _, err := range l.plane.Dead(t.Context(), f) {
				t.Errorf("%.20q found a dead letter, error %v", text, err)
			}
		}
		for _, f := range []control.AuditFilter{{Action: text}, {Actor: text}, {Target: text}} {
			for _, err := range l.plane.Audit(t.Context(), f) {
				t.Errorf("%.20q found an audit row, error %v", text, err)
			}
		}
		if _, err := l.plane.Queue(t.Context(), text); !errors.Is(err, control.ErrNotFound) || len(err.Error()) > 1000 {
			t.Errorf("%.20q: %.200v", text, err)
		}
		if list, err := l.plane.Workers(t.Context(), text); err != nil || len(list) > 0 {
			t.Errorf("%.20q: %v, %v", text, list, err)
		}
		if n, err := l.plane.Waiting(t.Context(), text); err != nil || n > 0 {
			t.Errorf("%.20q: %d, %v", text, n, err)
		}
	}
	for _, err := range l.plane.Jobs(t.Context(), control.Filter{Queue: "a\x00b"}) {
		wantCode(t, err, "22021") // Postgres text holds no zero byte: an error, and no other list
	}
	for _, err := range l.plane.Jobs(t.Context(), control.Filter{States: []string{strings.Repeat("x", 1<<20)}}) {
		if err == nil || len(err.Error()) > 1000 {
			t.Errorf("got %.200v", err)
		}
	}
	if n := one[int](t, l.owner, "select count(*) from stem.jobs"); n != 2 {
		t.Errorf("%d jobs are left", n)
	}
}

func TestListsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	l := open(t)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for _, err := range l.plane.Jobs(ctx, control.Filter{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
}
