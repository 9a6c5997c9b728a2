package pgtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/db"
	"github.com/stemqueue/stem/internal/devpg"
)

// strategy copies files instead of writing every page to the log: in memory, four at once, 37 ms
// each instead of 76 (Postgres 18) and 41 instead of 81 (15). On disk the noise was larger than the difference.
const strategy = " strategy file_copy"

// patience bounds what a helper asks of a server that is up.
const patience = time.Minute

// template is the migrated database that every test's own is a copy of.
var template struct {
	once sync.Once
	name string
	old  bool // it was there
	err  error
}

// Database makes a database with Stem's schema for this test and returns its URL, as the cluster's superuser over
// verified TLS (with STEM_TEST_DATABASE_URL: as that URL says). It is dropped when the test ends, together with whoever
// is still connected. If the test failed, what the server logged about the database is logged by the test; with
// STEM_TEST_KEEP=1 the database stays. Call it as often as databases are needed.
func Database(tb testing.TB) string {
	tb.Helper()
	server := Server(tb)
	name, err := create(server, tb.Name())
	if err != nil {
		tb.Fatal(err)
	}
	address := server.URLFor(name, "")
	tb.Cleanup(func() {
		if tb.Failed() {
			logServer(tb, server, name)
			if os.Getenv("STEM_TEST_KEEP") == "1" {
				shared.kept.Add(1)
				tb.Logf("pgtest: kept the database: psql '%s'", address)
				return
			}
		}
		if err := drop(server, name); err != nil {
			tb.Error(err)
		}
	})
	return address
}

// create copies the template, which it makes if this is the first copy, and returns the new database's name.
func create(server *devpg.Server, test string) (string, error) {
	template.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		template.name, template.old, template.err = makeTemplate(ctx, server)
	})
	if template.err != nil {
		return "", template.err
	}
	name := databaseName(test)
	sql := "create database " + name + " template " + template.name
	if server.Major >= 15 {
		sql += strategy
	}
	if err := admin(server, sql); err != nil || !template.old {
		return name, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// The ring reckons from when its database was made, which may be days ago: nothing would be where tests expect it.
	return name, do(ctx, server.URLFor(name, ""), "update stem.ring set origin = default")
}

func drop(server *devpg.Server, name string) error {
	return admin(server, "drop database if exists "+name+" with (force)")
}

// Pool returns a pool on a [Database] of its own, closed when the test ends. Each option may change the configuration
// before the pool connects.
func Pool(tb testing.TB, options ...func(*pgxpool.Config)) *pgxpool.Pool {
	tb.Helper()
	return Open(tb, Database(tb), options...)
}

// Open returns a pool on the database at address, closed when the test ends.
func Open(tb testing.TB, address string, options ...func(*pgxpool.Config)) *pgxpool.Pool {
	tb.Helper()
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		tb.Fatal(err)
	}
	for _, option := range options {
		option(config)
	}
	pool, err := pgxpool.NewWithConfig(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// makeTemplate returns the name of a database with the schema of these migrations, and makes it unless it is there. On a
// server that several test binaries share, the advisory lock lets one of them make it; there it stays for the next run.
func makeTemplate(ctx context.Context, server *devpg.Server) (name string, there bool, err error) {
	hash, err := migrationsHash()
	if err != nil {
		return "", false, err
	}
	name = "stem_template_" + hash
	conn, err := pgx.Connect(ctx, server.URL)
	if err != nil {
		return "", false, fmt.Errorf("pgtest: template: %w", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "select pg_advisory_lock(hashtext($1))", name); err != nil {
		return "", false, fmt.Errorf("pgtest: template: %w", err)
	}
	row := conn.QueryRow(ctx, "select exists (select from pg_database where datname = $1)", name)
	if err := row.Scan(&there); err != nil || there {
		return name, true, err
	}
	// It gets its name when it is complete: a name without a schema must never be taken for a template.
	raw := databaseName("template")
	if _, err := conn.Exec(ctx, "create database "+raw+" template template0"); err != nil {
		return "", false, fmt.Errorf("pgtest: template: %w", err)
	}
	if err := migrate(ctx, server.URLFor(raw, "")); err != nil {
		_, dropErr := conn.Exec(ctx, "drop database "+raw+" with (force)")
		return "", false, fmt.Errorf("pgtest: template: %w", errors.Join(err, dropErr))
	}
	for _, sql := range []string{
		"alter database " + raw + " rename to " + name,
		"alter database " + name + " allow_connections false", // one open connection would stop every copy
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return "", false, fmt.Errorf("pgtest: template: %w", err)
		}
	}
	return name, false, nil
}

// Migrate makes the roles and the schema in the database at address, of a server of the test's own: see [Private].
func Migrate(tb testing.TB, address string) {
	tb.Helper()
	if err := migrate(tb.Context(), address); err != nil {
		tb.Fatal(err)
	}
}

// migrate does what production does: the roles, the migrations as their owner, the grants. Copies of the database have the grants
// of the schema, and the roles are the cluster's.
func migrate(ctx context.Context, address string) error {
	self, err := db.NewMigrator(ctx, address, "")
	if err != nil {
		return err
	}
	defer self.Close() //nolint:errcheck // nothing is lost with the connection
	if _, err := self.GrantRoles(ctx, db.GrantConfig{Create: true}); err != nil {
		return err
	}
	if err := become(ctx, address, db.OwnerRole); err != nil {
		return err
	}
	owner, err := db.NewMigrator(ctx, address, db.OwnerRole)
	if err != nil {
		return err
	}
	defer owner.Close() //nolint:errcheck // nothing is lost with the connection
	if _, err := owner.Up(ctx); err != nil {
		return err
	}
	_, err = self.GrantRoles(ctx, db.GrantConfig{})
	return err
}

// become makes whoever runs the tests a member of a role, unless it is a superuser and so is one already.
func become(ctx context.Context, address, role string) error {
	return do(ctx, address, "do $$ begin if not pg_has_role('"+role+"', 'usage') then grant "+role+" to current_user; end if; end $$")
}

// migrationsHash tells one schema, and what the roles may do in it, from another.
func migrationsHash() (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, db.Roles())
	err := fs.WalkDir(db.Migrations(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(db.Migrations(), path)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(hash, "%s %d\n%s", path, len(content), content)
		return err
	})
	return hex.EncodeToString(hash.Sum(nil))[:12], err
}

// databaseName makes an identifier that no other run uses and that says which test it is for.
func databaseName(test string) string {
	readable := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(test))
	return "stem_" + readable[:min(len(readable), 40)] + "_" + strings.ToLower(rand.Text()[:12])
}

// admin runs one statement on the maintenance database. A connection costs 7 ms, and none of them is left over for a
// test that counts its goroutines.
func admin(server *devpg.Server, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return do(ctx, server.URL, sql)
}

// logServer logs the last lines that the server wrote about the database.
func logServer(tb testing.TB, server *devpg.Server, database string) {
	tb.Helper()
	content, err := os.ReadFile(server.LogFile)
	if err != nil {
		return // not a private cluster
	}
	var about []string
	ours := false
	for line := range strings.Lines(string(content)) {
		if !strings.HasPrefix(line, "\t") { // a tab continues the message above
			ours = strings.Contains(line, "@"+database+" ")
		}
		if ours {
			about = append(about, line)
		}
	}
	if len(about) > 0 {
		tb.Logf("pgtest: the server's log:\n%s", strings.Join(about[max(0, len(about)-40):], ""))
	}
}
