package scheduler

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

// Config configures a Scheduler. The zero value verifies nothing and keeps the ledger for a week.
type Config struct {
	// Node is the scheduler's name for people; "" means the host's name.
	Node string
	// Keys verify every schedule before it fires, by the ring's own policy; nil means that signatures are not looked at. Jobs are signed by
	// the Queue's signer.
	Keys *signing.Ring
	// Encryption opens payloads that were encrypted when the schedule was applied; nil opens none. The Queue's encrypts the jobs.
	Encryption encryption.Codec
	// Tolerance is how late a run may be without being missed: see Policies. Later ones are logged. 0 means 10 s.
	Tolerance time.Duration
	// PollInterval is how long a scheduler sleeps at most when nothing is due, in case a notification of a change was lost; 0 means 10 s.
	PollInterval time.Duration
	// KeepRuns is how long the ledger is kept, an hour at least; 0 means a week. It is the shortest of all schedulers that counts.
	KeepRuns time.Duration
	// ListenConfig is the connection for LISTEN; nil means the pool's. Name a direct one when the pool goes through a pooler.
	ListenConfig *pgx.ConnConfig
	// PollOnly turns LISTEN off: changes are found by polling alone.
	PollOnly bool
	// Logger gets lifecycle changes (Info), what is late or was tried again (Warn) and what needs somebody (Error); nil discards.
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Node == "" {
		c.Node, _ = os.Hostname()
		c.Node = cmp.Or(c.Node, "unnamed")
	}
	c.Tolerance = cmp.Or(c.Tolerance, 10*time.Second)
	c.PollInterval = cmp.Or(c.PollInterval, 10*time.Second)
	c.KeepRuns = cmp.Or(c.KeepRuns, 7*24*time.Hour)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// check names every setting that is wrong.
func (c Config) check() error {
	var wrong []error
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf("scheduler: "+format, args...)) }
	if n := len(c.Node); n > 128 {
		add("node: want 1 to 128 bytes, got %d", n)
	}
	if c.Tolerance < 0 || c.Tolerance > 24*time.Hour {
		add("tolerance: want 0 to 24h, got %v", c.Tolerance)
	}
	if c.PollInterval < 10*time.Millisecond || c.PollInterval > time.Hour {
		add("poll interval: want 10ms to 1h, got %v", c.PollInterval)
	}
	if c.KeepRuns < time.Hour {
		add("keep runs: want 1h or more, got %v", c.KeepRuns)
	}
	return errors.Join(wrong...)
}
