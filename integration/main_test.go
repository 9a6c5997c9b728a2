package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
	"github.com/stemqueue/stem/worker"
)

// childEnv makes this test binary a worker on the database that it names.
const childEnv = "STEM_INTEGRATION_WORKER"

// lease is what a test waits for; a machine that has more to do must not take a worker for lost.
const lease = 8 * time.Second

// patience bounds waiting for what has no limit of its own.
const patience = 3 * time.Minute

func TestMain(m *testing.M) {
	for env, main := range map[string]func(string) error{childEnv: child, schedulerEnv: schedulerChild} {
		url := os.Getenv(env)
		if url == "" {
			continue
		}
		if err := main(url); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	pgtest.Main(m)
}

// child is a worker process. Its tasks write a line into the table "runs" when they begin.
func child(url string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	begin := func(run *queue.Run) error {
		_, err := pool.Exec(context.WithoutCancel(ctx), "insert into runs values ($1, $2, $3)", run.ID, run.Attempt, os.Getpid())
		return err
	}
	var reg worker.Registry
	reg.HandleFunc("quick", func(context.Context, *queue.Run) error { return nil })
	reg.HandleFunc("first.blocks", func(ctx context.Context, run *queue.Run) error {
		if err := begin(run); err != nil || run.Attempt > 1 {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	reg.HandleFunc("blocks", func(ctx context.Context, run *queue.Run) error {
		if err := begin(run); err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	reg.HandleFunc("short", func(ctx context.Context, run *queue.Run) error {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
			return begin(run)
		}
	})
	reg.HandleFunc("poison", func(_ context.Context, run *queue.Run) error {
		if err := begin(run); err != nil {
			return err
		}
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	})
	busyFleet(&reg, pool, begin)
	zombieTasks(&reg, pool, begin)
	slots, err := strconv.Atoi(os.Getenv("STEM_INTEGRATION_SLOTS"))
	if err != nil {
		return err
	}
	crashes, err := strconv.Atoi(os.Getenv("STEM_INTEGRATION_MAX_CRASHES"))
	if err != nil {
		return err
	}
	w, err := worker.New(pool, &reg, worker.Config{
		Queues: map[string]int{"default": slots}, Lease: lease, MaxCrashes: crashes, ShutdownGrace: time.Second,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// schedulerEnv makes this test binary a scheduler on the database that it names.
const schedulerEnv = "STEM_INTEGRATION_SCHEDULER"

func schedulerChild(url string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	defer pool.Close()
	q, err := queue.New(queue.Config{})
	if err != nil {
		return err
	}
	s, err := scheduler.New(pool, q, scheduler.Config{
		Node: fmt.Sprint(os.Getpid()), Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
	if err != nil {
		return err
	}
	// Who is started while the server is away is started again by what started it.
	return s.Run(ctx)
}

// lines collects what a process logs.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.all.Bytes(), []byte(text))
}

// count counts the lines that hold all the words.
func (l *lines) count(words ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for line := range strings.Lines(l.all.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			n++
		}
	}
	return n
}

// process is a worker in a process of its own.
type process struct {
	cmd  *exec.Cmd
	log  *lines
	done chan struct{}
	err  error
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// fleet is a database and the processes that work on it.
type fleet struct {
	t         *testing.T
	url       string        // a worker's
	pool      *pgxpool.Pool // the owner's, to look and to make tables
	workers   *pgxpool.Pool
	producers *pgxpool.Pool
	q         *queue.Queue

	maxCrashes int // zero is the default of workers, which takes more time
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := fleetOn(t, pgtest.Database(t))
	if _, err := f.pool.Exec(t.Context(), "create table runs (job uuid, attempt int, pid int, at timestamptz default clock_timestamp())"); err != nil {
		t.Fatal(err)
	}
	return f
}

// fleetOn is a fleet on that database, with a login for its workers and one for its producers. Tables that a test makes are the
// application's, and open to both.
func fleetOn(t *testing.T, owner string) *fleet {
	t.Helper()
	q, err := queue.New(queue.Config{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{t: t, url: pgtest.Login(t, owner, "worker"), pool: pgtest.Open(t, owner), q: q, maxCrashes: 2}
	f.workers, f.producers = pgtest.Open(t, f.url), pgtest.Open(t, pgtest.Login(t, owner, "producer"))
	if _, err := f.pool.Exec(t.Context(), "alter default privileges in schema public grant all on tables to public"); err != nil {
		t.Fatal(err)
	}
	return f
}

// start starts a worker process and waits until it is registered.
func (f *fleet) start(slots int) *process {
	f.t.Helper()
	p := &process{log: &lines{}, done: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0]) //nolint:noctx // the cleanup ends it
	p.cmd.Env = append(os.Environ(), childEnv+"="+f.url, "STEM_INTEGRATION_SLOTS="+strconv.Itoa(slots),
		"STEM_INTEGRATION_MAX_CRASHES="+strconv.Itoa(f.maxCrashes))
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	f.t.Cleanup(func() {
		if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			f.t.Error(err)
		}
		<-p.done
		if f.t.Failed() {
			for s := bufio.NewScanner(&p.log.all); s.Scan(); {
				f.t.Logf("worker %d: %s", p.cmd.Process.Pid, s.Text())
			}
		}
	})
	f.eventually("the worker has started", func() bool { return p.log.has("worker started") })
	return p
}

func (f *fleet) enqueue(requests ...queue.Request) []queue.Receipt {
	f.t.Helper()
	receipts, err := f.q.Enqueue(f.t.Context(), f.producers, requests...)
	if err != nil {
		f.t.Fatal(err)
	}
	return receipts
}

func (f *fleet) wait(r queue.Receipt) queue.Result {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	result, err := queue.Wait(ctx, f.producers, r.ID)
	if err != nil {
		f.t.Fatal(err)
	}
	return result
}

func (f *fleet) number(query string, args ...any) int {
	f.t.Helper()
	var n int
	if err := f.pool.QueryRow(f.t.Context(), query, args...).Scan(&n); err != nil {
		f.t.Fatalf("%s: %v", query, err)
	}
	return n
}

func (f *fleet) eventually(what string, holds func() bool) {
	f.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			f.t.Fatalf("after %v still not: %s", patience, what)
		case <-tick.C:
		}
	}
}

func raw(task string, options ...queue.Option) queue.Request {
	return queue.Raw(task, []byte("{}"), "", options...)
}
