package main

import (
	"bufio"
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/stemqueue/stem/internal/pgtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

// standing applies a schedule with the keys of the script's environment, as its owner: standing ID SPEC [KEY=VALUE]... Keys are task,
// args, queue, zone, description, key (a unique key), missed, previous and pause (after so many failures); its job is tried once.
func standing(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: standing ID SPEC [KEY=VALUE]...")
	}
	given := map[string]string{"task": "ok", "args": "{}", "pause": "0"}
	for _, pair := range args[2:] {
		key, value, _ := strings.Cut(pair, "=")
		given[key] = value
	}
	e := scheduler.Entry{ID: args[0], Spec: args[1], Zone: given["zone"], Description: given["description"]}
	e.Policies.Missed, e.Policies.Previous = given["missed"], given["previous"]
	var err error
	e.Policies.PauseAfterFailures, err = strconv.Atoi(given["pause"])
	ts.Check(err)
	options := []queue.Option{queue.MaxAttempts(1)}
	if given["queue"] != "" {
		options = append(options, queue.On(given["queue"]))
	}
	if given["key"] != "" {
		options = append(options, queue.UntilFinished(given["key"]))
	}
	e.Job = queue.Raw(given["task"], []byte(given["args"]), "", options...)

	var environ []string
	for _, name := range []string{"STEM_SIGNING_KEYS", "STEM_SIGNING_ACTIVE_KEY", "STEM_ENCRYPTION_KEYS"} {
		if value := ts.Getenv(name); value != "" {
			environ = append(environ, name+"="+value)
		}
	}
	ts.Check(applySchedule(context.Background(), ts.Getenv(ownerURL), environ, e))
}

// applySchedule applies an entry with the keys of an environment.
func applySchedule(ctx context.Context, url string, environ []string, e scheduler.Entry) error {
	ring, err := signing.FromEnviron(environ)
	if err != nil {
		return err
	}
	codec, err := encryption.FromEnviron(environ)
	if err != nil {
		return err
	}
	q, err := queue.New(queue.Config{Signer: ring, Encryption: codec})
	if err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	table := scheduler.NewTable(conn, q, scheduler.TableConfig{Keys: ring, Encryption: codec})
	plan, err := table.Plan(ctx, false, e)
	if err != nil {
		return err
	}
	return table.Apply(ctx, plan, "test")
}

// Off a terminal a list of schedules appends those that changed, as JSON lines: how long it is until the next run is no change.
func TestWatchSchedules(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	if err := applySchedule(t.Context(), url, nil, scheduler.Entry{ID: "rare", Spec: "every:47h", Job: queue.Raw("t", []byte("{}"), "")}); err != nil {
		t.Fatal(err)
	}
	cmd := stemCommand(t, pgtest.Login(t, url, "observer"), "schedule", "list", "--watch", "--interval", "100ms")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w := &watching{cmd, bufio.NewScanner(out)}
	w.until(t, `"id":"rare"`, `"status":"active"`)
	for begun := time.Now(); time.Since(begun) < 1200*time.Millisecond; { // looks of another command: this one has had time for some in another second
		if text, err := stemCommand(t, url, "observe", "schedules").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
	}
	if text, err := stemCommand(t, url, "schedule", "disable", "rare").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if line := w.until(t, ``); !strings.Contains(line, `"status":"disabled"`) {
		t.Errorf("the second line is %s", line)
	}
	w.interrupt(t)
}
