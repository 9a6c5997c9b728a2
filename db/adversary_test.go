package db_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/db"
)

// eachRole runs a test as a login of each role alone.
func eachRole(t *testing.T, test func(t *testing.T, l *lab, c *pgx.Conn, role db.Role)) {
	t.Helper()
	for _, role := range db.Roles() {
		t.Run(role.Name, func(t *testing.T) {
			t.Parallel()
			l := open(t)
			test(t, l, l.as(t, strings.TrimPrefix(role.Name, "stem_")), role)
		})
	}
}

// tries are statements on every relation and every column of schema stem, and on the schema: each is the right of the owner, or of
// whoever was granted it. The login owns schema own, so that it has somewhere to stand.
const tries = `
	with relation as (
		select c.oid, c.relname, 'stem.' || quote_ident(c.relname) as name, c.relkind = 'S' as sequence, c.relkind = 'v' as view
		from pg_class c where c.relnamespace = 'stem'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
	), col as (
		select r.*, quote_ident(a.attname) as col, format_type(a.atttypid, a.atttypmod) as type
		from relation r join pg_attribute a on a.attrelid = r.oid where a.attnum > 0 and not a.attisdropped
	)
	select format('select %s from %s limit 1', col, name) from col
	union all select format('insert into %s (%s) values (default)', name, col) from col where not sequence and not view
	union all select format('update %s set %s = default', name, col) from col where not sequence and not view
	union all select format('create table own.ref (a %s references %s (%s))', type, name, col) from col where not sequence and not view and type !~ '^stem\.'
	union all select format(s, name) from relation, unnest(array[
		'select ctid, xmin from %s limit 1', 'select count(*) from %s', 'delete from %s', 'truncate %s', 'lock table %s in access share mode',
		'select * from %s for key share', 'create trigger t after insert on %s execute function own.nothing()', 'create rule r as on insert to %s do nothing',
		'create index on %s ((1))', 'alter table %s rename to mine', 'drop table %s', 'comment on table %s is $$mine$$',
		'alter table %s enable row level security', 'alter table %s owner to current_user', 'create publication p for table %s']) s where not sequence and not view
	union all select format(s, name) from relation, unnest(array[
		'drop view %s', 'alter view %s set (security_barrier = off)', 'alter view %s owner to current_user']) s where view
	union all select format(s, name) from relation, unnest(array[
		'select nextval(''%s'')', 'select setval(''%s'', 1)', 'select currval(''%s'')', 'select last_value from %s', 'alter sequence %s restart', 'drop sequence %s']) s where sequence
	union all select format('create table own.typed (a %s)', t.oid::regtype) from pg_type t where t.typnamespace = 'stem'::regnamespace and t.typtype in ('d', 'c')
	union all select format(s, p.oid::regprocedure) from pg_proc p, unnest(array[
		'alter function %s reset all', 'drop function %s', 'alter function %s owner to current_user']) s
		where p.pronamespace = 'stem'::regnamespace
	union all select unnest(array['create table stem.mine (a int)', 'create function stem.mine() returns int language sql as ''select 1''', 'drop schema stem cascade',
		'alter schema stem rename to mine', 'create domain stem.mine as int', 'create sequence stem.mine',
		'set role stem_owner', 'set session authorization stem_owner', 'alter role stem_worker superuser', 'grant stem_owner to current_user', 'grant stem_admin to current_user',
		'create role mine', 'alter default privileges for role stem_owner grant select on tables to public', 'reassign owned by stem_owner to current_user',
		'select * from stem_goose_version', 'delete from stem_goose_version', 'select * from pg_statistic', 'select * from pg_authid', 'select pg_read_file(''PG_VERSION'')',
		'copy (select 1) to program ''true''', 'create extension pg_stat_statements', 'select pg_ls_waldir()', 'set session_replication_role = replica', 'load ''auto_explain'''])`

// attempt tries the statements as the login, each in a subtransaction, and returns those that were not refused for want of a right,
// with what became of them.
const attempt = `
	create function own.nothing() returns trigger language plpgsql as 'begin return null; end';
	create function own.attempt(statements text[]) returns table (statement text, result text) language plpgsql as $$
	begin
		foreach statement in array statements loop
			begin
				execute statement;
				raise exception using errcode = 'ST999';
			exception
				when insufficient_privilege then continue;
				when sqlstate 'ST999' then result := 'done';
				when others then result := sqlstate || ' ' || sqlerrm;
			end;
			return next;
		end loop;
	end $$`

// TestNobodyTouchesATable: each statement on each table, column, sequence, view, type and function of schema stem, as each role.
func TestNobodyTouchesATable(t *testing.T) {
	t.Parallel()
	eachRole(t, func(t *testing.T, l *lab, c *pgx.Conn, role db.Role) {
		t.Helper()
		life(t, l, l.hire(t)) // rows to be touched
		run(t, l.owner, "create schema own authorization "+one[string](t, c, "select current_user"))
		run(t, c, attempt)
		list := column[string](t, l.owner, tries)
		if len(list) < 3000 {
			t.Fatalf("%d statements", len(list))
		}
		rows, err := c.Query(t.Context(), "select statement, result from own.attempt($1)", list)
		if err != nil {
			t.Fatal(err)
		}
		unrefused, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Statement, Result string }])
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, u := range unrefused {
			switch {
			case u.Result == "done" && slices.ContainsFunc(role.Views, func(v string) bool {
				return strings.HasPrefix(u.Statement, "select ") && strings.HasSuffix(u.Statement, " from stem."+v+" limit 1")
			}):
				seen++
			case strings.HasPrefix(u.Statement, "create table own.ref ") && strings.HasPrefix(u.Result, "42830 "):
				// Not a key, which is looked at before the right.
			default:
				t.Errorf("%s: %s", u.Statement, u.Result)
			}
		}
		if want := map[string]int{"stem_observer": 16, "stem_operator": 23, "stem_admin": 23}[role.Name]; seen != want {
			t.Errorf("saw %d columns of views, want %d", seen, want)
		}
		// Who may not pass a right on is not refused, but warned that nothing was granted.
		before := column[string](t, l.owner, privileges)
		for _, grant := range []string{"all on schema stem", "all on all tables in schema stem", "all on all functions in schema stem"} {
			_, _ = c.Exec(t.Context(), "grant "+grant+" to public")
		}
		if after := column[string](t, l.owner, privileges); !slices.Equal(after, before) {
			t.Error("it could pass its rights on")
		}
		for _, table := range []string{"jobs", "dead", "workers", "audit"} {
			wantCode(t, second(c.PgConn().CopyTo(t.Context(), nil, "copy stem."+table+" to stdout")), "42501")
			wantCode(t, second(c.PgConn().CopyFrom(t.Context(), strings.NewReader(""), "copy stem."+table+" from stdin")), "42501")
		}
	})
}

// TestEachRoleCallsItsFunctions: those that are not the role's are refused before anything else is looked at; of its own none is
// refused, inside neither, whatever it says to arguments that are all null.
func TestEachRoleCallsItsFunctions(t *testing.T) {
	t.Parallel()
	type call struct {
		Name, Call string
		Trigger    bool
	}
	eachRole(t, func(t *testing.T, l *lab, c *pgx.Conn, role db.Role) {
		t.Helper()
		rows, err := l.owner.Query(t.Context(), `
			select p.proname, 'select stem.' || p.proname || '(' || coalesce((
				-- A strict function is not called, and so not refused, when an argument is null.
				select string_agg(case when p.proisstrict then '''''' else 'null' end || '::' || format_type(a.t, null), ', ' order by a.ord) from unnest(p.proargtypes) with ordinality a(t, ord)), '') || ')',
				p.prorettype = 'trigger'::regtype
			from pg_proc p where p.pronamespace = 'stem'::regnamespace order by 1`)
		if err != nil {
			t.Fatal(err)
		}
		calls, err := pgx.CollectRows(rows, pgx.RowToStructByPos[call])
		if err != nil || len(calls) < 70 {
			t.Fatalf("%d functions, %v", len(calls), err)
		}
		run(t, c, "create temp table mine (a int)")
		for _, f := range calls {
			if f.Trigger {
				f.Call = "create or replace trigger t after insert on pg_temp.mine for each row execute function stem." + f.Name + "('t')"
			}
			tx, err := c.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = tx.Exec(t.Context(), f.Call)
			if refused := code(err) == "42501"; refused == slices.Contains(role.Functions, f.Name) {
				t.Errorf("%s: %v", f.Call, err)
			}
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}
