package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stemqueue/stem/internal/pgtest"
)

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){"stem": main, "nothing": func() {}})
}

// tests runs the tests and stops the database that they shared.
type tests struct{ m *testing.M }

func (t tests) Run() int { return pgtest.Run(t.m) }

// The scripts run the real program in an environment without any STEM_ variable; "database" gives one of its own to a script.
// STEM_UPDATE_SCRIPTS=1 rewrites the expectations that cmp finds different.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("STEM_UPDATE_SCRIPTS") != "",
		Setup:               setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": exitCode, "database": database, "sql": sql, "until": until, "work": work, "scrub": scrub, "terminate": terminate,
			"appears": appears, "says": says, "tls": tls, "standing": standing, "login": login,
		},
		Condition: func(name string) (bool, error) {
			if name == "private" { // a server can be started
				return pgtest.Server(t).BinDir != "", nil
			}
			return false, errors.New("unknown condition " + name)
		},
	})
}

// exitCode runs a program and compares its exit code: code 64 stem wroker.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code NUMBER PROGRAM ARGUMENTS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // ts.Exec does not wrap
		got = exit.String()
	} else if err != nil {
		ts.Fatalf("%s: %v", args[1], err)
	}
	if want := args[0]; got != want && got != "exit status "+want {
		ts.Fatalf("%s, want %s", got, want)
	}
}

// says runs a program until a line of its stdout matches, for what gives up soon when the database is slow, as completion does:
// says '^mail$' stem __complete ...
func says(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: says REGEXP PROGRAM ARGUMENTS...")
	}
	line, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	poll(ts, "nothing like "+args[0], func() bool {
		ts.Check(ts.Exec(args[1], args[2:]...))
		return line.MatchString(ts.ReadFile("stdout"))
	})
}

// SIGPIPE would kill the program, which must instead end quietly, its connections closed.
func TestAClosedStdoutIsNoFailure(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "stem", "config", "show")
	cmd.Stdout, cmd.Stderr, cmd.Env = w, &stderr, []string{"PATH=" + os.Getenv("PATH"), "GOCOVERDIR=" + os.Getenv("GOCOVERDIR")}
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Errorf("%v, stderr %q", err, stderr.String())
	}
}

// TestHelpIsFast: help builds its text and nothing else. Measured against the same binary that ends at once: with a database, a
// configuration file or a network in between it is a multiple. The shortest of many runs is one that nobody disturbed.
func TestHelpIsFast(t *testing.T) {
	help, nothing := time.Hour, time.Hour
	for n := 0; n < 7 || n < 100 && help > 4*nothing; n++ {
		help, nothing = min(help, elapsed(t, "stem", "--help")), min(nothing, elapsed(t, "nothing"))
	}
	if help > 4*nothing {
		t.Errorf("help takes %s, more than four times the %s of a start", help, nothing)
	}
}

func elapsed(t *testing.T, name string, args ...string) time.Duration {
	t.Helper()
	start := time.Now()
	if err := exec.CommandContext(t.Context(), name, args...).Run(); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

// terminate sends SIGTERM, or SIGHUP or SIGQUIT when that is named, to the programs in the background, which kill cannot.
func terminate(ts *testscript.TestScript, _ bool, args []string) {
	sig := syscall.SIGTERM
	if len(args) > 0 {
		known := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "QUIT": syscall.SIGQUIT}
		if sig = known[args[0]]; sig == 0 {
			ts.Fatalf("usage: terminate [HUP|QUIT]")
		}
	}
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(sig))
	}
}
