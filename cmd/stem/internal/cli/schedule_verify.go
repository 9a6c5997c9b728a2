package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/cmd/stem/internal/output"
	"github.com/stemqueue/stem/scheduler"
	"github.com/stemqueue/stem/signing"
)

// judged is a schedule as a scheduler with these keys sees it, and as a file has it.
type judged struct {
	scheduler.Verdict
	absent  bool   // from the database
	file    string // same, differs, not there, or "" without a file
	differs []string
}

func (j *judged) outcome() string {
	switch {
	case j.absent:
		return "absent"
	case j.Action == signing.Release:
		return "waits"
	case j.Refused():
		return "refused"
	}
	return "fires"
}

func judgedSheet(withFile bool) *output.Sheet[judged] {
	s := &output.Sheet[judged]{Noun: "schedule", Columns: []output.Column[judged]{
		{Header: "ID", Value: func(j judged) any { return j.ID }, Name: true},
		{Header: "Version", Value: func(j judged) any {
			if j.absent {
				return nil
			}
			return j.Version
		}},
		{Header: "Key", Value: func(j judged) any { return optional(j.Key) }},
		{Header: "Verdict", Value: func(j judged) any { return j.outcome() }, Tone: func(j judged) output.Tone {
			if j.outcome() == "fires" {
				return output.Good
			}
			return output.Bad
		}},
		{Header: "Reason", Value: func(j judged) any { return optional(j.Reason) }},
		{Header: "Detail", Value: func(j judged) any { return optional(j.Detail) }},
	}}
	if withFile {
		s.Columns = append(s.Columns,
			output.Column[judged]{Header: "File", Value: func(j judged) any { return optional(j.file) }, Tone: func(j judged) output.Tone {
				if j.file == scheduler.KindSame {
					return output.Plain
				}
				return output.Warn
			}},
			output.Column[judged]{Header: "Differs", Value: func(j judged) any { return j.differs }})
	}
	return s
}

func newScheduleVerify(a *App) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "verify [ID...]",
		Short: "Verify the signatures of schedules with these keys",
		Long: "Verify the signature of every schedule, or of those named, as a scheduler with these keys would. \"refused\" does not fire; \"waits\"\n" +
			"is signed with a key that is not here, and fires when it is. With --file it also says what differs from the file; what should be\n" +
			"in it and is not, and the other way round, differs too. Nothing is changed. Exits 1 when one would not fire, or differs.",
		Example:           "  stem schedule verify\n  stem schedule verify nightly-report -f schedules.yaml --json",
		Args:              cobra.ArbitraryArgs, // ids, read below
		ValidArgsFunction: a.completing(scheduleNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := scheduleIDs(args)
			if err != nil {
				return err
			}
			return a.verifySchedules(cmd.Context(), file, ids)
		},
	}
	fromFile(cmd.Flags(), &file, "compare with these schedules, too")
	return cmd
}

func (a *App) verifySchedules(ctx context.Context, path string, ids []string) error {
	ring, err := a.ring()
	if err != nil {
		return err
	}
	table, err := a.schedules(ctx)
	if err != nil {
		return err
	}
	changes := map[string]scheduler.Change{}
	if path != "" {
		_, _, plan, err := a.plan(ctx, path, false)
		if err != nil {
			return err
		}
		for _, c := range plan.Changes {
			changes[c.ID] = c
		}
	}
	var list []judged
	for v, err := range table.Verify(ctx, ids...) {
		if err != nil {
			return err
		}
		list = append(list, judged{Verdict: v})
	}
	for _, id := range ids {
		_, inFile := changes[id]
		if !inFile && !slices.ContainsFunc(list, func(j judged) bool { return j.ID == id }) {
			return noSchedule(ctx, table, id)
		}
	}
	if path != "" {
		list = compared(list, changes, ids)
	}
	if err := output.List(a.Printer, judgedSheet(path != ""), output.Rows(list)); err != nil {
		return err
	}
	a.Printer.Note("verified %s under the policy %v for %s", counted(len(list), "schedule"), ring.Policy(), ring.Audience())
	return verdict(list)
}

// compared says of each what the file has, and adds those that only the file has.
func compared(list []judged, changes map[string]scheduler.Change, ids []string) []judged {
	for i := range list {
		j := &list[i]
		c, ok := changes[j.ID]
		delete(changes, j.ID)
		switch {
		case !ok:
			j.file = "not there"
		case c.Kind == scheduler.KindSame:
			j.file = scheduler.KindSame
		default:
			j.file = "differs"
			for _, f := range c.Fields {
				j.differs = append(j.differs, f.Name)
			}
		}
	}
	for id := range changes {
		if len(ids) == 0 || slices.Contains(ids, id) {
			list = append(list, judged{Verdict: scheduler.Verdict{ID: id}, absent: true, file: scheduler.KindNew})
		}
	}
	slices.SortFunc(list, func(a, b judged) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// verdict is the failure of a check that found something.
func verdict(list []judged) error {
	refused, differ := 0, 0
	for i := range list {
		if o := list[i].outcome(); o != "fires" && o != "absent" {
			refused++
		}
		if f := list[i].file; f != "" && f != scheduler.KindSame {
			differ++
		}
	}
	text := ""
	switch {
	case refused > 0:
		text = fmt.Sprintf("%d of %s would not fire", refused, counted(len(list), "schedule"))
		if differ > 0 {
			text += fmt.Sprintf(", %d differ from the file", differ)
		}
		return fault.New(fault.ExitNotFound, "refused", "%s", text).WithHint("look at it, then apply it anew: stem schedule apply -f FILE")
	case differ > 0:
		return fault.New(fault.ExitNotFound, "differs", "%d of %s differ from the file", differ, counted(len(list), "schedule"))
	}
	return nil
}
