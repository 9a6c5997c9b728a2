package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/db"
	"github.com/stemqueue/stem/internal/devpg"
)

// The effects have no unique constraint on purpose: a job that completed twice shows as two rows.
const tables = `
create schema if not exists ledger;
create table if not exists ledger.files (
    run uuid not null,
    path text not null,
    job uuid not null,
    digest bytea,
    primary key (run, path)
);
create table if not exists ledger.effects (
    run uuid not null,
    path text not null,
    job uuid not null,
    digest bytea not null
);`

// connect finds or starts Postgres, migrates it, makes the example's tables and starts the pooler if one is wanted.
func (l *ledger) connect(ctx context.Context) (release func(), err error) {
	var undo []func()
	release = func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	server, err := devpg.Start(ctx, devpg.Config{
		URLVar: "STEM_DATABASE_URL", Fetch: true, Log: func(text string) { l.say("%s", text) },
	})
	if err != nil {
		return nil, err
	}
	undo = append(undo, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			l.say("%v", err)
		}
	})
	if err := db.Up(ctx, server.URL); err != nil { // not through the pooler: it takes a lock of the session
		return nil, err
	}
	if l.direct, err = pgxpool.New(ctx, server.URL); err != nil {
		return nil, err
	}
	undo = append(undo, l.direct.Close)
	if _, err := l.direct.Exec(ctx, tables); err != nil {
		return nil, fmt.Errorf("make the example's tables: %w", err)
	}
	address, drop, err := l.login(ctx, server.URL)
	if err != nil {
		return nil, err
	}
	undo = append(undo, drop)
	l.clients = address
	if l.pooled {
		stop, err := l.pool(ctx, address)
		if err != nil {
			return nil, err
		}
		undo = append(undo, stop)
	}
	return release, nil
}

// login makes a login for producers and workers that may do what a worker may, write to the example's tables, and nothing else; it
// is dropped at the end. Who may not make one connects as the URL says.
func (l *ledger) login(ctx context.Context, address string) (clients string, drop func(), err error) {
	var super bool
	if err := l.direct.QueryRow(ctx, "select rolsuper from pg_roles where rolname = current_user").Scan(&super); err != nil {
		return "", nil, err
	}
	if !super {
		return address, func() {}, nil
	}
	m, err := db.NewMigrator(ctx, address, "")
	if err != nil {
		return "", nil, err
	}
	_, err = m.GrantRoles(ctx, db.GrantConfig{Create: true})
	if err := errors.Join(err, m.Close()); err != nil {
		return "", nil, err
	}
	name, password := "ledger_"+l.id.String()[:8], rand.Text()
	_, err = l.direct.Exec(ctx, "create role "+name+" login password '"+password+"'; grant stem_worker to "+name+`;
		grant usage on schema ledger to `+name+`; grant select, insert, update on all tables in schema ledger to `+name)
	if err != nil {
		return "", nil, fmt.Errorf("make a login for the workers: %w", err)
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", nil, err
	}
	u.User = url.UserPassword(name, password)
	return u.String(), func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if _, err := l.direct.Exec(ctx, "drop owned by "+name+"; drop role "+name); err != nil {
			l.say("%v", err)
		}
	}, nil
}

// pool starts PgBouncer and sends producers and workers there.
func (l *ledger) pool(ctx context.Context, address string) (stop func(), err error) {
	name := cmp.Or(os.Getenv("STEM_PGBOUNCER"), "pgbouncer")
	program, err := exec.LookPath(name)
	if err != nil && name == "pgbouncer" {
		program, err = exec.LookPath("/usr/sbin/pgbouncer") // not on an ordinary user's PATH
	}
	if err != nil {
		return nil, fmt.Errorf("--pgbouncer: %w; install it, or set STEM_PGBOUNCER", err)
	}
	pooled, stop, err := devpg.StartPgBouncer(ctx, program, address)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(pooled)
	if err != nil {
		stop()
		return nil, err
	}
	// In transaction mode a prepared statement may be on another connection than the one that runs it.
	query := u.Query()
	query.Set("default_query_exec_mode", "exec")
	u.RawQuery = query.Encode()
	l.clients = u.String()
	l.say("PgBouncer is in front of it, in transaction mode")
	return stop, nil
}

// counts is how far the run is.
type counts struct {
	digests int // files with a digest
	live    int // jobs that wait or run
}

func (l *ledger) count(ctx context.Context) (c counts, err error) {
	// One statement, one snapshot: a job that moves from one table to another is seen in one of them.
	err = l.direct.QueryRow(ctx, `
select
    (select count(*) from ledger.files where run = $1 and digest is not null),
    (select count(*) from stem.ready where queue = $2)
        + (select count(*) from stem.running where queue = $2)
        + (select count(*) from stem.scheduled where queue = $2)`, l.id, l.queue).Scan(&c.digests, &c.live)
	return c, err
}

// busy returns, for each worker that has claimed jobs and no suspect, how many. A job whose worker was killed runs alone the
// next time; killing that one too would only make it wait: 30 s after the second crash, 2 min after the third.
func (l *ledger) busy(ctx context.Context) (map[string]int, error) {
	rows, err := l.direct.Query(ctx, `
select w.node, count(*) from stem.running r join stem.workers w on w.id = r.worker where r.queue = $1 group by w.node
having max(r.crashes) = 0`, l.queue)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	held := map[string]int{}
	for rows.Next() {
		var node string
		var n int
		if err := rows.Scan(&node, &n); err != nil {
			return nil, err
		}
		held[node] = n
	}
	return held, rows.Err()
}
