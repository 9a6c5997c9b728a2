package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/db"
	"github.com/stemqueue/stem/internal/devpg"
)

// prepareDatabase migrates. A private server, which has but a superuser, gets the roles and a login as well; what the environment
// names is used as it is.
func (d *dev) prepareDatabase(ctx context.Context) error {
	if d.server.Rung == devpg.RungURL {
		return d.migrate(ctx, "")
	}
	grant := func(m *db.Migrator) error {
		_, err := m.GrantRoles(ctx, db.GrantConfig{Create: true})
		return err
	}
	if err := d.withMigrator(ctx, grant); err != nil { // the roles
		return err
	}
	if err := d.migrate(ctx, db.OwnerRole); err != nil {
		return err
	}
	if err := d.withMigrator(ctx, grant); err != nil { // and their rights
		return err
	}
	return d.makeLogin(ctx)
}

func (d *dev) migrate(ctx context.Context, owner string) error {
	return (&migrateOptions{owner}).with(ctx, d.App, func(m *db.Migrator) error {
		steps, err := m.Up(ctx)
		if len(steps) > 0 {
			d.say("applied %d migrations, the schema is at version %d", len(steps), db.Version())
		}
		return err
	})
}

// devLogin is who everything connects as from then on: one login with every role and tables of its own.
const devLogin = "stem_dev"

func (d *dev) makeLogin(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, d.server.URL)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	password := rand.Text()
	statements := []string{
		"create role " + devLogin + " login password '" + password + "'",
		"grant create on database " + pgx.Identifier{conn.Config().Database}.Sanitize() + " to " + devLogin,
		"grant create on schema public to " + devLogin,
	}
	for _, r := range db.Roles() {
		statements = append(statements, "grant "+r.Name+" to "+devLogin)
	}
	if _, err := conn.Exec(ctx, strings.Join(statements, "; ")); err != nil {
		return fmt.Errorf("make the login %s: %w", devLogin, err)
	}
	u, err := url.Parse(d.server.URL)
	if err != nil {
		return err
	}
	u.User = url.UserPassword(devLogin, password)
	d.url = u.String()
	return d.use(d.url)
}
