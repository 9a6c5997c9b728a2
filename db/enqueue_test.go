package db_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/stemqueue/stem/internal/store"
)

func idOf(at time.Time) uuid.UUID {
	id := newIDs()
	ms := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli()))
	copy(id[:6], ms[2:])
	return id
}

// TestIDsOfThisTime: ids further than ten minutes from the server's clock are refused, and the same id is refused again, also
// when its job is done. What the ring has to do with it is in id_race_test.go.
func TestIDsOfThisTime(t *testing.T) {
	t.Parallel()
	l := open(t)
	try := func(id uuid.UUID) error {
		_, err := store.New(l.me).EnqueueOne(t.Context(), oneJob(id))
		return err
	}
	tryMany := func(id uuid.UUID) error {
		_, err := store.New(l.me).EnqueueMany(t.Context(), manyJobs(newIDs(), id))
		return err
	}
	for offset, want := range map[time.Duration]string{
		-11 * time.Minute: "ST002", -9 * time.Minute: "", 9 * time.Minute: "", 11 * time.Minute: "ST002", -1e6 * time.Hour / 1000: "ST002",
	} {
		at := time.Now().Add(offset)
		if got := code(try(idOf(at))); got != want {
			t.Errorf("one, %v: got %q, want %q", offset, got, want)
		}
		if got := code(tryMany(idOf(at))); got != want {
			t.Errorf("many, %v: got %q, want %q", offset, got, want)
		}
	}
	id := newIDs()
	if err := try(id); err != nil {
		t.Fatal(err)
	}
	wantCode(t, try(id), "23505")
	w := l.hire(t)
	rows, c := claimAs(t, l.me, claimParams(w, 100))
	finish(t, l.me, w, c, jobsOf(rows)...)
	l.wantPlace(t, id, "completed")
	wantCode(t, try(id), "23505")
	wantCode(t, tryMany(id), "23505")
}

// TestKeyIsFreed: which ends free a key of which scope.
func TestKeyIsFreed(t *testing.T) {
	t.Parallel()
	ends := map[string]func(*testing.T, *lab, hand, uuid.UUID, uuid.UUID){
		"claimed":  func(*testing.T, *lab, hand, uuid.UUID, uuid.UUID) {},
		"finished": func(t *testing.T, l *lab, w hand, c, job uuid.UUID) { t.Helper(); finish(t, l.me, w, c, job) },
		"completed": func(t *testing.T, l *lab, w hand, c, job uuid.UUID) {
			t.Helper()
			run(t, l.me, "select stem.complete($1, $2, $3, 1, null)", job, c, w.id)
		},
		"dead": func(t *testing.T, l *lab, w hand, c, job uuid.UUID) {
			t.Helper()
			putBack(t, l.me, w, c, verb{name: "discard"}, job)
		},
		"retrying": func(t *testing.T, l *lab, w hand, c, job uuid.UUID) {
			t.Helper()
			putBack(t, l.me, w, c, verb{name: "fail", delay: 1e9}, job)
		},
		"cancelled": func(t *testing.T, l *lab, w hand, c, job uuid.UUID) {
			t.Helper()
			run(t, l.owner, "update stem.running set cancel_at = now()")
			putBack(t, l.me, w, c, verb{name: "release"}, job)
		},
	}
	held := map[string][4]bool{ // by scope
		"claimed": {1: false, 2: true, 3: true}, "finished": {3: true}, "completed": {3: true}, "dead": {3: true},
		"retrying": {2: true, 3: true}, "cancelled": {3: true},
	}
	for name, end := range ends {
		for scope := int16(1); scope <= 3; scope++ {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				l := open(t)
				keyed := func() *store.EnqueueOneRow {
					row, err := store.New(l.me).EnqueueOne(t.Context(), oneJob(newIDs(), func(p *store.EnqueueOneParams) {
						p.UniqueKey, p.UniqueScope = []byte("k"), scope
						if scope == 3 {
							p.UniquePeriodUs = 3_600_000_000 * 24 * 365
						}
					}))
					if err != nil {
						t.Fatal(err)
					}
					return row
				}
				first := keyed()
				if second := keyed(); !second.Duplicate || second.JobID != first.JobID {
					t.Fatalf("while it waits: got %+v", second)
				}
				w := l.hire(t)
				rows, c := claimAs(t, l.me, claimParams(w, 1))
				end(t, l, w, c, rows[0].JobID)
				if got := keyed().Duplicate; got != held[name][scope] {
					t.Errorf("scope %d: the key is held: %t, want %t", scope, got, held[name][scope])
				}
			})
		}
	}
}

// TestKeysOfOneCall: of two jobs with the same key in one call the first wins; an expired holder frees its key; a period key
// carries its bucket and is pruned when the period is over.
func TestKeysOfOneCall(t *testing.T) {
	t.Parallel()
	l := open(t)
	p := manyJobs(newIDs(), newIDs(), newIDs())
	p.UniqueKeys[0], p.UniqueKeys[2] = []byte("k"), []byte("k")
	p.UniqueScopes[0], p.UniqueScopes[2] = 2, 2
	row, err := store.New(l.me).EnqueueMany(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	// The third job is not there: the first, which holds the key, stands for it.
	if want := fmt.Sprintf("%s,%s,%s", p.Ids[0], p.Ids[1], p.Ids[0]); row.Holders != want {
		t.Errorf("holders %s, want %s", row.Holders, want)
	}

	holder := enqueueKey(t, l.me, "unique_key => 'x', delay => '1 hour', expires_at => now() + interval '2 hours'")
	run(t, l.owner, "update stem.scheduled set run_at = now() - interval '2 s', expires_at = now() - interval '1 s'")
	run(t, l.me, "select stem.due(10)")
	l.wantPlace(t, holder, "expired")
	if next := enqueueKey(t, l.me, "unique_key => 'x'"); next == holder {
		t.Error("the expired job still holds its key")
	}

	enqueue(t, l.me, 1, "unique_key => 'p', unique_for => '1 hour'")
	if !one[bool](t, l.owner, `select k.until > j.created_at and k.until <= j.created_at + interval '1 hour' and octet_length(k.key) = 2 + 1 + 16
		from stem.unique_keys k join stem.jobs j on j.id = k.job_id where k.scope = 3`) {
		t.Error("the period key has no bucket, or ends at the wrong time")
	}
	run(t, l.owner, "update stem.unique_keys set until = now() - interval '1 s' where scope = 3")
	if n, err := store.New(l.me).PruneKeys(t.Context(), 100); err != nil || n != 1 {
		t.Errorf("pruned %d, %v", n, err)
	}
}

// TestColumnsOfABatch: an array of one element stands for all jobs and null for none, in every column; the rows are those of
// full arrays.
func TestColumnsOfABatch(t *testing.T) {
	t.Parallel()
	l := open(t)
	at := func(d time.Duration) pgtype.Timestamptz {
		return pgtype.Timestamptz{Time: time.Now().Add(d).Truncate(time.Microsecond), Valid: true}
	}
	runAt, nominal, expires, issued, sig := at(-time.Minute), at(-time.Hour), at(time.Hour), at(0), []byte(strings.Repeat("s", 32))
	full, short := manyJobs(newIDs(), newIDs(), newIDs()), store.EnqueueManyParams{Ids: []uuid.UUID{newIDs(), newIDs(), newIDs()}, Wake: true}
	full.Tasks, short.Tasks = repeat("task.x", 3), []string{"task.x"}
	full.Queues, short.Queues = repeat("q", 3), []string{"q"}
	full.Payloads, short.Payloads = repeat([]byte("[1]"), 3), [][]byte{[]byte("[1]")}
	full.Codecs, short.Codecs = repeat("text/x", 3), []string{"text/x"}
	full.Headers, short.Headers = repeat(json.RawMessage(`{"h":"v"}`), 3), []json.RawMessage{json.RawMessage(`{"h":"v"}`)}
	full.Priorities, short.Priorities = repeat(int16(7), 3), []int16{7}
	full.RunAts, short.RunAts = repeat(runAt, 3), []pgtype.Timestamptz{runAt}
	full.NominalAts, short.NominalAts = repeat(nominal, 3), []pgtype.Timestamptz{nominal}
	full.ExpiresAts, short.ExpiresAts = repeat(expires, 3), []pgtype.Timestamptz{expires}
	full.MaxAttempts, short.MaxAttempts = repeat(int16(3), 3), []int16{3}
	full.HardLimitsUs, short.HardLimitsUs = repeat(int64(2e6), 3), []int64{2e6}
	full.SoftLimitsUs, short.SoftLimitsUs = repeat(int64(1e6), 3), []int64{1e6}
	full.Origins, short.Origins = repeat("o", 3), []string{"o"}
	full.PayloadVersions, short.PayloadVersions = repeat(int32(2), 3), []int32{2}
	full.GroupNames, short.GroupNames = repeat("g", 3), []string{"g"}
	full.IssuedAts, short.IssuedAts = repeat(issued, 3), []pgtype.Timestamptz{issued}
	full.Sigs, short.Sigs = repeat(sig, 3), repeat(sig, 3)
	full.SigKeyIds, short.SigKeyIds = repeat("k", 3), []string{"k"}
	full.SigAlgs, short.SigAlgs = repeat("hmac-sha256", 3), []string{"hmac-sha256"}
	for _, p := range []store.EnqueueManyParams{full, short} {
		if row, err := store.New(l.me).EnqueueMany(t.Context(), p); err != nil || row.Holders != "" {
			t.Fatalf("holders %q, %v", row.Holders, err)
		}
	}
	// All but what makes each job itself.
	rows := column[string](t, l.owner, "select distinct (to_jsonb(j) - 'id' - 'created_at')::text from stem.jobs j")
	tickets := column[string](t, l.owner, "select distinct (to_jsonb(r) - 'pos' - 'job_id' - 'wake')::text from stem.ready r")
	if len(rows) != 1 || len(tickets) != 1 || strings.Contains(rows[0], `"group_name": null`) {
		t.Errorf("the two forms differ:\n%s\n%s", strings.Join(rows, "\n"), strings.Join(tickets, "\n"))
	}
	if got := one[int](t, l.owner, "select count(*) from stem.ready where wake"); got != 2 {
		t.Errorf("%d waking tickets, want one a call", got)
	}
	delayed := short
	delayed.Ids, delayed.RunAts, delayed.DelaysUs = []uuid.UUID{newIDs(), newIDs(), newIDs()}, nil, []int64{3600e6}
	if _, err := store.New(l.me).EnqueueMany(t.Context(), delayed); err != nil {
		t.Fatal(err)
	}
	if got := one[int](t, l.owner, "select count(*) from stem.scheduled where run_at > now() + interval '59 minutes'"); got != 3 {
		t.Errorf("%d scheduled, want 3", got)
	}
}

// TestNotifyGate: no notification while no worker is idle; one at the commit when a worker went idle during the transaction,
// one a queue; none with notify => false.
func TestNotifyGate(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := l.hire(t)
	listener := connectOwner(t, l)
	run(t, listener, "listen stem_wake")
	// heard returns the queues that were notified before a notification of our own.
	heard := func() []string {
		t.Helper()
		run(t, l.owner, "select pg_notify('stem_wake', 'end')")
		var list []string
		for {
			n, err := listener.WaitForNotification(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n.Payload == "end" {
				return list
			}
			list = append(list, n.Payload)
		}
	}
	check := func(what string, want ...string) {
		t.Helper()
		got := heard()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", what, got, want)
		}
	}
	idle := func(queues ...string) {
		t.Helper()
		if err := store.New(l.me).SetIdle(t.Context(), w.id, w.epoch, queues); err != nil {
			t.Fatal(err)
		}
	}
	idle()
	enqueue(t, l.me, 1, "")
	check("nobody is idle")
	tx := l.begin(t)
	enqueue(t, tx, 2, "")
	enqueue(t, tx, 2, "queue => 'mail'")
	enqueue(t, tx, 1, "queue => 'other'")
	idle("default", "mail")
	check("before the commit")
	commit(t, tx)
	check("idle since the enqueue", "default", "mail")
	enqueue(t, l.me, 1, "notify => false")
	check("notify => false")
	enqueue(t, l.me, 1, "delay => '1 hour'")
	check("a job that is due later")
	run(t, l.owner, "update stem.scheduled set run_at = now() - interval '1 s'")
	run(t, l.me, "select stem.due(10)")
	check("the due move", "default")
}
