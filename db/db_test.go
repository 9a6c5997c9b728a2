package db_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stemqueue/stem/db"
	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/pgtest"
)

func migrator(t *testing.T, url, owner string) *db.Migrator {
	t.Helper()
	m, err := db.NewMigrator(t.Context(), url, owner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// TestMigrator takes a migrated database down to nothing and up again, and asks in between.
func TestMigrator(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	m := migrator(t, url, "")
	all, err := m.Status(t.Context())
	if err != nil || len(all) == 0 {
		t.Fatalf("%v, %v", all, err)
	}
	for _, s := range all {
		if !s.Applied {
			t.Errorf("%s is not applied", s.File)
		}
	}
	if down, err := m.DownTo(t.Context(), 0); err != nil || len(down) != len(all) {
		t.Fatalf("down: %d of %d, %v", len(down), len(all), err)
	}
	plan, err := m.Plan(t.Context())
	if err != nil || len(plan) != len(all) || !strings.Contains(plan[0].SQL, "create schema stem") {
		t.Fatalf("plan: %d of %d, %v", len(plan), len(all), err)
	}
	if current, newest, err := m.Versions(t.Context()); err != nil || current != 0 || newest != all[len(all)-1].Version {
		t.Errorf("at %d of %d, %v", current, newest, err)
	}
	if up, err := m.Up(t.Context()); err != nil || len(up) != len(all) {
		t.Fatalf("up: %d of %d, %v", len(up), len(all), err)
	}
	if plan, err := m.Plan(t.Context()); err != nil || len(plan) != 0 {
		t.Errorf("plan of an up-to-date database: %d, %v", len(plan), err)
	}
}

// TestVersionsForEachRole: programs learn the version without a right on goose's table.
func TestVersionsForEachRole(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	for _, r := range db.Roles() {
		m := migrator(t, pgtest.Login(t, url, strings.TrimPrefix(r.Name, "stem_")), "")
		if current, newest, err := m.Versions(t.Context()); err != nil || current != newest || newest != db.Version() {
			t.Errorf("%s: %d of %d, %v: does the last migration replace stem.schema_version?", r.Name, current, newest, err)
		}
	}
}

// TestTwoMigrators runs two at once over an empty database: each migration is applied by one of them.
func TestTwoMigrators(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	a, b := migrator(t, url, ""), migrator(t, url, "")
	all, err := a.DownTo(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	up := func(m *db.Migrator) func() (int, error) {
		return func() (int, error) { list, err := m.Up(context.WithoutCancel(t.Context())); return len(list), err }
	}
	first, second := labtest.Start(up(a)), labtest.Start(up(b))
	if sum := first.Wait(t) + second.Wait(t); sum != len(all) {
		t.Errorf("%d migrations were applied, want %d", sum, len(all))
	}
}

// TestMigratorOwner: what is made belongs to the role that was named.
func TestMigratorOwner(t *testing.T) {
	t.Parallel()
	l := open(t)
	if _, err := migrator(t, l.url, "").DownTo(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	run(t, l.owner, "drop table if exists public."+db.VersionTable)
	role := "owner_" + strings.ReplaceAll(newIDs().String(), "-", "")
	run(t, l.owner, "create role "+role)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_, _ = l.owner.Exec(ctx, "drop owned by "+role+" cascade")
		if _, err := l.owner.Exec(ctx, "drop role "+role); err != nil {
			t.Error(err)
		}
	})
	database := one[string](t, l.owner, "select quote_ident(current_database())")
	run(t, l.owner, "grant create on database "+database+" to "+role+"; grant create on schema public to "+role)
	if _, err := migrator(t, l.url, role).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := one[int](t, l.owner, "select count(*) from pg_class where relnamespace = 'stem'::regnamespace and relowner <> $1::regrole", role); n != 0 {
		t.Errorf("%d relations belong to somebody else", n)
	}
}

// TestGooseCommand applies the same files with the ordinary goose command ($STEM_GOOSE, or goose on PATH).
func TestGooseCommand(t *testing.T) {
	t.Parallel()
	goose := os.Getenv("STEM_GOOSE")
	if goose == "" {
		var err error
		if goose, err = exec.LookPath("goose"); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal("no goose command: set STEM_GOOSE or put it on PATH")
			}
			t.Skip("no goose command: set STEM_GOOSE or put it on PATH")
		}
	}
	url := pgtest.Database(t)
	for _, arguments := range [][]string{{"up"}, {"down-to", "0"}, {"up"}} {
		command := append([]string{"-dir", "migrations", "-table", db.VersionTable, "postgres", url}, arguments...)
		if out, err := exec.CommandContext(t.Context(), goose, command...).CombinedOutput(); err != nil {
			t.Fatalf("goose %v: %v\n%s", arguments, err, out)
		}
	}
	if err := db.Up(t.Context(), url); err != nil {
		t.Error(err)
	}
}
