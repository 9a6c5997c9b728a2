package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/doctor"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/db"
	"github.com/stemqueue/stem/internal/pgsession"
)

func newDoctor(a *App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "List what weakens a promise, with the fix",
		Long: "List what weakens a promise of Stem, each with its fix: settings of the server (fsync, synchronous_commit), certificates\n" +
			"that are not enforced or about to expire, signing that is not required, a login that owns the schema, what everybody may do,\n" +
			"a pooler that lets no notification through, clocks that differ, a schema that is not as the migrations make it, schedules that\n" +
			"do not fire. It only reads. Exits 1 when there is anything.",
		Example: "  stem doctor\n  stem doctor --json | jq -r '.[].fix'\n  stem doctor tls",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings, err := a.examine(cmd.Context())
			if err != nil {
				return err
			}
			return a.reportFindings(findings)
		},
	}
	cmd.AddCommand(newDoctorTLS(a))
	return cmd
}

var findingSheet = output.Sheet[doctor.Finding]{Noun: "finding", Columns: []output.Column[doctor.Finding]{
	{Header: "Name", Value: func(f doctor.Finding) any { return f.Name }, Name: true},
	{Header: "Message", Value: func(f doctor.Finding) any { return f.Message }},
	{Header: "Fix", Value: func(f doctor.Finding) any { return f.Fix }},
}}

func (a *App) reportFindings(list []doctor.Finding) error {
	if !a.Printer.ForPeople() {
		if err := output.List(a.Printer, &findingSheet, output.Rows(list)); err != nil {
			return err
		}
	} else {
		for _, f := range list {
			if err := errors.Join(a.Printer.Prose("! "+f.Message), a.Printer.Prose("  fix: "+f.Fix)); err != nil {
				return err
			}
		}
	}
	if len(list) == 0 {
		if !a.Printer.Machine() {
			a.Printer.Note("nothing that Stem promises is weakened by %s", a.database.Target())
		}
		return nil
	}
	return fault.New(fault.ExitNotFound, "weakened", "%s weaken what Stem promises", counted(len(list), "thing")).About("doctor")
}

// An examination lists what weakens a promise. conn is idle, and is the login's of the settings.
type examination func(ctx context.Context, a *App, conn *pgx.Conn) ([]doctor.Finding, error)

// examinations are made in this order.
var examinations = []examination{
	func(ctx context.Context, _ *App, conn *pgx.Conn) ([]doctor.Finding, error) {
		return doctor.Examine(ctx, conn)
	},
	func(_ context.Context, a *App, conn *pgx.Conn) ([]doctor.Finding, error) {
		list := doctor.Exposure(a.database, a.Config.Origin("database_url"), doctor.Secured(conn))
		if a.Config.Listen.Given() {
			for _, f := range doctor.Exposure(a.Config.Listen, a.Config.Origin("listen_url"), doctor.Session{}) {
				if !slices.Contains(list, f) { // both may share a certificate
					list = append(list, f)
				}
			}
		}
		return list, nil
	},
	func(_ context.Context, a *App, _ *pgx.Conn) ([]doctor.Finding, error) {
		return a.signingFindings(), nil
	},
	examineListening,
	examineSchema,
	examineSchedules,
}

func (a *App) examine(ctx context.Context) ([]doctor.Finding, error) {
	pool, err := a.sharedPool(ctx, PoolOptions{Name: "stem/doctor/" + hostname(a.Config), MaxConns: 1, AnyKind: true})
	if err != nil {
		return nil, err
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return nil, fault.From(err, a.database.Target())
	}
	defer conn.Release()
	var list []doctor.Finding
	for _, e := range examinations {
		found, err := e(ctx, a, conn.Conn())
		if err != nil {
			return nil, fault.From(err, a.database.Target())
		}
		list = append(list, found...)
	}
	return list, nil
}

// examineListening sends a notification to a connection like the one that a worker listens on.
func examineListening(ctx context.Context, a *App, notifier *pgx.Conn) ([]doctor.Finding, error) {
	config := a.listenConfig(ctx, "stem/doctor/listen")
	if config == nil {
		config = a.database.Config(a.events(ctx))
		pgsession.Name(config.RuntimeParams, "stem/doctor/listen")
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil && a.Config.Listen.Given() {
		f, _ := errors.AsType[*fault.Error](fault.From(err, a.Config.Listen.Target()))
		return []doctor.Finding{{
			Name: "listen_unreachable", Message: "workers cannot listen, and find jobs at their next poll only: " + f.Message,
			Fix: "let STEM_LISTEN_URL name the server itself, and the same database",
		}}, nil
	}
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	deaf, err := doctor.Deaf(ctx, conn, notifier)
	if !deaf || err != nil {
		return nil, err
	}
	return []doctor.Finding{{
		Name: "listen_deaf", Message: "notifications do not reach a connection like this, as through a pooler in transaction mode: workers find jobs at their next poll only",
		Fix: "let STEM_LISTEN_URL name the server itself",
	}}, nil
}

// examineSchema compares the schema with what the migrations make.
func examineSchema(ctx context.Context, a *App, _ *pgx.Conn) ([]doctor.Finding, error) {
	m, err := a.unsuitableMigrator(ctx)
	if err != nil {
		return nil, err
	}
	defer m.Close() //nolint:errcheck // nothing is lost with the connection
	drift, err := m.Verify(ctx)
	if version, ok := errors.AsType[*db.VersionError](err); ok {
		return []doctor.Finding{{Name: "schema_version", Message: version.Error(), Fix: "stem migrate plan shows what is missing, stem migrate up applies it"}}, nil
	}
	if isDenied(err) {
		a.Printer.Note("not examined: whether the schema is as the migrations make it, because this login may not read %s", db.VersionTable)
		return nil, nil
	}
	if err != nil || len(drift) == 0 {
		return nil, err
	}
	names := make([]string, 0, 3)
	for _, d := range drift[:min(len(drift), 3)] {
		names = append(names, fmt.Sprintf("%s %s is %s", d.Kind, d.Name, d.Problem))
	}
	return []doctor.Finding{{
		Name:    "schema_drift",
		Message: fmt.Sprintf("the schema differs from what the migrations make in %s: %s", counted(len(drift), "object"), strings.Join(names, "; ")),
		Fix:     "stem migrate verify lists each with its fix",
	}}, nil
}
