package queue

import (
	"fmt"
	"maps"
	"time"

	"github.com/google/uuid"
)

// An Option sets one property of a job. The later of two wins.
type Option func(*spec)

// spec is what options write into; pointers tell "not set" from zero.
type spec struct {
	id           uuid.UUID
	queue        string
	priority     *int
	maxAttempts  *int
	delay        time.Duration
	runAt        time.Time
	expiresIn    time.Duration
	expiresAt    time.Time
	hardLimit    time.Duration
	softLimit    time.Duration
	version      int
	group        string
	origin       string
	nominalAt    time.Time
	headers      map[string]string
	uniqueKey    string
	uniqueScope  uniqueScope
	uniquePeriod time.Duration
	storedKey    []byte // a unique key as it is stored, in the place of uniqueKey
	replace      bool
	silent       bool
	mistakes     []string
}

type uniqueScope int16

const (
	notUnique uniqueScope = iota
	untilStarted
	untilFinished
	forPeriod
)

// none is the spec of who sets nothing.
var none = &spec{}

// with returns a copy that the options were applied to, or s itself when there are none: most requests share their task's.
func (s *spec) with(options []Option) *spec {
	if len(options) == 0 {
		return s
	}
	c := *s
	for _, o := range options {
		o(&c)
	}
	return &c
}

// WithID sets the job's id, a UUIDv7 of about now. Without it Enqueue makes one. Give the same id again to repeat an
// enqueue whose outcome is unknown.
func WithID(id uuid.UUID) Option { return func(s *spec) { s.id = id } }

// On names the queue. Without it the job goes to Config.DefaultQueue.
func On(queue string) Option { return func(s *spec) { s.queue = queue } }

// Priority is from 0 to 9, higher first. Without it a job has 5.
func Priority(p int) Option { return func(s *spec) { s.priority = &p } }

// MaxAttempts is how many failures a job may have before it goes to the dead letters, from 1 to 1000.
func MaxAttempts(n int) Option { return func(s *spec) { s.maxAttempts = &n } }

// After makes the job due d after it was enqueued, by the server's clock; at most a year. It takes the place of At.
func After(d time.Duration) Option {
	return func(s *spec) { s.delay, s.runAt = d, time.Time{} }
}

// At makes the job due at t; one that has passed means now. It takes the place of After.
func At(t time.Time) Option {
	return func(s *spec) { s.runAt, s.delay = t, 0 }
}

// ExpiresIn drops the job, with outcome "expired", when it has not begun d after it was enqueued.
func ExpiresIn(d time.Duration) Option {
	return func(s *spec) {
		s.expiresIn, s.expiresAt = d, time.Time{}
		if d <= 0 {
			s.mistakes = append(s.mistakes, fmt.Sprintf("ExpiresIn: want more than 0, got %v", d))
		}
	}
}

// ExpiresAt drops the job, with outcome "expired", when it has not begun by t.
func ExpiresAt(t time.Time) Option {
	return func(s *spec) { s.expiresAt, s.expiresIn = t, 0 }
}

// HardLimit fails the attempt that runs longer than d. 0 means no limit.
func HardLimit(d time.Duration) Option { return func(s *spec) { s.hardLimit = d } }

// SoftLimit cancels the handler's context after d, with the cause worker.ErrSoftLimit. 0 means no limit.
func SoftLimit(d time.Duration) Option { return func(s *spec) { s.softLimit = d } }

// Version is the version of the payload's form. A worker whose handler knows only older ones puts the job back for a
// while, so that a rolling deploy works in either order. 0 means that it is not versioned.
func Version(n int) Option { return func(s *spec) { s.version = n } }

// Group names a set of jobs that belong together, for people and for filters.
func Group(name string) Option { return func(s *spec) { s.group = name } }

// Origin says what made the job: "app" without it, "schedule:<id>", "job:<parent id>", "replay:<old id>".
func Origin(origin string) Option { return func(s *spec) { s.origin = origin } }

// NominalAt is the instant that a scheduled job stands for, whatever the time is when it is enqueued.
func NominalAt(t time.Time) Option { return func(s *spec) { s.nominalAt = t } }

// Header adds one header: at most 64 of them, 16 KiB together. Names that begin with "stem-" are Stem's own.
func Header(name, value string) Option {
	return func(s *spec) {
		h := make(map[string]string, len(s.headers)+1)
		maps.Copy(h, s.headers)
		h[name] = value
		s.headers = h
	}
}

// BackoffHeader carries a job's own backoff, as Backoff writes it.
const BackoffHeader = "stem-backoff"

// Backoff replaces the delays between attempts: they grow exponentially from first to most, with full jitter.
func Backoff(first, most time.Duration) Option {
	return func(s *spec) {
		if first <= 0 || most < first {
			s.mistakes = append(s.mistakes, fmt.Sprintf("Backoff: want 0 < first <= most, got %v and %v", first, most))
			return
		}
		Header(BackoffHeader, first.String()+","+most.String())(s)
	}
}

// UntilFinished makes the job unique: while another job of the task with this key waits or runs, a request becomes a
// duplicate of it. The key is free again when the job finished or went to the dead letters.
func UntilFinished(key string) Option { return unique(key, untilFinished, 0) }

// UntilStarted makes the job unique until it is first claimed: one may wait while another runs. A retry does not take the
// key again.
func UntilStarted(key string) Option { return unique(key, untilStarted, 0) }

// UniqueFor allows one job of the task with this key in each period of that length, counted from the epoch, whatever
// becomes of the job; at least a second.
func UniqueFor(key string, period time.Duration) Option { return unique(key, forPeriod, period) }

func unique(key string, scope uniqueScope, period time.Duration) Option {
	return func(s *spec) {
		s.uniqueKey, s.uniqueScope, s.uniquePeriod = key, scope, period
		if key == "" {
			s.mistakes = append(s.mistakes, "unique key: want at least one character")
		}
		if scope == forPeriod && period < time.Second {
			s.mistakes = append(s.mistakes, fmt.Sprintf("UniqueFor: want a period of 1s or more, got %v", period))
		}
	}
}

// Replace makes the newest win: a waiting job that holds the unique key is finished with outcome "replaced". A running
// holder is kept, and the request is its duplicate.
func Replace() Option { return func(s *spec) { s.replace = true } }

// NoNotify enqueues without waking an idle worker; its poll finds the job. Use it in REPEATABLE READ transactions that
// are to be prepared (PREPARE TRANSACTION refuses one that notified), and for bulk loads that may wait. One request
// without it in an Enqueue wakes for all.
func NoNotify() Option { return func(s *spec) { s.silent = true } }
