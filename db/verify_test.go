package db_test

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/db"
	"github.com/stemqueue/stem/internal/pgtest"
)

var update = flag.Bool("update", false, "rewrite manifest.txt, or testdata/privileges.txt")

// TestManifest: manifest.txt is what the migrations make, on whatever major this runs.
func TestManifest(t *testing.T) {
	t.Parallel()
	m := migrator(t, emptyDatabase(t), "")
	if _, err := m.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := m.Manifest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("manifest.txt", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("manifest.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("the migrations make something else than manifest.txt says: go test ./db -run TestManifest -update\n%s", diff)
	}
	if strings.Count(got, "\n") < 500 || !strings.Contains(got, "function\tstem.claim(") {
		t.Errorf("a manifest of %d lines", strings.Count(got, "\n"))
	}
}

// emptyDatabase is one without schema and grants: those are made from the manifest, which may be what is wrong.
func emptyDatabase(t *testing.T) string {
	t.Helper()
	server := pgtest.Server(t)
	admin, err := pgx.Connect(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	name := "stem_manifest_" + strings.ToLower(rand.Text()[:12])
	run(t, admin, "create database "+name)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if _, err := admin.Exec(ctx, "drop database if exists "+name+" with (force)"); err != nil {
			t.Error(err)
		}
		_ = admin.Close(ctx)
	})
	return server.URLFor(name, "")
}

// TestVerify: each kind of drift is found, alone and by its name; where the fix is SQL, it is one.
func TestVerify(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		sql  string
		want string // kind name problem
		fix  string // "" is a fix in words
	}{
		"body": {
			sql: `do $$ begin execute replace(pg_get_functiondef('stem.count_waiting'::regproc), 's.queue = p_queue', 'true'); end $$`, want: "function stem.count_waiting(text) changed",
		},
		"settings of a function": {
			sql: "alter function stem.count_waiting(text) reset all", want: "function stem.count_waiting(text) changed",
		},
		"security": {
			sql: "alter function stem.count_waiting(text) security invoker", want: "function stem.count_waiting(text) changed",
		},
		"dropped function": {
			sql: "drop function stem.count_waiting", want: "function stem.count_waiting(text) missing",
		},
		"foreign function": {
			sql: "create function stem.mine() returns int language sql as 'select 1'", want: "function stem.mine() unexpected",
		},
		"grant to everybody": {
			sql:  "grant execute on function stem.count_waiting(text) to public",
			want: "grant function stem.count_waiting(text) to public unexpected",
			fix:  "revoke EXECUTE on function stem.count_waiting(text) from public",
		},
		"grant on a table": {
			sql:  "grant select, insert on stem.ready to pg_monitor",
			want: "grant table stem.ready to pg_monitor unexpected",
			fix:  "revoke INSERT, SELECT on table stem.ready from pg_monitor",
		},
		"schema for everybody": {
			sql: "grant create on schema stem to public", want: "grant schema stem to public unexpected",
			fix: "revoke CREATE on schema stem from public",
		},
		"owner": {
			sql: "alter function stem.count_waiting(text) owner to pg_monitor", want: "owner function stem.count_waiting(text) unexpected",
		},
		"options": {
			sql: "alter table stem.ready reset (autovacuum_vacuum_threshold)", want: "table stem.ready changed",
		},
		"row level security": {
			sql: "alter table stem.ready enable row level security", want: "table stem.ready changed",
		},
		"unlogged": {
			sql: "alter table stem.suspect_duty set unlogged", want: "table stem.suspect_duty changed",
		},
		"index": {
			sql: "drop index stem.ready_job", want: "index stem.ready.ready_job missing",
			fix: "CREATE INDEX ready_job ON stem.ready USING btree (job_id)",
		},
		"another index": {
			sql: "create index mine on stem.ready (slot)", want: "index stem.ready.mine unexpected",
		},
		"trigger": {
			sql: "alter table stem.ready disable trigger ready_wake", want: "trigger stem.ready.ready_wake changed",
		},
		"constraint": {
			sql: "alter table stem.dead drop constraint dead_crashes_check", want: "constraint stem.dead.dead_crashes_check missing",
			fix: "alter table stem.dead add constraint dead_crashes_check CHECK ((crashes >= 0))",
		},
		"domain": {
			sql: "alter domain stem.count drop constraint count", want: "domain stem.count changed",
		},
		"column": {
			sql: "alter table stem.queues alter keep_finished set default false", want: "column stem.queues.keep_finished changed",
		},
		"sequence": {
			sql: "alter sequence stem.ticket_pos cache 10", want: "sequence stem.ticket_pos changed",
		},
		"view": {
			sql: "create or replace view stem.job_status with (security_barrier = off) as " +
				"select * from (select null::uuid, ''::text, ''::text, ''::text, 0, 0::smallint, 0::smallint, 0::smallint, now(), null::uuid, now(), now(), now(), now(), ''::text, now()) " +
				"x(job_id, state, queue, task, attempt, failures, crashes, generation, due_at, worker, claimed_at, cancel_at, started_at, ended_at, reason, created_at)",
			want: "view stem.job_status changed",
		},
		"table": {sql: "create table stem.mine (id int primary key)", want: "table stem.mine unexpected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := open(t)
			m := migrator(t, l.login, "")
			if list, err := m.Verify(t.Context()); err != nil || len(list) > 0 {
				t.Fatalf("before: %v, %+v", err, list)
			}
			run(t, l.owner, tt.sql)
			list, err := m.Verify(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(list) != 1 || list[0].Kind+" "+list[0].Name+" "+list[0].Problem != tt.want || list[0].Fix == "" {
				t.Fatalf("got %+v, want %s", list, tt.want)
			}
			if tt.fix == "" {
				return
			}
			if list[0].Fix != tt.fix {
				t.Errorf("fix %q, want %q", list[0].Fix, tt.fix)
			}
			run(t, l.owner, list[0].Fix)
			if list, err := m.Verify(t.Context()); err != nil || len(list) > 0 {
				t.Errorf("after the fix: %v, %+v", err, list)
			}
		})
	}
}

// TestVerifyNamesTheSource: a fix in words says where the definition stands.
func TestVerifyNamesTheSource(t *testing.T) {
	t.Parallel()
	l := open(t)
	run(t, l.owner, "drop function stem.count_waiting; alter sequence stem.ticket_pos cache 10; set search_path = stem, public")
	m := migrator(t, l.url+"&options=-csearch_path%3Dstem%2Cpublic%20-cdatestyle%3DGerman%20-cintervalstyle%3Diso_8601", "")
	list, err := m.Verify(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %+v", err, list)
	}
	for i, want := range []string{"run it from 00009_control.sql, as create or replace", "make it as in 00001_tables.sql"} {
		if list[i].Fix != want {
			t.Errorf("fix of %s: %q, want %q", list[i].Name, list[i].Fix, want)
		}
	}
}

// TestVerifyOfAnotherVersion has nothing to compare with.
func TestVerifyOfAnotherVersion(t *testing.T) {
	t.Parallel()
	l := open(t)
	m := migrator(t, l.url, "")
	newest := db.Version()
	for _, tt := range []struct{ sql, want string }{
		{"insert into stem_goose_version (version_id, is_applied) values (99999, true)", "newer than this binary"},
		{"delete from stem_goose_version where version_id >= 8", "run stem migrate up"},
	} {
		run(t, l.owner, tt.sql)
		_, err := m.Verify(t.Context())
		v, ok := errors.AsType[*db.VersionError](err)
		if !ok || v.Newest != newest || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}

// TestStatusOnlyReads: by a login that may do nothing, on a database where nothing was ever applied.
func TestStatusOnlyReads(t *testing.T) {
	t.Parallel()
	l := open(t)
	if _, err := migrator(t, l.url, "").DownTo(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	run(t, l.owner, "drop table "+db.VersionTable+"; revoke all on schema public from public")
	m := migrator(t, l.login, "")
	all, err := m.Status(t.Context())
	if err != nil || int64(len(all)) != db.Version() || all[0].Applied {
		t.Errorf("status: %+v, %v", all, err)
	}
	if plan, err := m.Plan(t.Context()); err != nil || len(plan) != len(all) {
		t.Errorf("plan: %d, %v", len(plan), err)
	}
	if current, _, err := m.Versions(t.Context()); err != nil || current != 0 {
		t.Errorf("at %d, %v", current, err)
	}
	if one[bool](t, l.owner, "select to_regclass($1) is not null", db.VersionTable) {
		t.Error("somebody made the version table")
	}
}
