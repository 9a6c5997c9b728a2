// Package db holds Stem's schema: goose migrations in plain SQL, embedded, and the functions that apply them.
//
// The same files run with the ordinary goose command:
//
//	goose -dir db/migrations -table stem_goose_version postgres "$STEM_DATABASE_URL" up
//
// The version table lives in the default schema and not in schema stem, because goose makes it before the first
// migration makes that schema.
package db

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// VersionTable is the name of goose's version table, for those who run the goose command themselves.
const VersionTable = "stem_goose_version"

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations returns the migration files, as goose names them.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return sub
}

// Step is one migration: applied now, or waiting to be.
type Step struct {
	Version int64
	File    string
	Applied bool
	SQL     string // what Plan prints; empty elsewhere
}

// Migrator applies migrations over one database. Several may run at once, in any number of processes: a session
// advisory lock lets one at a time through. Use a direct connection, not a pooler in transaction mode.
type Migrator struct {
	pool     *sql.DB
	provider *goose.Provider
}

// NewMigrator connects to the database at url. owner, when it is not empty, is the role that shall own what is made:
// the connection takes that role first (SET ROLE), so the login must be a member of it. Close the Migrator after use.
func NewMigrator(ctx context.Context, url, owner string) (*Migrator, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("db: %w", err)
	}
	return OpenMigrator(ctx, config, owner)
}

// OpenMigrator is NewMigrator for a connection that is configured already.
func OpenMigrator(ctx context.Context, config *pgx.ConnConfig, owner string) (*Migrator, error) {
	var options []stdlib.OptionOpenDB
	if owner != "" {
		options = append(options, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "set role "+pgx.Identifier{owner}.Sanitize())
			return err
		}))
	}
	pool := stdlib.OpenDB(*config, options...)
	if err := pool.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("db: connect: %w", err), pool.Close())
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("db: %w", err), pool.Close())
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, pool, Migrations(),
		goose.WithTableName(VersionTable), goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("db: %w", err), pool.Close())
	}
	return &Migrator{pool: pool, provider: provider}, nil
}

// Close closes the connection.
func (m *Migrator) Close() error { return m.pool.Close() }

// Up applies every migration that is missing and returns those it applied.
func (m *Migrator) Up(ctx context.Context) ([]Step, error) {
	results, err := m.provider.Up(ctx)
	return steps(results), wrap("migrate up", err)
}

// DownTo takes back every migration above version; 0 takes back all of them, and with them every job.
func (m *Migrator) DownTo(ctx context.Context, version int64) ([]Step, error) {
	results, err := m.provider.DownTo(ctx, version)
	return steps(results), wrap("migrate down", err)
}

// Version is the newest version that this program knows.
func Version() int64 {
	files, err := fs.ReadDir(Migrations(), ".")
	if err != nil {
		panic(err) // embedded above
	}
	newest, err := goose.NumericComponent(files[len(files)-1].Name())
	if err != nil {
		panic(err) // named as goose wants it, or NewProvider fails in every test
	}
	return newest
}

// Status lists every migration and whether it is applied. It only reads: a database without any is one with none applied.
func (m *Migrator) Status(ctx context.Context) ([]Step, error) {
	applied, err := m.applied(ctx)
	if err != nil {
		return nil, wrap("migrate status", err)
	}
	var list []Step
	for _, s := range m.provider.ListSources() {
		list = append(list, Step{Version: s.Version, File: s.Path, Applied: applied[s.Version]})
	}
	return list, nil
}

// applied reads goose's table, which goose itself would make first, and so need the right to.
func (m *Migrator) applied(ctx context.Context) (versions map[int64]bool, err error) {
	err = m.read(ctx, func(tx *sql.Tx) error {
		var there bool
		if err := tx.QueryRowContext(ctx, "select to_regclass($1) is not null", VersionTable).Scan(&there); err != nil || !there {
			return err
		}
		// The last word about each version: an older goose wrote a row for a migration that it took back.
		rows, err := tx.QueryContext(ctx, "select distinct on (version_id) version_id, is_applied from "+VersionTable+" order by version_id, id desc")
		if err != nil {
			return err
		}
		defer rows.Close()
		versions = map[int64]bool{}
		for rows.Next() {
			var version int64
			var is bool
			if err := rows.Scan(&version, &is); err != nil {
				return err
			}
			versions[version] = is
		}
		return rows.Err()
	})
	return versions, err
}

// read runs f in a transaction that cannot write.
func (m *Migrator) read(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := m.pool.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing was written
	return f(tx)
}

// Plan returns the migrations that Up would apply, each with its SQL.
func (m *Migrator) Plan(ctx context.Context) ([]Step, error) {
	all, err := m.Status(ctx)
	if err != nil {
		return nil, err
	}
	var pending []Step
	for _, s := range all {
		if s.Applied {
			continue
		}
		text, err := fs.ReadFile(Migrations(), s.File)
		if err != nil {
			return nil, fmt.Errorf("db: %w", err)
		}
		s.SQL = string(text)
		pending = append(pending, s)
	}
	return pending, nil
}

// Versions returns the version that the database is at, 0 for none, and the newest that this program knows. It only reads, and where
// it may not read VersionTable it asks stem.schema_version, which every role may.
func (m *Migrator) Versions(ctx context.Context) (current, newest int64, err error) {
	applied, err := m.applied(ctx)
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "42501" {
		err = m.pool.QueryRowContext(ctx, "select stem.schema_version()").Scan(&current)
	}
	for version, is := range applied {
		if is {
			current = max(current, version)
		}
	}
	return current, Version(), wrap("migrate version", err)
}

// Up applies every missing migration to the database at url.
func Up(ctx context.Context, url string) error {
	m, err := NewMigrator(ctx, url, "")
	if err != nil {
		return err
	}
	_, err = m.Up(ctx)
	return errors.Join(err, m.Close())
}

func steps(results []*goose.MigrationResult) []Step {
	list := make([]Step, 0, len(results))
	for _, r := range results {
		list = append(list, Step{Version: r.Source.Version, File: r.Source.Path, Applied: r.Error == nil})
	}
	return list
}

func wrap(action string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("db: %s: %w", action, err)
}
