package queue

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"
)

// A Template is a request that is to be enqueued again and again, each time as a job of its own: give its envelope and its ExpiresIn to
// Reissue.
type Template struct {
	Envelope                // without id, times and signature
	ExpiresIn time.Duration // of each job, counted from its enqueue; zero means never
}

// Template checks a request as Enqueue does and returns what it stands for. Its errors are ErrInvalid: also for an option that makes sense
// for one job only, which are WithID, After, At, NominalAt, ExpiresAt, Origin, UntilStarted, UniqueFor and Replace.
func (q *Queue) Template(r Request) (Template, error) {
	s := cmp.Or(r.spec, none)
	var wrong []error
	for _, o := range []struct {
		name  string
		given bool
	}{
		{"WithID", s.id != uuid.Nil},
		{"After", s.delay != 0},
		{"At", !s.runAt.IsZero()},
		{"NominalAt", !s.nominalAt.IsZero()},
		{"ExpiresAt", !s.expiresAt.IsZero()},
		{"Origin", s.origin != ""},
		{"UntilStarted", s.uniqueScope == untilStarted},
		{"UniqueFor", s.uniqueScope == forPeriod},
		{"Replace", s.replace},
	} {
		if o.given {
			wrong = append(wrong, fmt.Errorf("queue: %s: %w: the option %s is for one job, this is for many", abbreviate(r.task), ErrInvalid, o.name))
		}
	}
	built, err := q.build([]Request{r})
	if err := errors.Join(append(wrong, err)...); err != nil {
		return Template{}, err
	}
	t := Template{Envelope: built[0].envelope, ExpiresIn: s.expiresIn}
	t.ID, t.IssuedAt, t.ExpiresAt, t.Origin = uuid.Nil, time.Time{}, time.Time{}, ""
	return t, nil
}

// Reissue returns a request for a job like an old one: all of its envelope but the id, the times of its enqueue and the signature,
// which it gets when it is enqueued. A run_at that has passed is left out, and so is a delay. A unique key is held until the new job
// has finished. The options come on top. What is encrypted must be opened first: see Queue.Open.
func (q *Queue) Reissue(old *Envelope, options ...Option) Request {
	s := &spec{}
	s.queue, s.priority, s.maxAttempts = old.Queue, &old.Priority, &old.MaxAttempts
	s.nominalAt, s.expiresAt, s.hardLimit, s.softLimit = old.NominalAt, old.ExpiresAt, old.HardLimit, old.SoftLimit
	s.version, s.group, s.origin, s.headers = old.PayloadVersion, old.Group, old.Origin, maps.Clone(old.Headers)
	if old.RunAt.After(q.now()) {
		s.runAt = old.RunAt
	}
	if old.UniqueKey != nil {
		s.storedKey, s.uniqueScope = old.UniqueKey, untilFinished
	}
	r := Raw(old.Task, old.Payload, old.Codec)
	r.spec = s.with(options)
	return r
}

// Open is Envelope.Open with the queue's own keys.
func (q *Queue) Open(e *Envelope) error { return e.Open(q.config.Encryption) }
