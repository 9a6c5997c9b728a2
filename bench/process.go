package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

func processScenarios() []scenario {
	return []scenario{
		{name: "recovery", about: "from SIGKILL of a worker until the last of the 50 jobs that it ran has begun in another", unit: "s", takes: 6, open: openRecovery},
		{name: "idle", about: "what a worker with nothing to do asks of the server", unit: "tx/s", takes: 16, gives: []string{"pg_cpu_ms_per_s", "client_cpu_ms_per_s", "wal_bytes_per_s"}, open: openIdle},
	}
}

// childCommand makes this program a worker that takes jobs and never ends one: what SIGKILL is for.
const childCommand = "__worker"

func childMain(args []string) int {
	if err := child(args); err != nil {
		stderr("bench worker: %v", err)
		return 1
	}
	return 0
}

// child is given: which system, URL, slots, lease, rescueAfter. It prints a line for each job that it begins.
func child(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("want system, URL, slots, lease and rescue limit, got %d arguments", len(args))
	}
	slots, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	c := setting{slots: slots}
	if c.lease, err = time.ParseDuration(args[3]); err != nil {
		return err
	}
	if c.rescueAfter, err = time.ParseDuration(args[4]); err != nil {
		return err
	}
	ctx := context.Background()
	s, err := attach(ctx, args[0], args[1])
	if err != nil {
		return err
	}
	stop, err := s.work(ctx, c, func(load) {
		fmt.Println("begun")
		select {}
	})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin) // the parent holds it open: its end is ours
	return errors.Join(err, stop())
}

func openRecovery(ctx context.Context, l *lab) ([]variant, func(), error) {
	p, err := openPair(ctx, l, 8)
	if err != nil {
		return nil, nil, err
	}
	of := func(name string, s side, c setting, settings string) contender {
		return contender{name: name, settings: settings, run: func(ctx context.Context) (sample, error) {
			return recovery(ctx, l, s, c)
		}}
	}
	if l.size == smoke {
		return []variant{{name: "as short as it goes", contenders: []contender{
			of("stem, lease 2 s", p.stem, setting{slots: 50, lease: 2 * time.Second}, "lease 2 s"),
			// The rescuer is the leader's, and the leader was killed: its term of 15 s has to end first.
			of("river, rescue 2 s", p.river, setting{slots: 50, rescueAfter: 2 * time.Second}, "RescueStuckJobsAfter and JobTimeout 2 s"),
		}}}, p.close, nil
	}
	river := of("river, rescue 30 s", p.river, setting{slots: 50, rescueAfter: 30 * time.Second},
		"RescueStuckJobsAfter and JobTimeout 30 s: jobs may then not take longer. Its default is 1 h, which nobody waits for here")
	return []variant{
		{name: "default lease of 30 s", contenders: []contender{of("stem", p.stem, setting{slots: 50}, "default"), river}},
		{name: "lease of 5 s", contenders: []contender{of("stem, lease 5 s", p.stem, setting{slots: 50, lease: 5 * time.Second}, "lease 5 s")}},
	}, p.close, nil
}

// recovery kills a process that runs 50 jobs while another, with room for all of them, stands by.
func recovery(ctx context.Context, l *lab, s side, c setting) (sample, error) {
	if err := s.reset(ctx); err != nil {
		return sample{}, err
	}
	if err := s.enqueue(ctx, nil, loads(c.slots)); err != nil {
		return sample{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return sample{}, err
	}
	cmd := exec.CommandContext(ctx, self, childCommand, s.name(), l.url(s.database()), strconv.Itoa(c.slots), c.lease.String(), c.rescueAfter.String())
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return sample{}, err
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return sample{}, err
	}
	if err := cmd.Start(); err != nil {
		return sample{}, err
	}
	lines := bufio.NewScanner(stdout)
	for i := range c.slots {
		if !lines.Scan() {
			return sample{}, errors.Join(fmt.Errorf("the child began %d of %d jobs", i, c.slots), cmd.Process.Kill(), cmd.Wait())
		}
	}
	var begun atomic.Int64
	last := make(chan time.Time, 1)
	stop, err := s.work(ctx, c, func(load) {
		if begun.Add(1) == int64(c.slots) {
			last <- time.Now()
		}
	})
	if err != nil {
		return sample{}, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	killed := time.Now()
	err = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait() // it was killed: that is its error
	if err != nil {
		return sample{}, errors.Join(err, stop())
	}
	select {
	case <-ctx.Done():
		return sample{}, errors.Join(context.Cause(ctx), stop())
	case <-time.After(10 * time.Minute):
		return sample{}, errors.Join(fmt.Errorf("%d of %d jobs were recovered in 10 minutes", begun.Load(), c.slots), stop())
	case at := <-last:
		return sample{Value: at.Sub(killed).Seconds()}, stop()
	}
}

// attach opens a system on a database that is migrated already.
func attach(ctx context.Context, name, url string) (side, error) {
	switch name {
	case "stem":
		return attachStem(ctx, url)
	case "river":
		return attachRiver(ctx, url)
	default:
		return nil, fmt.Errorf("no system %q: want stem or river", name)
	}
}

func openIdle(ctx context.Context, l *lab) ([]variant, func(), error) {
	p, err := openPair(ctx, l, 8)
	if err != nil {
		return nil, nil, err
	}
	var list []variant
	for _, queues := range []int{1, 100} {
		for _, defaults := range []bool{true, false} {
			name := fmt.Sprintf("%d queues, default settings", queues)
			if !defaults {
				name = fmt.Sprintf("%d queues, both at their best", queues)
			}
			list = append(list, variant{name: name, contenders: p.contend(setting{slots: 10, queues: queues, defaults: defaults}, func(ctx context.Context, s side, c setting) (sample, error) {
				return idle(ctx, l, s, c)
			})})
		}
	}
	return list, p.close, nil
}

// idle counts transactions, which is what an idle worker's statements are, after it has had time to become idle.
func idle(ctx context.Context, l *lab, s side, c setting) (sample, error) {
	if err := settleDown(ctx, s.pool()); err != nil {
		return sample{}, err
	}
	stop, err := s.work(ctx, c, func(load) {})
	if err != nil {
		return sample{}, err
	}
	one, err := idleSpan(ctx, l, s.pool(), l.span(30*time.Second, 8*time.Second, 1200*time.Millisecond))
	return one, errors.Join(err, stop())
}

func idleSpan(ctx context.Context, l *lab, pool *pgxpool.Pool, lasts time.Duration) (sample, error) {
	transactions := func() (int64, error) {
		return query1[int64](ctx, pool, "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()")
	}
	if err := pause(ctx, l.span(10*time.Second, 3*time.Second, 300*time.Millisecond)); err != nil {
		return sample{}, err
	}
	before, err := transactions()
	if err != nil {
		return sample{}, err
	}
	g, err := l.gauge(ctx, pool)
	if err != nil {
		return sample{}, err
	}
	if err := pause(ctx, lasts); err != nil {
		return sample{}, err
	}
	if err := g.stop(ctx); err != nil {
		return sample{}, err
	}
	after, err := transactions()
	seconds := g.elapsed.Seconds()
	return sample{Value: float64(after-before) / seconds, Metrics: map[string]float64{
		"pg_cpu_ms_per_s":     float64(g.serverElapsed.Milliseconds()) / seconds,
		"client_cpu_ms_per_s": float64(g.clientElapsed.Microseconds()) / 1000 / seconds,
		"wal_bytes_per_s":     float64(g.walElapsed) / seconds,
	}}, err
}
