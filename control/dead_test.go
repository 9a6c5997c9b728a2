package control_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/control"
)

// counting is a handle that counts the statements that return rows.
type counting struct {
	control.DB
	queries int
}

func (c *counting) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	c.queries++
	return c.DB.Query(ctx, sql, args...) //nolint:rowserrcheck // the caller reads them
}

func letters(t *testing.T, db control.DB, f control.DeadFilter) []control.Detail {
	t.Helper()
	var all []control.Detail
	for d, err := range control.New(db).DeadLetters(t.Context(), f) {
		must(t, err)
		all = append(all, d)
	}
	return all
}

// Three statements a page of 200, and each letter whole: as DeadLetter returns it, in the order of Dead.
func TestDeadLettersComeInPages(t *testing.T) {
	t.Parallel()
	l := open(t)
	l.kill(t, 450, "discarded", "")
	db := &counting{DB: l.pool}
	all := letters(t, db, control.DeadFilter{Queue: "default"})
	if len(all) != 450 || db.queries != 3*3 {
		t.Errorf("%d letters with %d statements, want 450 with 9", len(all), db.queries)
	}
	n := 0
	for d, err := range l.plane.Dead(t.Context(), control.DeadFilter{}) {
		must(t, err)
		if n >= len(all) || d.ID != all[n].ID {
			t.Fatalf("letter %d is not %s as in the list", n, d.ID)
		}
		if n++; n%100 != 1 {
			continue
		}
		want, err := l.plane.DeadLetter(t.Context(), d.ID)
		must(t, err)
		if !reflect.DeepEqual(all[n-1], *want) || len(want.Attempts) != 1 {
			t.Errorf("got  %+v\nwant %+v", all[n-1], *want)
		}
	}
}

// A page of large payloads is taken in parts, so that an export needs no more memory than 8 MiB and one letter.
func TestLargeDeadLettersComeInSmallParts(t *testing.T) {
	t.Parallel()
	l := open(t)
	l.kill(t, 5, "discarded", "args => to_jsonb(repeat('x', 3 << 20))")
	db := &counting{DB: l.pool}
	if all := letters(t, db, control.DeadFilter{}); len(all) != 5 || db.queries != 1+3*2 {
		t.Errorf("%d letters with %d statements, want 5 with 7", len(all), db.queries)
	}
}

// One that is replayed between the page and its letters is not exported as something else.
func TestALetterThatIsReplayedMeanwhileIsLeftOut(t *testing.T) {
	t.Parallel()
	l := open(t)
	jobs := l.kill(t, 3, "discarded", "")
	gone := jobs[1]
	db := &replaying{DB: l.pool, replay: func() { wantOutcome(t, replayed(t, l.plane, gone), "replayed") }}
	for _, d := range letters(t, db, control.DeadFilter{}) {
		if d.ID == gone {
			t.Errorf("%s is exported as %s", d.ID, d.State)
		}
	}
	if db.queries != 3 {
		t.Errorf("%d statements, want 3", db.queries)
	}
}

func replayed(t *testing.T, plane *control.Plane, job uuid.UUID) []control.Result {
	t.Helper()
	list, err := plane.Replay(t.Context(), "", 0, job)
	must(t, err)
	return list
}

// replaying replays after the first statement: the page of the list.
type replaying struct {
	control.DB
	replay  func()
	queries int
}

func (r *replaying) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if r.queries++; r.queries == 2 {
		r.replay()
	}
	return r.DB.Query(ctx, sql, args...) //nolint:rowserrcheck // the caller reads them
}
