package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/doctor"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/db"
)

func newHealth(a *App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Check what Stem needs: the database, TLS, the schema, signing",
		Long: "Check what Stem needs, for pipelines and probes: the database answers and will do, TLS is verified, the schema fits this\n" +
			"binary, signing is set up. All settings and the files that they name are checked before anything is dialled. Exits 70\n" +
			"when something is wrong.\n\n" +
			"With --allow-insecure, or STEM_TLS_ALLOW_INSECURE=true, a certificate that would be refused is reported, and the other\n" +
			"checks go on.",
		Example: "  stem health\n  stem health --json | jq -r '.[] | select(.status != \"ok\").message'\n  stem health --allow-insecure",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := a.Config.RequireDatabase(); err != nil {
				return err
			}
			return a.reportHealth(a.health(cmd.Context()))
		},
	}
	cmd.Flags().Bool(insecureFlag, false, "this once, report what is wrong with certificates and go on")
	return cmd
}

// insecureFlag is STEM_TLS_ALLOW_INSECURE for one run.
const insecureFlag = "allow-insecure"

// healthSheet has the keys of the Dart system.
func (a *App) healthSheet() *output.Sheet[doctor.Check] {
	return &output.Sheet[doctor.Check]{Noun: "check", Columns: []output.Column[doctor.Check]{
		{Header: "Component", Value: func(c doctor.Check) any { return c.Component }, Name: true},
		{Header: "Status", Value: func(c doctor.Check) any { return c.Status }},
		{Header: "Message", Value: func(c doctor.Check) any { return c.Message }},
		{Header: "Context", Data: true, Value: func(c doctor.Check) any { return a.healthContext(c) }},
	}}
}

func (a *App) healthContext(c doctor.Check) json.RawMessage {
	context := map[string]any{"hints": append([]string{}, c.Hints...)}
	if c.Component == "database" || c.Component == "tls" {
		ca, client := a.Config.Database.TLSFiles()
		context["tls"] = map[string]any{
			"caCertificate": cmp.Or(ca, "system"), "clientCertificate": cmp.Or(client, "not provided"), "allowInsecure": a.Config.Insecure,
		}
	}
	text, _ := json.Marshal(context) // strings and one bool: cannot fail
	return text
}

func (a *App) reportHealth(checks []doctor.Check) error {
	var failed []string
	for _, c := range checks {
		if c.Status == doctor.Failed {
			failed = append(failed, c.Component)
		}
	}
	if err := a.printHealth(checks); err != nil {
		return err
	}
	if len(failed) > 0 {
		return fault.New(fault.ExitInternal, "unhealthy", "unhealthy: %s", strings.Join(failed, ", ")).About("health")
	}
	return nil
}

func (a *App) printHealth(checks []doctor.Check) error {
	if !a.Printer.ForPeople() {
		return output.List(a.Printer, a.healthSheet(), output.Rows(checks))
	}
	marks := map[string]string{doctor.OK: "[ok]  ", doctor.Failed: "[fail]", doctor.Skipped: "[-]   "}
	for _, c := range checks {
		if err := a.Printer.Prose(fmt.Sprintf("%s %s: %s", marks[c.Status], c.Component, c.Message)); err != nil {
			return err
		}
		for _, hint := range c.Hints {
			if err := a.Printer.Prose("       hint: " + hint); err != nil {
				return err
			}
		}
	}
	return nil
}

// health goes through the components. What needs a connection is skipped without one.
func (a *App) health(ctx context.Context) []doctor.Check {
	signing := doctor.Check{Component: "signing", Status: doctor.OK, Message: a.signing()}
	pool, err := a.sharedPool(ctx, PoolOptions{Name: "stem/health/" + hostname(a.Config), MaxConns: 1, AnyKind: true})
	if err != nil {
		broken := failed("database", err)
		if f, ok := errors.AsType[*fault.Error](err); ok && strings.HasPrefix(f.Code, "tls_") {
			broken.Component = "tls"
			return []doctor.Check{skipped("database", "not reached: see tls"), broken, skipped("schema", "the database was not reached"), signing}
		}
		return unreached(broken, signing)
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return unreached(failed("database", fault.From(err, a.database.Target())), signing)
	}
	database, tls := a.databaseHealth(ctx, conn.Conn()), a.tlsHealth(conn.Conn())
	conn.Release()
	return []doctor.Check{database, tls, a.schemaHealth(ctx), signing}
}

func unreached(database, signing doctor.Check) []doctor.Check {
	const why = "the database was not reached"
	return []doctor.Check{database, skipped("tls", why), skipped("schema", why), signing}
}

func failed(component string, err error) doctor.Check {
	c := doctor.Check{Component: component, Status: doctor.Failed, Message: err.Error()}
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Hint != "" {
		c.Hints = []string{f.Hint}
	}
	return c
}

func skipped(component, why string) doctor.Check {
	return doctor.Check{Component: component, Status: doctor.Skipped, Message: why}
}

func (a *App) databaseHealth(ctx context.Context, conn *pgx.Conn) doctor.Check {
	began := time.Now()
	var recovering bool
	if err := conn.QueryRow(ctx, "select pg_catalog.pg_is_in_recovery()").Scan(&recovering); err != nil {
		return failed("database", fault.From(err, a.database.Target()))
	}
	took := time.Since(began)
	if err := a.suitable(ctx, conn.PgConn()); err != nil {
		return failed("database", err)
	}
	if recovering {
		return failed("database", fault.From(&pgconn.PgError{Code: "25006"}, a.database.Target()))
	}
	version, _, _ := strings.Cut(conn.PgConn().ParameterStatus("server_version"), " ")
	return doctor.Check{
		Component: "database", Status: doctor.OK,
		Message: fmt.Sprintf("PostgreSQL %s at %s, answered in %s", version, a.database.Target(), arg.Precise(took)),
	}
}

func (a *App) tlsHealth(conn *pgx.Conn) doctor.Check {
	c := doctor.Check{Component: "tls", Status: doctor.OK}
	s := doctor.Secured(conn)
	switch {
	case s.Socket:
		c.Message = "not needed on a Unix socket"
	case s.Protocol == "":
		c.Message = "none"
		if host, plain := a.database.Exposed(); plain && host != "" {
			c.Hints = []string{"everything goes to " + host + " in the clear"}
		}
	default:
		c.Message = fmt.Sprintf("%s, %s, certificate of %s until %s", s.Protocol, s.Cipher, s.Leaf.Subject, s.Leaf.NotAfter.UTC().Format(time.DateOnly))
		if a.database.Mode() != "verify-full" {
			c.Message += ", not verified (sslmode=" + a.database.Mode() + ")"
		}
	}
	if a.Config.Insecure && s.Protocol != "" {
		c.Message += "; STEM_TLS_ALLOW_INSECURE is on: certificates are not enforced"
	}
	a.told.Range(func(_, message any) bool {
		c.Status = doctor.Failed
		c.Hints = append(c.Hints, fmt.Sprint(message), "stem doctor tls tells more")
		return true
	})
	for _, f := range doctor.Exposure(a.database, a.Config.Origin("database_url"), s) {
		if strings.HasSuffix(f.Name, "_expires") {
			c.Hints = append(c.Hints, f.Message+"; "+f.Fix)
		}
	}
	return c
}

func (a *App) schemaHealth(ctx context.Context) doctor.Check {
	m, err := a.migrator(ctx, "")
	if err != nil {
		return failed("schema", fault.From(err, a.database.Target()))
	}
	defer m.Close() //nolint:errcheck // nothing is lost with the connection
	current, newest, err := m.Versions(ctx)
	switch {
	case isDenied(err):
		return doctor.Check{
			Component: "schema", Status: doctor.OK, Message: "this login, a member of none of Stem's roles, may not ask for its version",
			Hints: []string{fmt.Sprintf("stem roles print ROLE --to %s", pgx.Identifier{a.database.Target().User}.Sanitize())},
		}
	case err != nil:
		return failed("schema", fault.From(err, a.database.Target()))
	case current != newest:
		return failed("schema", &db.VersionError{Current: current, Newest: newest})
	}
	return doctor.Check{Component: "schema", Status: doctor.OK, Message: fmt.Sprintf("at version %d, which this binary needs", current)}
}

func isDenied(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.Code == "42501"
}
