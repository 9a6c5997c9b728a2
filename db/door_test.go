package db_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/db"
	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/store"
)

// TestTheDoorIsShut reads the rules of functions that run as their owner from the catalog: docs/adr/0002-function-door.md.
func TestTheDoorIsShut(t *testing.T) {
	t.Parallel()
	l := open(t)
	// Callable, and yet not SECURITY DEFINER: they read no table, or must not be the owner (enqueue_trigger, see below).
	invokers := []string{"enqueue_trigger", "payload_json", "payload_text", "schema_version", "uuid7"}
	for _, tt := range []struct{ rule, query string }{
		{"the search path is pg_catalog, pg_temp", `p.proconfig is null or not 'search_path=pg_catalog, pg_temp' = any (p.proconfig)`},
		{"PL/pgSQL, whose plans are kept", `l.lanname <> 'plpgsql'`},
		{"it belongs to " + db.OwnerRole, `p.proowner <> '` + db.OwnerRole + `'::regrole`},
		{"the owner is no superuser", `exists (select from pg_roles r where r.oid = p.proowner and (r.rolsuper or r.rolcanlogin))`},
		{"nobody may execute it unasked", `exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0)`},
		{"no dynamic SQL", `p.prosrc ~* '\mexecute\M(?!\s+function)|\mdblink|\mquery_to_xml'`},
		{"it is not leakproof, which would let it below a security barrier", `p.proleakproof`},
		{"a caller's type stays outside", `exists (select from unnest(p.proargtypes) a(t) join pg_type y on y.oid = a.t where y.typtype = 'p')`},
		{"what is called by roles runs as the owner, and only that", fmt.Sprintf(`p.prosecdef = (p.proname = any (array['%s'])) and p.proname not like '\_%%'`, strings.Join(invokers, "','"))},
		{"what only the owner calls needs not run as it", `p.prosecdef and p.proname like '\_%' and p.proname <> '_wake'`},
	} {
		if bad := column[string](t, l.owner, "select p.oid::regprocedure::text from pg_proc p join pg_language l on l.oid = p.prolang where p.pronamespace = 'stem'::regnamespace and ("+tt.query+")"); len(bad) > 0 {
			t.Errorf("%s: not so for %v", tt.rule, bad)
		}
	}
	if n := one[int](t, l.owner, "select count(*) from pg_proc where pronamespace = 'stem'::regnamespace and prosecdef"); n < 40 {
		t.Errorf("%d functions were looked at", n)
	}
	if bad := column[string](t, l.owner, `select c.relname from pg_class c where c.relnamespace = 'stem'::regnamespace and c.relkind = 'v'
		and c.relname not like '\_%' and not coalesce(c.reloptions @> '{security_barrier=true}', false)`); len(bad) > 0 {
		t.Errorf("views without a barrier: %v", bad)
	}
}

// TestATriggerRunsNobodysCastAsTheOwner: to_jsonb, which stem.enqueue_trigger calls on the new row, runs the casts to json of types
// that anybody may have made, in pg_temp if nowhere else. So it must run as whoever wrote the row: as SECURITY DEFINER it let a
// producer do whatever the owner may.
func TestATriggerRunsNobodysCastAsTheOwner(t *testing.T) {
	t.Parallel()
	l := open(t)
	producer := l.as(t, "producer")
	run(t, producer, `
		create type pg_temp.mood as enum ('good');
		create temp table seen (who text);
		create function pg_temp.to_json(pg_temp.mood) returns json language plpgsql as $$ begin
			insert into pg_temp.seen values (current_user);
			return '"cast"';
		end $$;
		create cast (pg_temp.mood as json) with function pg_temp.to_json(pg_temp.mood);
		create temp table orders (id int, mood pg_temp.mood);
		create trigger t after insert on orders for each row execute function stem.enqueue_trigger('order.made', 'mail');
		insert into orders values (7, 'good')`)
	me := one[string](t, producer, "select current_user")
	if who := one[string](t, producer, "select string_agg(distinct who, ' ') from seen"); who != me {
		t.Errorf("the cast ran as %s, want %s", who, me)
	}
	got := one[string](t, l.owner, "select queue || ' ' || task || ' ' || stem.payload_text(payload) from stem.jobs")
	if want := `mail order.made {"op": "insert", "new": {"id": 7, "mood": "cast"}, "old": null, "table": "orders", "schema": "` +
		one[string](t, producer, "select nspname from pg_namespace where oid = pg_my_temp_schema()") + `"}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// decoys are objects with the names of those that Stem's functions use, in a schema of the login's own and in pg_temp: tables, types,
// functions and operators. Whoever runs one leaves a name in own.caught.
const decoys = `
	create table own.caught (who text default current_user, what text);
	grant usage on schema own to public;
	grant insert on own.caught to public;
	do $$
	declare
		r record;
		v_schema text;
	begin
		foreach v_schema in array array['own', 'pg_temp'] loop
			for r in select c.relname from pg_class c where c.relnamespace = 'stem'::regnamespace and c.relkind in ('r', 'p', 'v', 'S') loop
				execute format('create table %s.%I (id uuid, name text, queue text)', v_schema, r.relname);
			end loop;
			for r in select t.typname from pg_type t where t.typnamespace = 'stem'::regnamespace and t.typtype = 'd' loop
				execute format('create domain %s.%I as boolean check (false)', v_schema, r.typname);
			end loop;
			-- Every function that a body of Stem's calls, with each of the argument lists it has in pg_catalog; and Stem's own.
			for r in
				select p.proname, pg_get_function_identity_arguments(p.oid) as args, format_type(p.prorettype, null) as returns, p.proretset
				from pg_proc p join pg_type y on y.oid = p.prorettype
				where p.prokind = 'f' and y.typtype <> 'p' and (y.typtype <> 'c' or y.typnamespace <> 'stem'::regnamespace) and p.provariadic = 0 and p.pronargs = cardinality(coalesce(p.proallargtypes, p.proargtypes))
				  and not exists (select from unnest(p.proargtypes) a(t) where a.t = 'internal'::regtype)
				  and (p.pronamespace = 'stem'::regnamespace or p.pronamespace = 'pg_catalog'::regnamespace and p.proname = any (array(
					select distinct m[1] from pg_proc s, regexp_matches(s.prosrc, '(\w+)\(', 'g') m where s.pronamespace = 'stem'::regnamespace)))
			loop
				execute format('create function %s.%I(%s) returns %s%s language plpgsql as $f$ begin insert into own.caught (what) values (%L); return%s; end $f$',
					v_schema, r.proname, r.args, case when r.proretset then 'setof ' else '' end, r.returns, r.proname, case when r.proretset then '' else ' null' end);
			end loop;
		end loop;
		-- Operators do what those of pg_catalog do: the calls themselves use some.
		for r in
			select o.oprname as name, o.oprleft::regtype as l, o.oprright::regtype as r
			from pg_operator o, unnest(array['uuid', 'text', 'bigint', 'smallint', 'integer', 'timestamptz', 'jsonb', 'bytea']::regtype[]) t
			where o.oprnamespace = 'pg_catalog'::regnamespace and o.oprresult = 'boolean'::regtype and o.oprleft = t and o.oprright = t
			  and o.oprname in ('=', '<>', '<', '<=', '>', '>=', '~', '?')
		loop
			execute format('create function own.%I(%s, %s) returns boolean language plpgsql as $f$ begin insert into own.caught (what) values (%L); return $1 operator(pg_catalog.%s) $2; end $f$',
				'op ' || r.name, r.l, r.r, r.name, r.name);
			execute format('create operator own.%s (leftarg = %s, rightarg = %s, function = own.%I)', r.name, r.l, r.r, 'op ' || r.name);
		end loop;
	end $$`

// TestNoDecoyIsTaken makes decoys for every name that Stem's functions use, first on the search path and in pg_temp, and goes
// through the lives of some jobs: the owner runs, reads and writes none of them.
func TestNoDecoyIsTaken(t *testing.T) {
	t.Parallel()
	l := open(t)
	run(t, l.owner, "create schema own authorization "+one[string](t, l.me, "select current_user"))
	run(t, l.me, decoys)
	if n := one[int](t, l.owner, "select count(*) from pg_proc where pronamespace = 'own'::regnamespace"); n < 150 {
		t.Fatalf("%d decoys", n)
	}
	run(t, l.me, "set search_path = own, pg_temp, public, pg_catalog")
	const caught = "select coalesce(string_agg(distinct what, ' '), '') from own.caught where who = 'stem_owner'"
	w := l.hire(t)
	life(t, l, w)
	admin := l.as(t, "admin")
	run(t, admin, "set search_path = own, public, pg_catalog")
	standing(t, admin)
	if what := one[string](t, l.owner, caught); what != "" {
		t.Errorf("the owner takes %s", what)
	}
	for _, schema := range []string{"own", "pg_temp"} {
		for _, table := range []string{"jobs", "ready", "running", "finished", "scheduled", "attempts", "dead", "workers", "unique_keys", "queues", "schedules", "schedule_runs"} {
			if n := one[int](t, l.me, "select count(*) from "+schema+"."+table); n != 0 {
				t.Errorf("%s.%s has %d rows", schema, table, n)
			}
		}
	}
	// The test sees what it says it sees: without its search path a function takes them.
	run(t, l.owner, `alter function stem.set_idle reset search_path; alter function stem.prune_keys reset search_path`)
	run(t, l.me, "select stem.set_idle($1, $2, '{a}'), stem.prune_keys(1)", w.id, w.epoch)
	if what := one[string](t, l.owner, caught); !strings.Contains(what, "statement_timestamp") {
		t.Errorf("without a search path: took %q", what)
	}
}

// TestOddSettingsChangeNothing: a function inherits its caller's settings, but for those that it pins.
func TestOddSettingsChangeNothing(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := l.hire(t)
	run(t, l.me, `set transform_null_equals = on; set array_nulls = off; set datestyle = 'SQL, DMY'; set intervalstyle = 'sql_standard';
		set timezone = 'Asia/Kathmandu'; set bytea_output = 'escape'; set extra_float_digits = -15; set enable_nestloop = off;
		set enable_indexscan = off; set join_collapse_limit = 1; set geqo_threshold = 2; set row_security = off; set synchronous_commit = off;
		set backslash_quote = on; set quote_all_identifiers = on; set work_mem = '64kB'; set client_min_messages = debug5`)
	life(t, l, w)
	// Text with backslashes does not become other text, but fails.
	run(t, l.me, "set standard_conforming_strings = off; set escape_string_warning = off")
	if _, err := l.me.Exec(t.Context(), "select stem.enqueue('t', unique_key => 'c', headers => '{}')"); err != nil && code(err) != "22021" {
		t.Error(err)
	}
}

// standing takes a schedule through all that is done to one.
func standing(t *testing.T, c *pgx.Conn) {
	t.Helper()
	const entry = `[{"id": "s", "expected": %d, "version": %d, "enabled": true, "spec": "{}", "zone": "UTC", "policies": "{}", "jitter_us": 0,
		"task": "t", "queue": "q", "codec": "c", "payload": "e30=", "headers": {"h": "v"}, "priority": 5, "max_attempts": 1, "next_at": "2026-01-01T00:00:00Z",
		"due_at": "2026-01-01T00:00:00Z"}]`
	job := one[string](t, c, "select stem.enqueue('t', headers => '{}')::text")
	for _, call := range []string{
		fmt.Sprintf("apply_schedules('"+entry+"', 'apply', 'why')", 0, 1), fmt.Sprintf("apply_schedules('"+entry+"', 'enable', 'why')", 1, 2),
		"next_schedule()", "lock_schedules(null, 10)", "lock_schedules('{s}', 10)", "read_schedules(null, null, 10)", "read_schedules('{s}', null, 10)",
		"list_schedules(null, 10)", "record_runs('{s}', '{2026-01-01T00:00:00Z}', '{fired}', '{" + job + "}', '{0}', '{0}', '{x}', 'trigger', 'why')",
		"advance_schedules('{s}', '{2}', '{2026-01-02T00:00:00Z}', '{2026-01-02T00:00:00Z}', '{2026-01-01T00:00:00Z}', '{null}', '{" + job + "}', '{1}', '{null}', '{null}', '{null}')",
		"recent_runs('{s}', 10)", "cancel_previous('{s}')", "runs_with_jobs('s', '2025-01-01', '2027-01-01')", "list_runs('s', '{fired}', null, null, null, null, 10)",
		"list_runs(null, null, null, null, now(), 'z', 10)", "prune_runs(3600000000, 10)", "disable_schedule('s', 'why')", "delete_schedules('{s}', '{2}', 'why')",
	} {
		run(t, c, "select stem."+call)
	}
}

// life takes jobs through every table as the worker: by each form of enqueue, with keys, delays and headers, to each end.
func life(t *testing.T, l *lab, w hand) {
	t.Helper()
	door := store.New(l.me)
	// Periods begin at whole multiples, so a long one begins between the two calls more rarely.
	const keyed = `select stem.enqueue('t', args => '{"a": 1}', headers => '{"h": "v"}', unique_key => 'a', unique_for => '365 days', hard_limit => '1 s')`
	run(t, l.me, keyed)
	run(t, l.me, keyed) // a duplicate
	run(t, l.me, "select stem.enqueue('t', unique_key => 'b', delay => '1 hour')")
	run(t, l.me, "select stem.enqueue('t', unique_key => 'b', replace => true)")
	run(t, l.me, "select stem.enqueue('t'), stem.enqueue('t'), stem.enqueue('t')")
	for _, err := range []error{
		second(door.EnqueueOne(t.Context(), oneJob(newIDs()))), second(door.EnqueueMany(t.Context(), manyJobs(newIDs(), newIDs(), newIDs(), newIDs()))),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	rows, id := claimAs(t, l.me, claimParams(w, 100))
	if len(rows) != 10 {
		t.Fatalf("claimed %d, want 10", len(rows))
	}
	jobs := jobsOf(rows)
	finish(t, l.me, w, id, jobs[:4]...)
	if err := door.Complete(t.Context(), completeParams(w, id, jobs[4])); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"fail", "discard", "reject", "release"} {
		putBack(t, l.me, w, id, verb{name: name, reason: "because", text: "an error"}, jobs[5+i])
	}
	run(t, l.owner, "update stem.scheduled set run_at = now()")
	if _, err := door.Due(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	beat(t, l.me, w)
	for _, call := range []string{
		"set_idle($1, $2, '{default}')", "take_duty($1, $2, 'default', 1000000)", "rescue($1, $2, $1, 3)", "declare_lost($1, $2, $1, null)",
	} {
		run(t, l.me, "select stem."+call, w.id, w.epoch)
	}
	for _, call := range []string{
		"rotate()", "adopt_orphans()", "prune_keys(10)", "suspects('{default}')", "horizon('{default}', '{5}', '{0}')", "watch(null)",
		"claim_states('{}', '{}', '{}')", "drop_strays('{default}', '{1}', '{1}', '{1}', '{5}', '{0}')", "drop_duty(null)", "job_states('{}')",
	} {
		run(t, l.me, "select stem."+call)
	}
	if n, err := door.VoidClaim(t.Context(), w.id, id); err != nil || n != 1 {
		t.Fatalf("voided %d, %v", n, err)
	}
	epoch, err := door.RaiseEpoch(t.Context(), w.id, w.epoch)
	if err != nil || epoch != w.epoch+1 {
		t.Fatalf("epoch %d after %d, %v", epoch, w.epoch, err)
	}
	// Everything that was enqueued is somewhere, and only there.
	got := map[string]int{}
	for _, job := range column[uuid.UUID](t, l.owner, "select id from stem.jobs") {
		got[strings.Join(labtest.Places(t, l.owner, job), " ")]++
	}
	if want := map[string]int{"completed": 5, "dead": 2, "ready": 3, "replaced": 1}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func second[T any](_ T, err error) error { return err }
