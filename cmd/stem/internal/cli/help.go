package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/config"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/nearest"
)

// help prints a command's help, examples first: most people came for one.
func help(cmd *cobra.Command, _ []string) {
	fmt.Fprint(cmd.OutOrStdout(), helpText(cmd))
}

func helpText(cmd *cobra.Command) string {
	if isTopic(cmd) {
		return cmd.Long
	}
	var b strings.Builder
	section := func(title, body string) {
		if body = strings.Trim(body, "\n"); body != "" {
			fmt.Fprintf(&b, "%s:\n%s\n\n", title, body)
		}
	}
	section("Examples", cmd.Example)
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	b.WriteString(strings.TrimSpace(about) + "\n\n")
	section("Usage", "  "+cmd.UseLine())
	section("Commands", commandList(slices.Collect(available(cmd))))
	section("Flags", cmd.LocalNonPersistentFlags().FlagUsages())
	if cmd.HasParent() {
		inherited := cmd.InheritedFlags()
		inherited.SortFlags = false // in the order in which they were thought of, as at the root
		section("Global flags", inherited.FlagUsages())
		return strings.TrimSuffix(b.String(), "\n")
	}
	section("Global flags", cmd.PersistentFlags().FlagUsages())
	section("Help topics", commandList(slices.DeleteFunc(slices.Clone(cmd.Commands()),
		func(c *cobra.Command) bool { return !isTopic(c) })))
	b.WriteString("\"stem COMMAND --help\" tells more about a command, \"stem help TOPIC\" about a topic.\n")
	return b.String()
}

func commandList(commands []*cobra.Command) string {
	var b strings.Builder
	for _, c := range commands {
		fmt.Fprintf(&b, "  %-14s %s\n", c.Name(), c.Short)
	}
	return b.String()
}

// isTopic tells whether cmd is a page of help that cannot be run.
func isTopic(cmd *cobra.Command) bool { return !cmd.Runnable() && !cmd.HasSubCommands() }

func newHelp() *cobra.Command {
	return standalone(&cobra.Command{
		Use:     "help [COMMAND|TOPIC]",
		Short:   "Explain a command or a topic",
		Example: "  stem help exit-codes\n  stem help config show",
		Args:    cobra.ArbitraryArgs, // a path of commands, checked below
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if at, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
				for _, c := range at.Commands() {
					names = append(names, c.Name())
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			at, rest, err := cmd.Root().Find(args)
			if err != nil {
				return err
			}
			if len(rest) == 0 {
				at.InitDefaultHelpFlag() // so that it reads as with --help
				return at.Help()
			}
			text := fmt.Sprintf("no help about %q", strings.Join(args, " "))
			names := func(yield func(string) bool) {
				for _, c := range at.Commands() {
					if !yield(c.Name()) {
						return
					}
				}
			}
			if near, ok := nearest.Name(rest[0], names); ok {
				text += fmt.Sprintf(". Did you mean %q?", near)
			}
			return fault.Usage("unknown_topic", "%s", text).About("command line").WithHint("see stem --help")
		},
	})
}

// topics are the pages of help that belong to no command.
func topics() []*cobra.Command {
	return []*cobra.Command{
		{Use: "exit-codes", Short: "What the exit codes mean", Long: fault.ExitHelp()},
		{Use: "output", Short: "Formats of results, and what may be relied on", Long: outputHelp},
		{Use: "environment", Short: "Variables that stem reads", Long: environmentHelp()},
		{Use: "tls", Short: "How connections are secured", Long: tlsHelp},
	}
}

const outputHelp = `Results go to stdout, everything that is said about them to stderr.

  --output table   aligned columns, shortened to the width of a terminal; plain in a pipe
  --output wide    all columns
  --output json    an array, or an object for a single result; --json is short for it
  --output jsonl   an object on each line, written as the rows come
  --output yaml    the same values as JSON
  --output csv     RFC 4180 with a header; the columns are the keys of the JSON
  --output name    the id or name alone, one on each line

JSON is stable: keys are added, never renamed or removed. Times are RFC 3339 in UTC; a duration is a number of seconds
beside its text ("ageSeconds": 12.3, "age": "12s"); ids are strings; what is absent is null. A list that is empty says so
on stderr and is no failure. With --json an error is one JSON object on stderr, a warning one with the key "warning", and
stdout is empty or complete.

Colour is used on a terminal only, and never alone. --color always|never decides; else NO_COLOR switches it off,
CLICOLOR_FORCE on, and TERM=dumb off.
`

const tlsHelp = `A server on the network is talked to over TLS that is verified (sslmode=verify-full), or not at all. Nothing decides but the URL
and these variables; PGSSLMODE, PGPASSWORD, ~/.postgresql, ~/.pgpass and services are not read.

  STEM_TLS_CA_CERT         PEM file of the authorities that may sign the server's certificate; "system" (the default)
                           is those of the operating system
  STEM_TLS_CLIENT_CERT     PEM file of the client's certificate; its common name must be the role
  STEM_TLS_CLIENT_KEY      its key, readable by its owner alone, not encrypted
  STEM_TLS_NEGOTIATION     postgres (the default), direct (TLS at once: needs PostgreSQL 17), or auto
  STEM_TLS_ALLOW_INSECURE  true reports what is wrong with certificates and goes on; it never allows plain text by itself
  STEM_TLS_I_UNDERSTAND    1 allows that even with STEM_ENV=production

They say what sslrootcert, sslcert, sslkey and sslnegotiation say in the URL; where both are given they must agree. The files
are read again when they change. With a password the URL means channel_binding=require and require_auth=scram-sha-256,
with a client's certificate sslcertmode=require, unless it says otherwise; behind a pooler say channel_binding=prefer.

On loopback a URL without sslmode tries TLS and goes on without; a Unix socket has none. "stem doctor tls" explains a
handshake, scripts/security/generate_tls_assets.sh makes certificates.
`

func environmentHelp() string {
	var b strings.Builder
	b.WriteString(`A flag wins over the environment, the environment over stem.yaml (in the working directory, then in
$XDG_CONFIG_HOME/stem, then in /etc/stem; or the file of --config), that over the default. "stem config show" prints every
value and where it came from.

Secrets may stand in files: STEM_DATABASE_URL_FILE names one that only its owner may read. systemd credentials named
database-url and listen-url are found under $CREDENTIALS_DIRECTORY. A variable that nobody knows is a warning, an error
with STEM_STRICT_ENV=true, and always an error when it begins with STEM_SIGNING_, STEM_ENCRYPTION_ or STEM_TLS_.

Settings, with their keys in stem.yaml:

`)
	for _, k := range config.Keys() {
		fmt.Fprintf(&b, "  %-28s %-22s %s\n", k.Env, k.Key, k.Value)
	}
	b.WriteString("\nAll variables that mean something:\n\n")
	for chunk := range slices.Chunk(config.Environment(), 3) {
		fmt.Fprintf(&b, "  %s\n", strings.Join(chunk, "  "))
	}
	return b.String()
}
