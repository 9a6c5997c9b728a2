package cli

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/db"
)

// version is set by the linker: -ldflags "-X …/cmd/stem/internal/cli.version=v1.2.3". Without it the version of the
// module stands in.
var version string

// build is what is known of this binary.
type build struct {
	Version  string
	Commit   string // "" when it was built outside of a repository
	Modified bool   // there were changes on top of the commit
	Time     string // of the commit
	Go       string
	Platform string
	Schema   int64  // that this binary knows
	Database *int64 // the version that the database is at; nil when that is not known
}

func thisBuild() build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Schema: db.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "(devel)" {
			b.Version = cmp.Or(b.Version, info.Main.Version)
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.time":
				b.Time = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	b.Version = cmp.Or(b.Version, "dev")
	return b
}

var buildSheet = output.Sheet[build]{Noun: "version", Columns: []output.Column[build]{
	{Header: "Version", Value: func(b build) any { return b.Version }, Name: true},
	{Header: "Commit", Value: func(b build) any { return absentIfEmpty(b.Commit) }},
	{Header: "Modified", Value: func(b build) any { return b.Modified }, Data: true},
	{Header: "Commit time", Value: func(b build) any { return absentIfEmpty(b.Time) }},
	{Header: "Go", Value: func(b build) any { return b.Go }},
	{Header: "Platform", Value: func(b build) any { return b.Platform }},
	{Header: "Schema", Value: func(b build) any { return b.Schema }},
	{Header: "Database schema", Value: func(b build) any { return b.Database }},
}}

func absentIfEmpty(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func newVersion(a *App) *cobra.Command {
	return standalone(&cobra.Command{
		Use:   "version",
		Short: "Print the version of this binary, of its schema and of the database's",
		Long: "Print the version of this binary, the version of the schema that it knows, and the one that the database is at: 0 without\n" +
			"a schema, nothing when no database is configured or it does not answer within a second. It never fails for that.",
		Example: "  stem version\n  stem version --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := thisBuild(), error(nil)
			if b.Database, err = a.databaseVersion(cmd); err != nil && !errors.Is(err, errUnconfigured) {
				a.Printer.Note("the version of the database is not known: %s", fault.From(err, a.database.Target()))
			}
			return output.One(a.Printer, &buildSheet, b)
		},
	})
}

func (a *App) databaseVersion(cmd *cobra.Command) (*int64, error) {
	if a.quietConfig(cmd) != nil {
		return nil, errUnconfigured // what is wrong with the settings, other commands say
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), patience)
	defer cancel()
	m, err := a.migrator(ctx, "")
	if err != nil {
		return nil, err
	}
	defer m.Close() //nolint:errcheck // nothing is lost with the connection
	current, _, err := m.Versions(ctx)
	if err != nil {
		return nil, err
	}
	return &current, nil
}
