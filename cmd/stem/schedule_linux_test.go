package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/internal/pgtest"
)

// applying is a database with the schedule "nightly", and files to apply to it.
type applying struct {
	url   string // of a login with all roles
	owner *pgxpool.Pool
	dir   string
}

func newApplying(t *testing.T) *applying {
	t.Helper()
	url := pgtest.Database(t)
	a := &applying{url: pgtest.Login(t, url), owner: pgtest.Open(t, url), dir: t.TempDir()}
	for name, text := range map[string]string{
		"first.yaml": "nightly: {task: report, cron: 0 2 * * *}\n",
		"mine.yaml":  "hourly: {task: sweep, every: 1h}\nnightly: {task: report, cron: 0 3 * * *}\n",
		"yours.yaml": "nightly: {task: report, cron: 0 4 * * *}\n",
	} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.apply(t, "first.yaml")
	return a
}

func (a *applying) command(t *testing.T, file string, more ...string) *exec.Cmd {
	t.Helper()
	return stemCommand(t, a.url, append([]string{"schedule", "apply", "-f", filepath.Join(a.dir, file)}, more...)...)
}

func (a *applying) apply(t *testing.T, file string) {
	t.Helper()
	if out, err := a.command(t, file, "--yes").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// stale fails unless a command ended with 75, said why, and left everything as the other had made it.
func (a *applying) stale(t *testing.T, err error, said, want string) {
	t.Helper()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 75 {
		t.Errorf("got %v, want exit status 75; said %q", err, said)
	}
	if message := `stem: schedule "nightly" changed since you read it (version 2, yours 1); nothing was changed`; !strings.Contains(said, message) {
		t.Errorf("said %q, want %q", said, message)
	}
	if got := labtest.One[string](t, a.owner, "select string_agg(id || ' ' || version || ' ' || spec, ', ') from stem.schedules"); got != want {
		t.Errorf("the table has %s, want %s", got, want)
	}
}

// Between the plan that is shown and the answer, somebody else applies another file: what was shown is not what would be done any more.
func TestAScheduleThatChangedWhileTheQuestionWasAsked(t *testing.T) {
	t.Parallel()
	a := newApplying(t)
	ours, theirs := pseudoTerminal(t)
	cmd := a.command(t, "mine.yaml")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	var said bytes.Buffer
	readUntil := func(words string) bool {
		part := make([]byte, 4096)
		for !strings.Contains(said.String(), words) {
			n, err := ours.Read(part)
			said.Write(part[:n])
			if err != nil {
				return false // the terminal of a process that is gone
			}
		}
		return true
	}
	if !readUntil("Go ahead? [y/N] ") {
		t.Fatalf("no question in %q", said.String())
	}
	for _, line := range []string{`+ hourly  task sweep on queue default: {"every":"1h"}`, "~ nightly", `spec: {"cron":"0 2 * * *"} → {"cron":"0 3 * * *"}`, "This would apply 2 changes:"} {
		if !strings.Contains(said.String(), line) {
			t.Errorf("no %q in %q", line, said.String())
		}
	}
	a.apply(t, "yours.yaml")
	if _, err := ours.WriteString("y\n"); err != nil {
		t.Fatal(err)
	}
	readUntil("\x00") // to the end, or the program could not say goodbye
	a.stale(t, cmd.Wait(), said.String(), `nightly 2 {"cron":"0 4 * * *"}`)
}

// The row is locked by somebody who commits a change while the command waits for it.
func TestAScheduleThatChangesWhileItIsApplied(t *testing.T) {
	t.Parallel()
	a := newApplying(t)
	tx, err := a.owner.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), "update stem.schedules set version = version + 1"); err != nil {
		t.Fatal(err)
	}
	cmd := a.command(t, "mine.yaml", "--yes")
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const waits = "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%apply_schedules%')"
	for deadline := time.Now().Add(3 * time.Minute); !labtest.One[bool](t, a.owner, waits); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody waits for the row")
		}
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.stale(t, cmd.Wait(), said.String(), `nightly 2 {"cron":"0 2 * * *"}`)
}
