package db

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A cluster is every role there is and who is a member of whom.
type cluster struct {
	byName map[string]*account
	owner  string // of schema stem
	keeper string // of VersionTable
	major  int
}

type account struct {
	name                                                          string
	login, superuser, createRole, createDB, replication, bypasses bool
	in                                                            []membership
}

// A membership says how its member comes by the rights of a role: by doing nothing, by SET ROLE, or by granting it to itself.
type membership struct {
	role                  *account
	inherits, sets, admin bool
}

func readCluster(ctx context.Context, tx *sql.Tx) (*cluster, error) {
	c := &cluster{byName: map[string]*account{}}
	row := tx.QueryRowContext(ctx, `select coalesce(pg_get_userbyid(n.nspowner)::text, ''), coalesce(pg_get_userbyid(v.relowner)::text, ''),
			current_setting('server_version_num')::integer / 10000
		from (values (1)) one left join pg_namespace n on n.nspname = 'stem' left join pg_class v on v.oid = to_regclass($1)`, VersionTable)
	if err := row.Scan(&c.owner, &c.keeper, &c.major); err != nil {
		return nil, err
	}
	byID := map[int64]*account{}
	rows, err := tx.QueryContext(ctx, `select oid, rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls
		from pg_roles order by rolname`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var a account
		if err := rows.Scan(&id, &a.name, &a.login, &a.superuser, &a.createRole, &a.createDB, &a.replication, &a.bypasses); err != nil {
			return nil, err
		}
		byID[id], c.byName[a.name] = &a, &a
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return c, readMemberships(ctx, tx, byID)
}

func readMemberships(ctx context.Context, tx *sql.Tx, byID map[int64]*account) error {
	// Before 16 whether a membership is inherited is the member's attribute, and SET ROLE is always allowed.
	rows, err := tx.QueryContext(ctx, `
		select m.member, m.roleid, coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, r.rolinherit),
			coalesce((to_jsonb(m) ->> 'set_option')::boolean, true), m.admin_option
		from pg_auth_members m join pg_roles r on r.oid = m.member order by m.roleid`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var member, of int64
		var e membership
		if err := rows.Scan(&member, &of, &e.inherits, &e.sets, &e.admin); err != nil {
			return err
		}
		if e.role = byID[of]; e.role != nil && byID[member] != nil { // else made or dropped between the two statements
			byID[member].in = append(byID[member].in, e)
		}
	}
	return rows.Err()
}

// A path leads from a role to one that it has the rights of, or can get them.
type path struct {
	to       *account
	steps    []string
	inherits bool // without doing anything
	member   bool // without granting itself anything
}

func (p path) String() string { return strings.Join(p.steps, " > ") }

// paths are the best ways to every role that an account reaches, in the order of their names.
func (a *account) paths() []path {
	best := map[string]path{}
	better := func(p, q path) int { // more rights without doing anything, then fewer steps
		return cmp.Or(yes(q.inherits)-yes(p.inherits), yes(q.member)-yes(p.member), len(p.steps)-len(q.steps))
	}
	open := []path{{to: a, steps: []string{a.name}, inherits: true, member: true}}
	for len(open) > 0 {
		p := open[0]
		open = open[1:]
		for _, m := range p.to.in {
			next := path{
				to: m.role, steps: append(slices.Clone(p.steps), m.role.name),
				inherits: p.inherits && m.inherits, member: p.member && (m.inherits || m.sets),
			}
			if old, seen := best[m.role.name]; m.role != a && (!seen || better(next, old) < 0) {
				best[m.role.name] = next
				open = append(open, next)
			}
		}
	}
	return slices.SortedFunc(maps.Values(best), func(p, q path) int { return strings.Compare(p.to.name, q.to.name) })
}

func yes(b bool) int {
	if b {
		return 1
	}
	return 0
}

func isGroup(name string) bool {
	return slices.Contains(roleList(), name)
}

// checkOwner: a SECURITY DEFINER function acts as its owner, which must not be a superuser and have no password to be stolen.
func (c *cluster) checkOwner() []Deviation {
	var list []Deviation
	add := func(role, what string) {
		list = append(list, Deviation{Role: role, Problem: "owner", What: what, Fix: "stem roles print owner"})
	}
	switch owner := c.byName[c.owner]; {
	case owner == nil || c.owner == OwnerRole:
		// The attributes of stem_owner are looked at with those of the other roles.
	case owner.superuser:
		add(c.owner, "owns schema stem and is a superuser: a hole in one of its functions is a hole in the cluster")
	case owner.login:
		add(c.owner, "owns schema stem and can log in: its password is enough for every table")
	}
	// Whoever may create in schema public can make that table before the first migration does.
	if c.keeper != "" && c.owner != "" && c.keeper != c.owner {
		add(c.keeper, "owns "+VersionTable+" and not the schema: a trigger on it runs as whoever migrates")
	}
	return list
}

// checkAttributes: what a role can do without a right on anything.
func (c *cluster) checkAttributes() []Deviation {
	var list []Deviation
	for _, name := range append(roleList(), OwnerRole) {
		a := c.byName[name]
		if a == nil {
			continue
		}
		if a.login {
			list = append(list, attribute(a, "can log in: logins are members of it", "nologin"))
		}
		list = append(list, a.powers("")...)
	}
	return list
}

func roleList() (names []string) {
	for _, r := range Roles() {
		names = append(names, r.Name)
	}
	return names
}

// powers are attributes that lead past every grant.
func (a *account) powers(via string) []Deviation {
	var list []Deviation
	for _, p := range []struct {
		has        bool
		what, none string
	}{
		{a.superuser, "is a superuser: no right is checked", "nosuperuser"},
		{a.createRole, "may make roles, and make itself a member of others", "nocreaterole"},
		{a.createDB, "may make databases", "nocreatedb"},
		{a.replication, "may replicate: that is to read every file of the cluster", "noreplication"},
		{a.bypasses, "bypasses row level security", "nobypassrls"},
	} {
		if p.has {
			d := attribute(a, p.what, p.none)
			d.Via = via
			list = append(list, d)
		}
	}
	return list
}

func attribute(a *account, what, none string) Deviation {
	return Deviation{Role: a.name, Problem: "attribute", What: what, Fix: fmt.Sprintf("alter role %s %s", quote(a.name), none)}
}

// Roles of Postgres's own that read or write every table, or reach the files behind them.
var mighty = []string{
	"pg_read_all_data", "pg_write_all_data", "pg_maintain", "pg_read_server_files", "pg_write_server_files", "pg_execute_server_program",
}

// checkPaths looks at where the group roles lead, and at where the logins lead that are members of them. Who is no member is not
// looked at: a login that migrates may take the owner's role, and administrators are what they are.
func (c *cluster) checkPaths() []Deviation {
	var list []Deviation
	for _, name := range slices.Sorted(maps.Keys(c.byName)) {
		a := c.byName[name]
		paths := a.paths()
		if isGroup(name) {
			for _, p := range paths {
				list = append(list, p.deviation(a, "is a member of "+p.to.name+": a role of Stem is a member of none"))
			}
			continue
		}
		if a.login && slices.ContainsFunc(paths, func(p path) bool { return p.member && isGroup(p.to.name) }) {
			list = append(list, c.checkMember(a, paths)...)
		}
	}
	return list
}

// checkMember: a login that holds one of the roles, and so has a password that is in some program's settings.
func (c *cluster) checkMember(a *account, paths []path) []Deviation {
	list := slices.DeleteFunc(a.powers(""), func(d Deviation) bool {
		// Neither leads to anything of Stem; before 16 who makes roles can become any.
		return strings.HasSuffix(d.Fix, " nocreatedb") || strings.HasSuffix(d.Fix, " nobypassrls") || strings.HasSuffix(d.Fix, " nocreaterole") && c.major >= 16
	})
	if a.superuser {
		return list // everything else follows
	}
	for _, p := range paths {
		switch {
		case isGroup(p.to.name) && p.member && !p.inherits:
			list = append(list, Deviation{
				Role: a.name, Problem: "membership", Via: p.String(),
				What: "has the rights of " + p.to.name + " after SET ROLE only, which Stem does not do", Fix: c.inherit(a, p),
			})
		case p.to.superuser:
			list = append(list, p.deviation(a, "can become "+p.to.name+", a superuser"))
		case p.to.name == c.owner, p.to.name == OwnerRole:
			list = append(list, p.deviation(a, "has the rights of the owner of schema stem, or can get them"))
		case slices.Contains(mighty, p.to.name):
			list = append(list, p.deviation(a, "has the rights of "+p.to.name+", or can get them"))
		}
	}
	if a.name == c.owner {
		list = append(list, Deviation{
			Role: a.name, Problem: "membership", What: "owns schema stem and is a member of its roles", Fix: "stem roles print owner",
		})
	}
	return list
}

// deviation says that the path should not be, and how to cut its last step.
func (p path) deviation(a *account, what string) Deviation {
	return Deviation{
		Role: a.name, Problem: "membership", What: what, Via: p.String(),
		Fix: fmt.Sprintf("revoke %s from %s", quote(p.to.name), quote(p.steps[len(p.steps)-2])),
	}
}

// inherit is how the first step of the path that is not inherited is made to be.
func (c *cluster) inherit(a *account, p path) string {
	member := a
	for _, name := range p.steps[1:] {
		i := slices.IndexFunc(member.in, func(m membership) bool { return m.role.name == name })
		if !member.in[i].inherits {
			if c.major >= 16 {
				return fmt.Sprintf("grant %s to %s with inherit true", quote(name), quote(member.name))
			}
			return fmt.Sprintf("alter role %s inherit", quote(member.name))
		}
		member = member.in[i].role
	}
	return ""
}
