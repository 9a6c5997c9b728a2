package worker_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

// starts notes when each job begins.
type starts struct {
	mu sync.Mutex
	at map[uuid.UUID]time.Time
}

func (s *starts) handler(_ context.Context, run *queue.Run) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.at == nil {
		s.at = map[uuid.UUID]time.Time{}
	}
	s.at[run.ID] = time.Now()
	return nil
}

func (s *starts) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.at)
}

// pickup enqueues jobs one by one at that pace and returns how long each took from its commit to its start, sorted.
func (b *bench) pickup(s *starts, jobs int, pace time.Duration) []time.Duration {
	b.t.Helper()
	sent := map[uuid.UUID]time.Time{}
	tick := time.NewTicker(pace)
	defer tick.Stop()
	before := s.count()
	for range jobs {
		<-tick.C
		r := b.enqueue(raw("t"))[0]
		sent[r.ID] = time.Now()
	}
	eventually(b.t, "every job has begun", func() bool { return s.count() == before+jobs })
	var took []time.Duration
	for id, at := range sent {
		took = append(took, max(s.at[id].Sub(at), 0))
	}
	slices.Sort(took)
	return took
}

// idle waits until some worker has raised its flag.
func (b *bench) idle() {
	b.t.Helper()
	eventually(b.t, "a worker is idle", func() bool {
		return scan[int](b.t, b.owner, "select count(*) from stem.workers where idle <> '{}'") > 0
	})
}

func TestAnIdleQueueIsPickedUpByNotification(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var s starts
	var reg worker.Registry
	reg.HandleFunc("t", s.handler)
	b.work(&reg, worker.Config{PollInterval: 10 * time.Second}) // polling alone shows in what is logged
	b.idle()
	took := b.pickup(&s, 100, 20*time.Millisecond)
	t.Logf("pickup after the commit: p50 %v, p99 %v, max %v", took[49], took[98], took[99])
}

func TestALongTransactionIsPickedUpAtItsCommit(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var s starts
	var reg worker.Registry
	reg.HandleFunc("t", s.handler)
	b.work(&reg, worker.Config{PollInterval: 10 * time.Minute}) // so that nothing but the notification can be it
	b.idle()
	tx, err := b.producer.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.q.Enqueue(t.Context(), tx, raw("t"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "select pg_sleep(1)"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	committed := time.Now()
	eventually(t, "the job has begun", func() bool { return s.count() == 1 })
	t.Logf("begun %v after the commit", s.at[r[0].ID].Sub(committed))
}

func TestPollingAloneWorks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var s starts
	var reg worker.Registry
	reg.HandleFunc("t", s.handler)
	b.work(&reg, worker.Config{PollOnly: true, PollInterval: 100 * time.Millisecond})
	took := b.pickup(&s, 10, 30*time.Millisecond)
	t.Logf("pickup by polling every 100 ms: max %v", took[9])
	if n := scan[int](t, b.owner, "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%'"); n != 0 {
		t.Errorf("%d listeners", n)
	}
}

func TestAKilledListenerDoesNotStayAway(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var s starts
	var reg worker.Registry
	reg.HandleFunc("t", s.handler)
	b.work(&reg, worker.Config{PollInterval: 10 * time.Minute})
	listeners := func() int { // whose LISTEN has come into effect
		return scan[int](t, b.owner, "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%' and state = 'idle'")
	}
	eventually(t, "a listener is there", func() bool { return listeners() == 1 })
	old := scan[int](t, b.owner, "select pid from pg_stat_activity where datname = current_database() and query ilike 'listen%'")
	scan[bool](t, b.owner, "select pg_terminate_backend($1)", old)
	eventually(t, "another one has come", func() bool {
		return listeners() == 1 && scan[int](t, b.owner, "select count(*) from pg_stat_activity where pid = $1", old) == 0
	})
	b.idle()
	b.enqueue(raw("t"))
	eventually(t, "the job has begun", func() bool { return s.count() == 1 })
}

func TestALateCommitIsNotOverlooked(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var s starts
	var reg worker.Registry
	reg.HandleFunc("t", s.handler)
	b.work(&reg, worker.Config{Queues: map[string]int{"default": 50}})
	tx, err := b.producer.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	late, err := b.q.Enqueue(t.Context(), tx, raw("t"))
	if err != nil {
		t.Fatal(err)
	}
	// Spread over some seconds, so that the marks move while the transaction is open.
	for part := range 20 {
		requests := make([]queue.Request, 100)
		for i := range requests {
			requests[i] = raw("t")
		}
		b.enqueue(requests...)
		eventually(t, "the later jobs have run", func() bool {
			return scan[int](t, b.owner, "select count(*) from stem.finished") == 100*(part+1)
		})
		<-time.After(150 * time.Millisecond)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	committed := time.Now()
	eventually(t, "the late job has begun", func() bool { return s.count() == 2001 })
	t.Logf("begun %v after its late commit", s.at[late[0].ID].Sub(committed))
}
