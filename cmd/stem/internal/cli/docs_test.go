package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// documented lists the command lines in the documents that begin with stem, each without what follows a pipe.
func documented(text string) []string {
	var lines []string
	for _, block := range shellBlock.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", " ")) {
			line = strings.TrimSpace(line)
			line = strings.TrimPrefix(line, "go run ./cmd/")
			for len(line) > 0 && regexp.MustCompile(`^[A-Z_]+=\S* `).MatchString(line) { // STEM_LEASE=1m stem …
				_, line, _ = strings.Cut(line, " ")
			}
			line, _, _ = strings.Cut(line, " | ")
			if strings.HasPrefix(line, "stem ") {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// words splits a command line as a shell does, as far as the documents need it: blanks and quotes.
func words(line string) []string {
	var list []string
	for _, w := range regexp.MustCompile(`(?:'[^']*'|"[^"]*"|[^\s'"])+`).FindAllString(line, -1) {
		list = append(list, strings.NewReplacer("'", "", `"`, "").Replace(w))
	}
	return list
}

// checkLine parses a command line and checks its arguments, and runs nothing.
func checkLine(line string) error {
	a := newApp(nil, Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}})
	a.args = words(line)[1:]
	cmd, rest, err := newRoot(a, nil).Find(a.args)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return a.flagError(cmd, err)
	}
	args := cmd.Flags().Args()
	if err := cmd.ValidateArgs(args); err != nil {
		return err
	}
	if at := cmd.ArgsLenAtDash(); at >= 0 && len(args) > at && args[at] == "stem" { // stem dev -- stem …
		return checkLine(strings.Join(args[at:], " "))
	}
	return nil
}

// What README and guides say to type is a command, with flags and values that it takes.
func TestDocumentedCommandsExist(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../../../docs/guides/*.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range append(files, "../../../../README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range documented(string(text)) {
			n++
			if err := checkLine(line); err != nil {
				t.Errorf("%s: %s: %v", filepath.Base(name), line, err)
			}
		}
	}
	if n < 4 {
		t.Errorf("only %d command lines were found", n)
	}
}

// So are the examples of every command's own help.
func TestExamplesAreCommands(t *testing.T) {
	t.Parallel()
	a := newApp(nil, Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}})
	everyCommand(newRoot(a, nil), func(cmd *cobra.Command) {
		for _, line := range documented("```sh\n" + cmd.Example + "\n```") {
			line, _, _ = strings.Cut(line, " > ")
			line, _, _ = strings.Cut(line, "   ") // the root explains beside its examples
			if err := checkLine(strings.ReplaceAll(line, " ID", " 0198f0c2-0000-7000-8000-000000000001")); err != nil {
				t.Errorf("example of %q: %s: %v", cmd.CommandPath(), line, err)
			}
		}
	})
}

func TestWrongLinesAreFound(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"stem quue ls":                             `unknown command "quue"`,
		"stem queue ls --wtach":                    "unknown flag --wtach",
		"stem queue pause":                         "stem queue pause needs NAME",
		"stem job ls --limit 0":                    "want an integer from 1 to 10000",
		"stem dev -- stem enqueue hello --wiat":    "unknown flag --wiat",
		`stem enqueue hello --args '{"a": "b c"}'`: "",
	} {
		err := checkLine(line)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", line, err, want)
		}
	}
	got := documented("```sh\nexport A=1\nSTEM_LEASE=1m stem config \\\n  show | cat\ngo run ./cmd/stem dev\n```\n\n```go\nstem\n```\nstem no\n")
	if want := []string{"stem config    show", "stem dev"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
