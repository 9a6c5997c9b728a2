package pgtest

import (
	"context"
	"crypto/rand"
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
	u, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	var groups []string
	for _, r := range db.Roles() {
		if name := strings.TrimPrefix(r.Name, "stem_"); len(roles) == 0 || slices.Contains(roles, name) {
			groups = append(groups, r.Name)
		}
	}
	if len(roles) > 0 && len(groups) != len(roles) {
		tb.Fatalf("pgtest: Login as %v: want some of %v", roles, db.Roles())
	}
	role, password := "stem_login_"+strings.ToLower(rand.Text()[:12]), rand.Text()
	execute(tb, address,
		"create role "+role+" login password '"+password+"'",
		"grant "+strings.Join(groups, ", ")+" to "+role)
	tb.Cleanup(func() { execute(tb, address, "drop owned by "+role+" cascade", "drop role "+role) })
	u.User = url.UserPassword(role, password)
	return u.String()
}

func execute(tb testing.TB, address string, statements ...string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		tb.Errorf("pgtest: %v", err)
		return
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			tb.Errorf("pgtest: %s: %v", sql, err)
			return
		}
	}
}
