package worker

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

// Config configures a Worker. The zero value works the queue "default" with GOMAXPROCS × 8 slots.
type Config struct {
	// Queues maps each queue to its slots: how many of its jobs run at once in this worker. Empty means {"default": GOMAXPROCS × 8}.
	Queues map[string]int
	// Node is the worker's name for people; "" means the host's name.
	Node string
	// Namespace groups workers for control commands; "" means "stem".
	Namespace string
	// Version is the program's own version, shown to operators.
	Version string
	// Lease is how long this worker may be silent before its claims are taken back, a day at most; 0 means 30 s.
	Lease time.Duration
	// Heartbeat is how often the lease is renewed; 0 means a third of it.
	Heartbeat time.Duration
	// RescueInterval is how often other workers' heartbeats are looked at; 0 means 5 s, or half the lease when that is less.
	RescueInterval time.Duration
	// PollInterval is how often an idle worker looks without being woken; 0 means 1 s. A quarter of it is jitter.
	PollInterval time.Duration
	// ShutdownGrace is how long handlers may go on after Run's context is done; 0 means 30 s, less than 0 means none.
	ShutdownGrace time.Duration
	// MaxCrashes is how many lost workers in a row bury a job as poison; 0 means 3.
	MaxCrashes int
	// ListenConfig is the connection for LISTEN; nil means the pool's. Name a direct one when the pool goes through a pooler.
	// The pool's BeforeConnect is called for it as well.
	ListenConfig *pgx.ConnConfig
	// PollOnly turns LISTEN off: jobs are found by polling alone.
	PollOnly bool
	// Keys verify the signature of every job before anything else sees it, by the ring's own policy; nil means that signatures
	// are not looked at.
	Keys *signing.Ring
	// UnsignedQueues are those whose unsigned jobs run although the policy is "required": for jobs that SQL enqueues. What is
	// signed there must be valid all the same.
	UnsignedQueues []string
	// Encryption opens the payloads that producers encrypted, after their signature was verified, and encrypts results; nil, or
	// a codec that is off, leaves results readable. A job of an unknown key waits for a worker that has it, for ten minutes at most.
	Encryption encryption.Codec
	// Middleware wraps every handler, the first outermost.
	Middleware []Middleware
	// Logger gets lifecycle changes (Info), what healed itself (Warn) and what needs somebody (Error); nil discards.
	Logger *slog.Logger
}

var queueName = regexp.MustCompile(`^[A-Za-z0-9_.:/-]{1,128}$`)

const maxSlots = 10_000

func (c Config) withDefaults() Config {
	if len(c.Queues) == 0 {
		c.Queues = map[string]int{"default": runtime.GOMAXPROCS(0) * 8}
	}
	if c.Node == "" {
		c.Node, _ = os.Hostname()
		c.Node = cmp.Or(c.Node, "unnamed")
	}
	c.Namespace = cmp.Or(c.Namespace, "stem")
	c.Lease = cmp.Or(c.Lease, 30*time.Second)
	c.Heartbeat = cmp.Or(c.Heartbeat, c.Lease/3)
	c.RescueInterval = cmp.Or(c.RescueInterval, min(5*time.Second, c.Lease/2))
	c.PollInterval = cmp.Or(c.PollInterval, time.Second)
	c.ShutdownGrace = max(cmp.Or(c.ShutdownGrace, 30*time.Second), 0)
	c.MaxCrashes = cmp.Or(c.MaxCrashes, 3)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// check names every setting that is wrong.
func (c Config) check() error {
	var wrong []error
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf("worker: "+format, args...)) }
	for name, slots := range c.Queues {
		if !queueName.MatchString(name) {
			add("queue: names are 1-128 of letters, digits, _ . : / -; got %q", name)
		}
		if slots < 1 || slots > maxSlots {
			add("queue %q: want 1 to %d slots, got %d", name, maxSlots, slots)
		}
	}
	for _, name := range c.UnsignedQueues {
		if _, works := c.Queues[name]; !works {
			add("unsigned queue %q is none of this worker's queues", name)
		}
	}
	for _, text := range []struct {
		what, value string
		least, most int
	}{{"node", c.Node, 1, 128}, {"namespace", c.Namespace, 1, 128}, {"version", c.Version, 0, 256}} {
		if n := len(text.value); n < text.least || n > text.most {
			add("%s: want %d to %d bytes, got %d", text.what, text.least, text.most, n)
		}
	}
	if c.Lease < 100*time.Millisecond || c.Lease > 24*time.Hour {
		add("lease: want 100ms to 24h, got %v", c.Lease)
	}
	if 2*c.Heartbeat >= c.Lease || c.Heartbeat <= 0 {
		add("heartbeat %v must be less than half the lease %v", c.Heartbeat, c.Lease)
	}
	if c.PollInterval <= 0 || c.RescueInterval <= 0 {
		add("poll interval %v and rescue interval %v must be above 0", c.PollInterval, c.RescueInterval)
	}
	if c.MaxCrashes < 1 {
		add("max crashes: want 1 or more, got %d", c.MaxCrashes)
	}
	return errors.Join(wrong...)
}

// margin is how long before the lease ends a worker that cannot reach the database stops its handlers.
func (c Config) margin() time.Duration { return min(5*time.Second, c.Lease/6) }
