package devpg

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestServerOfAKilledProcessGoesAndItsDirectoryIsSwept(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	startHere(t, Config{Dir: dir}) // or skip
	killed, report := startChild(t, dir)
	living, other := startChild(t, dir)
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait()
	eventually(t, "the server ended with its owner", func() bool { return startTime(report.PID) == "" })

	startHere(t, Config{Dir: dir})
	if _, err := os.Stat(report.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of the dead owner is still there: %v", err)
	}
	if startTime(other.PID) == "" {
		t.Error("the server of the living owner was stopped")
	}
	if _, err := os.Stat(filepath.Join(other.Dir, "data", "PG_VERSION")); err != nil {
		t.Errorf("the directory of the living owner was touched: %v", err)
	}
	_ = living
}

// Where there is no death signal the server outlives its owner; a record that names a running process stands for it.
func TestSweepStopsWhatOutlivedItsOwner(t *testing.T) {
	t.Parallel()
	dir := openDir(t)
	orphan := exec.CommandContext(t.Context(), "sleep", "600")
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	bystander := exec.CommandContext(t.Context(), "sleep", "600")
	if err := bystander.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bystander.Process.Kill(); _ = bystander.Wait() })
	gone := make(chan error, 1)
	go func() { gone <- orphan.Wait() }()

	left := deadHome(t, dir)
	if err := left.note(orphan.Process.Pid); err != nil {
		t.Fatal(err)
	}
	reused := deadHome(t, dir) // its number belongs to somebody else by now
	if err := os.WriteFile(filepath.Join(reused.path, serverFile), []byte("1 long ago\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	unfinished := filepath.Join(dir, homePrefix+"new")
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		t.Fatal(err)
	}
	sweep(dir)

	if err := <-gone; err == nil || !strings.Contains(err.Error(), "quit") {
		t.Errorf("got %v, want the orphan to end by SIGQUIT", err)
	}
	if startTime(bystander.Process.Pid) == "" {
		t.Error("the sweep ended a stranger")
	}
	if got, _ := filepath.Glob(filepath.Join(dir, "*")); len(got) != 1 || got[0] != unfinished {
		t.Errorf("got %q after the sweep, want only %s", got, unfinished)
	}
}

func TestStartTimeTellsTheDeadFromTheLiving(t *testing.T) {
	t.Parallel()
	if startTime(os.Getpid()) == "" {
		t.Error("this process has no start time")
	}
	corpse := exec.CommandContext(t.Context(), "true")
	if err := corpse.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a process that nobody waited for counts as gone", func() bool { return startTime(corpse.Process.Pid) == "" })
	_ = corpse.Wait()
}

func TestADirectoryThatTheServerCannotUseIsRefused(t *testing.T) {
	t.Parallel()
	long := filepath.Join(openDir(t), strings.Repeat("x", 90))
	if err := os.Mkdir(long, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := newHome(long, account{}); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("got error %v, want that the path is too long", err)
	}
	closed := filepath.Join(openDir(t), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	stranger := account{name: "stranger", uid: 54321, gid: 54321, other: true}
	if _, err := newHome(closed, stranger); err == nil || !strings.Contains(err.Error(), "is closed to the user stranger") {
		t.Errorf("got error %v, want that it is closed", err)
	}
}

// Root and an ordinary user take different paths: as root, run the tests of the cluster once more as nobody.
func TestAsAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("this run is as an ordinary user")
	}
	a, err := serverAccount()
	if err != nil {
		t.Skip(err)
	}
	// go test builds in a directory that only root can enter.
	binary := filepath.Join(openDir(t), "devpg.test")
	copyFile(t, os.Args[0], binary)
	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.run=^(TestClusterAnswers|TestServerOfAKilled)")
	cmd.Env = append(os.Environ(), "HOME=/")
	cmd.Dir = "/"
	cmd.SysProcAttr = a.command(os.Getenv, binary).SysProcAttr
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

// deadHome returns a home whose owner let go of it without removing it.
func deadHome(t *testing.T, dir string) *home {
	t.Helper()
	h := &home{path: filepath.Join(dir, homePrefix+rand.Text())}
	if err := os.Mkdir(h.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := h.claim(account{}); err != nil {
		t.Fatal(err)
	}
	if err := h.owner.Close(); err != nil {
		t.Fatal(err)
	}
	return h
}

// startChild runs a process that starts a cluster in dir and stays.
func startChild(t *testing.T, dir string) (*exec.Cmd, childReport) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = t.Output()
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var report childReport
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		eventually(t, "the child's server ended", func() bool { return startTime(report.PID) == "" })
	})
	if err := json.NewDecoder(out).Decode(&report); err != nil {
		t.Fatal(err)
	}
	return cmd, report
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}
