package queue

import "maps"

// Reissue returns a request for a job like an old one: all of its envelope but the id, the times of its enqueue and the signature,
// which it gets when it is enqueued. A run_at that has passed is left out, and so is a delay. A unique key is held until the new job
// has finished. The options come on top. What is encrypted must be opened first: see Queue.Open.
func (q *Queue) Reissue(old *Envelope, options ...Option) Request {
	r := Raw(old.Task, old.Payload, old.Codec)
	s := &r.spec
	s.queue, s.priority, s.maxAttempts = old.Queue, &old.Priority, &old.MaxAttempts
	s.nominalAt, s.expiresAt, s.hardLimit, s.softLimit = old.NominalAt, old.ExpiresAt, old.HardLimit, old.SoftLimit
	s.version, s.group, s.origin, s.headers = old.PayloadVersion, old.Group, old.Origin, maps.Clone(old.Headers)
	if old.RunAt.After(q.now()) {
		s.runAt = old.RunAt
	}
	if old.UniqueKey != nil {
		s.storedKey, s.uniqueScope = old.UniqueKey, untilFinished
	}
	s.apply(options)
	return r
}

// Open is Envelope.Open with the queue's own keys.
func (q *Queue) Open(e *Envelope) error { return e.Open(q.config.Encryption) }
