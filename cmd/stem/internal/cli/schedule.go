package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/internal/nearest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
)

func newSchedule(a *App) *cobra.Command {
	return group("schedule", "Apply schedules, and look at what they would do", "  stem schedule apply -f schedules.yaml\n  stem schedule dry-run",
		newScheduleApply(a), newScheduleDiff(a), newScheduleVerify(a), newScheduleDryRun(a))
}

// schedules is the table for commands that enqueue nothing, which need no key for jobs.
func (a *App) schedules(ctx context.Context) (*scheduler.Table, error) {
	q, err := queue.New(a.producerConfig(nil))
	if err != nil {
		return nil, fault.Config("bad_setting", "%s", plain(err)).Because(err)
	}
	return a.schedulesOver(ctx, q)
}

// schedulesOver is the table whose jobs a queue checks and enqueues.
func (a *App) schedulesOver(ctx context.Context, q *queue.Queue) (*scheduler.Table, error) {
	pool, err := a.Pool(ctx)
	if err != nil {
		return nil, err
	}
	return scheduler.NewTable(pool, q, scheduler.TableConfig{Keys: a.Config.Keys, Encryption: a.Config.Encryption}), nil
}

// scheduleID reads a positional id.
func scheduleID(s string) (string, error) {
	id, err := arg.ParseName(s)
	if err != nil {
		return "", bad("ID", err)
	}
	return id, nil
}

func scheduleIDs(args []string) ([]string, error) {
	var list arg.Names
	var faults []error
	for _, s := range args {
		id, err := scheduleID(s)
		if err == nil {
			err = list.Set(id)
		}
		faults = append(faults, err)
	}
	return list, errors.Join(faults...)
}

// noSchedule names the nearest id, where this login may list them.
func noSchedule(ctx context.Context, table *scheduler.Table, id string) *fault.Error {
	missing := fault.NotFound("no schedule %q (schema stem)", id)
	near, ok := nearest.Name(id, func(yield func(string) bool) {
		for s, err := range table.List(ctx) {
			if err != nil || !yield(s.ID) {
				return
			}
		}
	})
	if ok {
		missing.Message += `. Did you mean "` + near + `"?`
	}
	return missing
}

func scheduleNames(ctx context.Context, a *App, _ *control.Plane) ([]string, error) {
	table, err := a.schedules(ctx)
	if err != nil {
		return nil, err
	}
	var list []string
	for s, err := range table.List(ctx) {
		if err != nil {
			return nil, err
		}
		list = append(list, s.ID)
	}
	return list, nil
}
