package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stemqueue/stem/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// timeout has room for a job that crashes thrice, which waits for 2.5 min, and for a slow machine. Usually none crashes twice.
const timeout = "5m"

func TestNothingIsLostOrDoneTwiceWhileWorkersAreKilled(t *testing.T) {
	t.Parallel()
	dir, program := t.TempDir(), filepath.Join(t.TempDir(), "ledger")
	for i := range 300 {
		name := filepath.Join(dir, fmt.Sprintf("d%d", i%7), fmt.Sprintf("%d.txt", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, fmt.Appendf(nil, "file %d", i), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, flag := range []string{"--notify=on", "--notify=off", "--pgbouncer"} {
		t.Run(strings.TrimLeft(flag, "-"), func(t *testing.T) {
			t.Parallel()
			if flag == "--pgbouncer" {
				needPgBouncer(t)
			}
			cmd := exec.CommandContext(t.Context(), program,
				"--dir", dir, "--workers", "2", "--kill-every", "1s", "--work", "100ms", "--timeout", timeout, flag)
			cmd.Env = append(os.Environ(), "STEM_DATABASE_URL="+pgtest.Database(t))
			cmd.Stderr = t.Output()
			out, err := cmd.Output()
			if err != nil {
				t.Errorf("%v", err)
			}
			check(t, out)
		})
	}
}

func check(t *testing.T, out []byte) {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	last := lines[len(lines)-1]
	var got summary
	decoder := json.NewDecoder(bytes.NewReader(last))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatalf("last line %q: %v", last, err)
	}
	if got.Kills == 0 {
		t.Error("no worker was killed")
	}
	want := summary{Files: 300, Committed: 270, RolledBack: 30, Completed: 270, Kills: got.Kills}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func needPgBouncer(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("pgbouncer")
	_, sbin := os.Stat("/usr/sbin/pgbouncer")
	if os.Getenv("STEM_PGBOUNCER") == "" && err != nil && errors.Is(sbin, os.ErrNotExist) && os.Getenv("CI") != "true" {
		t.Skip("NOT RUN: pgbouncer is not installed; to fix it, run: apt-get install -y pgbouncer")
	}
}
