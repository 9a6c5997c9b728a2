package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

// MaxPayload is the largest payload that the database takes, in bytes; Config.MaxPayloadBytes may ask for less.
const MaxPayload = 16 << 20

// Config configures a Queue. The zero value is ready for use and signs nothing.
type Config struct {
	// Signer signs every envelope. Nil means unsigned: workers under the policy "required" refuse such jobs.
	Signer *signing.Ring
	// Encryption encrypts every payload, before it is signed; nil, or a codec that is off, leaves them readable. Hooks see them
	// readable.
	Encryption encryption.Codec
	// DefaultQueue is where jobs go that name none; "" means "default".
	DefaultQueue string
	// DefaultMaxAttempts is for jobs that set none; 0 means 20.
	DefaultMaxAttempts int
	// MaxPayloadBytes is the largest payload; 0 means 1 MiB, and MaxPayload is the most.
	MaxPayloadBytes int
	// Hooks run around every Enqueue, the first outermost.
	Hooks []Hook
}

func (c Config) withDefaults() Config {
	c.DefaultQueue = cmp.Or(c.DefaultQueue, "default")
	c.DefaultMaxAttempts = cmp.Or(c.DefaultMaxAttempts, 20)
	c.MaxPayloadBytes = cmp.Or(c.MaxPayloadBytes, 1<<20)
	return c
}

// A Hook runs around an Enqueue. Before it calls next it may add headers to the envelopes (they are signed afterwards); what
// it returns is what the caller gets. It must call next at most once.
type Hook func(ctx context.Context, jobs []*Envelope, next func(context.Context) ([]Receipt, error)) ([]Receipt, error)

// A DB is where jobs are enqueued: a *pgxpool.Pool, a *pgx.Conn, a pgx.Tx, or what SQL returns.
type DB = store.DBTX

// A Queue enqueues jobs. It is safe for concurrent use and holds no connection.
type Queue struct {
	config Config
	// offset is what to add to the local clock to get the server's, as seen at the last enqueue, in nanoseconds.
	offset   atomic.Int64
	sharings sharings
}

// New returns a Queue. It fails when the configuration is wrong.
func New(config Config) (*Queue, error) {
	c := config.withDefaults()
	if !validName(c.DefaultQueue) {
		return nil, fmt.Errorf("queue: %w: %s", ErrInvalid, nameProblem("default queue", c.DefaultQueue))
	}
	if c.DefaultMaxAttempts < 1 || c.DefaultMaxAttempts > 1000 {
		return nil, fmt.Errorf("queue: %w: default max attempts: want 1 to 1000, got %d", ErrInvalid, c.DefaultMaxAttempts)
	}
	if c.MaxPayloadBytes < 1 || c.MaxPayloadBytes > MaxPayload {
		return nil, fmt.Errorf("queue: %w: max payload bytes: want an integer from 1 to %d, got %d", ErrInvalid, MaxPayload, c.MaxPayloadBytes)
	}
	if err := c.Signer.CanSign(signing.UseJob); err != nil {
		return nil, fmt.Errorf("queue: signer: %w", err)
	}
	return &Queue{config: c, sharings: sharings{of: map[sharingKey]*sharing{}, patience: sharedPatience}}, nil
}

func (q *Queue) now() time.Time { return time.Now().Add(time.Duration(q.offset.Load())) }

// Enqueue makes 1 to 10 000 jobs in one statement, all or none, and returns a receipt for each, in order.
//
// Calls with one job each on a *pgxpool.Pool that are made at the same time share a statement and its commit; each gets its own
// answer. On a transaction the jobs exist when it commits. On a pool or a connection they exist when Enqueue returns without an
// error; if the connection dies before the answer came, a pool (or *sql.DB) tries once more with the same ids, so that the answer is
// known after all, and only when that fails too the error is ErrCommitUnknown.
//
// What is wrong with a job is reported before any SQL is sent (ErrInvalid, all mistakes at once). A unique key that is
// taken is no error. Two transactions that take the same unique keys in different orders may deadlock (40P01), and under
// REPEATABLE READ or SERIALIZABLE a taken key is 40001: retry the transaction.
func (q *Queue) Enqueue(ctx context.Context, db DB, requests ...Request) ([]Receipt, error) {
	jobs, err := q.build(requests)
	if err != nil {
		return nil, err
	}
	enqueue := func(ctx context.Context) ([]Receipt, error) { return q.insert(ctx, db, jobs) }
	if len(q.config.Hooks) == 0 {
		return enqueue(ctx)
	}
	envelopes := make([]*Envelope, len(jobs))
	for i := range jobs {
		envelopes[i] = &jobs[i].envelope
	}
	for _, hook := range slices.Backward(q.config.Hooks) {
		next := enqueue
		enqueue = func(ctx context.Context) ([]Receipt, error) { return hook(ctx, envelopes, next) }
	}
	return enqueue(ctx)
}

// prepare returns what is about to be sent: encrypted, in copies, and signed. Nothing is ever sent readable or unsigned because it could
// not be encrypted or signed.
func (q *Queue) prepare(jobs []built) ([]built, error) {
	ready := jobs
	if c := q.config.Encryption; c != nil && c.On() {
		ready = slices.Clone(jobs)
		for i := range ready {
			if err := seal(c, &ready[i].envelope); err != nil {
				return nil, err
			}
		}
	}
	for i := range ready {
		e := &ready[i].envelope
		signed := e.Signed()
		var err error
		if e.Signature, err = q.config.Signer.Sign(&signed); err != nil {
			return nil, fmt.Errorf("queue: sign %s: %w", e.Task, err)
		}
		jobs[i].envelope.Signature = e.Signature
	}
	return ready, nil
}

// seal encrypts a payload, bound to the rest of the envelope as it is now.
func seal(c encryption.Codec, e *Envelope) error {
	plain := e.Payload
	e.Codec = encryption.Wrap(e.Codec)
	m := e.Signed()
	var err error
	if e.Payload, err = c.Seal(&m, plain); err != nil {
		return fmt.Errorf("queue: encrypt %s: %w", e.Task, err)
	}
	if n := len(e.Payload); n > MaxPayload {
		return fmt.Errorf("queue: enqueue %s: %w: payload is %s bytes when it is encrypted; limit %s", e.Task, ErrInvalid, grouped(n), grouped(MaxPayload))
	}
	return nil
}

// insert encrypts, signs and sends.
func (q *Queue) insert(ctx context.Context, db DB, jobs []built) ([]Receipt, error) {
	for i := range jobs {
		e := &jobs[i].envelope
		if problems := headerProblems(e.Headers); len(problems) > 0 { // hooks may have added some
			return nil, fmt.Errorf("queue: enqueue %s: %w: %s", e.Task, ErrInvalid, problems[0])
		}
	}
	ready, err := q.prepare(jobs)
	if err != nil {
		return nil, err
	}
	receipts, doubt, err := q.attempt(ctx, db, ready)
	switch {
	case err == nil:
		return receipts, nil
	case isPool(db) && errors.Is(err, ErrClock):
		// The server's time came with the error: the ids of a second try are right. Ids that the caller gave stay.
		now := q.now()
		ids := newIDs(now, len(jobs))
		for i := range jobs {
			if jobs[i].spec.id == uuid.Nil {
				jobs[i].envelope.ID = ids[i]
				jobs[i].envelope.IssuedAt = micro(now)
			}
		}
		return q.insertAgain(ctx, db, jobs)
	case !doubt:
		return nil, fmt.Errorf("queue: enqueue %s: %w", jobs[0].envelope.Task, err)
	case isPool(db) && ctx.Err() == nil:
		return q.resolve(ctx, db, ready, err)
	default:
		return nil, &CommitUnknownError{IDs: ids(jobs), Err: err}
	}
}

func (q *Queue) insertAgain(ctx context.Context, db DB, jobs []built) ([]Receipt, error) {
	ready, err := q.prepare(jobs)
	if err != nil {
		return nil, err
	}
	receipts, doubt, err := q.attempt(ctx, db, ready)
	if doubt {
		return nil, &CommitUnknownError{IDs: ids(jobs), Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("queue: enqueue %s: %w", jobs[0].envelope.Task, err)
	}
	return receipts, nil
}

// resolve sends the same ids once more after the answer was lost: either they go in now, or the primary key says that they
// are in already. A first try that is still in flight is waited for by that key. Nothing else that the second try may meet
// takes the doubt about the first away.
func (q *Queue) resolve(ctx context.Context, db DB, jobs []built, first error) ([]Receipt, error) {
	receipts, _, err := q.attempt(ctx, db, jobs)
	switch {
	case err == nil:
		return receipts, nil
	case errors.Is(err, ErrDuplicateID):
		receipts = make([]Receipt, len(jobs))
		for i := range jobs {
			receipts[i] = Receipt{ID: jobs[i].envelope.ID}
		}
		return receipts, nil
	default:
		return nil, &CommitUnknownError{IDs: ids(jobs), Err: errors.Join(first, err)}
	}
}

func ids(jobs []built) []uuid.UUID {
	list := make([]uuid.UUID, len(jobs))
	for i := range jobs {
		list[i] = jobs[i].envelope.ID
	}
	return list
}
