package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stemqueue/stem/internal/devpg"
)

// settings are for many tests at once.
var settings = map[string]string{
	"max_connections": "200",
	"shared_buffers":  "128MB",
}

// shared is the cluster of this test binary.
var shared struct {
	once   sync.Once
	server *devpg.Server
	err    error
	kept   atomic.Int64 // databases that Main must not take away yet
}

// Main runs the tests, stops the cluster and exits. Call it from TestMain.
func Main(m *testing.M) {
	os.Exit(Run(m)) //nolint:forbidigo // TestMain is the main of a test binary
}

// Run is Main for a TestMain that has more to do: it returns the exit code.
func Run(m *testing.M) int {
	code := m.Run()
	if shared.server == nil {
		return code
	}
	if shared.kept.Load() > 0 && shared.server.Rung != devpg.RungURL {
		fmt.Fprintln(os.Stderr, "pgtest: STEM_TEST_KEEP=1: the server stays until Ctrl-C")
		//nolint:forbidigo // TestMain is the main of a test binary
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		<-ctx.Done()
		stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := shared.server.Stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return max(code, 1)
	}
	return code
}

// Server returns the cluster of this test binary. Tests share it, so do not stop or crash it: see [Private]. Without a
// database the test is skipped, or fails where one is required.
func Server(tb testing.TB) *devpg.Server {
	tb.Helper()
	need(tb, startShared())
	return shared.server
}

// startShared starts the cluster that tests and examples share, once.
func startShared() error {
	shared.once.Do(func() {
		// Not the test's context: the cluster outlives the test. Fetching a server may take minutes.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		config := devpg.Config{URLVar: "STEM_TEST_DATABASE_URL", Settings: settings}
		shared.server, shared.err = start(ctx, config)
	})
	return shared.err
}

// Private starts a cluster for this test alone, which may be crashed and restarted, and stops it at the end. The
// version and the search are those of [Server], but there is neither a URL nor a container: config.URLVar and
// config.Container are ignored. Without a database the test is skipped, or fails where one is required.
func Private(tb testing.TB, config devpg.Config) *devpg.Server {
	tb.Helper()
	config.URLVar = ""
	server, err := start(tb.Context(), config)
	need(tb, err)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			tb.Error(err)
		}
	})
	return server
}

// start completes the configuration from the environment.
func start(ctx context.Context, config devpg.Config) (*devpg.Server, error) {
	if text := os.Getenv("STEM_TEST_PG_MAJOR"); text != "" && config.Major == 0 {
		major, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("pgtest: STEM_TEST_PG_MAJOR=%s is not a number; give a major version such as 18", text)
		}
		config.Major = major
	}
	if config.Dir == "" && !config.Durable {
		config.Dir = memoryDir()
	}
	config.Fetch = required()
	config.Container = nil
	if config.URLVar != "" {
		config.Container = container
	}
	var said []string
	config.Log = func(line string) { said = append(said, line) }
	server, err := devpg.Start(ctx, config)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(os.Stderr, "pgtest: "+strings.Join(said, "\npgtest: "))
	return server, nil
}

// need ends the test if there is no server.
func need(tb testing.TB, err error) {
	tb.Helper()
	_, missing := errors.AsType[*devpg.NotFoundError](err)
	switch {
	case err == nil:
	case missing && !required():
		tb.Skipf("NOT RUN: %v", err)
	default:
		tb.Fatal(err)
	}
}

// required says whether a test without its database, or its pooler, is a failure.
func required() bool {
	for _, name := range []string{"CI", "STEM_TEST_REQUIRE_DB"} {
		if on, err := strconv.ParseBool(os.Getenv(name)); err == nil && on {
			return true
		}
	}
	return false
}
