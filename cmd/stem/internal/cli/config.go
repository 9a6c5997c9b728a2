package cli

import (
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/config"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
)

func newConfig(a *App) *cobra.Command {
	return group("config", "Look at the settings", "  stem config show", newConfigShow(a))
}

var settingSheet = output.Sheet[config.Value]{Noun: "setting", Columns: []output.Column[config.Value]{
	{Header: "Key", Value: func(v config.Value) any { return v.Key }, Name: true},
	{Header: "Value", Value: func(v config.Value) any { return v.Value }},
	{Header: "Origin", Value: func(v config.Value) any { return v.Origin }, Tone: func(v config.Value) output.Tone {
		if v.Origin == config.Default || v.Origin == config.Unset {
			return output.Faint
		}
		return output.Plain
	}},
	{Header: "Variable", Value: func(v config.Value) any { return v.Env }, Wide: true},
}}

func newConfigShow(a *App) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Print every setting, its value and where it came from",
		Long: "Print every setting, its value and where it came from. Secrets are redacted. The settings are checked as for\n" +
			"any other command, but nothing is dialled.",
		Example: "  stem config show\n  stem config show --json\n  STEM_LEASE=1m stem config show --output wide",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			return output.List(a.Printer, &settingSheet, output.Rows(a.Config.Values()))
		},
	}
}
