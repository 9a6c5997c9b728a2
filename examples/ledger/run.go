package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ledger is one run, as the parent sees it.
type ledger struct {
	options
	id      uuid.UUID     // tells this run's rows from those of earlier ones in the same database
	queue   string        // its own, for the same reason
	direct  *pgxpool.Pool // the parent's, past any pooler
	clients string        // where producers and workers connect
	notes   string        // a directory in which handlers note every run
	began   time.Time
	say     func(format string, args ...any)
}

// run does everything from walking the tree to the verdict.
func run(ctx context.Context, o options) (s summary, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	l := &ledger{options: o, id: uuid.New(), began: time.Now()}
	l.queue = "ledger-" + l.id.String()[:8]
	l.say = func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "ledger: %6.1fs  "+format+"\n", append([]any{time.Since(l.began).Seconds()}, args...)...)
	}
	files, err := walk(o.dir)
	if err != nil {
		return s, err
	}
	l.say("%d files in %s", len(files), o.dir)
	if l.notes, err = os.MkdirTemp("", "ledger-"); err != nil {
		return s, err
	}
	defer func() {
		_ = os.RemoveAll(l.notes) // in the temporary directory: what stays does no harm
	}()
	release, err := l.connect(ctx)
	if err != nil {
		return s, err
	}
	defer release()
	logs, err := openLog(o.log)
	if err != nil {
		return s, err
	}
	defer logs.Close()

	fleet := newFleet(l, logs)
	defer fleet.killAll()
	made, err := l.race(ctx, fleet, files)
	if err != nil {
		return s, err
	}
	fleet.drain()
	l.say("workers drained; checking")
	// Whatever happened to the time limit, the verdict is given.
	s, err = l.judge(context.WithoutCancel(ctx), made)
	s.Files, s.Kills = len(files), fleet.kills
	l.say("done")
	return s, err
}

// race lets producers, workers and the killer loose, and returns when every job that was committed has ended.
func (l *ledger) race(ctx context.Context, fleet *fleet, files []string) (*produced, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	made := &produced{jobs: map[string]uuid.UUID{}, rolledBack: map[string]bool{}}
	producing := make(chan error, 1)
	go func() { producing <- l.produce(ctx, made, files) }()
	// With a head start there is a backlog: the killed ones hold full slots, and jobs that they fetched in advance.
	if err := l.await(ctx, len(files)/4, producing); err != nil {
		return nil, err
	}
	for range l.workers {
		if err := fleet.start(ctx); err != nil {
			return nil, err
		}
	}
	fleet.done = make(chan struct{})
	go fleet.killNowAndThen(ctx, len(files)/10)

	bar := newProgress(len(files) - len(files)/10)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-producing:
			if err != nil {
				cancel()
				<-fleet.done
				return nil, fmt.Errorf("produce: %w", err)
			}
			l.say("all is enqueued: %d committed, %d rolled back", len(made.jobs), len(made.rolledBack))
			producing = nil
		case <-tick.C:
		}
		c, err := l.count(ctx)
		switch {
		case err == nil:
			err = fleet.broken()
		case producing == nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
			l.say("out of time: what is not done is missing")
			err, c.live = nil, 0
		}
		bar.show(c.digests)
		if err == nil && (producing != nil || c.live > 0) {
			continue
		}
		bar.end()
		cancel()
		<-fleet.done
		l.say("%d workers were killed, %d jobs wait or run", fleet.kills, c.live)
		return made, err
	}
}

// await returns when so many jobs wait, or when the producers have ended early.
func (l *ledger) await(ctx context.Context, jobs int, producing chan error) error {
	for {
		c, err := l.count(ctx)
		if err != nil || c.live >= jobs {
			return err
		}
		select {
		case err := <-producing:
			producing <- err // it is for the caller
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// openLog opens where workers log to.
func openLog(path string) (io.WriteCloser, error) {
	if path == "" {
		return os.Stderr, nil
	}
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}
