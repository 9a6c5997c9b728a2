package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/scheduler"
	"github.com/stemqueue/stem/signing"
)

// scheduleResult is what became of a schedule that was to be changed.
type scheduleResult struct {
	id      string
	outcome string
	done    bool
	signed  *bool // whether the change is; nil where nothing was changed
	detail  string
}

var scheduleResultSheet = output.Sheet[scheduleResult]{Noun: "schedule", Columns: []output.Column[scheduleResult]{
	{Header: "ID", Value: func(r scheduleResult) any { return r.id }, Name: true},
	{Header: "Outcome", Value: func(r scheduleResult) any { return r.outcome }, Tone: func(r scheduleResult) output.Tone {
		if r.done {
			return output.Good
		}
		return output.Warn
	}},
	{Header: "Done", Value: func(r scheduleResult) any { return r.done }, Data: true},
	{Header: "Signed", Value: func(r scheduleResult) any { return r.signed }, Wide: true},
	{Header: "Detail", Value: func(r scheduleResult) any { return optional(r.detail) }, Wide: true},
}}

// changeSchedules acts upon each of those that are named. What keeps one from being changed is no reason to leave the others.
func (a *App) changeSchedules(done string, ids []string, act func(id string) (scheduleResult, error)) error {
	var results []scheduleResult
	var faults []*fault.Error
	for _, id := range ids {
		r, err := act(id)
		f, isFault := errors.AsType[*fault.Error](err)
		switch {
		case err != nil && (!isFault || len(ids) == 1):
			if len(results) > 0 {
				err = errors.Join(err, output.List(a.Printer, &scheduleResultSheet, output.Rows(results)))
			}
			return err
		case err != nil:
			r = scheduleResult{outcome: f.Code, detail: f.Message}
			faults = append(faults, f)
			a.Printer.Note("%s", f.Message)
		}
		r.id = id
		results = append(results, r)
	}
	if err := output.List(a.Printer, &scheduleResultSheet, output.Rows(results)); err != nil || len(faults) == 0 {
		return err
	}
	exit, code := fault.ExitPartial, "partial"
	if len(faults) == len(ids) {
		exit, code = faults[0].Exit, faults[0].Code
	}
	return fault.New(exit, code, "%d of %d not %s: %s", len(faults), len(ids), done, faults[0].Message).WithHint("%s", faults[0].Hint)
}

// scheduleChange is a command about some schedules.
func (a *App) scheduleChange(cmd *cobra.Command, reason *string, run func(ctx context.Context, table *scheduler.Table, ids []string) error) *cobra.Command {
	if cmd.Args == nil {
		cmd.Args = takesSome("ID")
	}
	cmd.ValidArgsFunction = a.completing(scheduleNames)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ids, err := scheduleIDs(args)
		if err := errors.Join(err, checkReason("reason", *reason)); err != nil {
			return err
		}
		table, err := a.schedules(cmd.Context())
		if err != nil {
			return err
		}
		return run(cmd.Context(), table, ids)
	}
	return cmd
}

func newScheduleEnable(a *App) *cobra.Command {
	var (
		reason   string
		reviewed bool
	)
	cmd := a.scheduleChange(&cobra.Command{
		Use:   "enable ID...",
		Short: "Switch schedules on, or end their pause",
		Long: "Switch schedules on, or end their pause, and sign them as switched on. They run at the instants after this: nothing that was\n" +
			"missed is made up for (stem schedule backfill does that). One whose signature is refused needs --reviewed: from then on\n" +
			"whoever wrote it into the table is believed.",
		Example: "  stem schedule enable nightly-report --reason \"the disk is larger now\"\n  stem schedule enable hourly daily",
	}, &reason, func(ctx context.Context, table *scheduler.Table, ids []string) error {
		return a.changeSchedules("enabled", ids, func(id string) (scheduleResult, error) {
			s, err := findSchedule(ctx, table, id)
			if err == nil {
				err = unread(s)
			}
			if err != nil {
				return scheduleResult{}, err
			}
			changed, err := table.Enable(ctx, id, reason, reviewed)
			if err != nil {
				return scheduleResult{}, scheduleFault(ctx, table, id, err)
			}
			if !changed {
				a.Printer.Note("schedule %q is on", id)
				return scheduleResult{outcome: "unchanged", done: true}, nil
			}
			return scheduleResult{outcome: "enabled", done: true, signed: new(a.Config.Keys.Policy() != signing.Off)}, nil
		})
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	cmd.Flags().BoolVar(&reviewed, "reviewed", false, "somebody has looked at what would run: sign it whatever its signature")
	return cmd
}

func newScheduleDisable(a *App) *cobra.Command {
	var reason string
	cmd := a.scheduleChange(&cobra.Command{
		Use:   "disable ID...",
		Short: "Switch schedules off",
		Long: "Switch schedules off: they run no more, and jobs that are enqueued stay. That needs no key. With one the switch is signed; without,\n" +
			"whoever may write to the table can switch the schedule on again, as it was signed.",
		Example: "  stem schedule disable nightly-report --reason \"the disk is full\"",
	}, &reason, func(ctx context.Context, table *scheduler.Table, ids []string) error {
		return a.changeSchedules("disabled", ids, func(id string) (scheduleResult, error) {
			before, err := findSchedule(ctx, table, id)
			if err != nil {
				return scheduleResult{}, err
			}
			changed, err := table.Disable(ctx, id, reason)
			if err != nil {
				return scheduleResult{}, scheduleFault(ctx, table, id, err)
			}
			if !changed {
				a.Printer.Note("schedule %q is off", id)
				return scheduleResult{outcome: "unchanged", done: true}, nil
			}
			after, err := findSchedule(ctx, table, id)
			if err != nil {
				return scheduleResult{}, err
			}
			signed := after.Version > before.Version // what is not signed anew keeps its version
			if !signed && (after.Key != "" || a.Config.Keys.Policy() != signing.Off) {
				a.Printer.Note("schedule %q: the switch is not signed; whoever may write to the table can switch it on again", id)
			}
			return scheduleResult{outcome: "disabled", done: true, signed: &signed}, nil
		})
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	return cmd
}

func newScheduleDelete(a *App) *cobra.Command {
	var change Change
	cmd := a.scheduleChange(&cobra.Command{
		Use:   "delete ID...",
		Short: "Remove schedules, all or none",
		Long: "Remove schedules, all or none. Jobs that are enqueued stay, and the ledger until it is pruned, so that a schedule of the same name\n" +
			"runs at no instant again.",
		Example: "  stem schedule delete nightly-report --dry-run\n  stem schedule delete hourly daily --yes --reason \"replaced by weekly\"",
	}, &change.Reason, func(ctx context.Context, table *scheduler.Table, ids []string) error {
		e := Effect{Verb: "delete", Count: len(ids), Noun: "schedule"}
		var missing []error
		for _, id := range ids {
			s, err := findSchedule(ctx, table, id)
			switch {
			case err != nil:
				missing = append(missing, err)
			case len(e.Sample) < samples:
				e.Sample = append(e.Sample, fmt.Sprintf("%s  %s  %s  fired %d times", s.ID, s.Task, specWords(s.Spec), s.Fired))
			}
		}
		if err := errors.Join(missing...); err != nil {
			return err
		}
		if ok, err := a.Confirm(ctx, change, e); !ok {
			return err
		}
		if err := table.Delete(ctx, change.Reason, ids...); err != nil {
			return scheduleFault(ctx, table, meant(ids, err), err)
		}
		return output.List(a.Printer, &scheduleResultSheet, output.Rows(allOf(ids, "deleted", nil)))
	})
	change.Bind(cmd.Flags())
	return cmd
}

// meant is the one of several that an error is about.
func meant(ids []string, err error) string {
	i := slices.IndexFunc(ids, func(id string) bool { return strings.Contains(err.Error(), strconv.Quote(id)) })
	return ids[max(i, 0)]
}

func allOf(ids []string, outcome string, signed *bool) []scheduleResult {
	var list []scheduleResult
	for _, id := range ids {
		list = append(list, scheduleResult{id: id, outcome: outcome, done: true, signed: signed})
	}
	return list
}

func newScheduleResign(a *App) *cobra.Command {
	var (
		change          Change
		every, reviewed bool
	)
	cmd := a.scheduleChange(&cobra.Command{
		Use:   "resign [ID...]",
		Short: "Sign schedules as they are with the active key",
		Long: "Sign schedules as they are with the active key of this configuration, all or none; nothing else of them changes. For a rotation:\n" +
			"once stem signing usage shows no schedules of the old key, that can be removed. One whose signature is refused needs --reviewed,\n" +
			"when somebody has looked at it: whoever wrote it into the table is believed from then on.",
		Example: "  stem schedule resign --all --yes --reason \"key v2\"\n  stem schedule resign nightly-report --reviewed",
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case every && len(args) > 0:
				return fault.Usage("conflicting_flags", "ID and --all exclude each other").About("flag --all")
			case !every && len(args) == 0:
				return fault.Usage("missing_argument", "%s needs ID, or --all", cmd.CommandPath()).About("argument ID").WithHint("see %s --help", cmd.CommandPath())
			}
			return nil
		},
	}, &change.Reason, func(ctx context.Context, table *scheduler.Table, ids []string) error {
		if _, err := a.ring(); err != nil {
			return err
		}
		ids, e, err := a.resignable(ctx, table, ids, reviewed)
		if err != nil {
			return err
		}
		if ok, err := a.Confirm(ctx, change, e); !ok {
			return err
		}
		if _, err := table.Resign(ctx, change.Reason, reviewed, ids...); err != nil {
			return scheduleFault(ctx, table, meant(ids, err), err)
		}
		return output.List(a.Printer, &scheduleResultSheet, output.Rows(allOf(ids, "resigned", new(true))))
	})
	cmd.Flags().BoolVar(&every, "all", false, "every schedule")
	cmd.Flags().BoolVar(&reviewed, "reviewed", false, "somebody has looked at what would run: sign it whatever its signature")
	change.Bind(cmd.Flags())
	return cmd
}

// resignable are the schedules to sign: those that are named, or all. Without a review none may be refused.
func (a *App) resignable(ctx context.Context, table *scheduler.Table, ids []string, reviewed bool) ([]string, Effect, error) {
	var found []string
	var refused []error
	e := Effect{Verb: "sign", Noun: "schedule"}
	for v, err := range table.Verify(ctx, ids...) {
		if err != nil {
			return nil, e, err
		}
		line := v.ID + "  " + cmp.Or(v.Reason, "valid")
		if v.Refused() {
			refused = append(refused, scheduleFault(ctx, table, v.ID, fmt.Errorf("%w: %s: %s", scheduler.ErrRefused, v.Reason, v.Detail)))
		}
		if found = append(found, v.ID); len(e.Sample) < samples {
			e.Sample = append(e.Sample, line)
		}
	}
	for _, id := range ids {
		if !slices.Contains(found, id) {
			return nil, e, noSchedule(ctx, table, id)
		}
	}
	if !reviewed && len(refused) > 0 {
		return nil, e, errors.Join(refused...)
	}
	e.Count = len(found)
	return found, e, nil
}
