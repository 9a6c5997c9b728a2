package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/cmd/stem/internal/schedulefile"
	"github.com/stemqueue/stem/internal/yamltree"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
	"github.com/stemqueue/stem/signing"
)

// fromFile is the flag of what reads a schedule file.
func fromFile(f *pflag.FlagSet, into *string, usage string) {
	f.StringVarP(into, "file", "f", "", usage+": YAML or JSON, - for stdin")
}

// checker says what jobs are by these settings. It has no key, and enqueues nothing.
func (a *App) checker() (*queue.Queue, error) {
	q, err := queue.New(a.producerConfig(nil))
	if err != nil {
		return nil, fault.Config("bad_setting", "%s", plain(err)).Because(err)
	}
	return q, nil
}

// scheduleFile reads and checks a file, without any database. Its errors are faults.
func (a *App) scheduleFile(path string) (*schedulefile.File, error) {
	q, err := a.checker()
	if err != nil {
		return nil, err
	}
	var f *schedulefile.File
	if path == "-" {
		text, readErr := io.ReadAll(io.LimitReader(a.In, yamltree.MaxBytes+1))
		if readErr != nil {
			return nil, unreadable("--file", readErr)
		}
		f, err = schedulefile.Parse("stdin", text, q)
	} else {
		f, err = schedulefile.Load(path, q)
	}
	if mistakes, ok := errors.AsType[*schedulefile.Error](err); ok {
		var all []error
		for _, p := range mistakes.Problems {
			all = append(all, fault.Data("%s", p).About(p.Where).Showing(p.Caret))
		}
		return nil, errors.Join(all...)
	}
	if err != nil {
		return nil, unreadable("--file", err)
	}
	if f.Ignored != nil {
		a.warn(fault.Data("%s", f.Ignored).About(f.Name))
	}
	return f, nil
}

var fieldSheet = output.Sheet[scheduler.Field]{Noun: "field", Columns: []output.Column[scheduler.Field]{
	{Header: "Field", Value: func(f scheduler.Field) any { return f.Name }, Name: true},
	{Header: "Before", Value: func(f scheduler.Field) any { return f.Before }},
	{Header: "After", Value: func(f scheduler.Field) any { return f.After }},
}}

var changeSheet = output.Sheet[scheduler.Change]{Noun: "schedule", Columns: []output.Column[scheduler.Change]{
	{Header: "ID", Value: func(c scheduler.Change) any { return c.ID }, Name: true},
	{Header: "Change", Value: func(c scheduler.Change) any { return c.Kind }},
	{Header: "Fields", Value: func(c scheduler.Change) any { return output.Nest(&fieldSheet, c.Fields) }},
	{Header: "Paused", Value: func(c scheduler.Change) any { return optional(c.Paused) }},
	{Header: "Never", Value: func(c scheduler.Change) any { return c.Never }},
}}

// printPlan shows what would change: for people as a diff.
func (a *App) printPlan(p *scheduler.Plan, f *schedulefile.File) error {
	if !a.Printer.ForPeople() {
		return output.List(a.Printer, &changeSheet, output.Rows(p.Changes))
	}
	q, err := a.checker()
	if err != nil {
		return err
	}
	same := 0
	for _, c := range p.Changes {
		var lines []string
		tone := output.Plain
		switch c.Kind {
		case scheduler.KindNew:
			tone, lines = output.Good, []string{"+ " + c.ID + "  " + described(q, f, c.ID)}
		case scheduler.KindPruned:
			tone, lines = output.Bad, []string{"- " + c.ID}
		case scheduler.KindChanged:
			tone, lines = output.Warn, []string{"~ " + c.ID}
			for _, d := range c.Fields {
				lines = append(lines, fmt.Sprintf("    %s: %s → %s", d.Name, orNothing(d.Before), orNothing(d.After)))
			}
		default:
			same++
		}
		for i, line := range lines {
			if i > 0 {
				tone = output.Plain
			}
			if err := a.Printer.Line(tone, line); err != nil {
				return err
			}
		}
	}
	if same == 0 {
		return nil
	}
	return a.Printer.Line(output.Faint, fmt.Sprintf("= %d unchanged", same))
}

// described says what a new schedule does: task report on queue slow: {"cron":"0 2 * * *"} in Europe/Berlin.
func described(q *queue.Queue, f *schedulefile.File, id string) string {
	i := slices.IndexFunc(f.Entries, func(e scheduler.Entry) bool { return e.ID == id })
	e := f.Entries[i]
	job, err := q.Template(e.Job)
	t, err2 := e.Timing()
	if err := errors.Join(err, err2); err != nil {
		return err.Error() // it has been checked
	}
	text := fmt.Sprintf("task %s on queue %s: %s", job.Task, job.Queue, t.Spec)
	if e.Zone != "" {
		text += " in " + e.Zone
	}
	return text
}

func orNothing(s string) string {
	if s == "" {
		return "(nothing)"
	}
	return s
}

// tallied counts the changes of a plan in words: 1 new, 2 changed.
func tallied(p *scheduler.Plan) (n int, words string) {
	var list []string
	for _, kind := range []string{scheduler.KindNew, scheduler.KindChanged, scheduler.KindPruned} {
		of := 0
		for _, c := range p.Changes {
			if c.Kind == kind {
				of++
			}
		}
		if n += of; of > 0 {
			list = append(list, fmt.Sprintf("%d %s", of, kind))
		}
	}
	return n, strings.Join(list, ", ")
}

// planFault says what an error of Plan or Apply means for a file.
func planFault(err error) error {
	switch {
	case errors.Is(err, scheduler.ErrChanged):
		return changedFault(err, "nothing was changed", "stem schedule diff").About("database")
	case errors.Is(err, scheduler.ErrUnsigned):
		return fault.Config("signing_off", "%s", strings.TrimPrefix(err.Error(), "scheduler: ")).About("STEM_SIGNING_KEYS").Because(err).
			WithHint("set STEM_SIGNING_KEYS and STEM_SIGNING_ACTIVE_KEY as where it was applied")
	case errors.Is(err, signing.ErrNoKey):
		return noKeyFault(err)
	}
	return err
}

// doubts are what is allowed and perhaps not meant.
func (a *App) doubts(ctx context.Context, p *scheduler.Plan, f *schedulefile.File) ([]*fault.Error, error) {
	var list []*fault.Error
	add := func(id, field, format string, args ...any) {
		where := f.Where(id, field)
		list = append(list, fault.Data("%s: %s", where, fmt.Sprintf(format, args...)).About(where))
	}
	fresh := map[string]bool{}
	for _, c := range p.Changes {
		fresh[c.ID] = c.Kind == scheduler.KindNew || c.Kind == scheduler.KindChanged
		if c.Never {
			add(c.ID, "spec", "schedule %q never fires: no instant comes", c.ID)
		}
		if c.Paused != "" && c.Kind != scheduler.KindPruned {
			add(c.ID, "", "schedule %q is paused and stays so: %s", c.ID, c.Paused)
		}
	}
	var entries []scheduler.Entry
	for _, e := range f.Entries {
		if fresh[e.ID] && (e.Enabled == nil || *e.Enabled) {
			entries = append(entries, e)
		}
	}
	if len(entries) == 0 {
		return list, nil
	}
	err := a.unserved(ctx, entries, add)
	return list, err
}

// unserved tells of each queue that no live worker serves, and of each task that none has registered.
func (a *App) unserved(ctx context.Context, entries []scheduler.Entry, add func(id, field, format string, args ...any)) error {
	plane, err := a.plane(ctx)
	if err != nil {
		return err
	}
	queues, err := plane.Queues(ctx)
	if err != nil {
		return err
	}
	tasks, err := plane.Tasks(ctx, "")
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, q := range queues {
		known["queue "+q.Name] = q.Workers > 0
	}
	for _, t := range tasks {
		known["task "+t.Name] = true
	}
	q, err := a.checker()
	if err != nil {
		return err
	}
	var missing []string // queue mail, task report: in the order of the file
	where := map[string][]string{}
	for _, e := range entries {
		template, err := q.Template(e.Job)
		if err != nil {
			return err
		}
		for _, name := range []string{"queue " + template.Queue, "task " + template.Task} {
			if known[name] {
				continue
			}
			if where[name] == nil {
				missing = append(missing, name)
			}
			where[name] = append(where[name], e.ID)
		}
	}
	for _, name := range missing {
		field, value, _ := strings.Cut(name, " ")
		verb, ids := "serves queue", where[name]
		if field == "task" {
			verb = "has registered task"
		}
		also := ""
		if len(ids) > 1 {
			also = fmt.Sprintf(" and %d more", len(ids)-1)
		}
		add(ids[0], field, "no live worker %s %q (schedule %q%s)", verb, value, ids[0], also)
	}
	return nil
}
