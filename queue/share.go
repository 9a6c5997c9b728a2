package queue

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/answer"
)

// Enqueues of single jobs on one pool that are under way at the same time share statements: while one is on its way the next ones
// gather, and then go together. Nobody waits for company: the first goes at once, alone. With 32 producers that is four times the
// jobs a second for an eighth of the server's time, because most of a single enqueue is its commit (docs/adr/0008-shared-enqueues.md).
//
// Each caller gets what its own statement would have given. So a job with a unique key goes alone, since it may have to wait for
// somebody's transaction, and one with an id of the caller's, since it may be there already; when the server refuses a shared
// statement, its jobs are sent one by one; and who has waited for sharedPatience goes alone, since a connection may be stuck.
const (
	sharedPatience = 20 * time.Millisecond
	sharedJobs     = 500
	sharedBytes    = 1 << 20 // of payloads
)

// A sharing is what the enqueues on one pool have in common while one of their statements is on its way.
type sharing struct {
	waiting []*passenger
}

// sharingKey: jobs that notify and jobs that do not cannot go together.
type sharingKey struct {
	pool   *pgxpool.Pool
	silent bool
}

// A passenger is one job that waits for a statement, or is in one.
type passenger struct {
	job built
	ctx context.Context //nolint:containedctx // of the caller, who waits
	in  *statement      // nil while it waits

	receipts []Receipt
	doubt    bool
	err      error
	arrived  chan struct{}
}

// A statement is what passengers share. It is given up when all of them have left.
type statement struct {
	passengers int
	giveUp     context.CancelFunc
}

// sharings are those of all pools in use.
type sharings struct {
	mu       sync.Mutex
	of       map[sharingKey]*sharing
	patience time.Duration
}

func (b *built) shareable() bool {
	return b.spec.uniqueScope == notUnique && b.spec.id == [16]byte{} && len(b.envelope.Payload) <= sharedBytes/2
}

// share is attempt for one job on a pool.
func (q *Queue) share(ctx context.Context, pool *pgxpool.Pool, job built) (receipts []Receipt, doubt bool, err error) {
	key := sharingKey{pool, job.spec.silent}
	q.sharings.mu.Lock()
	s := q.sharings.of[key]
	if s == nil {
		s = &sharing{}
		q.sharings.of[key] = s
		q.sharings.mu.Unlock()
		defer q.nextShared(key, s)
		return q.attemptAlone(ctx, pool, []built{job})
	}
	p := &passenger{job: job, ctx: ctx, arrived: make(chan struct{})}
	s.waiting = append(s.waiting, p)
	q.sharings.mu.Unlock()
	patience := time.NewTimer(q.sharings.patience)
	defer patience.Stop()
	select {
	case <-p.arrived:
		return p.receipts, p.doubt, p.err
	case <-ctx.Done():
	case <-patience.C:
		if q.stepBack(s, p) {
			return q.attemptAlone(ctx, pool, []built{job})
		}
		select {
		case <-p.arrived:
			return p.receipts, p.doubt, p.err
		case <-ctx.Done():
		}
	}
	if q.stepBack(s, p) {
		return nil, false, context.Cause(ctx)
	}
	q.sharings.mu.Lock()
	defer q.sharings.mu.Unlock()
	if p.in.passengers--; p.in.passengers == 0 {
		p.in.giveUp()
	}
	return nil, true, context.Cause(ctx)
}

// stepBack takes a job out of those that wait. False when it is in a statement already.
func (q *Queue) stepBack(s *sharing, p *passenger) bool {
	q.sharings.mu.Lock()
	defer q.sharings.mu.Unlock()
	s.waiting = slices.DeleteFunc(s.waiting, func(w *passenger) bool { return w == p })
	return p.in == nil
}

// nextShared is called when a statement has ended: its place goes to those who wait.
func (q *Queue) nextShared(key sharingKey, s *sharing) {
	q.sharings.mu.Lock()
	defer q.sharings.mu.Unlock()
	if len(s.waiting) == 0 {
		delete(q.sharings.of, key)
		return
	}
	n, bytes := 0, 0
	for n < len(s.waiting) && n < sharedJobs && (n == 0 || bytes+len(s.waiting[n].job.envelope.Payload) <= sharedBytes) {
		bytes += len(s.waiting[n].job.envelope.Payload)
		n++
	}
	together := slices.Clone(s.waiting[:n])
	s.waiting = slices.Delete(s.waiting, 0, n)
	ctx, giveUp := context.WithCancel(context.WithoutCancel(together[0].ctx))
	in := &statement{passengers: n, giveUp: giveUp}
	for _, p := range together {
		p.in = in
	}
	go func() { // its passengers wait for it
		defer giveUp()
		defer q.nextShared(key, s)
		q.carry(ctx, key.pool, together)
	}()
}

// carry sends the jobs of all passengers, and tells each what came of its own.
func (q *Queue) carry(ctx context.Context, pool *pgxpool.Pool, together []*passenger) {
	jobs := make([]built, len(together))
	for i, p := range together {
		jobs[i] = p.job
	}
	receipts, doubt, err := q.attemptAlone(ctx, pool, jobs)
	alone := err != nil && len(jobs) > 1 && answer.Refused(err)
	for i, p := range together {
		switch {
		case alone:
			p.receipts, p.doubt, p.err = q.attemptAlone(ctx, pool, jobs[i:i+1])
		case err != nil:
			p.doubt, p.err = doubt, err
		default:
			p.receipts = receipts[i : i+1]
		}
		close(p.arrived)
	}
}
