package db_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/store"
)

// oldLeaf puts the old form back into enqueue_one: the leaf is that of the instant of the call, as some row says (here the one
// that rotate advances), read after the unique keys. (It also looked at the previous leaf for 20 minutes after a turn. In each race
// here that look came too early, saw nothing uncommitted, or had an old snapshot: shown on that form before it was replaced.)
func (l *lab) oldLeaf(t *testing.T) {
	t.Helper()
	l.mutate(t, "enqueue_one", "floor(extract(epoch from v_last - r.origin) / extract(epoch from r.period))::bigint & 7", "(select w.emptied & 7 from stem.ring_work w)")
}

// ringTurns is what the old form took for a turn; for the present one it means nothing.
func (l *lab) ringTurns(t *testing.T) {
	t.Helper()
	run(t, l.owner, "update stem.ring_work set emptied = emptied + 1")
}

func (l *lab) enqueueID(t *testing.T, db store.DBTX, id uuid.UUID, key []byte) error {
	t.Helper()
	p := oneJob(id)
	if key != nil {
		p.UniqueKey, p.UniqueScope = key, 2
	}
	_, err := store.New(db).EnqueueOne(t.Context(), p)
	return err
}

// wantOnce: one envelope of the id, and the second enqueue was refused; two if it is the mutant.
func (l *lab) wantOnce(t *testing.T, id uuid.UUID, second error, mutant bool) {
	t.Helper()
	want := 1
	if mutant {
		want = 2
	} else {
		wantCode(t, second, "23505")
	}
	if n := one[int](t, l.owner, "select count(*) from stem.jobs where id = $1", id); n != want {
		t.Errorf("%d envelopes of the id, want %d (%v)", n, want, second)
	}
}

func twice(t *testing.T, test func(t *testing.T, l *lab, mutant bool)) {
	t.Helper()
	for _, mutant := range []bool{false, true} {
		t.Run(map[bool]string{false: "as it is", true: "mutant: the leaf of the instant"}[mutant], func(t *testing.T) {
			t.Parallel()
			l := open(t)
			if mutant {
				l.oldLeaf(t)
			}
			test(t, l, mutant)
		})
	}
}

// TestSameIDWhileWaitingForAKey: the ring turns while an enqueue of a known id waits for its unique key. Mutant that it catches:
// the leaf is that of the instant, read after the wait.
func TestSameIDWhileWaitingForAKey(t *testing.T) {
	t.Parallel()
	twice(t, func(t *testing.T, l *lab, mutant bool) {
		t.Helper()
		id := newID(t)
		if err := l.enqueueID(t, l.me, id, nil); err != nil {
			t.Fatal(err)
		}
		tx := l.begin(t)
		if err := l.enqueueID(t, tx, newID(t), []byte("k")); err != nil {
			t.Fatal(err)
		}
		other := l.connect(t)
		call := labtest.Start(func() (int, error) { return 0, l.enqueueID(t, other, id, []byte("k")) })
		l.awaitBlocked(t, pid(other))
		l.ringTurns(t)
		rollback(t, tx)
		<-call.Done
		l.wantOnce(t, id, call.Err, mutant)
	})
}

// TestSameIDBesideOpenTransaction: an enqueue whose commit is still to come, a turn, and the same id again, as after an ambiguous
// commit. The second waits for the first. Mutant that it catches: the leaf of the instant, whose key knows nothing of the first.
func TestSameIDBesideOpenTransaction(t *testing.T) {
	t.Parallel()
	twice(t, func(t *testing.T, l *lab, mutant bool) {
		t.Helper()
		id := newID(t)
		tx := l.begin(t)
		if err := l.enqueueID(t, tx, id, nil); err != nil {
			t.Fatal(err)
		}
		l.ringTurns(t)
		call := labtest.Start(func() (int, error) { return 0, l.enqueueID(t, l.me, id, nil) })
		if blocked := l.isBlocked(t, pid(l.me), call.Done); blocked == mutant {
			t.Errorf("blocked: %t", blocked)
		}
		commit(t, tx)
		<-call.Done
		l.wantOnce(t, id, call.Err, mutant)
	})
}

// TestSameIDUnderOldSnapshot: a REPEATABLE READ producer took its snapshot before the turn, the id was enqueued after it. Mutant
// that it catches: the leaf of the instant, as the snapshot says.
func TestSameIDUnderOldSnapshot(t *testing.T) {
	t.Parallel()
	twice(t, func(t *testing.T, l *lab, mutant bool) {
		t.Helper()
		id := newID(t)
		tx := begin(t, l.connect(t), pgx.RepeatableRead)
		run(t, tx, "select 1")
		l.ringTurns(t)
		if err := l.enqueueID(t, l.me, id, nil); err != nil {
			t.Fatal(err)
		}
		err := l.enqueueID(t, tx, id, nil)
		if err == nil {
			commit(t, tx)
		}
		l.wantOnce(t, id, err, mutant)
	})
}

// TestSameIDAcrossTheBoundary: the boundary between two periods passes between two enqueues of one id, and lies between two ids
// of one call. Each id has the leaf of its own time, and its ticket says so.
func TestSameIDAcrossTheBoundary(t *testing.T) {
	t.Parallel()
	l := open(t)
	// The boundary from period 8 to 9 is 200 ms away.
	run(t, l.owner, "update stem.ring set origin = clock_timestamp() + interval '200 milliseconds' - 9 * period")
	id := newID(t)
	if err := l.enqueueID(t, l.me, id, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the next period", func() bool { return one[int](t, l.owner, "select stem._period_at(clock_timestamp())") == 9 })
	wantCode(t, l.enqueueID(t, l.me, id, nil), "23505")
	_, err := store.New(l.me).EnqueueMany(t.Context(), manyJobs(newIDs(), id))
	wantCode(t, err, "23505")

	early, late := idOf(time.Now().Add(-5*time.Minute)), idOf(time.Now().Add(5*time.Minute))
	if _, err := store.New(l.me).EnqueueMany(t.Context(), manyJobs(late, early)); err != nil {
		t.Fatal(err)
	}
	for job, leaf := range map[uuid.UUID]int{early: 0, late: 1} {
		const leaves = "select array[j.slot, r.slot] from stem.jobs j, stem.ready r where j.id = $1 and r.job_id = $1"
		if got := one[[]int](t, l.owner, leaves, job); got[0] != leaf || got[1] != leaf {
			t.Errorf("the envelope is in leaf %d and the ticket says %d, want %d", got[0], got[1], leaf)
		}
	}
}

// TestBothEnqueuesAgreeOnTheLeaf: a period may begin within a millisecond, and an id has no finer time. Both functions must give
// an id of that millisecond the same leaf, or one call of each would enqueue it twice. Mutant that it catches: enqueue_one reckons from
// the start of the id's millisecond.
func TestBothEnqueuesAgreeOnTheLeaf(t *testing.T) {
	t.Parallel()
	for _, mutant := range []bool{false, true} {
		t.Run(map[bool]string{false: "as it is", true: "mutant: the start of the millisecond"}[mutant], func(t *testing.T) {
			t.Parallel()
			l := open(t)
			if mutant {
				l.mutate(t, "enqueue_one", "v_at + interval '999 microseconds'", "v_at")
			}
			boundary := one[time.Time](t, l.owner, `update stem.ring set origin = date_trunc('second', clock_timestamp()) + interval '500 microseconds' - 9 * period
				returning origin + 9 * period - interval '500 microseconds'`)
			for _, c := range []struct {
				at        time.Duration
				one, many int
			}{{-time.Millisecond, 0, 0}, {0, 1, 1}, {time.Millisecond, 1, 1}} {
				single, both := idOf(boundary.Add(c.at)), []uuid.UUID{idOf(boundary.Add(c.at)), newIDs()}
				if mutant && c.at == 0 {
					c.one = 0
				}
				if err := l.enqueueID(t, l.me, single, nil); err != nil {
					t.Fatal(err)
				}
				if _, err := store.New(l.me).EnqueueMany(t.Context(), manyJobs(both...)); err != nil {
					t.Fatal(err)
				}
				const leaf = "select slot from stem.jobs where id = $1"
				if a, b := one[int](t, l.owner, leaf, single), one[int](t, l.owner, leaf, both[0]); a != c.one || b != c.many {
					t.Errorf("%v from the boundary: leaf %d by enqueue_one and %d by enqueue_many, want %d and %d", c.at, a, b, c.one, c.many)
				}
			}
		})
	}
}
