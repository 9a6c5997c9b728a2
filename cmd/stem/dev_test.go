package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
)

// What "stem dev" started is gone when it was interrupted.
func TestDevLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	bin := pgtest.Server(t).BinDir
	if bin == "" {
		t.Skip("NOT RUN: no Postgres that could be started")
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "stem", "dev")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "STEM_PG_BIN=" + bin}
	cmd.Stderr = &stderr
	cmd.Dir = t.TempDir()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Ctrl-C") {
		said.WriteString(lines.Text() + "\n")
	}
	m := regexp.MustCompile(`export STEM_DATABASE_URL_FILE=(\S+)`).FindStringSubmatch(said.String())
	if m == nil {
		_ = cmd.Process.Kill()
		t.Fatalf("said %q, stderr %s", said.String(), stderr.String())
	}
	if strings.Contains(said.String(), "postgres://") {
		t.Errorf("the password was printed: %s", said.String())
	}
	pids := children(t, cmd.Process.Pid)
	if len(pids) == 0 {
		t.Error("found no server process")
	}
	enqueue := exec.CommandContext(t.Context(), "stem", "enqueue", "hello", "--args", `{"name":"Ada"}`, "--wait=3m")
	enqueue.Env = []string{"PATH=" + os.Getenv("PATH"), "STEM_DATABASE_URL_FILE=" + m[1]}
	if out, err := enqueue.CombinedOutput(); err != nil || !strings.Contains(string(out), "Hello, Ada") {
		t.Errorf("%v: %s", err, out)
	}

	if err := fires(t.Context(), m[1]); err != nil {
		t.Errorf("a schedule: %v", err)
	}

	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, stderr.String())
	}
	if _, err := os.Stat(filepath.Dir(m[1])); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", filepath.Dir(m[1]), err)
	}
	for _, pid := range pids {
		if err := waitGone(pid); err != nil {
			t.Errorf("process %d: %v", pid, err)
		}
	}
}

// fires applies a schedule to the database whose URL is in a file, and waits until it has been fired.
func fires(ctx context.Context, urlFile string) error {
	url, err := os.ReadFile(urlFile)
	if err != nil {
		return err
	}
	e := scheduler.Entry{ID: "often", Spec: "every:1s", Job: queue.Raw("hello", []byte(`{"name":"Ada"}`), "")}
	if err := applySchedule(ctx, strings.TrimSpace(string(url)), nil, e); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, strings.TrimSpace(string(url)))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for fired := false; !fired; <-time.After(20 * time.Millisecond) {
		if err := conn.QueryRow(ctx, "select fired > 0 from stem.list_schedules('', 1)").Scan(&fired); err != nil {
			return err
		}
	}
	return nil
}

// children lists the processes whose parent is pid.
func children(t *testing.T, pid int) []int {
	t.Helper()
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	if err != nil || len(tasks) == 0 {
		t.Skip("NOT RUN: no /proc/PID/task/TID/children here")
	}
	var pids []int
	for _, path := range tasks {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(text)) {
			child, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, child)
		}
	}
	return pids
}

func waitGone(pid int) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			return nil
		}
	}
	return errors.New("still there")
}
