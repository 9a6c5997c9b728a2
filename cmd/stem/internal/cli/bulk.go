package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/control"
)

// plane is the operator's API over the command's connection.
func (a *App) plane(ctx context.Context) (*control.Plane, error) {
	pool, err := a.Pool(ctx)
	if err != nil {
		return nil, err
	}
	return control.New(pool), nil
}

// action is a change of jobs in the words of its messages.
type action struct {
	verb, doing, done string // replay, replaying, replayed
	noun, plural      string // dead letter; "" adds an s
	anew              bool   // what is done has a new id
}

// samples is how many of the jobs that a change would meet are shown.
const samples = 5

const maxReason = 4096

func checkReason(flag, reason string) error {
	if len(reason) > maxReason {
		return fault.Usage("bad_flag", "--%s: a text of %d bytes is too long; limit %d", flag, len(reason), maxReason).About("flag --" + flag)
	}
	return nil
}

// parseIDs reads positional ids and reports every bad one.
func parseIDs(args []string) ([]uuid.UUID, error) {
	ids := make([]uuid.UUID, 0, len(args))
	var faults []error
	for _, s := range args {
		id, err := arg.ParseJobID(s)
		if err != nil {
			faults = append(faults, bad("ID", err))
			continue
		}
		if parsed := uuid.MustParse(string(id)); !slices.Contains(ids, parsed) {
			ids = append(ids, parsed)
		}
	}
	return ids, errors.Join(faults...)
}

// limited ends a listing after limit rows, and tells more of the last of them when there is another.
func limited[T any](rows iter.Seq2[T, error], limit int, more func(last T)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var last T
		n := 0
		for row, err := range rows {
			if err == nil && n == limit {
				more(last)
				return
			}
			if n++; !yield(row, err) {
				return
			}
			last = row
		}
	}
}

// first returns the texts of the first few rows.
func first[T any](rows iter.Seq2[T, error], text func(T) string) ([]string, error) {
	var list []string
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		if list = append(list, text(row)); len(list) == samples {
			break
		}
	}
	return list, nil
}

func jobLine(j control.Job) string {
	return fmt.Sprintf("%s  %s  %s  %s", j.ID, j.State, j.Queue, j.Task)
}

func deadLine(d control.DeadJob) string {
	return fmt.Sprintf("%s  %s  %s  %s", d.ID, d.Reason, d.Queue, d.Task)
}

var resultSheet = output.Sheet[control.Result]{Noun: "job", Columns: []output.Column[control.Result]{
	{Header: "ID", Value: func(r control.Result) any { return r.ID.String() }, Name: true},
	{Header: "Outcome", Value: func(r control.Result) any { return r.Outcome }, Tone: func(r control.Result) output.Tone {
		if r.Done {
			return output.Good
		}
		return output.Warn
	}},
	{Header: "Done", Value: func(r control.Result) any { return r.Done }, Data: true},
	{Header: "Holder", Value: func(r control.Result) any { return optionalID(r.Holder) }, Wide: true},
}}

// anewSheet is resultSheet with the jobs that were enqueued in the stead of others.
var anewSheet = output.Sheet[control.Result]{Noun: "job", Columns: append(slices.Clone(resultSheet.Columns),
	output.Column[control.Result]{Header: "New ID", Value: func(r control.Result) any { return optionalID(r.Successor) }},
	output.Column[control.Result]{Header: "Detail", Value: func(r control.Result) any { return optional(r.Detail) }, Wide: true},
)}

// changeJobs acts upon jobs that were named one by one.
func (a *App) changeJobs(
	ctx context.Context, c Change, what action, args []string,
	find func(uuid.UUID) (*control.Detail, error), act func([]uuid.UUID) ([]control.Result, error),
) error {
	ids, err := parseIDs(args)
	if err != nil {
		return err
	}
	e := Effect{Verb: what.verb, Count: len(ids), Noun: what.noun, Plural: what.plural}
	for _, id := range ids[:min(len(ids), samples)] {
		d, err := find(id)
		switch {
		case err == nil:
			e.Sample = append(e.Sample, jobLine(d.Job))
		case !errors.Is(err, control.ErrNotFound):
			return err
		case len(ids) == 1:
			return notFound(what.noun, id, "")
		default:
			e.Sample = append(e.Sample, fmt.Sprintf("%s  no such %s", id, what.noun))
		}
	}
	if ok, err := a.Confirm(ctx, c, e); !ok {
		return err
	}
	results, err := act(ids)
	sheet := &resultSheet
	if what.anew {
		sheet = &anewSheet
	}
	if len(results) > 0 || err == nil {
		if err := output.List(a.Printer, sheet, output.Rows(results)); err != nil {
			return err
		}
	}
	done := control.Progress{Outcomes: map[string]int64{}}
	for _, r := range results {
		done.Seen++
		done.Outcomes[r.Outcome]++
		if r.Done {
			done.Done++
		}
	}
	if n := done.Outcomes["running"]; n > 0 && what.verb == "cancel" {
		a.Printer.Note("%d running: asked to stop", n)
	}
	if len(ids) == 1 && len(results) == 1 && !results[0].Done {
		return refused(what, results[0])
	}
	return cmp.Or(a.cut(ctx, what, done, int64(len(ids)), err), incomplete(what, done))
}

// refused says why the only job that was named stays as it was.
func refused(what action, r control.Result) error {
	switch r.Outcome {
	case "unknown":
		return notFound(what.noun, r.ID, "")
	case "busy":
		return fault.New(fault.ExitTryLater, "busy", "%s %s was not %s: another transaction holds it", what.noun, r.ID, what.done).
			WithHint("run it again")
	case "duplicate":
		return fault.New(fault.ExitNotFound, "duplicate", "%s %s was not %s: job %s has its unique key", what.noun, r.ID, what.done, r.Holder)
	case "invalid":
		return fault.Data("%s %s was not %s: %s", what.noun, r.ID, what.done, plain(errors.New(r.Detail)))
	case "needs_resign":
		return fault.New(fault.ExitNotFound, "needs_resign", "%s %s was not %s: its signature was refused", what.noun, r.ID, what.done).
			WithHint(resignHint, r.ID)
	}
	return fault.New(fault.ExitNotFound, "nothing_done", "%s %s was not %s: it is %s", what.noun, r.ID, what.done, r.Outcome)
}

// tally is the result of a bulk change.
type tally struct {
	action string
	control.Progress
}

var tallySheet = output.Sheet[tally]{Noun: "change", Columns: []output.Column[tally]{
	{Header: "Action", Value: func(t tally) any { return t.action }, Name: true},
	{Header: "Matched", Value: func(t tally) any { return t.Seen }},
	{Header: "Done", Value: func(t tally) any { return t.Done }},
	{Header: "Outcomes", Value: func(t tally) any {
		text, _ := json.Marshal(t.Outcomes) // a map of numbers: cannot fail
		return json.RawMessage(text)
	}},
}}

// changeAll acts upon every job that a filter lists, in batches, once the user has agreed.
func (a *App) changeAll(
	ctx context.Context, c Change, what action, count int64, sample []string,
	act func(control.Bulk) (control.Progress, error),
) error {
	e := Effect{Verb: what.verb, Count: int(count), Noun: what.noun, Plural: what.plural, Sample: sample}
	if ok, err := a.Confirm(ctx, c, e); !ok {
		return err
	}
	bar := a.Progress(what.doing, int(count))
	defer bar.Stop()
	done, err := act(control.Bulk{Reason: c.Reason, Progress: func(p control.Progress) { bar.Add(int(p.Seen) - bar.Done()) }})
	bar.Stop()
	if err := output.One(a.Printer, &tallySheet, tally{what.verb, done}); err != nil {
		return err
	}
	return cmp.Or(a.cut(ctx, what, done, count, err), incomplete(what, done))
}

// cut says how far a change came that did not come to its end. Batches are whole, and what is done does not match any more.
func (a *App) cut(ctx context.Context, what action, done control.Progress, of int64, err error) error {
	if err == nil {
		return nil
	}
	rest := fmt.Sprintf("%s %d of %d; run the same command again for the rest", what.done, done.Done, max(of, done.Seen))
	switch {
	case ctx.Err() == nil:
		if done.Seen > 0 {
			a.Printer.Note("%s", rest)
		}
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fault.New(fault.ExitTryLater, "timeout", "gave up: the time limit passed: %s", rest)
	}
	return fault.New(fault.ExitInterrupted, "interrupted", "interrupted: %s", rest)
}

// incomplete is the failure of a change that left jobs as they were: 2 when others were changed.
func incomplete(what action, done control.Progress) error {
	left := done.Seen - done.Done
	if left == 0 {
		return nil
	}
	var why []string
	for _, outcome := range slices.Sorted(maps.Keys(done.Outcomes)) {
		if n := done.Outcomes[outcome]; !slices.Contains(successes[what.verb], outcome) {
			why = append(why, fmt.Sprintf("%d %s", n, outcome))
		}
	}
	exit, code := fault.ExitNotFound, "nothing_done"
	switch {
	case done.Done > 0:
		exit, code = fault.ExitPartial, "partial"
	case done.Outcomes["busy"] == done.Seen:
		exit, code = fault.ExitTryLater, "busy"
	}
	err := fault.New(exit, code, "%d of %d not %s: %s", left, done.Seen, what.done, strings.Join(why, ", "))
	if done.Outcomes["needs_resign"] > 0 {
		return err.WithHint(resignHint, "ID")
	}
	return err
}

const resignHint = "look at it (stem dlq show %[1]s), then sign it anew: stem dlq resign --reviewed %[1]s"

// successes are the outcomes of an action that count as done.
var successes = map[string][]string{
	"cancel": {"cancelled", "running"},
	"retry":  {"replayed", "due"},
	"replay": {"replayed", "reissued"},
	"resign": {"reissued"},
	"purge":  {"purged"},
}

func notFound(noun string, id uuid.UUID, queue string) *fault.Error {
	if queue != "" {
		return fault.NotFound("no %s %s in queue %q (schema stem)", noun, id, queue)
	}
	return fault.NotFound("no %s %s (schema stem)", noun, id)
}

// optionalID is nil for no id.
func optionalID(id uuid.UUID) any {
	if id == uuid.Nil {
		return nil
	}
	return id.String()
}

// optional is nil for the empty string.
func optional(s string) any {
	if s == "" {
		return nil
	}
	return s
}
