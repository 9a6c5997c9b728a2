package tasksfile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stemqueue/stem/queue"
)

func TestCommandOutcomes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		script  string
		payload string
		outcome Outcome
		result  string
		err     string
	}{
		{name: "no output", script: "exit 0", outcome: Completed},
		{name: "only line breaks", script: `printf '\n\r\n'`, outcome: Completed},
		{name: "payload to stdout", script: "cat", payload: `{"a":1}`, outcome: Completed, result: `{"a":1}`},
		{name: "JSON with a line break", script: `echo '[1, 2]'`, outcome: Completed, result: `[1, 2]`},
		{name: "text", script: `printf 'a "b"\nc\n'`, outcome: Completed, result: `"a \"b\"\nc"`},
		{name: "JSON beyond the limits is text", script: "echo 1e999", outcome: Completed, result: `"1e999"`},
		{name: "binary output", script: `printf 'a\377\000b'`, outcome: Completed, result: `"a` + "\uFFFD\uFFFD" + `b"`},
		{name: "stderr of a success", script: "echo oops >&2; echo 1", outcome: Completed, result: "1"},
		{name: "failed", script: "echo why >&2; echo 1; exit 3", outcome: Failed, err: "exit status 3: why"},
		{name: "failed without a word", script: "exit 1", outcome: Failed, err: "exit status 1"},
		{name: "put back", script: "echo busy >&2; exit 75", outcome: PutBack, err: "exit status 75: busy"},
		{name: "dead", script: "echo bad >&2; exit 65", outcome: Dead, err: "exit status 65: bad"},
		{name: "killed", script: "kill -9 $$", outcome: Failed, err: "killed by signal SIGKILL"},
		{name: "signal 75 is no exit 75", script: "echo x >&2; kill -TERM $$", outcome: Failed, err: "killed by signal SIGTERM: x"},
		{name: "binary stderr", script: `printf 'a\377\000b' >&2; exit 1`, outcome: Failed, err: "exit status 1: a\uFFFD\uFFFDb"},
		{name: "stdin not read", script: "echo 1", payload: strings.Repeat("x", 8<<20), outcome: Completed, result: "1"},
		{name: "stdin closed", script: "exec <&-; exit 4", payload: strings.Repeat("x", 8<<20), outcome: Failed, err: "exit status 4"},
		{
			name: "environment", outcome: Completed,
			script:  `echo "$STEM_JOB_ID $STEM_TASK $STEM_QUEUE $STEM_ATTEMPT $TRACEPARENT"`,
			result:  `"` + jobID.String() + ` t q 3 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"`,
			payload: "{}",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := shell(t, tt.script, "").Run(t.Context(), newRun(tt.payload))
			if r.Outcome != tt.outcome || string(r.Result) != tt.result {
				t.Errorf("got outcome %d, result %q, error %v, want %d, %q", r.Outcome, r.Result, r.Err, tt.outcome, tt.result)
			}
			if got := errorText(r.Err); got != tt.err {
				t.Errorf("got error %q, want %q", got, tt.err)
			}
			if (r.Delay > 0) != (tt.outcome == PutBack) {
				t.Errorf("got delay %v", r.Delay)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestFloodOfOutputIsNotKept(t *testing.T) {
	// Not parallel: it measures the process's memory.
	task := shell(t, "head -c 104857600 /dev/zero; head -c 104857600 /dev/zero | tr '\\0' e >&2", "")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := task.Run(t.Context(), newRun(""))
	runtime.ReadMemStats(&after)
	if got, want := string(r.Result), `{"truncated":true,"bytes":104857600}`; got != want {
		t.Errorf("got result %.80q, want %q", got, want)
	}
	// The buffer grows by doubling to 1 MiB.
	if got := after.TotalAlloc - before.TotalAlloc; got > 16<<20 {
		t.Errorf("allocated %d bytes", got)
	}
}

func TestErrorIsTheEndOfStderr(t *testing.T) {
	t.Parallel()
	r := shell(t, `i=0; while [ $i -lt 3000 ]; do echo "ä$i" >&2; i=$((i+1)); done; exit 1`, "").Run(t.Context(), newRun(""))
	got := errorText(r.Err)
	if !strings.HasSuffix(got, "\nä2999") || len(got) > maxErrorBytes+40 || len(got) < maxErrorBytes-40 || !utf8.ValidString(got) {
		t.Errorf("got %d bytes: %.60q", len(got), got)
	}
	if strings.ContainsRune(got, utf8.RuneError) {
		t.Error("begins with half a character")
	}
}

// fifo returns the path of a new named pipe, and a function that reads the next line that someone writes to it.
func fifo(t *testing.T) (path string, line func() string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	lines := bufio.NewReader(f)
	return path, func() string {
		t.Helper()
		if err := f.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		text, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(text)
	}
}

// gone waits until there is no such process, or only its corpse that init has not collected.
func gone(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil || n < 2 {
		t.Fatalf("got pid %q", pid)
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		if errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			return
		}
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err == nil && strings.HasPrefix(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " Z") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %s is still there", pid)
		}
	}
}

func TestNothingIsLeftOfAProcessTree(t *testing.T) {
	t.Parallel()
	const tree = `trap '' TERM; (trap '' TERM; echo $$ >%[1]s; sh -c 'trap "" TERM; echo $$ >%[1]s; while :; do sleep 1000; done') & wait; wait`
	path, line := fifo(t)
	task := shell(t, fmt.Sprintf(tree, path), "    kill_grace: 100ms\n")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan Report)
	go func() { done <- task.Run(ctx, newRun("")) }()
	pids := []string{line(), line()}
	cause := errors.New("lease lost")
	cancel(cause)
	r := <-done
	for _, pid := range pids {
		gone(t, pid)
	}
	if want := "lease lost: killed by signal SIGKILL"; r.Outcome != Failed || errorText(r.Err) != want || !errors.Is(r.Err, cause) {
		t.Errorf("got %d, %v, want %q", r.Outcome, r.Err, want)
	}
}

func TestTheHardLimitStopsTheCommand(t *testing.T) {
	t.Parallel()
	r := shell(t, "sleep 1000", "    hard_limit: 100ms\n").Run(t.Context(), newRun(""))
	if want := "ran longer than the hard limit 100ms: killed by signal SIGTERM"; r.Outcome != Failed || errorText(r.Err) != want {
		t.Errorf("got %d, %v, want %q", r.Outcome, r.Err, want)
	}
}

func TestChildrenHaveTheGraceToo(t *testing.T) {
	t.Parallel()
	path, line := fifo(t)
	// The shell dies of SIGTERM at once. Its child finishes.
	task := shell(t, fmt.Sprintf(`sh -c 'trap "echo finished >%[1]s; exit" TERM; echo begun >%[1]s; while :; do sleep 0.05; done' & wait`, path),
		"    kill_grace: 20s\n")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan Report)
	go func() { done <- task.Run(ctx, newRun("")) }()
	if got := line(); got != "begun" {
		t.Fatalf("got %q", got)
	}
	cancel()
	if got := line(); got != "finished" {
		t.Errorf("got %q", got)
	}
	// The shell may say "Terminated" of its sleep.
	if r := <-done; !strings.HasPrefix(errorText(r.Err), "context canceled: killed by signal SIGTERM") {
		t.Errorf("got %v", r.Err)
	}
}

func TestCommandThatIsStopped(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]Outcome{0: Failed, 1: Failed, 65: Dead, 75: PutBack} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			t.Parallel()
			path, line := fifo(t)
			task := shell(t, fmt.Sprintf(`trap "exit %d" TERM; echo begun >%s; while :; do sleep 0.05; done`, status, path), "")
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan Report)
			go func() { done <- task.Run(ctx, newRun("")) }()
			line()
			cancel()
			if r := <-done; r.Outcome != want || !errors.Is(r.Err, context.Canceled) {
				t.Errorf("got %d, %v, want %d", r.Outcome, r.Err, want)
			}
		})
	}
}

func TestBackgroundChildIsKilledAndDoesNotHang(t *testing.T) {
	t.Parallel()
	r := shell(t, "sleep 1000 & echo $!", "").Run(t.Context(), newRun(""))
	if r.Outcome != Completed {
		t.Fatalf("got %d, %v", r.Outcome, r.Err)
	}
	gone(t, string(r.Result))
}

func TestDaemonThatHoldsStdoutDoesNotHang(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("setsid"); err != nil {
		t.Skip("no setsid")
	}
	path, line := fifo(t)
	// It leaves the group before the command ends.
	r := shell(t, fmt.Sprintf(`setsid sh -c 'echo $$; echo $$ >%[1]s; exec sleep 30' & read pid <%[1]s; echo $pid >%[1]s; exit 0`, path), "").
		Run(t.Context(), newRun(""))
	pid, err := strconv.Atoi(line())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the daemon is gone: %v", err)
	}
	if r.Outcome != Completed || string(r.Result) != strconv.Itoa(pid) {
		t.Errorf("got %d, %s, %v", r.Outcome, r.Result, r.Err)
	}
}

func TestCommandDiesWithTheWorker(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has a signal for it")
	}
	path, line := fifo(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	worker := exec.CommandContext(t.Context(), exe)
	worker.Env = append(os.Environ(), fmt.Sprintf("TASKSFILE_ACT_AS_WORKER=echo $$ >%s; exec sleep 1000", path))
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	pid := line()
	if err := worker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = worker.Wait()
	gone(t, pid)
}

func TestSecretsAreNotPassedOn(t *testing.T) {
	kept := map[string]string{"HOME_OF_MINE": "1", "STEM_LOG_LEVEL": "1", "MY_DATABASE": "1"}
	dropped := []string{
		"STEM_SIGNING_KEYS", "STEM_DATABASE_URL", "STEM_LISTEN_URL", "STEM_DATABASE_URL_FILE", "STEM_SIGNING_KEYS_FILE",
		"STEM_TLS_CLIENT_KEY", "PGPASSWORD", "PGPASSFILE", "NOTIFY_SOCKET", "STEM_OTLP_HEADERS", "DATABASE_URL",
	}
	for name, value := range kept {
		t.Setenv(name, value)
	}
	for _, name := range dropped {
		t.Setenv(name, "hush")
	}
	t.Setenv("TRACEPARENT", "the worker's own")
	run := newRun("")
	run.Headers["traceparent"] = "junk\n"
	r := shell(t, "env", "    env: {PGPASSWORD: given, B: 'x y'}\n").Run(t.Context(), run)
	env := strings.Split(strings.Trim(strings.ReplaceAll(string(r.Result), `\n`, "\n"), `"`), "\n")
	got := map[string]string{}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		got[name] = value
	}
	if strings.Contains(string(r.Result), "hush") || got["PGPASSWORD"] != "given" || got["B"] != "x y" {
		t.Errorf("got %q", env)
	}
	if tp, ok := got["TRACEPARENT"]; ok {
		t.Errorf("got TRACEPARENT %q", tp)
	}
	for name := range kept {
		if got[name] != "1" {
			t.Errorf("%s is not passed on", name)
		}
	}
}

func TestCommandThatCannotBeStarted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := filepath.Join(dir, "x.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := Parse(filepath.Join(dir, "tasks.yaml"), []byte("tasks: {t: {command: ./x.sh}}"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(script); err != nil {
		t.Fatal(err)
	}
	r := f.Tasks[0].Run(t.Context(), newRun(strings.Repeat("x", 1<<20)))
	if want := "command ./x.sh cannot be started: no such file or directory"; r.Outcome != Failed || errorText(r.Err) != want {
		t.Errorf("got %d, %v, want %q", r.Outcome, r.Err, want)
	}
	if r := notStarted("x", newRun(""), syscall.EAGAIN); r.Outcome != PutBack || r.Delay == 0 {
		t.Errorf("got %d, %v", r.Outcome, r.Delay)
	}
}

func TestRunWithADeadContextStartsNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := shell(t, "echo 1", "").Run(ctx, newRun(""))
	if r.Outcome != Failed || !errors.Is(r.Err, context.Canceled) {
		t.Errorf("got %d, %v", r.Outcome, r.Err)
	}
}

func TestBackoffGrowsToFiveMinutes(t *testing.T) {
	t.Parallel()
	for releases, most := range []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second, 8: mostDelay, 1000: mostDelay} {
		if most == 0 {
			continue
		}
		for range 100 {
			if d := backoff(releases); d < most/2 || d > most {
				t.Fatalf("after %d: got %v, want %v to %v", releases, d, most/2, most)
			}
		}
	}
}

func TestResultThatGrowsWhenEncodedIsTruncated(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("\x01", queue.MaxResultBytes/2)
	if got, want := string(result([]byte(text), int64(len(text)))), `{"truncated":true,"bytes":524288}`; got != want {
		t.Errorf("got %.80q, want %q", got, want)
	}
}
