package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// GrantConfig says how far GrantRoles goes.
type GrantConfig struct {
	Create bool // make the roles that are absent, and OwnerRole with what it needs to migrate this database
	DryRun bool // only say what would be done
}

// An AbsentRolesError means that roles do not exist in the cluster and that nobody said to make them.
type AbsentRolesError struct{ Names []string }

func (e *AbsentRolesError) Error() string {
	return fmt.Sprintf("there is no role %s in this cluster: stem roles grant --create makes them", strings.Join(e.Names, ", "))
}

// GrantRoles makes what the roles and PUBLIC hold in schema stem what [Roles] says, and returns the statements that it took, which
// are none when nothing differs. It leaves alone what is not a matter of this database's grants: see [Migrator.CheckRoles] for
// that. Any number may run at once, in any databases of the cluster. The error is a *[VersionError] when the database is at another
// version, except that without a schema Create makes the roles; it is an *[AbsentRolesError] when there are none.
func (m *Migrator) GrantRoles(ctx context.Context, config GrantConfig) ([]string, error) {
	current, newest, err := m.Versions(ctx)
	if err != nil {
		return nil, err
	}
	if current != newest && (current != 0 || !config.Create) {
		return nil, &VersionError{current, newest}
	}
	for try := 1; ; try++ {
		done, err := m.grantRoles(ctx, config)
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "XX000" && e.Message == "tuple concurrently updated" && try < 10 {
			continue // roles, and the rights on a database, are rows that sessions of other databases change as well
		}
		return done, wrap("grant roles", err)
	}
}

func (m *Migrator) grantRoles(ctx context.Context, config GrantConfig) (done []string, err error) {
	tx, err := m.pool.BeginTx(ctx, &sql.TxOptions{ReadOnly: config.DryRun})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() // after Commit it has nothing to do
	if !config.DryRun {
		if _, err := tx.ExecContext(ctx, "select pg_advisory_xact_lock(hashtextextended('stem roles', 0))"); err != nil {
			return nil, err
		}
	}
	run := func(statement string) error {
		done = append(done, statement)
		if config.DryRun {
			return nil
		}
		_, err := tx.ExecContext(ctx, statement)
		return err
	}
	c, err := readCluster(ctx, tx)
	if err != nil {
		return nil, err
	}
	if err := c.makeRoles(ctx, tx, config, run); err != nil {
		return nil, err
	}
	if c.owner != "" {
		granted, err := readRights(ctx, tx)
		if err != nil {
			return nil, err
		}
		for _, r := range Roles() {
			if c.byName[r.Name] == nil { // made above, or by the dry run in words only
				c.byName[r.Name] = &account{name: r.Name}
			}
		}
		for _, d := range c.checkRights(granted) {
			if d.Role == "public" || isGroup(d.Role) {
				if err := run(d.Fix); err != nil {
					return nil, err
				}
			}
		}
	}
	return done, tx.Commit()
}

// makeRoles makes the roles that are absent, or names them if it may not.
func (c *cluster) makeRoles(ctx context.Context, tx *sql.Tx, config GrantConfig, run func(string) error) error {
	var absent []string
	for _, name := range roleList() {
		if c.byName[name] == nil {
			absent = append(absent, name)
		}
	}
	if !config.Create {
		if len(absent) > 0 {
			return &AbsentRolesError{absent}
		}
		return nil
	}
	if c.byName[OwnerRole] == nil {
		absent = append(absent, OwnerRole)
	}
	for _, name := range absent {
		if err := run(createRole(name)); err != nil {
			return err
		}
	}
	return c.serveOwner(ctx, tx, run)
}

// serveOwner gives OwnerRole what it needs outside of its schema, if it lacks it.
func (c *cluster) serveOwner(ctx context.Context, tx *sql.Tx, run func(string) error) error {
	lacksCreate, lacksPublic := true, true
	if c.byName[OwnerRole] != nil {
		row := tx.QueryRowContext(ctx, `select not has_database_privilege($1, current_database(), 'create'),
			not has_schema_privilege($1, 'public', 'create') or not has_schema_privilege($1, 'public', 'usage')`, OwnerRole)
		if err := row.Scan(&lacksCreate, &lacksPublic); err != nil {
			return err
		}
	}
	if lacksCreate {
		if err := run(grantDatabase); err != nil {
			return err
		}
	}
	if lacksPublic {
		return run(grantPublic)
	}
	return nil
}
