package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Facts are what the warnings are about.
type Facts struct {
	Settings  map[string]string // of pg_settings, in the units that it uses
	RoundTrip time.Duration
	Pooled    bool // the server process is not the one that the connection was told of
	Deaf      bool // what is notified does not reach the connection for LISTEN
	Direct    bool // that connection is another than the pool's

	Hidden   bool          // transactions of other logins cannot be seen
	Oldest   time.Duration // of the transactions that keep dead rows from being removed
	PID      int           // of the oldest
	State    string        // of the oldest
	Prepared time.Duration // age of the oldest prepared transaction

	Running int64 // jobs of all queues
}

// look gathers the facts, and proves that the schema is there, before anything is written.
func (r *run) look(ctx context.Context) error {
	ctx, cancel := steady(ctx)
	defer cancel()
	queues, err := r.plane.Queues(ctx)
	if err != nil {
		return err
	}
	for _, q := range queues {
		r.facts.Running += q.Running
	}
	for _, see := range []func(context.Context) error{r.seeSettings, r.seeTransactions, r.seePooler, r.seeListen} {
		if err := see(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) seeSettings(ctx context.Context) error {
	var names, values []string
	err := r.pool.QueryRow(ctx, "select array_agg(name), array_agg(setting) from pg_settings where name = any($1)", []string{
		"server_version", "wal_level", "fsync", "synchronous_commit", "full_page_writes", "autovacuum", "shared_buffers", "max_wal_size",
	}).Scan(&names, &values)
	r.facts.Settings = map[string]string{}
	for i, name := range names {
		r.facts.Settings[name] = values[i]
	}
	r.report.Server, _, _ = strings.Cut(r.facts.Settings["server_version"], " ") // what the distribution adds, nobody needs
	return err
}

// seeTransactions finds the oldest transaction of this database that vacuum must respect. One in a snapshot or with writes
// counts, whatever it does at the moment; vacuum itself does not.
func (r *run) seeTransactions(ctx context.Context) error {
	var seconds float64
	err := r.pool.QueryRow(ctx, `
		select a.pid, coalesce(a.state, ''), extract(epoch from clock_timestamp() - a.xact_start)::float8
		from pg_stat_activity a
		where a.datname = current_database() and a.pid <> pg_backend_pid() and a.backend_type = 'client backend'
			and a.xact_start is not null and (a.backend_xmin is not null or a.backend_xid is not null)
		order by a.xact_start
		limit 1`).Scan(&r.facts.PID, &r.facts.State, &seconds)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) && !denied(err) {
		return err
	}
	r.facts.Oldest = time.Duration(seconds * float64(time.Second))
	var all bool
	if err := r.pool.QueryRow(ctx, "select pg_has_role(current_user, 'pg_read_all_stats', 'usage')").Scan(&all); err != nil {
		return err
	}
	r.facts.Hidden = !all || denied(err)
	err = r.pool.QueryRow(ctx, `
		select coalesce(max(extract(epoch from clock_timestamp() - prepared)), 0)::float8
		from pg_prepared_xacts where database = current_database()`).Scan(&seconds)
	if err != nil && !denied(err) {
		return err
	}
	if err == nil {
		r.facts.Prepared = time.Duration(seconds * float64(time.Second))
	}
	return nil
}

func denied(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.Code == "42501"
}

// seePooler compares the process that the connection was told of with the one that answers: a pooler makes the first number up.
func (r *run) seePooler(ctx context.Context) error {
	conn, err := r.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var pid uint32
	if err := conn.QueryRow(ctx, "select pg_backend_pid()").Scan(&pid); err != nil {
		return err
	}
	r.facts.Pooled = pid != conn.Conn().PgConn().PID()
	return nil
}

// seeListen listens as a worker does, and sends itself a notification.
func (r *run) seeListen(ctx context.Context) error {
	config := r.Listen
	if r.facts.Direct = config != nil; !r.facts.Direct {
		config = r.pool.Config().ConnConfig
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil && r.facts.Direct {
		r.facts.Deaf = true // a worker goes on without it, too
		return nil
	}
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	channel := "stem_bench_" + strings.ToLower(rand.Text()[:10])
	if _, err := conn.Exec(ctx, "listen "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return err
	}
	if _, err := r.pool.Exec(ctx, "select pg_notify($1, '')", channel); err != nil {
		return err
	}
	// A notification takes milliseconds; a machine that is busy may be late.
	waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err = conn.WaitForNotification(waiting)
	r.facts.Deaf = err != nil && waiting.Err() != nil
	if err != nil && !r.facts.Deaf {
		return err
	}
	return nil
}
