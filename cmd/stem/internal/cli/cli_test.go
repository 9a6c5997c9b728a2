package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
)

// result is what a run of the command left behind.
type result struct {
	code     int
	out, err string
}

func run(t *testing.T, environ []string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	streams := Streams{In: strings.NewReader(""), Out: &out, Err: &errs, Environ: environ}
	code := Main(append([]string{"stem"}, args...), streams, newSample)
	return result{code, out.String(), errs.String()}
}

const id = "0198f0c2-0000-7000-8000-000000000001"

// The texts are those of the bad-input catalogue.
func TestMistakesOnTheCommandLine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		row  string
		args []string
		want string
	}{
		{"1", []string{"smaple", "list", "--node", "x"}, `unknown command "smaple". Did you mean "sample"?`},
		{"1", []string{"sample", "lsit"}, `unknown command "lsit" for "stem sample". Did you mean "list"?`},
		{"1", []string{"--output", "table", "smaple", "--bogus"}, `unknown command "smaple". Did you mean "sample"?`},
		{"2", []string{"sample", "list", "--lmit", "5"}, `unknown flag --lmit for "stem sample list". Did you mean --limit?`},
		{"2", []string{"sample", "list", "--ouptut", "json"}, `unknown flag --ouptut for "stem sample list". Did you mean --output?`},
		{"3", []string{"sample", "list", "--limit", "0"}, `--limit: want an integer from 1 to 10000, got "0"`},
		{"3", []string{"sample", "list", "--limit", "-1"}, `--limit: want an integer from 1 to 10000, got "-1"`},
		{"3", []string{"sample", "list", "--limit=1e3"}, `--limit: want an integer from 1 to 10000, got "1e3"`},
		{"3", []string{"sample", "list", "--limit", "99999999"}, `--limit: want an integer from 1 to 10000, got "99999999"`},
		{"4", []string{"sample", "list", "--limit"}, `flag --limit needs a value`},
		{"5", []string{"sample", "send", "x", "--delay", "5"}, `--delay: "5" has no unit; write 5s, 2m, 1h30m or 500ms`},
		{"6", []string{"sample", "send", "x", "--delay", "-5s"}, `--delay: must be between 0 and 8760h (1 year)`},
		{"6", []string{"sample", "send", "x", "--delay", "999999h"}, `--delay: must be between 0 and 8760h (1 year)`},
		{"7", []string{"sample", "list", "--since", "yesterday"}, `--since: want RFC 3339 (2026-01-02T15:04:05Z) or a duration like 2h, got "yesterday"`},
		{"8", []string{"sample", "list", "--since", "2026-01-02T15:04:05"}, `--since: time has no zone; add Z or +01:00`},
		{"9", []string{"sample", "list", "--since", "1h", "--until", "2h"}, `--since (1h) is after --until (2h)`},
		{"10", []string{"sample", "replay", id}, `would replay 214 entries; pass --yes (stdin is not a terminal)`},
		{"11", []string{"sample", "send", "x", "--id", "abc"}, `--id: "abc" is not a job id (want a UUID, 36 characters)`},
		{"11", []string{"sample", "replay", "abc"}, `ID: "abc" is not a job id (want a UUID, 36 characters)`},
		{"13", []string{"sample", "list", "--queue", ""}, `--queue: names are 1-128 of letters, digits, _ . : / -; got ""`},
		{"13", []string{"sample", "list", "--queue", "a b"}, `--queue: names are 1-128 of letters, digits, _ . : / -; got "a b"`},
		{"13", []string{"sample", "list", "--queue", "../x"}, `--queue: names are 1-128 of letters, digits, _ . : / -; got "../x"`},
		{"16", []string{"sample", "send", "x", "--detach", "--delay", "5s"}, `--delay and --detach exclude each other`},
		{"30", []string{"sample", "list", "\xff"}, `argument 3 is not valid UTF-8`},
		{"", []string{"sample", "list", "x"}, `stem sample list takes no arguments, got "x"`},
		{"", []string{"sample", "send"}, `stem sample send needs TASK`},
		{"", []string{"sample", "replay"}, `stem sample replay needs ID`},
		{"", []string{"sample"}, `stem sample needs a command: hang, list, replay, send`},
		{"", []string{"sample", "list", "--verbose", "--log-level", "warn"}, `--verbose and --log-level exclude each other`},
		{"", []string{"sample", "send", "x", "--detach=maybe"}, `--detach: want true or false, got "maybe"`},
		{"", []string{"help", "exit-code"}, `no help about "exit-code". Did you mean "exit-codes"?`},
	}
	for _, tt := range tests {
		got := run(t, nil, tt.args...)
		first, _, _ := strings.Cut(got.err, "\n")
		if first != "stem: "+tt.want || got.code != fault.ExitUsage || got.out != "" {
			t.Errorf("row %s: %q\n got %q (%d), stdout %q\nwant %q", tt.row, tt.args, first, got.code, got.out, "stem: "+tt.want)
		}
	}
}

func TestWithJSONAnErrorIsOneObjectOnStderr(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"sample", "list", "--limit", "0", "--json"},
		{"--json", "sample", "list", "--limit", "0"},
		{"sample", "list", "--limit", "0", "--output=jsonl"},
		{"sample", "list", "-o", "json", "--limit", "0"},
		{"smaple", "--json"},
		{"sample", "list", "--json", "--bogus"},
	} {
		got := run(t, nil, args...)
		var body struct {
			Error struct{ Code, Message, Source, Hint *string }
		}
		dec := json.NewDecoder(strings.NewReader(got.err))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&body); err != nil || dec.More() {
			t.Errorf("%q: stderr %q: %v", args, got.err, err)
		}
		e := body.Error
		if e.Code == nil || e.Message == nil || e.Source == nil || e.Hint == nil || *e.Code == "" || *e.Source == "" {
			t.Errorf("%q: incomplete: %s", args, got.err)
		}
		if got.out != "" || got.code != fault.ExitUsage {
			t.Errorf("%q: stdout %q, exit %d", args, got.out, got.code)
		}
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args []string
		want result
	}{
		{[]string{"sample", "list"}, result{0, `ID                                    QUEUE    AGE
0198f0c2-0000-7000-8000-000000000001  mail     12s
0198f0c2-0000-7000-8000-000000000002  default   1h
`, ""}},
		{[]string{"sample", "list", "--queue", "mail", "-o", "name"}, result{0, id + "\n", ""}},
		{[]string{"sample", "list", "--queue", "none"}, result{0, "", "no letters\n"}},
		{[]string{"sample", "list", "--queue", "none", "--json"}, result{0, "[]\n", "no letters\n"}},
		{[]string{"sample", "list", "--queue", "none", "-q"}, result{0, "", ""}},
		{[]string{"sample", "replay", id, "--dry-run"}, result{0, "", "would replay 214 entries\n  " + id + "\n  … and 213 more\n"}},
		{[]string{"sample", "replay", id, "--yes", "-o", "jsonl"}, result{
			0,
			`{"id":"` + id + `","queue":"mail","ageSeconds":12.3,"age":"12s","diedAt":"2026-01-02T15:04:05Z"}` + "\n", "",
		}},
	} {
		if diff := cmp.Diff(tt.want, run(t, nil, tt.args...), cmp.AllowUnexported(result{})); diff != "" {
			t.Errorf("%q: %s", tt.args, diff)
		}
	}
}

func TestColourIsForcedFromOutside(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		environ, args []string
		colour        bool
	}{
		{nil, nil, false},
		{[]string{"CLICOLOR_FORCE=1"}, nil, true},
		{[]string{"CLICOLOR_FORCE=1", "NO_COLOR=1"}, nil, false},
		{nil, []string{"--color", "always"}, true},
		{[]string{"CLICOLOR_FORCE=1"}, []string{"--color=never"}, false},
	} {
		got := run(t, tt.environ, append([]string{"sample", "list"}, tt.args...)...)
		if strings.Contains(got.out, "\x1b[") != tt.colour {
			t.Errorf("%q %q: %q", tt.environ, tt.args, got.out)
		}
	}
}

func TestAQuestionIsAskedOnATerminal(t *testing.T) {
	t.Parallel()
	effect := Effect{Verb: "purge", Count: 1, Noun: "job", Sample: []string{"a\x1b[2J"}}
	for answer, want := range map[string]bool{"y\n": true, "YES\n": true, "n\n": false, "\n": false, "": false} {
		var errs bytes.Buffer
		a := newApp(nil, Streams{In: strings.NewReader(answer), Out: &bytes.Buffer{}, Err: &errs})
		a.interactive = true
		ok, err := a.Confirm(t.Context(), Change{}, effect)
		if ok != want || (err == nil) != want || !want && fault.Exit(err) != fault.ExitNotFound {
			t.Errorf("%q: %t, %v", answer, ok, err)
		}
		if got := errs.String(); got != "This would purge 1 job:\n  a\\x1b[2J\nGo ahead? [y/N] " {
			t.Errorf("asked %q", got)
		}
	}
	a := newApp(nil, Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}})
	if ok, err := a.Confirm(t.Context(), Change{Yes: true}, Effect{Verb: "purge"}); ok || err != nil {
		t.Errorf("nothing to do: %t, %v", ok, err)
	}
}

// Not parallel: the signal reaches every command that runs in this process.
func TestASignalEndsTheCommand(t *testing.T) {
	var errs bytes.Buffer
	out := onWrite(func() {
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			t.Error(err)
		}
	})
	code := Main([]string{"stem", "sample", "hang"}, Streams{In: strings.NewReader(""), Out: out, Err: &errs}, newSample)
	if code != fault.ExitInterrupted || errs.String() != "stem: interrupted\n" {
		t.Errorf("exit %d, stderr %q", code, errs.String())
	}
}

type onWrite func()

func (f onWrite) Write(b []byte) (int, error) {
	f()
	return len(b), nil
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	got := run(t, nil, "sample", "hang", "--timeout", "1ms")
	if got.code != fault.ExitTryLater || !strings.HasPrefix(got.err, "stem: gave up: the time limit passed\n") {
		t.Errorf("got %+v", got)
	}
}

func TestADatabaseThatIsNotThere(t *testing.T) {
	t.Parallel()
	connect := func(a *App) *cobra.Command {
		return &cobra.Command{Use: "connect", Example: "x", Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := a.Pool(cmd.Context())
			return err
		}}
	}
	for _, tt := range []struct {
		environ []string
		code    int
		want    string
	}{
		{nil, 78, "stem: no database: set STEM_DATABASE_URL, STEM_DATABASE_URL_FILE or --database-url file:PATH\n"},
		{
			[]string{"STEM_DATABASE_URL=postgres://app:s3cret@127.0.0.1:1/shop"},
			69,
			"stem: database unreachable: connection refused (127.0.0.1:1, user app, database shop)\n",
		},
		{
			[]string{"STEM_DATABASE_URL=postgres://app@/shop?host=/nowhere"},
			69,
			"stem: database unreachable: no such file or directory (/nowhere, user app, database shop)\n",
		},
	} {
		var out, errs bytes.Buffer
		code := Main([]string{"stem", "connect"}, Streams{In: strings.NewReader(""), Out: &out, Err: &errs, Environ: tt.environ}, connect)
		if code != tt.code || errs.String() != tt.want {
			t.Errorf("%q: exit %d, stderr %q, want %q", tt.environ, code, errs.String(), tt.want)
		}
	}
}

func TestAPanicIsAnInternalFailure(t *testing.T) {
	t.Parallel()
	panics := func(*App) *cobra.Command {
		return &cobra.Command{Use: "panics", RunE: func(*cobra.Command, []string) error { panic("boom") }}
	}
	var errs bytes.Buffer
	code := Main([]string{"stem", "panics"}, Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &errs}, panics)
	if code != fault.ExitInternal || !strings.Contains(errs.String(), "stem: panic: boom\n") {
		t.Errorf("exit %d, stderr %q", code, errs.String())
	}
}

func TestAClosedPipeIsNoFailure(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	code := Main([]string{"stem", "sample", "list"}, Streams{In: strings.NewReader(""), Out: w, Err: &errs}, newSample)
	if code != 0 || errs.Len() > 0 {
		t.Errorf("exit %d, stderr %q", code, errs.String())
	}
}

// everyCommand visits the tree below the root.
func everyCommand(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, c := range cmd.Commands() {
		everyCommand(c, visit)
	}
}

func TestEveryCommandHasExamplesAndChecksItsArguments(t *testing.T) {
	t.Parallel()
	a := newApp(nil, Streams{In: strings.NewReader(""), Out: &bytes.Buffer{}, Err: &bytes.Buffer{}})
	root := newRoot(a, nil)
	everyCommand(root, func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		if isTopic(cmd) {
			if cmd.Long == "" || cmd.Short == "" {
				t.Errorf("topic %s is empty", path)
			}
			return
		}
		if !strings.HasPrefix(helpText(cmd), "Examples:\n  ") {
			t.Errorf("the help of %q does not start with examples", path)
		}
		if cmd.Args == nil {
			t.Errorf("%q does not check its arguments", path)
		}
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%q: Short is %q, want a phrase without a full stop", path, cmd.Short)
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%q: example line %q is not indented by two", path, line)
			}
		}
	})
}

func TestInterpret(t *testing.T) {
	t.Parallel()
	a := newApp(nil, Streams{})
	if err := a.interpret(errors.New(`required flag(s) "spec" not set`)); fault.Exit(err) != fault.ExitUsage {
		t.Errorf("a missing flag exits with %d", fault.Exit(err))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.signals = ctx
	err := a.interpret(fault.New(fault.ExitPartial, "partial", "stopped at 120 of 214"))
	if fault.Exit(err) != fault.ExitInterrupted || err.Error() != "stopped at 120 of 214" {
		t.Errorf("got %v (%d)", err, fault.Exit(err))
	}
}
