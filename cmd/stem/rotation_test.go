package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing"
)

const rotationTasks = `tasks:
  tick:
    command: "true"
`

// TestRotation: section 1 of the production checklist, with the three exports, and a rotation under load, by a shell that uses nothing but the
// command. Beside the command's own producers a program enqueues with the library, and reads its environment anew as they do. No dead
// letter, no lost job, no pause; in the careful order nobody even waits for a key.
func TestRotation(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"sh", "openssl", "awk"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("NOT RUN: %v", err)
		}
	}
	script, err := filepath.Abs("testdata/rotation.sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, order := range []string{"checklist", "careful"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			url, dir := pgtest.Database(t), t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "tasks.yaml"), []byte(rotationTasks), 0o600); err != nil {
				t.Fatal(err)
			}
			pool := pgtest.Open(t, url)
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
			defer cancel()
			var program sync.WaitGroup
			enqueued := 0
			program.Go(func() { enqueued = enqueueByLibrary(ctx, t, pool, dir) })
			cmd := exec.CommandContext(ctx, "sh", script, order)
			cmd.Dir, cmd.Stderr, cmd.Stdout = dir, t.Output(), t.Output()
			cmd.Env = slices.Concat(stemCommand(t, url).Env, []string{"HOME=" + dir, "STEM_HEARTBEAT_INTERVAL=300ms", "STEM_LOG_FORMAT=text"})
			cmd.WaitDelay = 10 * time.Second
			err := cmd.Run()
			cancel()
			program.Wait()
			if err != nil {
				for _, name := range []string{"web1.log", "web2.log", "failures"} {
					log, _ := os.ReadFile(filepath.Join(dir, name)) // it may not have come so far
					t.Logf("%s: %s", name, log)
				}
				t.Fatal(err)
			}
			checkRotation(t, pool, dir, order, enqueued)
		})
	}
}

// enqueueByLibrary enqueues batches, signed with the keys in producer.env as they are at the moment, until the script says stop.
// Each batch is a line in library.ids.
func enqueueByLibrary(ctx context.Context, t *testing.T, pool *pgxpool.Pool, dir string) (n int) {
	t.Helper()
	ids, err := os.Create(filepath.Join(dir, "library.ids"))
	if err != nil {
		t.Error(err)
		return 0
	}
	defer ids.Close()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		<-tick.C
		if _, err := os.Stat(filepath.Join(dir, "stop")); err == nil {
			return n
		}
		env, err := os.ReadFile(filepath.Join(dir, "producer.env"))
		if err != nil {
			continue // not yet
		}
		var environ []string
		for line := range strings.Lines(string(env)) {
			environ = append(environ, strings.NewReplacer("export ", "", `"`, "", "\n", "").Replace(line))
		}
		ring, err := signing.FromEnviron(environ)
		if err != nil {
			t.Error(err)
			return n
		}
		q, err := queue.New(queue.Config{Signer: ring})
		if err != nil {
			t.Error(err)
			return n
		}
		receipts, err := q.Enqueue(ctx, pool, queue.Raw("tick", nil, "text/plain"), queue.Raw("tick", nil, "text/plain"))
		if err != nil {
			if ctx.Err() == nil {
				t.Error(err)
			}
			return n
		}
		n += len(receipts)
		if _, err := fmt.Fprintln(ids, receipts[0].ID, receipts[1].ID); err != nil {
			t.Error(err)
			return n
		}
	}
	return n
}

func checkRotation(t *testing.T, pool *pgxpool.Pool, dir, order string, enqueued int) {
	t.Helper()
	for _, name := range []string{"one.ids", "two.ids", "first.ids"} {
		ids, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for id := range strings.FieldsSeq(string(ids)) {
			enqueued++
			var outcome string
			if err := pool.QueryRow(t.Context(), "select outcome from stem.finished where job_id = $1", id).Scan(&outcome); err != nil || outcome != "completed" {
				t.Errorf("job %s: %q, %v", id, outcome, err)
			}
		}
	}
	if failures, err := os.ReadFile(filepath.Join(dir, "failures")); err == nil {
		t.Errorf("producers failed:\n%s", failures)
	}
	var completed, dead, waited, v1, v2 int
	var gap, longest float64
	err := pool.QueryRow(t.Context(), `select
		(select count(*) from stem.finished where outcome = 'completed'), (select count(*) from stem.dead),
		(select count(*) from stem.attempts where outcome = 'waiting'),
		(select count(*) from stem.jobs where sig_key_id = 'v1'), (select count(*) from stem.jobs where sig_key_id = 'v2'),
		(select max(extract(epoch from g)) from (select f.finished_at - lag(f.finished_at) over (order by f.finished_at) as g
			from stem.finished f join stem.jobs j on j.id = f.job_id where convert_from(j.payload, 'UTF8') <> '{"first":true}') x),
		(select max(extract(epoch from f.finished_at - j.created_at)) from stem.finished f join stem.jobs j on j.id = f.job_id)`).
		Scan(&completed, &dead, &waited, &v1, &v2, &gap, &longest)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %d jobs, %d signed with v1 and %d with v2; the longest pause %.2f s, the longest way through %.2f s; %d waits for a key",
		order, completed, v1, v2, gap, longest, waited)
	if completed != enqueued || dead > 0 || v1 == 0 || v2 == 0 || v1+v2 != completed {
		t.Errorf("%d of %d jobs completed, %d dead letters, %d of v1, %d of v2", completed, enqueued, dead, v1, v2)
	}
	if gap > 30 { // in the checklist's order nobody knows the new key until the first worker has restarted
		t.Errorf("nothing was done for %.1f s", gap)
	}
	if order == "careful" && waited > 0 {
		t.Errorf("%d times a job waited for a key", waited)
	}
	log, err := os.ReadFile(filepath.Join(dir, "first.log"))
	if err != nil || !bytes.Contains(log, []byte("signing required for stem with v1")) {
		t.Errorf("%v\n%s", err, log)
	}
}
