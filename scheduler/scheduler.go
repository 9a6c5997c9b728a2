package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/listen"
	"github.com/stemqueue/stem/internal/pgsession"
	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/queue"
)

// A Scheduler fires what is due. Make it with New and run it once.
type Scheduler struct {
	config Config
	pool   *pgxpool.Pool
	queue  *queue.Queue
	log    *slog.Logger
	ran    atomic.Bool
	own    *pgxpool.Pool
	wake   chan struct{}
	said   quieted
	whole  time.Time // when it last looked at all that is due: see round
}

// ownConnections are for firing and for pruning the ledger.
const ownConnections = 2

// New returns a scheduler over the database of the pool, beside which it opens two connections of its own and one to listen. The queue
// enqueues the jobs: it signs them, encrypts them and runs its hooks as for any other.
func New(pool *pgxpool.Pool, q *queue.Queue, config Config) (*Scheduler, error) {
	c := config.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	return &Scheduler{config: c, pool: pool, queue: q, log: c.Logger, wake: make(chan struct{}, 1)}, nil
}

const (
	stopGrace  = 2 * time.Second // for the transaction that is under way when Run is to end
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
	heldPause  = 20 * time.Millisecond // before it looks again for what another scheduler holds; doubled up to a second
)

// Run fires schedules until ctx is done; a transaction that is under way then has two seconds to end. It returns nil, or an error when it
// cannot start. Later troubles of the database are logged and waited out. It may be called once.
func (s *Scheduler) Run(ctx context.Context) error {
	if s.ran.Swap(true) {
		return errors.New("scheduler: Run was called before")
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(stopGrace, end) })()
	var err error
	if s.own, err = pgsession.Pool(life, ctx, s.pool, "stem/scheduler/"+s.config.Node, ownConnections); err != nil {
		return fmt.Errorf("scheduler: %w", err)
	}
	defer s.own.Close()
	if _, err := store.Over(s.own).NextSchedule(ctx, 0); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("scheduler: start: %w", err)
	}
	s.log.InfoContext(ctx, "scheduler started", "node", s.config.Node, "tolerance", s.config.Tolerance, "keep_runs", s.config.KeepRuns)
	var loops sync.WaitGroup
	loops.Go(func() { s.pruneLoop(ctx) })
	if !s.config.PollOnly {
		loops.Go(func() { s.listen(ctx) })
	}
	s.fireLoop(ctx, life)
	loops.Wait()
	s.log.InfoContext(ctx, "scheduler stopped", "node", s.config.Node)
	return nil
}

// fireLoop fires what is due and sleeps until the next instant. ctx says when to stop, life bounds the transaction that is under way.
func (s *Scheduler) fireLoop(ctx, life context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing, held := firstPause, heldPause
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		wait, err := s.round(ctx, life)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.WarnContext(ctx, "cannot fire; trying again", "node", s.config.Node, "retry_in", failing, "error", err)
			wait, failing = failing, min(2*failing, lastPause)
		case wait == 0:
			wait, held = held, min(2*held, time.Second)
		default:
			failing, held = firstPause, heldPause
		}
		timer.Reset(wait)
	}
}

// A look at all that is due passes what was due in the past where somebody holds a snapshot (see stem.lock_schedules), so most looks of a
// scheduler that is busy go back for recent only, and one each wholeLook all the way: to what another scheduler held for longer than that.
const (
	recent    = 5 * time.Second
	wholeLook = 5 * time.Second
)

// round fires until nothing that it can have is due, and returns how long to sleep: 0 when something is due that another holds.
func (s *Scheduler) round(ctx, life context.Context) (time.Duration, error) {
	back := recent
	for more := true; more && ctx.Err() == nil; {
		if time.Since(s.whole) >= wholeLook {
			back = 0
		}
		looked, cancel := context.WithTimeout(life, time.Minute)
		var err error
		_, more, err = s.fire(looked, back)
		cancel()
		if err != nil {
			return 0, err
		}
	}
	looked, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	us, err := store.Over(s.own).NextSchedule(looked, back.Microseconds())
	if err != nil {
		return 0, err
	}
	wait := s.config.PollInterval
	if us >= 0 {
		wait = min(wait, store.Span(us))
	}
	if back == 0 {
		s.whole = time.Now()
		return wait, nil
	}
	return min(wait, max(wholeLook-time.Since(s.whole), time.Millisecond)), nil
}

// listen wakes the loop when schedules have changed.
func (s *Scheduler) listen(ctx context.Context) {
	pool := s.pool.Config()
	config := s.config.ListenConfig
	if config == nil {
		config = pool.ConnConfig
	}
	wake := func() {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	listen.Run(ctx, config, pool.BeforeConnect, []string{"stem_schedule"}, s.log, wake, func(string, string) { wake() })
}

const pruneBatch = 5000

// pruneLoop forgets old rows of the ledger, each minute for half of it at most.
func (s *Scheduler) pruneLoop(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		s.prune(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Scheduler) prune(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		n, err := store.Over(s.own).PruneRuns(ctx, s.config.KeepRuns.Microseconds(), pruneBatch)
		if err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "cannot prune the ledger", "error", err)
		}
		if err != nil || n < pruneBatch {
			return
		}
	}
}

// quieted keeps what is wrong with a schedule at each of its instants from flooding the log: one line a minute for each.
type quieted struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (q *quieted) mayLog(schedule string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if now.Sub(q.at[schedule]) < time.Minute {
		return false
	}
	if q.at == nil || len(q.at) > 10_000 {
		q.at = map[string]time.Time{}
	}
	q.at[schedule] = now
	return true
}
