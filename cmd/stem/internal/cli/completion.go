package cli

import (
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
)

var shells = []string{"bash", "zsh", "fish", "powershell"}

func newCompletion(a *App) *cobra.Command {
	return standalone(&cobra.Command{
		Use:   "completion SHELL",
		Short: "Print the completion script of a shell",
		Example: `  source <(stem completion bash)
  stem completion zsh > "${fpath[1]}/_stem"
  stem completion fish > ~/.config/fish/completions/stem.fish
  stem completion powershell | Out-String | Invoke-Expression`,
		Args:      takes("SHELL"),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			shell, err := arg.ParseChoice(args[0], shells)
			if err != nil {
				return bad("SHELL", err)
			}
			root := cmd.Root()
			switch shell {
			case "bash":
				return root.GenBashCompletionV2(a.Printer.Out, true)
			case "zsh":
				return root.GenZshCompletion(a.Printer.Out)
			case "fish":
				return root.GenFishCompletion(a.Printer.Out, true)
			}
			return root.GenPowerShellCompletionWithDesc(a.Printer.Out)
		},
	})
}
