package pgtest

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Login makes a role for this test that owns nothing and may do nothing in the database at address but call the
// functions of schema stem, as a program in production would, and returns its URL. The role is dropped when the test
// ends; address must allow creating roles, as that of [Database] does.
func Login(tb testing.TB, address string) string {
	tb.Helper()
	u, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	role, password := "stem_login_"+strings.ToLower(rand.Text()[:12]), rand.Text()
	execute(tb, address,
		"create role "+role+" login password '"+password+"'",
		"grant usage on schema stem to "+role,
		"grant execute on all functions in schema stem to "+role)
	tb.Cleanup(func() { execute(tb, address, "drop owned by "+role, "drop role "+role) })
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
