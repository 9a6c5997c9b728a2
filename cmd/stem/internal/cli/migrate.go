package cli

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/db"
	"github.com/stemqueue/stem/internal/pgsession"
)

func newMigrate(a *App) *cobra.Command {
	cmd := group("migrate", "Make, change and inspect the schema", "  stem migrate up\n  stem migrate status",
		newMigrateUp(a), newMigrateDown(a), newMigrateStatus(a), newMigratePlan(a), newMigrateVerify(a))
	cmd.Long = "Make, change and inspect the schema. Any number of these may run at once: one at a time gets through. Use a direct\n" +
		"connection, not a pooler in transaction mode."
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

var stepSheet = output.Sheet[db.Step]{Noun: "migration", Columns: []output.Column[db.Step]{
	{Header: "Version", Value: func(s db.Step) any { return s.Version }},
	{Header: "File", Value: func(s db.Step) any { return s.File }, Name: true},
	{Header: "Applied", Value: func(s db.Step) any { return s.Applied }, Tone: func(s db.Step) output.Tone {
		if s.Applied {
			return output.Good
		}
		return output.Warn
	}},
}}

var planSheet = output.Sheet[db.Step]{Noun: "pending migration", Columns: []output.Column[db.Step]{
	{Header: "Version", Value: func(s db.Step) any { return s.Version }},
	{Header: "File", Value: func(s db.Step) any { return s.File }, Name: true},
	{Header: "SQL", Value: func(s db.Step) any { return s.SQL }, Data: true},
}}

// migrateOptions are what every command of the group takes.
type migrateOptions struct{ owner string }

func (o *migrateOptions) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.owner, "owner", "", "take this role first (SET ROLE): it owns what is made")
}

// with hands a migrator to do and closes it.
func (o *migrateOptions) with(ctx context.Context, a *App, do func(*db.Migrator) error) error {
	m, err := a.migrator(ctx, o.owner)
	if err != nil {
		return err
	}
	defer m.Close() //nolint:errcheck // nothing is lost with the connection
	return do(m)
}

// migrator connects to the database. Its statements may take as long as they need: no time limits are set.
func (a *App) migrator(ctx context.Context, owner string) (*db.Migrator, error) {
	return a.openMigrator(ctx, owner, a.suitable)
}

// unsuitableMigrator connects also to a database that Stem could not work with.
func (a *App) unsuitableMigrator(ctx context.Context) (*db.Migrator, error) {
	return a.openMigrator(ctx, "", nil)
}

func (a *App) openMigrator(ctx context.Context, owner string, check pgconn.AfterConnectFunc) (*db.Migrator, error) {
	if err := a.chooseDatabase(ctx); err != nil {
		return nil, err
	}
	cfg := a.database.Config(a.events(ctx))
	cfg.AfterConnect = check
	pgsession.Name(cfg.RuntimeParams, "stem/migrate")
	return db.OpenMigrator(ctx, cfg, owner)
}

func newMigrateUp(a *App) *cobra.Command {
	var o migrateOptions
	cmd := &cobra.Command{
		Use: "up", Short: "Apply every migration that is missing", Args: noArgs,
		Example: "  stem migrate up\n  stem migrate up --owner stem_owner",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd.Context(), a, func(m *db.Migrator) error {
				steps, err := m.Up(cmd.Context())
				if err != nil {
					return err
				}
				if len(steps) == 0 {
					a.Printer.Note("the schema is up to date")
				}
				return a.steps(steps)
			})
		},
	}
	o.bind(cmd)
	return cmd
}

func newMigrateDown(a *App) *cobra.Command {
	var (
		o      migrateOptions
		change Change
		to     = arg.Between(0, 99_999, 0)
	)
	cmd := &cobra.Command{
		Use: "down", Short: "Take migrations back: every job is deleted", Args: noArgs,
		Long: "Take back every migration above --to, the newest first. Without --to that is all of them, and with them every job,\n" +
			"every dead letter and every schedule is deleted.",
		Example: "  stem migrate down --dry-run\n  stem migrate down --to 7 --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd.Context(), a, func(m *db.Migrator) error {
				ctx := cmd.Context()
				effect, err := downEffect(ctx, m, int64(to.Value))
				if err != nil {
					return err
				}
				if ok, err := a.Confirm(ctx, change, effect); !ok {
					return err
				}
				steps, err := m.DownTo(ctx, int64(to.Value))
				for i := range steps {
					steps[i].Applied = false
				}
				if err != nil {
					return err
				}
				return a.steps(steps)
			})
		},
	}
	cmd.Flags().Var(&to, "to", "the version to go back to; 0 takes everything back (default 0)")
	cmd.Flags().BoolVarP(&change.Yes, "yes", "y", false, "do it without asking; needed where nobody can be asked")
	cmd.Flags().BoolVar(&change.DryRun, "dry-run", false, "only say what would be done")
	o.bind(cmd)
	return cmd
}

// downEffect counts the migrations that DownTo would take back.
func downEffect(ctx context.Context, m *db.Migrator, to int64) (Effect, error) {
	all, err := m.Status(ctx)
	if err != nil {
		return Effect{}, err
	}
	e := Effect{Verb: "take back", Noun: "migration"}
	if to == 0 {
		e.Noun, e.Plural = "migration and delete every job", "migrations and delete every job"
	}
	for _, s := range all {
		if s.Applied && s.Version > to {
			e.Count++
			e.Sample = append(e.Sample, s.File)
		}
	}
	return e, nil
}

func newMigrateStatus(a *App) *cobra.Command {
	var o migrateOptions
	cmd := &cobra.Command{
		Use: "status", Short: "List the migrations and whether each is applied", Args: noArgs,
		Example: "  stem migrate status\n  stem migrate status --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd.Context(), a, func(m *db.Migrator) error {
				steps, err := m.Status(cmd.Context())
				if err != nil {
					return err
				}
				return a.steps(steps)
			})
		},
	}
	o.bind(cmd)
	return cmd
}

func newMigratePlan(a *App) *cobra.Command {
	var o migrateOptions
	cmd := &cobra.Command{
		Use: "plan", Short: "Print the SQL that up would run", Args: noArgs,
		Example: "  stem migrate plan\n  stem migrate plan --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd.Context(), a, func(m *db.Migrator) error {
				steps, err := m.Plan(cmd.Context())
				if err != nil {
					return err
				}
				if !a.Printer.ForPeople() {
					return output.List(a.Printer, &planSheet, output.Rows(steps))
				}
				if len(steps) == 0 {
					a.Printer.Note("the schema is up to date")
				}
				for _, s := range steps {
					if _, err := fmt.Fprintf(a.Printer.Out, "-- %s\n%s\n", s.File, s.SQL); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	o.bind(cmd)
	return cmd
}

var driftSheet = output.Sheet[db.Drift]{Noun: "difference", Columns: []output.Column[db.Drift]{
	{Header: "Kind", Value: func(d db.Drift) any { return d.Kind }},
	{Header: "Name", Value: func(d db.Drift) any { return d.Name }, Name: true},
	{Header: "Problem", Value: func(d db.Drift) any { return d.Problem }, Tone: func(db.Drift) output.Tone { return output.Bad }},
	{Header: "Want", Value: func(d db.Drift) any { return optional(d.Want) }, Wide: true},
	{Header: "Got", Value: func(d db.Drift) any { return optional(d.Got) }, Wide: true},
	{Header: "Fix", Value: func(d db.Drift) any { return d.Fix }},
}}

func newMigrateVerify(a *App) *cobra.Command {
	var o migrateOptions
	cmd := &cobra.Command{
		Use: "verify", Short: "Compare the schema with what the migrations make", Args: noArgs,
		Long: "Compare the schema with what the migrations of this binary make, object by object: functions with their text and settings,\n" +
			"tables with columns, constraints, indexes, triggers and options, views, sequences, owners and grants. Nothing is\n" +
			"changed. Exits 1 when there is a difference. What roles were granted on functions and views is yours to decide.",
		Example: "  stem migrate verify\n  stem migrate verify --output wide\n  stem migrate verify --json | jq -r '.[].fix'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd.Context(), a, func(m *db.Migrator) error {
				list, err := m.Verify(cmd.Context())
				if err != nil {
					return versionFault(err)
				}
				if len(list) == 0 && !a.Printer.Machine() {
					a.Printer.Note("the schema is as the migrations make it, at version %d", db.Version())
					return nil
				}
				if err := output.List(a.Printer, &driftSheet, output.Rows(list)); err != nil || len(list) == 0 {
					return err
				}
				return fault.New(fault.ExitNotFound, "drift", "the schema differs from what the migrations make in %s", counted(len(list), "object")).
					About("database")
			})
		},
	}
	o.bind(cmd)
	return cmd
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// steps prints what a command did or found; of nothing it has said so already.
func (a *App) steps(steps []db.Step) error {
	if len(steps) == 0 && !a.Printer.Machine() {
		return nil
	}
	return output.List(a.Printer, &stepSheet, output.Rows(steps))
}
