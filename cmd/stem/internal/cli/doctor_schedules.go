package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/doctor"
	"github.com/stemqueue/stem/scheduler"
)

// examineSchedules looks for schedules that do not fire although they should.
func examineSchedules(ctx context.Context, a *App, conn *pgx.Conn) ([]doctor.Finding, error) {
	q, err := a.checker()
	if err != nil {
		return nil, err
	}
	table := scheduler.NewTable(conn, q, scheduler.TableConfig{})
	now, err := table.Now(ctx)
	if err != nil {
		return nil, err
	}
	ids, longest := map[string][]string{}, time.Duration(0)
	for s, err := range table.List(ctx) {
		switch {
		case isDenied(err):
			a.Printer.Note("not examined: whether schedules fire, because this login may not list them")
			return nil, nil
		case isMissing(err): // the schema is, or an older one is there, which is a finding of its own
			return nil, nil
		case err != nil:
			return nil, err
		}
		status := s.Status(now)
		ids[status] = append(ids[status], s.ID)
		if status == scheduler.StatusOverdue {
			longest = max(longest, now.Sub(s.DueAt))
		}
	}
	var list []doctor.Finding
	add := func(status, name, message, fix string) {
		if found := ids[status]; len(found) > 0 {
			list = append(list, doctor.Finding{Name: name, Message: fmt.Sprintf("%s %s: %s", counted(len(found), "schedule"), message, some(found)), Fix: fix})
		}
	}
	add(scheduler.StatusOverdue, "schedules_overdue", fmt.Sprintf("overdue by up to %s, as if no scheduler ran", arg.Text(longest.Round(time.Second))),
		"run one: stem scheduler run; stem observe schedules shows what is due")
	add(scheduler.StatusRejected, "schedules_rejected", "not fired, because the signature is refused",
		"stem schedule verify says why; apply the file again, or look at them and sign them anew: stem schedule resign --reviewed ID")
	add(scheduler.StatusFailing, "schedules_failing", "not fired, and tried again", "stem schedule show ID says why")
	return list, nil
}

// some are the first few of a list of names.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
}

// isMissing tells whether a function or its schema is not there.
func isMissing(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pe.Code == "42883" || pe.Code == "3F000")
}
