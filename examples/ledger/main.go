// Command ledger hashes every file of a directory tree with jobs, kills its own workers while they work, and then proves
// that nothing was lost, nothing was done twice and nothing ran that was rolled back.
//
//	go run ./examples/ledger --dir "$(go env GOROOT)/src" --workers 4 --kill-every 3s
//
// Each file becomes a row of the example's own table and a job, in one transaction; every tenth of these transactions is
// rolled back on purpose. Worker processes hash the files and write the digest in the transaction that completes the job. The
// parent kills a worker that is busy with SIGKILL, again and again, and replaces it. At the end it hashes every file itself
// and prints one line of JSON. The exit code is 0 only if nothing is mismatched, missing, duplicate or a ghost, and something
// was killed.
//
// STEM_DATABASE_URL names the database, which is migrated; without it a private Postgres is started.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	dir       string
	workers   int
	killEvery time.Duration
	work      time.Duration
	timeout   time.Duration
	notify    bool
	pooled    bool
	log       string
}

// summary is the last line on stdout.
type summary struct {
	Files      int `json:"files"`
	Committed  int `json:"committed"`
	RolledBack int `json:"rolledBack"`
	Completed  int `json:"completed"`
	Mismatched int `json:"mismatched"`
	Missing    int `json:"missing"`
	Duplicates int `json:"duplicates"`
	Ghosts     int `json:"ghosts"`
	Kills      int `json:"kills"`
}

func (s summary) proven() bool {
	return s.Mismatched == 0 && s.Missing == 0 && s.Duplicates == 0 && s.Ghosts == 0 && s.Kills > 0
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if order, ok := os.LookupEnv(orderVar); ok {
		if err := work(ctx, order); err != nil {
			fmt.Fprintf(os.Stderr, "ledger: worker %d: %v\n", os.Getpid(), err)
			os.Exit(1) //nolint:gocritic // exitAfterDefer: the process ends anyway
		}
		return
	}
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2) // the flag package has said why
	}
	s, err := run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
	line, err := json.Marshal(s)
	if err != nil {
		panic(err) // nine integers
	}
	fmt.Println(string(line))
	if !s.proven() {
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	notify := "on"
	f := flag.NewFlagSet("ledger", flag.ContinueOnError)
	f.StringVar(&o.dir, "dir", ".", "the tree whose files are hashed")
	f.IntVar(&o.workers, "workers", 4, "how many worker processes run at once")
	f.DurationVar(&o.killEvery, "kill-every", 3*time.Second, "how often a busy worker is killed")
	f.DurationVar(&o.work, "work", 5*time.Millisecond, "how long a handler takes at least")
	f.DurationVar(&o.timeout, "timeout", 10*time.Minute, "when to give up waiting; what is not done then is missing")
	f.StringVar(&notify, "notify", notify, "on: workers are woken by LISTEN; off: they poll")
	f.BoolVar(&o.pooled, "pgbouncer", false, "producers and workers go through PgBouncer in transaction mode; workers poll")
	f.StringVar(&o.log, "log", "", "append all that workers log to this file, instead of warnings to stderr")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	var wrong error
	switch {
	case f.NArg() > 0:
		wrong = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case notify != "on" && notify != "off":
		wrong = fmt.Errorf("--notify: want on or off, got %q", notify)
	case o.workers < 2:
		wrong = fmt.Errorf("--workers: want 2 or more, got %d: somebody must rescue what a killed one held", o.workers)
	case o.killEvery <= 0 || o.timeout <= 0:
		wrong = errors.New("--kill-every and --timeout must be above 0")
	}
	o.notify = notify == "on"
	if wrong != nil {
		fmt.Fprintln(os.Stderr, "ledger:", wrong)
	}
	return o, wrong
}
