package db_test

import (
	"slices"
	"strings"
	"testing"
)

// TestStrayTicketsStopNobody: L4. Here every job has ended already (a restored dump, a hand's edit), so each ticket is a stray
// and each claim the run of a stray. Whatever ends one takes the ticket away, leaves the first end as it is, and does not
// fail: its statement carries other people's jobs as well.
func TestStrayTicketsStopNobody(t *testing.T) {
	t.Parallel()
	for function, end := range endings {
		// These two have an outcome to store that contradicts what is there, and must not hide it. The worker then sends the
		// outcomes of a batch one by one, and complete must not let a second set of effects commit.
		if function == "finish" || function == "complete" {
			continue
		}
		t.Run(function, func(t *testing.T) {
			t.Parallel()
			l := open(t)
			source := one[string](t, l.owner, "select prosrc from pg_proc where pronamespace = 'stem'::regnamespace and proname = $1", function)
			if inserts, guarded := strings.Count(source, "insert into stem.finished "), strings.Count(source, "on conflict (slot, job_id) do nothing"); inserts != guarded {
				t.Errorf("stem.%s has %d inserts into stem.finished, of which %d let a stray ticket pass", function, inserts, guarded)
			}
			run(t, l.owner, `create function public.ended() returns trigger language plpgsql as $$ begin
				insert into stem.finished (slot, job_id, attempt, outcome) values (new.slot, new.id, 0, 'expired');
				return null;
			end $$`)
			run(t, l.owner, "create trigger ended after insert on stem.jobs for each row execute function public.ended()")
			for _, job := range end(t, l) {
				if got := l.place(t, job); !slices.Equal(got, []string{"expired"}) {
					t.Errorf("the job is in %v, want only its first end, expired", got)
				}
			}
		})
	}
}
