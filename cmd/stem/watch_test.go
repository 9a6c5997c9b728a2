package main

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/pgtest"
)

// watching is a list that runs with --watch.
type watching struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func stemCommand(t *testing.T, url string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "stem", args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GOCOVERDIR=" + os.Getenv("GOCOVERDIR"), "STEM_DATABASE_URL=" + url, "NO_COLOR=1"}
	return cmd
}

// until reads lines until one holds all the words.
func (w *watching) until(t *testing.T, words ...string) string {
	t.Helper()
	for w.lines.Scan() {
		found := true
		for _, word := range words {
			found = found && strings.Contains(w.lines.Text(), word)
		}
		if found {
			return w.lines.Text()
		}
	}
	t.Fatalf("the output ended without %q: %v", words, w.lines.Err())
	return ""
}

// interrupt is Ctrl-C, after which the exit code is that of an interrupted command.
func (w *watching) interrupt(t *testing.T) {
	t.Helper()
	if err := w.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err := w.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 130 {
		t.Errorf("got %v, want exit status 130", err)
	}
}

func enqueue(t *testing.T, pool *pgxpool.Pool, queue string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), "select stem.enqueue('t', queue => $1)", queue); err != nil {
		t.Fatal(err)
	}
}

// Off a terminal every list appends what is new or changed, as JSON lines, and repeats nothing.
func TestWatchAppendsJSONLines(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"queue", "ls", "--watch", "--interval", "100ms"},
		{"job", "ls", "--watch", "--interval", "100ms", "--json"},
		{"job", "ls", "--watch", "--interval", "100ms", "-o", "jsonl", "--queue", "mail"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel()
			url := pgtest.Database(t)
			pool := pgtest.Open(t, url)
			enqueue(t, pool, "mail")
			cmd := stemCommand(t, pgtest.Login(t, url, "observer"), args...)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			w := &watching{cmd, bufio.NewScanner(out)}
			first := w.until(t, `"mail"`)
			enqueue(t, pool, "mail")
			if second := w.until(t, ``); second == first || !strings.HasPrefix(second, "{") || !strings.Contains(second, `"mail"`) {
				t.Errorf("after %s came %s", first, second)
			}
			w.interrupt(t)
		})
	}
}

// The other lists have it too, and formats that are whole documents do not go with it.
func TestWatchIsRefusedForDocuments(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	for _, list := range []string{"job ls", "queue ls", "dlq list", "tasks ls", "schedule list", "schedule history", "observe schedules"} {
		out, err := stemCommand(t, url, append(strings.Fields(list), "--watch", "-o", "yaml")...).CombinedOutput()
		want := "stem: --watch and --output yaml exclude each other; want table, wide, json or jsonl\n"
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 64 || string(out) != want {
			t.Errorf("%s: %v, %q", list, err, out)
		}
		out, err = stemCommand(t, url, append(strings.Fields(list), "--watch", "--interval", "1ms")...).CombinedOutput()
		want = "stem: --interval: must be between 100ms and 1h\n"
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 64 || string(out) != want {
			t.Errorf("%s: %v, %q", list, err, out)
		}
	}
}
