package scheduler_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// lab is a database with a scheduler's login, an operator's that may also enqueue, and its owner.
type lab struct {
	t     *testing.T
	url   string
	pool  *pgxpool.Pool // stem_scheduler
	admin *pgxpool.Pool // stem_admin
	owner *pgxpool.Pool
	queue *queue.Queue
	ring  *signing.Ring
	codec encryption.Codec
	table *scheduler.Table
}

func newLab(t *testing.T, environ ...string) *lab {
	t.Helper()
	l := &lab{t: t, url: pgtest.Database(t)}
	l.pool = pgtest.Open(t, pgtest.Login(t, l.url, "scheduler"))
	l.admin = pgtest.Open(t, pgtest.Login(t, l.url, "admin"))
	l.owner = pgtest.Open(t, l.url)
	l.use(environ...)
	return l
}

// use gives the lab's programs these keys.
func (l *lab) use(environ ...string) {
	l.t.Helper()
	var err error
	if l.ring, err = signing.FromEnviron(environ); err != nil {
		l.t.Fatal(err)
	}
	if l.codec, err = encryption.FromEnviron(environ); err != nil {
		l.t.Fatal(err)
	}
	if l.queue, err = queue.New(queue.Config{Signer: l.ring, Encryption: l.codec}); err != nil {
		l.t.Fatal(err)
	}
	l.table = scheduler.NewTable(l.admin, l.queue, scheduler.TableConfig{Keys: l.ring, Encryption: l.codec})
}

func signingKey(seed string) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(seed+"0123456789abcdef", 2)))
}

func signed(id string) []string {
	return []string{"STEM_SIGNING_KEYS=" + id + ":" + signingKey(id), "STEM_SIGNING_ACTIVE_KEY=" + id}
}

func (l *lab) scheduler(change ...func(*scheduler.Config)) *scheduler.Scheduler {
	l.t.Helper()
	c := scheduler.Config{Keys: l.ring, Encryption: l.codec, Logger: slog.New(slog.NewTextHandler(l.t.Output(), nil))}
	for _, f := range change {
		f(&c)
	}
	s, err := scheduler.New(l.pool, l.queue, c)
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

// fire fires until nothing is due.
func (l *lab) fire(change ...func(*scheduler.Config)) {
	l.t.Helper()
	s := l.scheduler(change...)
	for {
		n, err := s.FireOnce(l.t.Context())
		if err != nil {
			l.t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
}

// run runs a scheduler and returns the function that stops it and says what Run returned.
func (l *lab) run(change ...func(*scheduler.Config)) (stop func() error) {
	l.t.Helper()
	s := l.scheduler(change...)
	ctx, cancel := context.WithCancel(l.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	l.t.Cleanup(cancel)
	return func() error { cancel(); return <-ended }
}

// fullHour is when an hour of these tests last began: a quarter of one before they started, so that none begins while they run.
var fullHour = time.Now().UTC().Truncate(time.Minute).Add(-15 * time.Minute)

// every is a spec whose instants are so far apart, and of which fullHour is one.
func every(interval string) string {
	return fmt.Sprintf(`{"every":%q,"startAt":%q}`, interval, fullHour.Add(-10_000*time.Hour).Format(time.RFC3339))
}

// hourly is an entry that is due at fullHour and at each hour before and after it.
func hourly(id string, change ...func(*scheduler.Entry)) scheduler.Entry {
	e := scheduler.Entry{ID: id, Spec: every("1h"), Job: queue.Raw("t", []byte(`{"n":1}`), "")}
	for _, f := range change {
		f(&e)
	}
	return e
}

func with(p scheduler.Policies) func(*scheduler.Entry) {
	return func(e *scheduler.Entry) { e.Policies = p }
}

func (l *lab) apply(entries ...scheduler.Entry) *scheduler.Plan {
	l.t.Helper()
	p, err := l.table.Plan(l.t.Context(), false, entries...)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.table.Apply(l.t.Context(), p, "test"); err != nil {
		l.t.Fatal(err)
	}
	return p
}

// overdue puts the next instant of a schedule back to so many hours before fullHour, as if nobody had fired it since, and returns it.
func (l *lab) overdue(id string, hours int) time.Time {
	l.t.Helper()
	at := fullHour.Add(-time.Duration(hours) * time.Hour)
	return labtest.One[time.Time](l.t, l.owner, "update stem.schedules set next_at = $2, due_at = $2 where id = $1 returning next_at", id, at).UTC()
}

// ledger returns what the ledger says of a schedule, oldest first, as "outcome note".
func (l *lab) ledger(id string) []string {
	l.t.Helper()
	return labtest.Column[string](l.t, l.owner, `
		select trim(outcome || ' ' || coalesce(note, '')) from stem.schedule_runs where schedule = $1 order by nominal_at`, id)
}

// history is the ledger as operators see it, newest first.
func (l *lab) history(f scheduler.RunFilter) []scheduler.Run {
	l.t.Helper()
	var list []scheduler.Run
	for r, err := range l.table.History(l.t.Context(), f) {
		if err != nil {
			l.t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

func (l *lab) jobs(id string) []uuid.UUID {
	l.t.Helper()
	return labtest.Column[uuid.UUID](l.t, l.owner, "select id from stem.jobs where origin = 'schedule:' || $1 order by nominal_at", id)
}

func (l *lab) get(id string) *scheduler.Schedule {
	l.t.Helper()
	s, err := l.table.Get(l.t.Context(), id)
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

// finish makes a job end as a worker would, completed or dead.
func (l *lab) finish(job uuid.UUID, dead bool) {
	l.t.Helper()
	labtest.Run(l.t, l.owner, "delete from stem.ready where job_id = $1", job)
	if dead {
		labtest.Run(l.t, l.owner, `
			insert into stem.dead (id, created_at, issued_at, queue, task, codec, origin, priority, max_attempts, attempt, failures, crashes, releases,
				generation, reason, fingerprint, payload)
			select id, created_at, issued_at, queue, task, codec, origin, priority, max_attempts, 1, 1, 0, 0, 1, 'failed', repeat('0', 64), payload
			from stem.jobs where id = $1`, job)
		return
	}
	labtest.Run(l.t, l.owner, "insert into stem.finished (job_id, slot, attempt, outcome) select id, slot, 1, 'completed' from stem.jobs where id = $1", job)
}
