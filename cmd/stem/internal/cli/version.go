package cli

import (
	"cmp"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/output"
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
}

func thisBuild() build {
	b := build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
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
}}

func absentIfEmpty(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func newVersion(a *App) *cobra.Command {
	return standalone(&cobra.Command{
		Use:     "version",
		Short:   "Print the version of this binary",
		Example: "  stem version\n  stem version --json",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			return output.One(a.Printer, &buildSheet, thisBuild())
		},
	})
}
