package devpg

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"
	"time"
)

// childEnv makes this test binary a program that starts a cluster in the directory that it names, prints what it
// started as JSON and stays until its standard input ends.
const childEnv = "STEM_DEVPG_TEST_CHILD"

type childReport struct {
	Dir string
	PID int
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(child(dir))
	}
	os.Exit(m.Run())
}

func child(dir string) int {
	server, err := Start(context.Background(), Config{Dir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := json.NewEncoder(os.Stdout).Encode(childReport{Dir: server.Dir, PID: server.PID()}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0 // without Stop: like a program that forgot
}

// openDir is t.TempDir for a server: short, and open to the server's user.
func openDir(t *testing.T) string {
	t.Helper()
	//nolint:usetesting // TempDir is too long for a socket, and closed to other users
	dir, err := os.MkdirTemp("/tmp", "devpg-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startHere starts a private cluster of whatever is installed, and skips the test where nothing is.
func startHere(t *testing.T, config Config) *Server {
	t.Helper()
	if config.Dir == "" {
		config.Dir = openDir(t)
	}
	config.Log = func(s string) { t.Log(s) }
	server, err := Start(t.Context(), config)
	if missing, ok := asNotFound(err); ok && os.Getenv("CI") == "" && os.Getenv("STEM_TEST_REQUIRE_DB") == "" {
		t.Skip(missing)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return server
}

// eventually polls a condition that another process brings about.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("after a minute still not: %s", what)
		case <-tick.C:
		}
	}
}
