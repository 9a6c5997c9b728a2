package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

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
	ring, err := signing.FromEnviron(environ)
	ts.Check(err)
	codec, err := encryption.FromEnviron(environ)
	ts.Check(err)
	q, err := queue.New(queue.Config{Signer: ring, Encryption: codec})
	ts.Check(err)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, ts.Getenv(ownerURL))
	ts.Check(err)
	defer conn.Close(ctx)
	table := scheduler.NewTable(conn, q, scheduler.TableConfig{Keys: ring, Encryption: codec})
	plan, err := table.Plan(ctx, false, e)
	ts.Check(err)
	ts.Check(table.Apply(ctx, plan, "test"))
}
