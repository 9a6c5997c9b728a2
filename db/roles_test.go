package db_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stemqueue/stem/db"
)

// TestEveryFunctionIsSomebodys: a function is in the list of a role, or its name begins with an underscore and it is the owner's
// alone; and no list names what there is not.
func TestEveryFunctionIsSomebodys(t *testing.T) {
	t.Parallel()
	l := open(t)
	there := map[string]bool{}
	for _, name := range column[string](t, l.owner, `select proname from pg_proc where pronamespace = 'stem'::regnamespace
		union select relname from pg_class where relnamespace = 'stem'::regnamespace and relkind in ('v', 'm')`) {
		there[name] = true
		switch role := db.RoleFor(name); {
		case strings.HasPrefix(name, "_") && role != "":
			t.Errorf("stem.%s is %s's and has the name of one that is the owner's alone", name, role)
		case !strings.HasPrefix(name, "_") && role == "":
			t.Errorf("stem.%s is nobody's: decide in db/roles.go whose, or begin its name with an underscore", name)
		}
	}
	for _, r := range db.Roles() {
		for _, name := range slices.Concat(r.Functions, r.Views) {
			if !there[name] {
				t.Errorf("%s: there is no stem.%s", r.Name, name)
			}
		}
	}
	for object, want := range map[string]string{
		"enqueue": "stem_producer", "claim": "stem_worker", "list_queues": "stem_observer", "job_status": "stem_observer",
		"cancel": "stem_operator", "job_states": "stem_producer", "_bury": "", "nothing": "",
	} {
		if got := db.RoleFor(object); got != want {
			t.Errorf("%s: got %q, want %q", object, got, want)
		}
	}
}

// privileges lists what the roles and everybody can do in this database, however they come to it, and what they are. Not asked:
// the schema public and the database, whose rights are not Stem's to decide, and differ between majors.
const privileges = `
	with who(name) as (values ('stem_producer'), ('stem_worker'), ('stem_scheduler'), ('stem_observer'), ('stem_operator'), ('stem_admin'), ('public')),
	all_roles(name) as (select name from who where name <> 'public' union all values ('stem_owner')),
	relation as (
		select c.oid, n.nspname || '.' || c.relname as name, c.relkind, c.relowner from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname !~ '^(pg_|information_schema$)' and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')),
	type as (
		select t.oid, 'stem.' || t.typname as name, t.typowner from pg_type t where t.typnamespace = 'stem'::regnamespace and t.typcategory <> 'A'),
	line as (
		select w.name as role, p.name || ' on schema stem' as text
		from who w cross join (values ('USAGE'), ('CREATE')) p(name) where has_schema_privilege(w.name, 'stem', p.name)
		union all
		select w.name, 'EXECUTE on function ' || p.oid::regprocedure
		from who w cross join pg_proc p where p.pronamespace = 'stem'::regnamespace and has_function_privilege(w.name, p.oid, 'EXECUTE')
		union all
		select w.name, p.name || ' on table ' || r.name
		from who w cross join relation r cross join (values ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE'), ('TRUNCATE'), ('REFERENCES'), ('TRIGGER')) p(name)
		where r.relkind <> 'S' and has_table_privilege(w.name, r.oid, p.name)
		union all
		select w.name, p.name || ' on column ' || r.name || '.' || a.attname
		from who w cross join relation r join pg_attribute a on a.attrelid = r.oid
		cross join (values ('SELECT'), ('INSERT'), ('UPDATE'), ('REFERENCES')) p(name)
		where r.relkind <> 'S' and not a.attisdropped and not has_table_privilege(w.name, r.oid, p.name) and has_column_privilege(w.name, r.oid, a.attnum, p.name)
		union all
		select w.name, p.name || ' on sequence ' || r.name
		from who w cross join relation r cross join (values ('USAGE'), ('SELECT'), ('UPDATE')) p(name)
		where r.relkind = 'S' and has_sequence_privilege(w.name, r.oid, p.name)
		union all
		select w.name, 'USAGE on type ' || t.name from who w cross join type t where has_type_privilege(w.name, t.oid, 'USAGE')
		union all
		select r.rolname, concat_ws(' ', case when rolcanlogin then 'login' else 'nologin' end, case when rolsuper then 'superuser' end,
			case when rolcreaterole then 'createrole' end, case when rolcreatedb then 'createdb' end, case when rolreplication then 'replication' end,
			case when rolbypassrls then 'bypassrls' end, case when rolinherit then 'inherit' end, array_to_string(rolconfig, ' '))
		from pg_roles r join all_roles a on a.name = r.rolname
		union all
		select r.rolname, 'member of ' || g.rolname from pg_auth_members m join pg_roles r on r.oid = m.member join pg_roles g on g.oid = m.roleid
		join all_roles a on a.name = r.rolname
		union all
		select coalesce(g.rolname, 'public'), a.privilege_type || ' on what ' || d.defaclrole::regrole || ' will make'
		from pg_default_acl d cross join lateral aclexplode(d.defaclacl) a left join pg_roles g on g.oid = a.grantee
		union all
		select pg_get_userbyid(r.relowner), 'owns ' || r.name from relation r
		union all
		select pg_get_userbyid(p.proowner), 'owns function ' || p.oid::regprocedure from pg_proc p where p.pronamespace = 'stem'::regnamespace
		union all
		select pg_get_userbyid(t.typowner), 'owns type ' || t.name from type t
		union all
		select pg_get_userbyid(n.nspowner), 'owns schema ' || n.nspname from pg_namespace n where n.nspname = 'stem')
	select role || ': ' || text from line order by (role || ': ' || text) collate "C"`

// TestPrivileges: privileges.txt is all that the roles and everybody can do.
func TestPrivileges(t *testing.T) {
	t.Parallel()
	l := open(t)
	got := strings.Join(column[string](t, l.owner, privileges), "\n") + "\n"
	if *update {
		if err := os.WriteFile("testdata/privileges.txt", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/privileges.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("the roles can do something else than privileges.txt says: go test ./db -run TestPrivileges -update\n%s", diff)
	}
}

func TestRoleSQLQuotesLogins(t *testing.T) {
	t.Parallel()
	for _, login := range []string{
		"app", "App Login", `o"dd`, `"; drop schema stem cascade; --`, "x' || 'y", "naïve-用户", "-- x", `a\b`, "select", strings.Repeat("x", 63),
	} {
		sql, err := db.RoleSQL("stem_worker", login)
		if err != nil {
			t.Errorf("%q: %v", login, err)
			continue
		}
		want := "grant stem_worker to \"" + strings.ReplaceAll(login, `"`, `""`) + "\";\ncommit;\n"
		if !strings.HasSuffix(sql, want) || strings.Count(sql, "\n") != strings.Count(must(db.RoleSQL("stem_worker", "")), "\n")+1 {
			t.Errorf("%q: ends with %q", login, sql[max(0, len(sql)-200):])
		}
	}
	for _, login := range []string{
		"public", "none", "pg_monitor", "stem_owner", "stem_producer", "a\nb", "a\x00b", "\x1b[2J", "\xff", strings.Repeat("x", 64),
	} {
		if sql, err := db.RoleSQL("stem_worker", login); err == nil {
			t.Errorf("%q: got %q", login, sql)
		}
	}
	if _, err := db.RoleSQL("stem_boss", ""); err == nil || !strings.Contains(err.Error(), "stem_worker") {
		t.Errorf("an unknown role: %v", err)
	}
}

func must(text string, err error) string {
	if err != nil {
		panic(err)
	}
	return text
}
