package db_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/db"
	"github.com/stemqueue/stem/internal/devpg"
	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/pgtest"
)

// A clean cluster has none of Stem's roles. Tests that change roles have one of their own: roles are the cluster's.
type clean struct {
	server *devpg.Server
	root   *pgx.Conn // a superuser in the maintenance database
}

func newClean(t *testing.T) *clean {
	t.Helper()
	server := pgtest.Private(t, devpg.Config{})
	return &clean{server, dial(t, server.URL)}
}

// database makes an empty one and returns its URL.
func (c *clean) database(t *testing.T, name string) string {
	t.Helper()
	run(t, c.root, "create database "+name)
	return c.server.URLFor(name, "")
}

// login makes a login and returns its URL.
func (c *clean) login(t *testing.T, database, name string) string {
	t.Helper()
	run(t, c.root, "create role "+name+" login password 'x'")
	u, err := url.Parse(c.server.URLFor(database, ""))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, "x")
	return u.String()
}

func grantRoles(t *testing.T, m *db.Migrator, config db.GrantConfig) []string {
	t.Helper()
	done, err := m.GrantRoles(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// wantClean expects that nothing deviates.
func wantClean(t *testing.T, m *db.Migrator) {
	t.Helper()
	if list, err := m.CheckRoles(t.Context()); err != nil || len(list) > 0 {
		t.Fatalf("%v, %+v", err, list)
	}
}

// TestGrantRoles goes the whole way: nothing, roles, schema, grants; then nothing is left to do. What RoleSQL prints does the same.
func TestGrantRoles(t *testing.T) {
	t.Parallel()
	c := newClean(t)
	m := migrator(t, c.database(t, "a"), "")
	if _, err := m.GrantRoles(t.Context(), db.GrantConfig{}); !is[*db.VersionError](err) {
		t.Errorf("without a schema: %v", err)
	}
	plan := grantRoles(t, m, db.GrantConfig{Create: true, DryRun: true})
	if n := one[int](t, c.root, "select count(*) from pg_roles where rolname like 'stem%'"); n != 0 {
		t.Fatalf("a dry run made %d roles", n)
	}
	if done := grantRoles(t, m, db.GrantConfig{Create: true}); !slices.Equal(done, plan) || len(done) != 9 {
		t.Errorf("got  %q\nwant %q", done, plan)
	}
	if done := grantRoles(t, m, db.GrantConfig{Create: true}); len(done) != 0 {
		t.Errorf("again: %q", done)
	}
	owner := migrator(t, c.server.URLFor("a", ""), db.OwnerRole)
	if _, err := owner.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	plan = grantRoles(t, owner, db.GrantConfig{DryRun: true})
	if done := grantRoles(t, owner, db.GrantConfig{}); !slices.Equal(done, plan) || len(done) < 50 {
		t.Errorf("got %q\nwant %q", done, plan)
	}
	if done := grantRoles(t, m, db.GrantConfig{Create: true}); len(done) != 0 {
		t.Errorf("again: %q", done)
	}
	wantClean(t, m)
	granted := column[string](t, dial(t, c.server.URLFor("a", "")), privileges)

	// As printed: the same, twice, and over a schema that a superuser has made.
	printed := c.database(t, "b")
	if err := db.Up(t.Context(), printed); err != nil {
		t.Fatal(err)
	}
	m, conn := migrator(t, printed, ""), dial(t, printed)
	if list, err := m.CheckRoles(t.Context()); err != nil || !slices.ContainsFunc(list, func(d db.Deviation) bool { return d.Problem == "owner" }) {
		t.Errorf("a superuser's schema: %v, %+v", err, list)
	}
	for range 2 {
		for _, name := range append([]string{db.OwnerRole}, names()...) {
			run(t, conn, must(db.RoleSQL(name, "")))
		}
		wantClean(t, m)
	}
	if got := column[string](t, conn, privileges); !slices.Equal(got, granted) {
		t.Errorf("printed and granted differ: %d and %d lines", len(got), len(granted))
	}
	if list, err := m.Verify(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("after it was handed over: %v, %+v", err, list)
	}
	if _, err := migrator(t, printed, db.OwnerRole).DownTo(t.Context(), 0); err != nil {
		t.Errorf("the owner cannot take it down: %v", err)
	}
}

func names() (list []string) {
	for _, r := range db.Roles() {
		list = append(list, r.Name)
	}
	return list
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// TestGrantRolesWithoutRoles: where there are none and nobody says to make them, they are named.
func TestGrantRolesWithoutRoles(t *testing.T) {
	t.Parallel()
	c := newClean(t)
	address := c.database(t, "a")
	if err := db.Up(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	m := migrator(t, address, "")
	_, err := m.GrantRoles(t.Context(), db.GrantConfig{})
	if absent, ok := errors.AsType[*db.AbsentRolesError](err); !ok || !slices.Equal(absent.Names, names()) {
		t.Errorf("got %v", err)
	}
	list, err := m.CheckRoles(t.Context())
	if err != nil || len(list) != len(names())+1 || list[1].Problem != "absent" {
		t.Errorf("%v, %+v", err, list)
	}
	if _, err := m.DownTo(t.Context(), db.Version()-1); err != nil {
		t.Fatal(err)
	}
	if _, err := m.GrantRoles(t.Context(), db.GrantConfig{Create: true}); !is[*db.VersionError](err) {
		t.Errorf("an older schema: %v", err)
	}
	if _, err := m.CheckRoles(t.Context()); !is[*db.VersionError](err) {
		t.Errorf("an older schema: %v", err)
	}
}

// TestGrantRolesAtOnce: eight sessions in four databases of one cluster make the same roles.
func TestGrantRolesAtOnce(t *testing.T) {
	t.Parallel()
	c := newClean(t)
	var all []*labtest.Pending[[]string]
	var migrators []*db.Migrator
	for i := range 4 {
		address := c.database(t, fmt.Sprintf("d%d", i))
		if err := db.Up(t.Context(), address); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			m := migrator(t, address, "")
			migrators = append(migrators, m)
		}
	}
	for _, m := range migrators {
		all = append(all, labtest.Start(func() ([]string, error) {
			return m.GrantRoles(context.WithoutCancel(t.Context()), db.GrantConfig{Create: true})
		}))
	}
	statements := 0
	for _, p := range all {
		statements += len(p.Wait(t))
	}
	for _, m := range migrators {
		if done := grantRoles(t, m, db.GrantConfig{Create: true}); len(done) > 0 {
			t.Errorf("left: %q", done)
		}
	}
	if statements < 4*50 {
		t.Errorf("%d statements in all", statements)
	}
}

// TestCheckRoles: each way to more than a role is for is found, alone, and gone after its fix; where it is a grant of this
// database, GrantRoles does it, too.
func TestCheckRoles(t *testing.T) {
	t.Parallel()
	c := newClean(t)
	address := c.database(t, "a")
	m := migrator(t, address, "")
	grantRoles(t, m, db.GrantConfig{Create: true})
	if _, err := migrator(t, address, db.OwnerRole).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	grantRoles(t, m, db.GrantConfig{})
	conn := dial(t, address)
	run(t, conn, `create role team nologin; create role boss nologin superuser; create role maker login; create role "odd ""name" nologin`)
	run(t, conn, "create role app login; grant stem_worker to app")
	wantClean(t, m)
	for _, tt := range []struct {
		name, do, want string
		granted        bool   // by GrantRoles
		undo           string // where the fix is not the whole of it
	}{
		{name: "missing", do: "revoke execute on function stem.due(integer) from stem_worker", want: "stem_worker missing EXECUTE on function stem.due(integer)", granted: true},
		{name: "no usage", do: "revoke usage on schema stem from stem_producer", want: "stem_producer missing USAGE on schema stem", granted: true},
		{name: "no view", do: "revoke select on stem.job_status from stem_observer", want: "stem_observer missing SELECT on table stem.job_status", granted: true},
		{name: "too much", do: "grant execute on function stem.claim_states to stem_producer", want: "stem_producer unexpected EXECUTE on function stem.claim_states(uuid[], uuid[], integer[])", granted: true},
		{name: "the owner's own", do: "grant execute on function stem._whereabouts to stem_worker", want: "stem_worker unexpected EXECUTE on function stem._whereabouts(uuid)", granted: true},
		{name: "table", do: "grant select on stem.jobs to stem_observer", want: "stem_observer unexpected SELECT on table stem.jobs", granted: true},
		{name: "column", do: "grant update (paused) on stem.queues to stem_worker", want: "stem_worker unexpected UPDATE (paused) on table stem.queues", granted: true},
		{name: "sequence", do: "grant usage on sequence stem.ticket_pos to stem_worker", want: "stem_worker unexpected USAGE on sequence stem.ticket_pos", granted: true},
		{name: "schema", do: "grant create on schema stem to stem_worker", want: "stem_worker unexpected CREATE on schema stem", granted: true},
		{name: "type", do: "grant usage on type stem.payload to stem_worker", want: "stem_worker unexpected USAGE on type stem.payload", granted: true},
		{name: "everybody", do: "grant execute on function stem.claim_states to public", want: "public unexpected EXECUTE on function stem.claim_states(uuid[], uuid[], integer[])", granted: true},
		{name: "passed on", do: "grant execute on function stem.uuid7() to stem_worker with grant option", want: "stem_worker unexpected EXECUTE on function stem.uuid7() with grant option", granted: true},
		{name: "somebody else", do: `grant execute on function stem.rotate() to "odd ""name"`, want: `odd "name unexpected EXECUTE on function stem.rotate()`},
		{name: "future tables", do: "alter default privileges for role stem_owner in schema stem grant select on tables to stem_observer", want: "stem_observer default SELECT on tables that stem_owner will make in schema stem"},
		{name: "future functions", do: "alter default privileges for role stem_owner grant execute on functions to team", want: "team default EXECUTE on functions that stem_owner will make"},
		{name: "login", do: "alter role stem_worker login", want: "stem_worker attribute can log in: logins are members of it"},
		{name: "superuser", do: "alter role stem_observer superuser", want: "stem_observer attribute is a superuser: no right is checked"},
		{name: "owner", do: "alter role stem_owner createrole", want: "stem_owner attribute may make roles, and make itself a member of others"},
		{name: "the table of versions", do: "alter table stem_goose_version owner to team", want: "team owner owns stem_goose_version and not the schema: a trigger on it runs as whoever migrates"},
		{name: "a role in a role", do: "grant stem_operator to stem_observer", want: "stem_observer membership is a member of stem_operator: a role of Stem is a member of none: stem_observer > stem_operator"},
		{name: "a superuser that is a worker", do: "alter role app superuser", want: "app attribute is a superuser: no right is checked"},
		{name: "replication", do: "alter role app replication", want: "app attribute may replicate: that is to read every file of the cluster"},
		{name: "the owner's rights, over two corners", do: "grant stem_owner to team; grant team to app", want: "app membership has the rights of the owner of schema stem, or can get them: app > team > stem_owner", undo: "revoke team from app"},
		{name: "a superuser, over two corners", do: "grant boss to team; grant team to app", want: "app membership can become boss, a superuser: app > team > boss", undo: "revoke team from app"},
		{name: "reads everything", do: "grant pg_read_all_data to app", want: "app membership has the rights of pg_read_all_data, or can get them: app > pg_read_all_data"},
		{name: "only by SET ROLE", do: "create role shy login noinherit; grant stem_producer to shy", want: "shy membership has the rights of stem_producer after SET ROLE only, which Stem does not do: shy > stem_producer", undo: "drop role shy"},
		{name: "only by SET ROLE, at a corner", do: "create role half noinherit; grant stem_producer to half; create role dual login; grant half to dual", want: "dual membership has the rights of stem_producer after SET ROLE only, which Stem does not do: dual > half > stem_producer", undo: "drop role half"},
		{name: "the better of two ways", do: "create role half noinherit; grant stem_producer to half, dual; grant half to dual"},
		{name: "who migrates is no worker", do: "grant stem_owner to maker"},
	} {
		t.Run(tt.name, func(t *testing.T) { //nolint:paralleltest // one cluster, one after the other
			run(t, conn, tt.do)
			list, err := m.CheckRoles(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				if len(list) > 0 {
					t.Errorf("got %+v", list)
				}
				return
			}
			if len(list) != 1 {
				t.Fatalf("got %+v, want %s", list, tt.want)
			}
			d := list[0]
			got := d.Role + " " + d.Problem + " " + d.What
			if d.Via != "" {
				got += ": " + d.Via
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if tt.granted {
				if done := grantRoles(t, m, db.GrantConfig{}); !slices.Equal(done, []string{d.Fix}) {
					t.Errorf("granted %q, want %q", done, d.Fix)
				}
				wantClean(t, m)
				run(t, conn, tt.do) // once more, for the fix
			} else if done := grantRoles(t, m, db.GrantConfig{}); len(done) > 0 {
				t.Errorf("GrantRoles ran %q", done)
			}
			if d.Problem == "owner" {
				d.Fix = must(db.RoleSQL(db.OwnerRole, ""))
			}
			run(t, conn, d.Fix)
			wantClean(t, m)
			if tt.undo != "" {
				run(t, conn, tt.undo)
			}
		})
	}
}

// TestCheckRolesOwner: a schema that a login owns.
func TestCheckRolesOwner(t *testing.T) {
	t.Parallel()
	c := newClean(t)
	address := c.database(t, "a")
	login := c.login(t, "a", "app")
	run(t, c.root, "alter database a owner to app")
	if err := db.Up(t.Context(), login); err != nil {
		t.Fatal(err)
	}
	m := migrator(t, address, "")
	grantRoles(t, m, db.GrantConfig{Create: true})
	list, err := migrator(t, login, "").CheckRoles(t.Context()) // it needs no rights
	if err != nil || len(list) != 1 || list[0].What != "owns schema stem and can log in: its password is enough for every table" {
		t.Fatalf("%v, %+v", err, list)
	}
	run(t, c.root, "grant stem_worker to app")
	if list, err := m.CheckRoles(t.Context()); err != nil || len(list) != 2 || list[1].Problem != "membership" {
		t.Errorf("%v, %+v", err, list)
	}
	run(t, dial(t, address), must(db.RoleSQL(db.OwnerRole, "")))
	wantClean(t, m)
}
