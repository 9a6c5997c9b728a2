package pgtest

import (
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/devpg"
)

func TestMain(m *testing.M) { Main(m) }

// scan returns the one value that a query finds.
func scan[T any](t *testing.T, pool *pgxpool.Pool, sql string) T {
	t.Helper()
	var value T
	if err := pool.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}

func TestEachTestHasAMigratedDatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	one, two := Pool(t), Pool(t)
	if _, err := one.Exec(t.Context(), "create table stem.only_here ()"); err != nil {
		t.Fatal(err)
	}
	for pool, want := range map[*pgxpool.Pool]bool{one: true, two: false} {
		if !scan[bool](t, pool, "select to_regclass('stem.jobs') is not null") {
			t.Error("the schema is missing")
		}
		if got := scan[bool](t, pool, "select to_regclass('stem.only_here') is not null"); got != want {
			t.Errorf("the table of one database is in the other: got %v, want %v", got, want)
		}
		if age := scan[time.Duration](t, pool, "select clock_timestamp() - origin - 8 * period from stem.ring"); age > 45*time.Minute {
			t.Errorf("the ring is in its eighth period for %v", age)
		}
	}
	if Server(t).Rung != devpg.RungURL && !scan[bool](t, one, "select ssl from pg_stat_ssl where pid = pg_backend_pid()") {
		t.Error("the connection has no TLS")
	}
}

func TestTheDatabaseGoesWithTheTest(t *testing.T) {
	t.Parallel()
	outer := Pool(t)
	var name string
	t.Run("inner", func(t *testing.T) {
		address := Database(t)
		conn, err := pgx.Connect(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		name = conn.Config().Database // and the connection stays open
	})
	if got := scan[int](t, outer, "select count(*) from pg_database where datname = '"+name+"'"); got != 0 {
		t.Errorf("database %s is still there", name)
	}
}

func TestLoginMayCallFunctionsAndNothingElse(t *testing.T) {
	t.Parallel()
	address := Database(t)
	pool, producer := Open(t, Login(t, address)), Open(t, Login(t, address, "producer"))
	refused := func(pool *pgxpool.Pool, sql string) {
		_, err := pool.Exec(t.Context(), sql)
		if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != "42501" {
			t.Errorf("%s: got error %v, want insufficient_privilege", sql, err)
		}
	}
	for _, sql := range []string{"select count(*)::int from stem.due(1)", "select count(*)::int from stem.list_dead(null, null, null, null, null, null, null, null, null, 1)"} {
		scan[int](t, pool, sql)
		refused(producer, sql)
	}
	scan[bool](t, producer, "select stem.enqueue('t') is null")
	refused(pool, "select from stem.jobs")
	refused(producer, "select from stem.jobs")
	if got := scan[bool](t, pool, "select rolsuper or rolcreatedb or rolcreaterole from pg_roles where rolname = current_user"); got {
		t.Error("the role has privileges of the whole server")
	}
}

func TestPgBouncerPoolsTransactions(t *testing.T) {
	t.Parallel()
	address := Login(t, Database(t))
	pooled := PgBouncer(t, address)
	options := func(c *pgxpool.Config) { c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec }
	one, two := Open(t, pooled, options), Open(t, pooled, options)
	const backend = "select pg_backend_pid()"
	if got, want := scan[int](t, one, backend), scan[int](t, two, backend); got != want {
		t.Error("two idle clients have two connections of the server: this is not transaction mode")
	}
	if direct, through := userOf(t, address), userOf(t, pooled); direct != through {
		t.Errorf("got user %s, want %s", through, direct)
	}
	plain := strings.Replace(pooled, "sslmode=verify-full", "sslmode=disable", 1)
	if conn, err := pgx.Connect(t.Context(), plain); err == nil {
		_ = conn.Close(t.Context())
		t.Error("the pooler accepts connections without TLS")
	}
}

func TestPrivateClusterMayCrash(t *testing.T) {
	t.Parallel()
	server := Private(t, devpg.Config{Durable: true})
	if err := errors.Join(server.Kill(t.Context()), server.Restart(t.Context())); err != nil {
		t.Fatal(err)
	}
	pool := Open(t, server.URL)
	if got := scan[string](t, pool, "show fsync"); got != "on" {
		t.Errorf("got fsync %s, want on", got)
	}
}

// The rest of this file runs this test binary again in another environment.

func TestWithoutADatabaseTheTestIsSkippedOrFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, require, want string }{
		{"skipped", "", "--- SKIP: TestEachTestHasAMigratedDatabaseOfItsOwn"},
		{"failed", "STEM_TEST_REQUIRE_DB=1", "--- FAIL: TestEachTestHasAMigratedDatabaseOfItsOwn"},
	} {
		// No such version will be found, and nothing may be fetched.
		out, _ := again(t, "TestEachTestHasAMigratedDatabaseOfItsOwn", "STEM_TEST_PG_MAJOR=99", "STEM_PG_FETCH=never",
			"DOCKER_HOST=unix:///nowhere", test.require)
		for _, want := range []string{test.want, "no Postgres 99 found", "ensure-postgres.sh --major 99"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: got no %q in:\n%s", test.name, want, out)
			}
		}
	}
}

func TestURLServesSeveralBinariesAtOnce(t *testing.T) {
	t.Parallel()
	server := Private(t, devpg.Config{})
	outputs := make(chan string)
	for range 2 {
		go func() {
			out, err := again(t, "TestEachTestHasAMigratedDatabaseOfItsOwn|TestTheDatabaseGoesWithTheTest|TestLoginMayCallFunctionsAndNothingElse",
				"STEM_TEST_DATABASE_URL="+server.URL)
			if err == nil {
				out = ""
			}
			outputs <- out
		}()
	}
	for range 2 {
		if out := <-outputs; out != "" {
			t.Error(out)
		}
	}
	// The template stays for the runs of another day.
	pool := Open(t, server.URL)
	name := scan[string](t, pool, "select datname from pg_database where datname like 'stem_template%'")
	if err := errors.Join(
		do(t.Context(), server.URL, "alter database "+name+" allow_connections true"),
		do(t.Context(), server.URLFor(name, ""), "update stem.ring set origin = origin - interval '10 hours'"),
		do(t.Context(), server.URL, "alter database "+name+" allow_connections false"),
	); err != nil {
		t.Fatal(err)
	}
	if out, err := again(t, "TestEachTestHasAMigratedDatabaseOfItsOwn", "STEM_TEST_DATABASE_URL="+server.URL); err != nil {
		t.Error(out)
	}
	if got := scan[int](t, pool, "select count(*) from pg_database where datname like 'stem%'"); got != 1 {
		t.Errorf("got %d databases left, want the template alone", got)
	}
	if got := scan[int](t, pool, "select count(*) from pg_roles where rolname like 'stem_login_%'"); got != 0 {
		t.Errorf("got %d logins left, want none", got)
	}
}

func TestContainer(t *testing.T) {
	if err := engine(t.Context()); err != nil {
		t.Skipf("NOT RUN: no container engine answers: %v", err)
	}
	address, stop, err := container(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	if got := scan[bool](t, Open(t, address), "select ssl from pg_stat_ssl where pid = pg_backend_pid()"); !got {
		t.Error("the connection has no TLS")
	}
}

// again runs tests of this binary in another environment and returns what it printed.
func again(t *testing.T, tests string, environment ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run=^("+tests+")$")
	for _, line := range os.Environ() {
		if !strings.HasPrefix(line, "CI=") && !strings.HasPrefix(line, "STEM_TEST_") {
			cmd.Env = append(cmd.Env, line)
		}
	}
	cmd.Env = append(cmd.Env, environment...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func userOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.User.Username()
}
