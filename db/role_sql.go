package db

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
)

// RoleSQL returns the SQL that makes the role if it is absent, takes from it whatever it holds in schema stem, and grants it what it
// is to hold: one transaction, which may be run again. role is the name of one of [Roles] or [OwnerRole]; login, when it is not
// empty, is made a member.
func RoleSQL(role, login string) (string, error) {
	var b strings.Builder
	switch i := slices.IndexFunc(Roles(), func(r Role) bool { return r.Name == role }); {
	case i >= 0:
		Roles()[i].write(&b)
	case role == OwnerRole:
		writeOwner(&b)
	default:
		return "", fmt.Errorf("db: no role %q: want %s, or %s", role, strings.Join(roleList(), ", "), OwnerRole)
	}
	if login != "" {
		if err := checkLogin(login); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "grant %s to %s;\n", role, quote(login))
	}
	return b.String() + "commit;\n", nil
}

// checkLogin refuses what quoting does not make harmless.
func checkLogin(name string) error {
	switch {
	case len(name) > 63:
		return fmt.Errorf("db: a role's name of %d bytes: Postgres would cut it to 63, and that is another role", len(name))
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("db: role %q: want no control characters", name)
	case name == "public" || name == "none" || strings.HasPrefix(name, "pg_"):
		return fmt.Errorf("db: %q is a name of Postgres's own, want that of a login", name)
	case name == OwnerRole || isGroup(name):
		return fmt.Errorf("db: %s is a role of Stem's own, and none is a member of another; want a login", name)
	}
	return nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func (r Role) write(b *strings.Builder) {
	fmt.Fprintf(b, "-- %s: %s. At version %d of the schema.\n", r.Name, r.Holder, Version())
	b.WriteString("-- To be run in the database, as the owner of schema stem or a superuser.\nbegin;\n" + createRole(r.Name) + ";\n")
	for _, kind := range []string{"all routines in schema", "all tables in schema", "all sequences in schema", "schema"} {
		fmt.Fprintf(b, "revoke all on %s stem from %s cascade;\n", kind, r.Name)
	}
	fmt.Fprintf(b, "grant usage on schema stem to %s;\n", r.Name)
	fmt.Fprintf(b, "grant execute on function\n    %s\n    to %s;\n", strings.Join(r.signatures(), ",\n    "), r.Name)
	if len(r.Views) > 0 {
		fmt.Fprintf(b, "grant select on stem.%s to %s;\n", strings.Join(r.Views, ", stem."), r.Name)
	}
}

// createRole makes a role unless it is there. Roles belong to the cluster, so another session, in another database perhaps, may
// make it between the look and the creation.
func createRole(name string) string {
	return "do $$ begin\n    if to_regrole('" + name + "') is null then create role " + name + " nologin; end if;\n" +
		"exception when duplicate_object or unique_violation then null;\nend $$"
}

// What the owner needs outside of its schema: to make it, and the table of versions beside it.
const (
	grantDatabase = "do $$ begin execute format('grant create on database %I to " + OwnerRole + "', current_database()); end $$"
	grantPublic   = "grant usage, create on schema public to " + OwnerRole
)

// handOver makes OwnerRole the owner of everything that a migration without it has made. Indexes and row types follow their
// tables, and so do the sequences of identity columns.
const handOver = `do $$ declare
    statement text;
begin
    for statement in
        select format('alter schema stem owner to stem_owner') from pg_namespace n where n.nspname = 'stem'
        union all
        select format('alter %s %s owner to stem_owner', case c.relkind when 'S' then 'sequence' when 'v' then 'view' else 'table' end, c.oid::regclass)
        from pg_class c
        where (c.relnamespace = to_regnamespace('stem') and c.relkind in ('r', 'p', 'v', 'S') or c.oid = to_regclass('` + VersionTable + `'))
          and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i')
              and d.refclassid = 'pg_class'::regclass and c.relkind = 'S')
        union all
        select format('alter routine %s owner to stem_owner', p.oid::regprocedure) from pg_proc p where p.pronamespace = to_regnamespace('stem')
        union all
        select format('alter domain %s owner to stem_owner', t.oid::regtype) from pg_type t
        where t.typnamespace = to_regnamespace('stem') and t.typtype = 'd'
    loop
        execute statement;
    end loop;
end $$`

func writeOwner(b *strings.Builder) {
	fmt.Fprintf(b, "-- %s: owns schema stem. Who migrates takes it: stem migrate up --owner %s\n", OwnerRole, OwnerRole)
	b.WriteString("-- To be run in the database, as a superuser, or as its owner with the right to make roles.\nbegin;\n" + createRole(OwnerRole) + ";\n" +
		grantDatabase + ";\n" + grantPublic + ";\n-- What is there already is handed over.\n" + handOver + ";\n")
}
