package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/db"
)

func newRoles(a *App) *cobra.Command {
	cmd := group("roles", "Grant programs no more than they need, and check it",
		"  stem roles grant --create\n  stem roles print worker --to app_login | psql\n  stem roles check",
		newRolesPrint(a), newRolesGrant(a), newRolesCheck(a))
	var b strings.Builder
	b.WriteString("Rights are granted to roles that nobody logs in as; logins are made members of them:\n\n")
	for _, r := range db.Roles() {
		fmt.Fprintf(&b, "  %-15s for %s\n", r.Name, r.Holder)
	}
	fmt.Fprintf(&b, "  %-15s owns the schema; who migrates takes it: stem migrate up --owner %[1]s\n", db.OwnerRole)
	b.WriteString("\nNone of them has a right on a table: everything goes through functions.")
	cmd.Long = b.String()
	return cmd
}

// everyRole is the argument that stands for all of them.
const everyRole = "all"

// roleWords are how roles are named on the command line.
func roleWords() []string {
	words := []string{everyRole, short(db.OwnerRole)}
	for _, r := range db.Roles() {
		words = append(words, short(r.Name))
	}
	return words
}

func short(role string) string { return strings.TrimPrefix(role, "stem_") }

func newRolesPrint(a *App) *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use: "print ROLE", Short: "Print the SQL that grants a role what it may do",
		Long: "Print the SQL that makes a role, takes from it what it holds in schema stem and grants it what it is to hold, and, with\n" +
			"--to, makes a login a member of it. Nothing is run, and no database is needed. ROLE is " + strings.Join(roleWords()[1:], ", ") + "\nor all.",
		Example:   "  stem roles print worker --to app_login | psql \"$STEM_DATABASE_URL\"\n  stem roles print all",
		Args:      takes("ROLE"),
		ValidArgs: roleWords(),
		RunE: func(cmd *cobra.Command, args []string) error {
			word, err := arg.ParseChoice(short(args[0]), roleWords())
			if err != nil {
				return bad("ROLE", err)
			}
			given := cmd.Flags().Changed("to")
			switch {
			case given && word == everyRole:
				return fault.Usage("bad_flag", "--to: a login gets the roles that it needs, not all of them").About("flag --to").
					WithHint("stem roles print worker --to %s", to)
			case given && to == "":
				return fault.Usage("bad_flag", "--to: want the name of a login").About("flag --to")
			}
			return a.printRoles(word, to)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "a login that is made a member")
	return standalone(cmd)
}

// A script is the SQL of one role.
type script struct{ role, sql string }

var scriptSheet = output.Sheet[script]{Noun: "role", Columns: []output.Column[script]{
	{Header: "Role", Value: func(s script) any { return s.role }, Name: true},
	{Header: "SQL", Value: func(s script) any { return s.sql }, Data: true},
}}

func (a *App) printRoles(word, to string) error {
	names := []string{"stem_" + word}
	if word == everyRole {
		names = names[:0]
		for _, w := range roleWords()[1:] {
			names = append(names, "stem_"+w)
		}
	}
	var scripts []script
	for _, name := range names {
		sql, err := db.RoleSQL(name, to)
		if err != nil {
			return fault.Usage("bad_flag", "--to: %s", strings.TrimPrefix(err.Error(), "db: ")).About("flag --to")
		}
		scripts = append(scripts, script{name, sql})
	}
	if !a.Printer.ForPeople() {
		return output.List(a.Printer, &scriptSheet, output.Rows(scripts))
	}
	for i, s := range scripts {
		if i > 0 {
			s.sql = "\n" + s.sql
		}
		if _, err := fmt.Fprint(a.Printer.Out, s.sql); err != nil {
			return err
		}
	}
	return nil
}

var statementSheet = output.Sheet[string]{Noun: "statement", Columns: []output.Column[string]{
	{Header: "SQL", Value: func(s string) any { return s }, Name: true},
}}

func newRolesGrant(a *App) *cobra.Command {
	var config db.GrantConfig
	cmd := &cobra.Command{
		Use: "grant", Short: "Make this database's grants what this binary says", Args: noArgs,
		Long: "Grant the roles what they are to hold in this database, and take from them and from everybody what is too much. It may\n" +
			"be run again, and is, after each migration; the statements that were run are printed. Memberships, attributes and grants to\n" +
			"others are left alone: stem roles check names them. It takes a login that is a member of the schema's owner.",
		Example: "  stem roles grant --create\n  stem roles grant --dry-run",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withMigrator(cmd.Context(), func(m *db.Migrator) error {
				done, err := m.GrantRoles(cmd.Context(), config)
				if e, ok := errors.AsType[*db.AbsentRolesError](err); ok {
					return fault.Config("no_roles", "%s", e).About("database").Because(err)
				}
				if err != nil {
					return versionFault(err)
				}
				if len(done) == 0 && !a.Printer.Machine() {
					a.Printer.Note("every role holds what it is to hold")
				} else if err := a.statements(done); err != nil {
					return err
				}
				if current, _, err := m.Versions(cmd.Context()); err == nil && current == 0 {
					a.Printer.Note("there is no schema yet: run stem migrate up --owner %s, then stem roles grant", db.OwnerRole)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&config.Create, "create", false, "make the roles that are absent, "+db.OwnerRole+" among them")
	cmd.Flags().BoolVar(&config.DryRun, "dry-run", false, "only print the statements")
	return cmd
}

// statements prints SQL as SQL for people.
func (a *App) statements(list []string) error {
	if !a.Printer.ForPeople() {
		return output.List(a.Printer, &statementSheet, output.Rows(list))
	}
	for _, s := range list {
		if _, err := fmt.Fprintf(a.Printer.Out, "%s;\n", s); err != nil {
			return err
		}
	}
	return nil
}

var deviationSheet = output.Sheet[db.Deviation]{Noun: "difference", Columns: []output.Column[db.Deviation]{
	{Header: "Role", Value: func(d db.Deviation) any { return d.Role }, Name: true},
	{Header: "Problem", Value: func(d db.Deviation) any { return d.Problem }, Tone: func(db.Deviation) output.Tone { return output.Bad }},
	{Header: "What", Value: func(d db.Deviation) any { return d.What }},
	{Header: "Via", Value: func(d db.Deviation) any { return optional(d.Via) }},
	{Header: "Fix", Value: func(d db.Deviation) any { return d.Fix }},
}}

func newRolesCheck(a *App) *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Compare what everybody may do with what the roles are for", Args: noArgs,
		Long: "Compare what everybody may do in schema stem with what the roles are for: grants to the roles, to everybody and to others,\n" +
			"default privileges, the owner of the schema, and what the roles and their members come to by other ways: inherited, by SET ROLE,\n" +
			"as a superuser. Nothing is changed. Exits 1 when there is a difference; each comes with its fix.",
		Example: "  stem roles check\n  stem roles check --json | jq -r '.[].fix'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withMigrator(cmd.Context(), func(m *db.Migrator) error {
				list, err := m.CheckRoles(cmd.Context())
				if err != nil {
					return versionFault(err)
				}
				if len(list) == 0 && !a.Printer.Machine() {
					a.Printer.Note("every role holds what it is to hold, and nobody comes to more")
					return nil
				}
				if err := output.List(a.Printer, &deviationSheet, output.Rows(list)); err != nil || len(list) == 0 {
					return err
				}
				return fault.New(fault.ExitNotFound, "roles_differ", "the rights in schema stem differ from what the roles are for in %s", counted(len(list), "place")).
					About("database")
			})
		},
	}
}

// withMigrator hands a migrator of the present login to do and closes it.
func (a *App) withMigrator(ctx context.Context, do func(*db.Migrator) error) error {
	return (&migrateOptions{}).with(ctx, a, do)
}

// versionFault words a schema of another version as a matter of configuration.
func versionFault(err error) error {
	if v, ok := errors.AsType[*db.VersionError](err); ok {
		return fault.Config("schema_version", "%s", v).About("database").Because(err)
	}
	return err
}
