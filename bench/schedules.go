package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
)

func scheduleScenarios() []scenario {
	return []scenario{
		{name: "schedules", about: "Stem alone: from an instant at which many schedules are due until the last job of it is committed", unit: "ms", takes: 6, gives: costs, open: openSchedules},
		{name: "standby", about: "Stem alone: what a scheduler with nothing to do asks of the server", unit: "tx/s", takes: 4, gives: []string{"pg_cpu_ms_per_s", "client_cpu_ms_per_s", "wal_bytes_per_s"}, open: openStandby},
	}
}

func openSchedules(ctx context.Context, l *lab) ([]variant, func(), error) {
	plain, err := openStem(ctx, l, "bench_stem", 8)
	if err != nil {
		return nil, nil, err
	}
	keyed, err := plain.signed()
	if err != nil {
		plain.close()
		return nil, nil, err
	}
	contend := func(run func(ctx context.Context, s *stemSide, schedulers int) (sample, error)) []contender {
		var list []contender
		for _, s := range []*stemSide{plain, keyed} {
			for _, n := range []int{1, 3} {
				name, settings := fmt.Sprintf("schedulers: %d", n), "Stem (this checkout): everything default; schedulers in this process"
				if s.keys != nil {
					name, settings = name+", signed", settings+"; schedules verified, jobs signed"
				}
				list = append(list, contender{name: name, settings: settings, run: func(ctx context.Context) (sample, error) { return run(ctx, s, n) }})
			}
		}
		return list
	}
	burst, steady := l.count(1000, 1000, 50), l.count(300, 300, 20)
	return []variant{
		{name: fmt.Sprintf("%d due at one instant", burst), contenders: contend(func(ctx context.Context, s *stemSide, n int) (sample, error) {
			return volley(ctx, l, s, n, burst)
		})},
		{name: fmt.Sprintf("%d due each second, p99 of the drift", steady), contenders: contend(func(ctx context.Context, s *stemSide, n int) (sample, error) {
			return volleys(ctx, l, s, n, steady)
		})},
	}, plain.close, nil
}

// order replaces all schedules by so many of one spec.
func (s *stemSide) order(ctx context.Context, n int, spec string) error {
	if err := s.reset(ctx); err != nil {
		return err
	}
	if _, err := s.p.Exec(ctx, "truncate stem.schedules, stem.schedule_runs"); err != nil {
		return err
	}
	table := scheduler.NewTable(s.p, s.q, scheduler.TableConfig{Keys: s.keys})
	entries := make([]scheduler.Entry, n)
	for i := range entries {
		entries[i] = scheduler.Entry{ID: fmt.Sprintf("s%05d", i), Spec: spec, Job: queue.Raw("bench.noop", []byte(`{"pad":"`+padding+`"}`), "")}
	}
	plan, err := table.Plan(ctx, false, entries...)
	if err == nil {
		err = table.Apply(ctx, plan, "bench")
	}
	return err
}

// standBy starts schedulers and returns how to stop them.
func (s *stemSide) standBy(ctx context.Context, n int, poll time.Duration) (func() error, error) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, n)
	for i := range n {
		one, err := scheduler.New(s.p, s.q, scheduler.Config{Node: fmt.Sprint("bench", i), Keys: s.keys, PollInterval: poll})
		if err != nil {
			cancel()
			return nil, err
		}
		go func() { ended <- one.Run(ctx) }()
	}
	return func() error {
		cancel()
		var failed error
		for range n {
			failed = errors.Join(failed, <-ended)
		}
		return failed
	}, nil
}

// volley has n schedules due at one instant.
func volley(ctx context.Context, l *lab, s *stemSide, schedulers, n int) (sample, error) {
	now, err := query1[time.Time](ctx, s.p, "select clock_timestamp()")
	if err != nil {
		return sample{}, err
	}
	at := now.Truncate(time.Second).Add(l.span(8*time.Second, 8*time.Second, 4*time.Second))
	if err := s.order(ctx, n, `{"clocked":"`+at.UTC().Format(time.RFC3339)+`"}`); err != nil {
		return sample{}, err
	}
	if err := settleDown(ctx, s.p); err != nil {
		return sample{}, err
	}
	stop, err := s.standBy(ctx, schedulers, 0)
	if err != nil {
		return sample{}, err
	}
	one, err := volleySpan(ctx, l, s, at, n)
	return one, errors.Join(err, stop())
}

func volleySpan(ctx context.Context, l *lab, s *stemSide, at time.Time, n int) (sample, error) {
	left, err := query1[time.Duration](ctx, s.p, "select $1 - clock_timestamp()", at)
	if err != nil {
		return sample{}, err
	}
	if left < 500*time.Millisecond {
		return sample{}, fmt.Errorf("only %v are left until the instant; the schedulers may not be ready: the run does not count", left)
	}
	if err := pause(ctx, left-200*time.Millisecond); err != nil {
		return sample{}, err
	}
	g, err := l.gauge(ctx, s.p)
	if err != nil {
		return sample{}, err
	}
	var took time.Duration
	if err := waitFor(ctx, "every schedule has fired", time.Minute, func() (bool, error) {
		var fired int
		err := s.p.QueryRow(ctx, "select count(*), clock_timestamp() - $1 from stem.schedule_runs", at).Scan(&fired, &took)
		return fired >= n, err
	}); err != nil {
		return sample{}, err
	}
	if err := g.stop(ctx); err != nil {
		return sample{}, err
	}
	if err := s.firedOnce(ctx); err != nil {
		return sample{}, err
	}
	one, err := g.sample(ctx, n)
	one.Value = float64(took.Microseconds()) / 1000
	return one, err
}

// volleys has n schedules due each second.
func volleys(ctx context.Context, l *lab, s *stemSide, schedulers, n int) (sample, error) {
	if err := s.order(ctx, n, "every:1s"); err != nil {
		return sample{}, err
	}
	if err := settleDown(ctx, s.p); err != nil {
		return sample{}, err
	}
	stop, err := s.standBy(ctx, schedulers, 0)
	if err != nil {
		return sample{}, err
	}
	one, err := volleysSpan(ctx, l, s)
	return one, errors.Join(err, stop())
}

func volleysSpan(ctx context.Context, l *lab, s *stemSide) (sample, error) {
	const fires = "select count(*) from stem.schedule_runs"
	if err := pause(ctx, l.span(3*time.Second, 2*time.Second, 1500*time.Millisecond)); err != nil {
		return sample{}, err
	}
	before, err := query1[int](ctx, s.p, fires)
	if err != nil {
		return sample{}, err
	}
	begun, err := query1[time.Time](ctx, s.p, "select clock_timestamp()")
	if err != nil {
		return sample{}, err
	}
	g, err := l.gauge(ctx, s.p)
	if err != nil {
		return sample{}, err
	}
	if err := pause(ctx, l.span(20*time.Second, 10*time.Second, 3*time.Second)); err != nil {
		return sample{}, err
	}
	if err := g.stop(ctx); err != nil {
		return sample{}, err
	}
	after, err := query1[int](ctx, s.p, fires)
	if err != nil {
		return sample{}, err
	}
	if err := s.firedOnce(ctx); err != nil {
		return sample{}, err
	}
	rows, err := s.p.Query(ctx, "select drift_us from stem.schedule_runs where recorded_at > $1", begun)
	if err != nil {
		return sample{}, err
	}
	us, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return sample{}, err
	}
	drifts := make([]time.Duration, len(us))
	for i, d := range us {
		drifts[i] = time.Duration(d) * time.Microsecond
	}
	one, err := g.sample(ctx, after-before)
	maps.Copy(one.Metrics, latencies(drifts))
	one.Value = one.Metrics["p99_ms"]
	return one, err
}

// firedOnce holds the ledger against the jobs.
func (s *stemSide) firedOnce(ctx context.Context) error {
	wrong, err := query1[bool](ctx, s.p, `
		select exists (select from stem.schedule_runs where outcome <> 'fired' or drift_us < 0)
			or (select count(*) from stem.schedule_runs) <> (select count(distinct (origin, nominal_at)) from stem.jobs)
			or (select count(*) from stem.jobs) <> (select count(*) from stem.schedule_runs)
			or exists (select from stem.jobs where (sig is not null) <> $1)`, s.keys != nil)
	if err == nil && wrong {
		err = errors.New("the ledger and the jobs do not agree, or a run was not on time: the run does not count")
	}
	return err
}

func openStandby(ctx context.Context, l *lab) ([]variant, func(), error) {
	s, err := openStem(ctx, l, "bench_stem", 8)
	if err != nil {
		return nil, nil, err
	}
	n := l.count(10_000, 10_000, 100)
	spec := `{"every":"24h","startAt":"` + time.Now().UTC().Truncate(time.Second).Add(12*time.Hour).Format(time.RFC3339) + `"}`
	if err := s.order(ctx, n, spec); err != nil {
		s.close()
		return nil, nil, err
	}
	run := func(ctx context.Context) (sample, error) {
		if err := settleDown(ctx, s.p); err != nil {
			return sample{}, err
		}
		stop, err := s.standBy(ctx, 1, l.span(0, 0, 200*time.Millisecond))
		if err != nil {
			return sample{}, err
		}
		one, err := idleSpan(ctx, l, s.p, l.span(time.Minute, 20*time.Second, 1200*time.Millisecond))
		return one, errors.Join(err, stop())
	}
	return []variant{{name: fmt.Sprintf("%d schedules, none due within the hour", n), contenders: []contender{
		{name: "schedulers: 1", settings: "Stem (this checkout): everything default", run: run},
	}}}, s.close, nil
}
