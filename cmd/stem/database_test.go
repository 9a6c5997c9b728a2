package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/worker"
)

type testKey struct{}

func setup(env *testscript.Env) error {
	env.Values[testKey{}] = env.T()
	env.Values[tlsKey{}] = map[string]*pgtest.TLSServer{}
	for name, path := range map[string]string{"TASKS": "../../examples/tasks", "SECURITY": "../../scripts/security"} {
		path, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		env.Setenv(name, path)
	}
	return nil
}

// ownerURL is the variable in which scripts have the URL of the database's owner, for sql and until.
const ownerURL = "OWNER_URL"

// database gives the script a migrated database of its own, in STEM_DATABASE_URL, and the server's programs, if it has any. The URL
// is that of a login which is a member of all roles, or with "database owner" that of the owner.
func database(ts *testscript.TestScript, neg bool, args []string) {
	tb, ok := ts.Value(testKey{}).(testing.TB)
	if !ok || neg || len(args) > 1 || len(args) == 1 && args[0] != "owner" {
		ts.Fatalf("usage: database [owner]")
	}
	owner := pgtest.Database(tb)
	ts.Setenv(ownerURL, owner)
	if len(args) == 0 {
		ts.Setenv("STEM_DATABASE_URL", pgtest.Login(tb, owner))
	} else {
		ts.Setenv("STEM_DATABASE_URL", owner)
	}
	if bin := pgtest.Server(tb).BinDir; bin != "" {
		ts.Setenv("STEM_PG_BIN", bin)
	}
}

// login puts the URL of a login that is a member of some roles only into a variable: login NAME ROLE...
func login(ts *testscript.TestScript, neg bool, args []string) {
	tb, ok := ts.Value(testKey{}).(testing.TB)
	if !ok || neg || len(args) < 2 {
		ts.Fatalf("usage: login NAME ROLE...")
	}
	ts.Setenv(args[0], pgtest.Login(tb, ts.Getenv(ownerURL), args[1:]...))
}

// sql runs a statement as the owner; what it returns goes into a variable of the environment: sql ID 'select ...'. A third argument
// names the variable with another URL.
func sql(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 && len(args) != 3 {
		ts.Fatalf("usage: sql NAME STATEMENT [VARIABLE]")
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, ts.Getenv(append(args, ownerURL)[2]))
	ts.Check(err)
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, args[1]).ReadAll()
	ts.Check(err)
	for _, r := range results {
		if len(r.Rows) > 0 {
			ts.Setenv(args[0], string(r.Rows[0][0]))
		}
	}
}

// until waits for a query to be true: until 'select ...'. A second argument names the variable with the URL.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 && len(args) != 2 {
		ts.Fatalf("usage: until STATEMENT [VARIABLE]")
	}
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, ts.Getenv(append(args, ownerURL)[1]))
	ts.Check(err)
	defer conn.Close(ctx)
	wait(ts, conn, args[0])
}

func wait(ts *testscript.TestScript, db queue.DB, statement string) {
	poll(ts, "not true: "+statement, func() (done bool) {
		ts.Check(db.QueryRow(context.Background(), statement).Scan(&done))
		return done
	})
}

// appears waits for a file, with which a program in the background says how far it is: appears FILE.
func appears(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: appears FILE")
	}
	poll(ts, "no file "+args[0], func() bool {
		_, err := os.Stat(ts.MkAbs(args[0]))
		return err == nil
	})
}

func poll(ts *testscript.TestScript, missing string, done func() bool) {
	for deadline := time.Now().Add(3 * time.Minute); !done(); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("after three minutes still %s", missing)
		}
	}
}

// work runs a worker named web-1 with the tasks ok (its result is its payload), fail (discarded: a dead letter), again (fails,
// and is tried again in an hour) and hang (until it is cancelled). It ends with the script; "work idle" returns when it is there and nothing is ready or running any more.
func work(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || args[0] != "idle" {
		ts.Fatalf("usage: work idle")
	}
	ctx, cancel := context.WithCancel(context.Background())
	tb, ok := ts.Value(testKey{}).(testing.TB)
	if !ok {
		ts.Fatalf("not in a test")
	}
	pool, err := pgxpool.New(ctx, pgtest.Login(tb, ts.Getenv(ownerURL), "worker"))
	ts.Check(err)
	owner, err := pgx.Connect(ctx, ts.Getenv(ownerURL))
	ts.Check(err)
	defer owner.Close(ctx)
	var reg worker.Registry
	reg.HandleFunc("ok", func(_ context.Context, run *queue.Run) error { return run.SetResult(map[string]int{"sent": 1}) })
	reg.HandleFunc("fail", func(context.Context, *queue.Run) error { return worker.Discard(errors.New("no such \x1b[31muser")) })
	reg.HandleFunc("again", func(context.Context, *queue.Run) error {
		return worker.RetryAfter(time.Hour, errors.New("mailbox full"))
	})
	reg.HandleFunc("hang", func(ctx context.Context, _ *queue.Run) error {
		<-ctx.Done()
		return ctx.Err()
	})
	w, err := worker.New(pool, &reg, worker.Config{Node: "web-1", Heartbeat: 300 * time.Millisecond, Queues: map[string]int{"default": 4, "mail": 4}})
	ts.Check(err)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	ts.Defer(func() {
		cancel()
		ts.Check(<-ended)
		pool.Close()
	})
	wait(ts, owner, `select exists (select from stem.workers where node = 'web-1')
		and not exists (select from stem.ready where queue in ('default', 'mail')) and not exists (select from stem.running)`)
}

var (
	anyID   = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	anyTime = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
	anyLong = regexp.MustCompile(`[0-9a-f]{64}`)
	anyUser = regexp.MustCompile(`stem_login_[a-z2-7]{12}`)
	anySpan = regexp.MustCompile(`("(?:took|oldest)(?:Seconds)?": ?)("[^"]*"|[0-9.e-]+)`)
)

// scrub copies a file with ids, times, durations and logins replaced by ones that do not change from run to run: the first id becomes
// ...-000000000001. The files of one command line share their ids: scrub stdout out stderr err.
func scrub(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 || len(args)%2 != 0 {
		ts.Fatalf("usage: scrub FROM TO [FROM TO]...")
	}
	ids := map[string]string{}
	for i := 0; i < len(args); i += 2 {
		text := ts.ReadFile(args[i])
		text = anyID.ReplaceAllStringFunc(text, func(id string) string {
			if _, known := ids[id]; !known {
				ids[id] = fmt.Sprintf("00000000-0000-0000-0000-%012d", len(ids)+1)
			}
			return ids[id]
		})
		text = anyTime.ReplaceAllString(text, "2026-01-02T15:04:05Z")
		text = anyUser.ReplaceAllString(text, "app")
		text = anyLong.ReplaceAllString(text, "f1d2d2f924e986ac86fdf7b36c94bcdf32beec15f1d2d2f924e986ac86fdf7b3")
		text = anySpan.ReplaceAllString(text, "${1}0")
		ts.Check(os.WriteFile(ts.MkAbs(args[i+1]), []byte(text), 0o600))
	}
}
