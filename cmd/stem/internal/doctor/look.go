package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// trusted runs f in a transaction that reads, and in which no name means anything but the server's own: what stands in
// other schemas may have been put there to be run by whoever looks.
func trusted(ctx context.Context, conn *pgx.Conn, f func(pgx.Tx) error) error {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if _, err := tx.Exec(ctx, "set local search_path = pg_catalog"); err != nil {
		return err
	}
	return f(tx)
}

func (f *facts) lookAtServer(ctx context.Context, conn *pgx.Conn) error {
	return trusted(ctx, conn, func(tx pgx.Tx) error {
		var names, values []string
		var pid uint32
		err := tx.QueryRow(ctx, `
			select current_database()::text, current_user::text, current_setting('server_version'), current_setting('server_version_num')::int / 10000,
				current_setting('server_encoding'), pg_is_in_recovery(), current_setting('default_transaction_isolation'), pg_backend_pid(),
				array_agg(name::text), array_agg(setting)
			from pg_settings
			where name in ('fsync', 'full_page_writes', 'synchronous_commit', 'statement_timeout')`).
			Scan(&f.database, &f.login, &f.version, &f.major, &f.encoding, &f.recovering, &f.isolation, &pid, &names, &values)
		f.version, _, _ = strings.Cut(f.version, " ")
		f.settings = map[string]string{}
		for i, name := range names {
			f.settings[name] = values[i]
		}
		f.pooled = pid != conn.PgConn().PID() // a pooler makes that number up
		return err
	})
}

func (f *facts) lookAtLogin(ctx context.Context, conn *pgx.Conn) error {
	return trusted(ctx, conn, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, "select rolsuper from pg_roles where rolname = current_user").Scan(&f.superuser); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `
			select pg_get_userbyid(n.nspowner)::text, pg_has_role(current_user, n.nspowner, 'member'), coalesce(r.rolsuper, false)
			from pg_namespace n left join pg_roles r on r.oid = n.nspowner
			where n.nspname = 'stem'`).Scan(&f.owner, &f.owns, &f.superowned)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
}

// lookAtPublic finds what everybody may do. The search path is the login's own, asked for before it is replaced.
func (f *facts) lookAtPublic(ctx context.Context, conn *pgx.Conn) error {
	var path []string
	if err := conn.QueryRow(ctx, "select pg_catalog.current_schemas(false)::pg_catalog.text[]").Scan(&path); err != nil {
		return err
	}
	return trusted(ctx, conn, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, `
			with open_to_all as (
				select n.nspname::text as schema, a.privilege_type as privilege
				from pg_namespace n cross join lateral aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
				where a.grantee = 0
			)
			select coalesce(array_agg(privilege order by privilege) filter (where schema = 'stem'), '{}'),
				coalesce(array_agg(schema order by schema) filter (where privilege = 'CREATE' and schema = any($1)), '{}')
			from open_to_all`, path).Scan(&f.public, &f.creatable)
	})
}

// lookAtClock takes the fastest of some answers: the server's time lies between the question and the answer.
func (f *facts) lookAtClock(ctx context.Context, conn *pgx.Conn) error {
	f.slack = time.Hour
	for range 5 {
		var there time.Time
		before := time.Now()
		if err := conn.QueryRow(ctx, "select pg_catalog.clock_timestamp()").Scan(&there); err != nil {
			return err
		}
		if half := time.Since(before) / 2; half < f.slack {
			f.slack, f.offset = half, there.Sub(before.Add(half))
		}
	}
	return nil
}

// Deaf tells whether notifications do not reach the connection that a worker would listen on, as through a pooler in
// transaction mode. conn must be idle; notifier sends one, over another connection.
func Deaf(ctx context.Context, conn *pgx.Conn, notifier *pgx.Conn) (bool, error) {
	channel := "stem_doctor_" + strings.ToLower(rand.Text()[:10])
	name := quote(channel)
	if _, err := conn.Exec(ctx, "listen "+name); err != nil {
		return false, err
	}
	defer conn.Exec(context.WithoutCancel(ctx), "unlisten "+name) //nolint:errcheck // the connection goes
	if _, err := notifier.Exec(ctx, "select pg_catalog.pg_notify($1, '')", channel); err != nil {
		return false, err
	}
	waiting, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := conn.WaitForNotification(waiting)
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		return true, nil
	}
	return false, err
}

// Unsafe lists what the server's settings put at risk, for a worker that starts.
func Unsafe(ctx context.Context, pool *pgxpool.Pool) ([]Finding, error) {
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	var f facts
	err = f.lookAtServer(ctx, conn.Conn())
	return Durability(f.settings), err
}
