package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/internal/nearest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

func newSchedule(a *App) *cobra.Command {
	return group("schedule", "Apply schedules from a file, look at them, switch, trigger and backfill them",
		"  stem schedule dry-run --file schedules.yaml\n  stem schedule apply --file schedules.yaml\n  stem schedule list\n  stem schedule show nightly-report",
		newScheduleApply(a), newScheduleDiff(a), newScheduleVerify(a), newScheduleDryRun(a), newScheduleList(a), newScheduleShow(a), newScheduleHistory(a), newScheduleEnable(a), newScheduleDisable(a), newScheduleTrigger(a),
		newScheduleBackfill(a), newScheduleResign(a), newScheduleDelete(a))
}

// schedules is the table for commands that enqueue nothing, which need no key for jobs.
func (a *App) schedules(ctx context.Context) (*scheduler.Table, error) {
	q, err := a.checker()
	if err != nil {
		return nil, err
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

// findSchedule finds one that is named on the command line.
func findSchedule(ctx context.Context, table *scheduler.Table, id string) (*scheduler.Schedule, error) {
	s, err := table.Get(ctx, id)
	if err != nil {
		return nil, scheduleFault(ctx, table, id, err)
	}
	return s, nil
}

// scheduleFault says what an error of the table means for the schedule, and what to do about it.
func scheduleFault(ctx context.Context, table *scheduler.Table, id string, err error) error {
	switch {
	case errors.Is(err, scheduler.ErrNotFound):
		return noSchedule(ctx, table, id).Because(err)
	case errors.Is(err, scheduler.ErrChanged):
		return changedFault(err, "nothing was done", "stem schedule show "+id)
	case errors.Is(err, scheduler.ErrRefused):
		_, why, _ := strings.Cut(err.Error(), scheduler.ErrRefused.Error()+": ")
		return fault.New(fault.ExitNotFound, "signature_refused", "the signature of schedule %q is refused: %s", id, why).
			WithHint("look at it (stem schedule show %[1]s), then sign it anew: stem schedule resign --reviewed %[1]s", id).Because(err)
	case errors.Is(err, scheduler.ErrUnsigned):
		return fault.Config("signing_off", "schedule %q is signed, and this command has no key to sign it anew", id).About("STEM_SIGNING_KEYS").
			WithHint("set STEM_SIGNING_KEYS and STEM_SIGNING_ACTIVE_KEY as where it was applied").Because(err)
	case errors.Is(err, signing.ErrNoKey):
		return noKeyFault(err)
	case errors.Is(err, encryption.ErrUnknownKey):
		return fault.Config("no_encryption_key", "the args of schedule %q are encrypted with a key that is not here", id).About("STEM_ENCRYPTION_KEYS").Because(err)
	case errors.Is(err, queue.ErrInvalid):
		return fault.Data("the job of schedule %q: %s", id, plain(err)).WithHint("mend its entry and apply it").Because(err)
	}
	return err
}

// changedFault says that a schedule is not as it was read, in the server's words.
func changedFault(err error, what, look string) *fault.Error {
	message := err.Error()
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		message = pg.Message
	}
	return fault.New(fault.ExitTryLater, "changed", "%s; %s", message, what).WithHint("look at it, then run it again: %s", look).Because(err)
}

func noKeyFault(err error) *fault.Error {
	return fault.Config("no_signing_key", "%s", strings.TrimPrefix(err.Error(), "scheduler: ")).About("STEM_SIGNING_ACTIVE_KEY").
		WithHint("name the key that signs schedules with STEM_SIGNING_ACTIVE_KEY").Because(err)
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

// unread says that what a row holds makes no sense, for commands that would have to sign it.
func unread(s *scheduler.Schedule) error {
	if s.Broken == nil {
		return nil
	}
	return fault.Data("schedule %q cannot be understood: %s", s.ID, s.Broken).WithHint("apply its entry again, or delete it: stem schedule delete %s", s.ID)
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
