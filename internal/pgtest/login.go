package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/db"
)

// Login makes a login for this test that owns nothing and is a member of these roles of [db.Roles], named without "stem_", and
// returns its URL for the database at address: what a program in production has. Without a role named it has all of them. It is
// dropped when the test ends; address must allow making roles, as that of [Database] does.
func Login(tb testing.TB, address string, roles ...string) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	role, url, err := newLogin(ctx, address, roles)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		// Who is no superuser may drop only what is its own, or its group's.
		if err := do(ctx, address, "grant "+role+" to current_user", "drop owned by "+role+" cascade", "drop role "+role); err != nil {
			tb.Error(err)
		}
	})
	return url
}

func newLogin(ctx context.Context, address string, roles []string) (role, login string, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", "", err
	}
	var groups []string
	for _, r := range db.Roles() {
		if name := strings.TrimPrefix(r.Name, "stem_"); len(roles) == 0 || slices.Contains(roles, name) {
			groups = append(groups, r.Name)
		}
	}
	if len(roles) > 0 && len(groups) != len(roles) {
		return "", "", fmt.Errorf("pgtest: a login as %v: want some of db.Roles, without stem_", roles)
	}
	role = "stem_login_" + strings.ToLower(rand.Text()[:12])
	password := rand.Text()
	u.User = url.UserPassword(role, password)
	return role, u.String(), do(ctx, address,
		"create role "+role+" login password '"+password+"'",
		"grant "+strings.Join(groups, ", ")+" to "+role)
}

func do(ctx context.Context, address string, statements ...string) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("pgtest: %s: %w", sql, err)
		}
	}
	return nil
}
