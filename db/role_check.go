package db

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

// rightsQuery lists who holds what in schema stem.
//
//go:embed rights.sql
var rightsQuery string

// A Deviation is a way in which the roles of a database, or those who can become them, differ from [Roles].
type Deviation struct {
	Role    string // who; "public" is everybody
	Problem string // missing, unexpected, absent, attribute, owner, default, membership
	What    string // a right such as "EXECUTE on function stem.due(integer)", or what is wrong in words
	Via     string // how the role comes to it, if not by a grant of its own: "app > team > stem_owner"
	Fix     string // SQL, or the command that prints it
}

// CheckRoles compares what everybody may do in schema stem with what [Roles] says: the rights of the roles and of everybody, grants
// to others, default privileges, the owner, and where the roles and the logins that are members of them come by other ways, inherited
// or by SET ROLE. It only reads the catalog. The error is a *[VersionError] when the database is at another version.
func (m *Migrator) CheckRoles(ctx context.Context) ([]Deviation, error) {
	current, newest, err := m.Versions(ctx)
	if err != nil {
		return nil, err
	}
	if current != newest {
		return nil, &VersionError{current, newest}
	}
	var list []Deviation
	err = m.read(ctx, func(tx *sql.Tx) error {
		c, err := readCluster(ctx, tx)
		if err != nil {
			return err
		}
		granted, err := readRights(ctx, tx)
		if err != nil {
			return err
		}
		defaults, err := readDefaults(ctx, tx)
		if err != nil {
			return err
		}
		list = slices.Concat(c.checkOwner(), c.checkRights(granted), c.checkAttributes(), c.checkPaths(), defaults)
		return nil
	})
	return list, wrap("check roles", err)
}

// A grant is a right that somebody holds.
type grant struct {
	right
	to      string
	passing bool // WITH GRANT OPTION
}

func readRights(ctx context.Context, tx *sql.Tx) (list []grant, err error) {
	rows, err := tx.QueryContext(ctx, rightsQuery)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var g grant
		var oid int64
		if err := rows.Scan(&g.object, &g.privilege, &oid, &g.to, &g.passing); err != nil {
			return nil, err
		}
		if oid != 0 { // PUBLIC is written without quotes, and a role may be named "public" only with them
			g.to = quote(g.to)
		}
		list = append(list, g)
	}
	return list, rows.Err()
}

// checkRights finds what the roles lack and what anybody has too much.
func (c *cluster) checkRights(granted []grant) []Deviation {
	var list []Deviation
	want := map[grant]bool{} // true once found
	for _, r := range Roles() {
		if c.byName[r.Name] == nil {
			list = append(list, Deviation{
				Role: r.Name, Problem: "absent", What: "the role does not exist", Fix: "stem roles grant --create",
			})
			continue
		}
		for _, right := range r.rights() {
			want[grant{right: right, to: quote(r.Name)}] = false
		}
	}
	for _, g := range granted {
		key := g
		key.passing = false
		_, right := want[key]
		d := Deviation{Role: unquote(g.to), Problem: "unexpected", What: g.String(), Fix: fmt.Sprintf("revoke %s from %s cascade", g.right, g.to)}
		switch {
		case !right:
			list = append(list, d)
		case g.passing:
			want[key] = true
			d.What += " with grant option"
			d.Fix = "revoke grant option for " + strings.TrimPrefix(d.Fix, "revoke ")
			list = append(list, d)
		default:
			want[key] = true
		}
	}
	for _, r := range Roles() {
		for _, right := range r.rights() {
			if found, exists := want[grant{right: right, to: quote(r.Name)}]; exists && !found {
				list = append(list, Deviation{
					Role: r.Name, Problem: "missing", What: right.String(), Fix: fmt.Sprintf("grant %s to %s", right, r.Name),
				})
			}
		}
	}
	return list
}

func unquote(name string) string {
	return strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(name, `"`), `"`), `""`, `"`)
}

// readDefaults finds what future objects in schema stem would be granted to others.
func readDefaults(ctx context.Context, tx *sql.Tx) (list []Deviation, err error) {
	rows, err := tx.QueryContext(ctx, `
		select r.rolname, coalesce(g.rolname, 'public'), a.grantee = 0, a.privilege_type, d.defaclnamespace <> 0,
			case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types' end
		from pg_default_acl d
		join pg_roles r on r.oid = d.defaclrole
		join pg_namespace n on n.nspname = 'stem' and (d.defaclnamespace = n.oid or d.defaclnamespace = 0 and d.defaclrole = n.nspowner)
		cross join lateral aclexplode(d.defaclacl) a
		left join pg_roles g on g.oid = a.grantee
		where d.defaclobjtype in ('r', 'S', 'f', 'T') and a.grantee <> d.defaclrole
		  -- What everybody has without any setting is no setting; migrations revoke it from what they make.
		  and not (d.defaclnamespace = 0 and a.grantee = 0 and d.defaclobjtype in ('f', 'T'))
		order by 1, 2, 6, 4`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var maker, to, privilege, kind string
		var public, here bool
		if err := rows.Scan(&maker, &to, &public, &privilege, &here, &kind); err != nil {
			return nil, err
		}
		in, grantee := "", to
		if here {
			in = " in schema stem"
		}
		if !public {
			grantee = quote(to)
		}
		list = append(list, Deviation{
			Role: to, Problem: "default", What: fmt.Sprintf("%s on %s that %s will make%s", privilege, kind, maker, in),
			Fix: fmt.Sprintf("alter default privileges for role %s%s revoke %s on %s from %s", quote(maker), in, privilege, kind, grantee),
		})
	}
	return list, rows.Err()
}
