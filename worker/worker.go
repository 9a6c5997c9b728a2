package worker

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/answer"
	"github.com/stemqueue/stem/internal/pgsession"
	"github.com/stemqueue/stem/internal/store"
)

// ownConnections is the size of the pool that claims, settles and renews the lease: handlers can never take these.
const ownConnections = 4

// A Worker claims jobs of some queues and runs them. Make it with New and run it once.
type Worker struct {
	config   Config
	pool     *pgxpool.Pool
	registry *Registry
	handlers map[string]Handler
	adverts  json.RawMessage
	log      *slog.Logger
	ran      atomic.Bool
	stop     *stopper
}

// New returns a worker over the database of the pool. Handlers use the pool as they like: the worker opens four connections
// of its own, and one to listen.
func New(pool *pgxpool.Pool, registry *Registry, config Config) (*Worker, error) {
	c := config.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	w := &Worker{config: c, pool: pool, registry: registry, handlers: map[string]Handler{}, log: c.Logger, stop: newStopper()}
	for task, e := range registry.entries {
		h := e.handler
		for _, wrap := range slices.Backward(c.Middleware) {
			h = wrap(h)
		}
		w.handlers[task] = h
	}
	var err error
	if w.adverts, err = registry.adverts(); err != nil {
		return nil, err
	}
	return w, nil
}

var (
	// errLost ends a session whose worker row is gone: Run goes on under a new identity.
	errLost = errors.New("this worker was declared lost")
	// errOver ends everything when the time of a shutdown is up.
	errOver = errors.New("the time of the shutdown is up")
)

// Run works until ctx is done, which is the same as Shutdown(Warm), or until Shutdown. Then it claims nothing more, puts back
// what it had not begun, lets handlers finish for the shutdown grace, cancels them with ErrShutdown, and puts back what has not
// ended after that: all of it within the grace and two seconds. It returns nil after a clean drain, and an error when it cannot
// start, when handlers are still running, or when outcomes could not be stored. It may be called once.
func (w *Worker) Run(ctx context.Context) error {
	if w.ran.Swap(true) {
		return errors.New("worker: Run was called before")
	}
	// whole ends when the time of a shutdown is up, starting when one begins.
	whole, end := context.WithCancelCause(context.WithoutCancel(ctx))
	starting, stopStarting := context.WithCancel(whole)
	defer stopStarting()
	var conductor sync.WaitGroup
	conductor.Go(func() { w.stop.conduct(whole.Done(), w.config.ShutdownGrace, stopStarting, func() { end(errOver) }) })
	defer func() { end(nil); conductor.Wait() }()
	defer context.AfterFunc(ctx, func() { w.Shutdown(Warm) })()

	own, err := pgsession.Pool(whole, starting, w.pool, "stem/worker/"+w.config.Node, ownConnections)
	if err != nil {
		return fmt.Errorf("worker: %w", err)
	}
	defer closePool(whole, own)
	var lost *session
	for {
		s, err := w.enter(whole, starting, own, lost == nil)
		switch {
		case err != nil && starting.Err() == nil:
			return err
		case err != nil && lost != nil:
			return lost.lastWords()
		case err != nil:
			return nil
		}
		if lost != nil {
			lost.bequeath(s)
		}
		if err = s.run(whole); !errors.Is(err, errLost) {
			return err
		}
		if starting.Err() == nil {
			w.log.WarnContext(whole, "declared lost; starting afresh under a new identity", "worker", s.id, "node", w.config.Node)
		}
		lost = s
	}
}

// enter registers a new identity, until a shutdown begins, which is the end of ctx. The first time a failure is an error; later it
// is tried until it works, because the database may just be away.
func (w *Worker) enter(whole, ctx context.Context, own *pgxpool.Pool, first bool) (*session, error) {
	for {
		s, err := w.register(whole, ctx, own)
		if err == nil {
			return s, nil
		}
		if first || ctx.Err() != nil {
			return nil, err
		}
		w.log.WarnContext(ctx, "cannot register", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(w.config.Heartbeat):
		}
	}
}

func (w *Worker) register(whole, ctx context.Context, own *pgxpool.Pool) (*session, error) {
	var isolation string
	if err := own.QueryRow(ctx, "show default_transaction_isolation").Scan(&isolation); err != nil {
		return nil, fmt.Errorf("worker: connect: %w", err)
	}
	if isolation != "read committed" {
		// The claim's guard and the pause need a fresh snapshot in each statement.
		return nil, fmt.Errorf("worker: this role's default_transaction_isolation is %q; Stem's statements need \"read committed\": "+
			"ALTER ROLE … SET default_transaction_isolation = 'read committed'", isolation)
	}
	s := newSession(w, own)
	slots, err := json.Marshal(w.config.Queues)
	if err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	host, _ := os.Hostname()
	s.renewing = s.clock()
	_, err = s.db.Register(ctx, store.RegisterParams{
		Worker: s.id, Node: w.config.Node, Namespace: w.config.Namespace, Host: host, Pid: int32(os.Getpid()), //nolint:gosec // a pid fits
		Boot: bootID(), Version: w.config.Version, LeaseUs: w.config.Lease.Microseconds(), Slots: slots, Tasks: w.adverts, Epoch: s.epoch,
	})
	if err != nil {
		if ctx.Err() != nil {
			s.withdraw(whole)
		}
		return nil, fmt.Errorf("worker: register: %w", err)
	}
	s.renewed(s.renewing)
	w.log.InfoContext(ctx, "worker started", "worker", s.id, "node", w.config.Node, "queues", w.config.Queues, "lease", w.config.Lease)
	return s, nil
}

// withdraw takes back a registration whose answer a shutdown did not wait for: it may be stored all the same, and would look like a
// lost worker a lease later. It needs a new connection, which takes a busy machine more than half a second.
func (s *session) withdraw(whole context.Context) {
	ctx, cancel := context.WithTimeout(whole, 5*time.Second)
	defer cancel()
	if _, err := s.db.Deregister(ctx, s.id, s.epoch); err != nil {
		s.log.WarnContext(ctx, "deregister", "worker", s.id, "error", err)
	}
}

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(b))
}

// pgCode returns the SQLSTATE of an error that the server sent, "" for any other.
func pgCode(err error) string {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pg.Code
	}
	return ""
}

// answered tells whether a statement that failed certainly did not take effect.
func answered(err error) bool { return answer.Refused(err) || answer.Unsent(err) }

// A session is the life of one identity: from its registration until it drained or was declared lost.
type session struct {
	*Worker
	id  uuid.UUID
	own *pgxpool.Pool
	db  *store.Queries

	// Guards epoch: a heartbeat must not present an old one while it is being raised.
	epochMu sync.Mutex
	epoch   int64

	lease
	dispatcher
	settler
}

func newSession(w *Worker, own *pgxpool.Pool) *session {
	s := &session{Worker: w, id: uuid.New(), epoch: newEpoch(), own: own, db: store.Over(own)}
	s.dispatcher.init(w.config)
	s.settler.init()
	return s
}

// newEpoch is random: who can guess it can end this worker.
func newEpoch() int64 {
	random := uuid.New()
	return 1 + int64(binary.BigEndian.Uint64(random[8:])&(1<<48-1))
}

// run works until a shutdown or until the worker is lost.
func (s *session) run(whole context.Context) error {
	// life ends the loops: after the drain, or when lost. handling is what handlers' contexts come from.
	life, end := context.WithCancelCause(whole)
	defer end(nil)
	handling, stopHandlers := context.WithCancelCause(life)
	s.life, s.handling, s.stopHandlers, s.end, s.stopping = life, handling, stopHandlers, end, s.stop.warm

	var loops, settling sync.WaitGroup
	settling.Go(func() { s.settleLoop(life) })
	loops.Go(func() { s.renewLoop(life) })
	loops.Go(func() { s.fenceLoop(life) })
	loops.Go(func() { s.rescueLoop(life) })
	loops.Go(func() { s.dueLoop(life) })
	loops.Go(func() { s.upkeepLoop(life) })
	loops.Go(func() { s.horizonLoop(life) })
	loops.Go(func() { s.zombieWatch(life) })
	if !s.config.PollOnly {
		loops.Go(func() { s.listenLoop(life) })
	}
	// In a goroutine of its own: a claim that gets no answer must not hold up the shutdown.
	loops.Go(func() { s.dispatch(life) })
	err := s.wait(life)
	end(err)
	finish(whole, func() { loops.Wait(); settling.Wait() })
	return err
}

// wait waits for a shutdown, and drains, or for the end of the session.
func (s *session) wait(life context.Context) error {
	select {
	case <-s.stopping:
		return s.drain(life)
	case <-life.Done():
		return s.abandon(life)
	}
}
