package main

import (
	"context"
	"fmt"
)

func historyScenarios() []scenario {
	return []scenario{{name: "history", about: "the drain at 1 000 slots with many finished jobs kept", unit: "jobs/s", takes: 20, gives: costs, open: openHistory}}
}

func openHistory(ctx context.Context, l *lab) ([]variant, func(), error) {
	p, err := openPair(ctx, l, 8)
	if err != nil {
		return nil, nil, err
	}
	kept, n := l.count(10_000_000, 200_000, 5_000), l.count(200_000, 20_000, 1_000)
	v := variant{name: fmt.Sprintf("%d finished jobs kept, 1 000 slots", kept)}
	for _, one := range []side{p.stem, p.river} {
		filled := false // once for all rounds: what a round finishes is history to the next
		v.contenders = append(v.contenders, contender{name: one.name(), settings: one.describe(setting{slots: 1000}), run: func(ctx context.Context) (sample, error) {
			p.river.use(setting{})
			if !filled {
				l.say("history: loading %d finished jobs for %s", kept, one.name())
				if err := fillHistory(ctx, p, one, kept); err != nil {
					return sample{}, err
				}
				filled = true
			}
			return drain(ctx, l, one, setting{slots: 1000}, n)
		}})
	}
	return []variant{v}, p.close, nil
}

func fillHistory(ctx context.Context, p *pair, s side, n int) error {
	const chunk = 250_000
	payload := `{"n":0,"sent":0,"pad":"` + padding + `"}`
	for done := 0; done < n; done += chunk {
		count := min(chunk, n-done)
		var err error
		if s.name() == "stem" {
			_, err = p.stem.p.Exec(ctx, `with leaf as materialized (`+leafOfNow+`), e as (
				insert into stem.jobs (issued_at, id, slot, priority, max_attempts, queue, task, payload)
				select clock_timestamp(), stem.uuid7(), leaf.slot, 5::smallint, 20::smallint, 'default', 'bench.noop', convert_to($2, 'UTF8')
				from leaf, generate_series(1, $1) i
				returning id, slot)
				insert into stem.finished (started_at, job_id, attempt, slot, outcome)
				select clock_timestamp(), id, 1, slot, 'completed' from e`, count, payload)
		} else {
			_, err = p.river.p.Exec(ctx, `insert into river_job (state, attempt, max_attempts, attempted_at, finalized_at, args, kind, queue, priority)
				select 'completed', 1, 25, now(), now(), $2::text::jsonb, 'bench.noop', 'default', 1 from generate_series(1, $1) i`, count, payload)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
