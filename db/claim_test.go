package db_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/store"
)

// TestClaimOrder: higher lanes first, within a lane the order of the line, never more than asked for, in a queue or in all.
func TestClaimOrder(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := l.hire(t)
	low := enqueue(t, l.me, 3, "priority => 1")
	high := enqueue(t, l.me, 3, "priority => 9")
	enqueue(t, l.me, 3, "queue => 'mail'")
	if got, want := jobsOf(claim(t, l.me, w, 4)), append(slices.Clone(high), low[0]); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	p := claimParams(w, 3)
	p.Queues, p.Limits = []string{"default", "mail"}, []int32{1, 9}
	p.First, p.Last = []int32{1, 1}, []int32{int32(len(lanes)), int32(len(lanes))}
	rows, _ := claimAs(t, l.me, p)
	count := map[string]int{}
	for _, r := range rows {
		count[r.Queue]++
	}
	if count["default"] != 1 || count["mail"] != 2 {
		t.Errorf("got %v, want one of default and two of mail", count)
	}
	p.Lanes = []int16{5}
	p.First, p.Last, p.Lows = []int32{1, 1}, []int32{1, 1}, []int64{1 << 60}
	if rows, _ := claimAs(t, l.me, p); len(rows) != 0 {
		t.Errorf("claimed %d jobs below the mark", len(rows))
	}
}

// TestClaimersShare: eight claimers at once take every job once.
func TestClaimersShare(t *testing.T) {
	t.Parallel()
	l := open(t)
	jobs := enqueue(t, l.me, 400, "")
	w := l.hire(t)
	var mu sync.Mutex
	var all []uuid.UUID
	var group sync.WaitGroup
	for range 8 {
		conn := l.connect(t)
		group.Go(func() {
			for {
				rows, err := store.New(conn).Claim(t.Context(), claimParams(w, 7))
				if err != nil {
					t.Error(err)
				}
				if len(rows) > 7 {
					t.Errorf("claimed %d, asked for 7", len(rows))
				}
				if len(rows) == 0 {
					return
				}
				mu.Lock()
				all = append(all, jobsOf(rows)...)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	sortIDs := func(list []uuid.UUID) {
		slices.SortFunc(list, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	}
	sortIDs(all)
	sortIDs(jobs)
	if !slices.Equal(all, jobs) {
		t.Errorf("claimed %d, want each of %d once", len(all), len(jobs))
	}
}

// TestClaimRefuses: a paused queue, a wrong epoch and an unknown worker get nothing.
func TestClaimRefuses(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := l.hire(t)
	enqueue(t, l.me, 1, "")
	if n := len(claim(t, l.me, hand{w.id, w.epoch + 1}, 1)) + len(claim(t, l.me, hand{uuid.New(), 1}, 1)); n != 0 {
		t.Errorf("strangers claimed %d", n)
	}
	run(t, l.owner, "insert into stem.queues (name, paused, paused_since) values ('default', true, now())")
	if n := len(claim(t, l.me, w, 1)); n != 0 {
		t.Errorf("claimed %d of a paused queue", n)
	}
	run(t, l.owner, "update stem.queues set paused = false, paused_since = null")
	if n := len(claim(t, l.me, w, 1)); n != 1 {
		t.Errorf("claimed %d of the resumed queue", n)
	}
}

// TestStray: a ticket whose job runs already, and one of a job that has another, make the claim fail without taking anything;
// stem.drop_strays takes both away, and then the others are claimed, each once.
func TestStray(t *testing.T) {
	t.Parallel()
	l := open(t)
	w, _, jobs := l.held(t, 1)
	const again = `insert into stem.ready (queue, lane, pos, job_id, slot, max_attempts) values ('default', $2, nextval('stem.ticket_pos'), $1, 0, 20)`
	run(t, l.owner, again, jobs[0], 5)
	enqueue(t, l.me, 2, "")
	waiting := column[uuid.UUID](t, l.owner, "select job_id from stem.ready where job_id <> $1 order by pos", jobs[0])
	run(t, l.owner, again, waiting[0], 9)
	p := claimParams(w, 5)
	_, err := store.New(l.me).Claim(t.Context(), p)
	wantCode(t, err, "23505")
	if n := one[int](t, l.owner, "select count(*) from stem.ready"); n != 4 {
		t.Errorf("%d tickets after the claim that failed, want 4", n)
	}
	// What another claim has in hand is left to it.
	tx := l.begin(t)
	run(t, tx, "select from stem.drop_strays(array['default'], array[5], array[1], array[1], array[9]::smallint[], array[0]::bigint[])")
	strays := store.DropStraysParams{Queues: p.Queues, Limits: p.Limits, First: p.First, Last: p.Last, Lanes: p.Lanes, Lows: p.Lows}
	if n, err := store.New(l.me).DropStrays(t.Context(), strays); n != 1 || err != nil {
		t.Errorf("dropped %d, %v; want the one that is free", n, err)
	}
	rollback(t, tx)
	if n, err := store.New(l.me).DropStrays(t.Context(), strays); n != 1 || err != nil {
		t.Errorf("dropped %d, %v; want the other", n, err)
	}
	if got := jobsOf(claim(t, l.me, w, 5)); !slices.Equal(got, waiting) {
		t.Errorf("claimed %v, want %v", got, waiting)
	}
	l.wantPlace(t, jobs[0], "running")
	if got := l.counters(t, jobs[0])[0]; got != 1 {
		t.Errorf("the running job's attempt is %d, want 1", got)
	}
}
