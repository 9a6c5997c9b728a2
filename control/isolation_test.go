package control_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/control"
	"github.com/stemqueue/stem/internal/labtest"
)

// A contest is an action in a transaction whose snapshot is older than another's change of the same thing.
type contest struct {
	name   string
	set    func(*testing.T, *scene)
	change func(*testing.T, control.DB, *scene)
	act    func(context.Context, *control.Plane, *scene) (string, error)

	after     string // where the change takes it
	committed string // the action's answer when the change has committed since its snapshot
	inFlight  string // when the change is open, and commits if the action waits for it
	alone     string // when the change was rolled back
	acted     string // where the action alone takes it
}

func cancelIt(ctx context.Context, p *control.Plane, s *scene) (string, error) {
	return outcome(p.Cancel(ctx, "strict", s.job))
}

func retryIt(ctx context.Context, p *control.Plane, s *scene) (string, error) {
	return outcome(p.Retry(ctx, "strict", s.job))
}

func replayIt(ctx context.Context, p *control.Plane, s *scene) (string, error) {
	return outcome(p.Replay(ctx, "strict", 0, s.job))
}

func purgeIt(ctx context.Context, p *control.Plane, s *scene) (string, error) {
	return outcome(p.PurgeDead(ctx, "strict", s.job))
}

func pauseIt(ctx context.Context, p *control.Plane, _ *scene) (string, error) {
	return changed(p.Pause(ctx, "mail", "strict"))
}

func resumeIt(ctx context.Context, p *control.Plane, _ *scene) (string, error) {
	return changed(p.Resume(ctx, "mail", "strict"))
}

func dropIt(ctx context.Context, p *control.Plane, _ *scene) (string, error) {
	return changed(p.SetQueue(ctx, "mail", control.QueueSettings{KeepFinished: new(false)}, "strict"))
}

func forgetIt(ctx context.Context, p *control.Plane, _ *scene) (string, error) {
	return changed(p.ForgetQueue(ctx, "mail", "strict"))
}

func purgeQueueIt(ctx context.Context, p *control.Plane, _ *scene) (string, error) {
	done, err := p.PurgeQueue(ctx, "default", control.Bulk{Reason: "strict"})
	return changed(done.Done > 0, err)
}

const replayElsewhere = "select stem.replay(array[$1::uuid], 0, 'other')"

var contests = []contest{
	{"cancel, claimed", waiting(""), claimed, cancelIt, "running", "40001", "40001", "cancelled", "cancelled"},
	{"cancel, due", retrying, statement("select stem.due(10)"), cancelIt, "ready", "40001", "40001", "cancelled", "cancelled"},
	{"cancel, completed", running, completed, cancelIt, "completed", "40001", "40001", "running", "running"},
	{"cancel, failed", running, failed, cancelIt, "scheduled", "40001", "40001", "running", "running"},
	{"cancel, cancelled", waiting(""), statement("select stem.cancel(array[$1::uuid], 'other')"), cancelIt, "cancelled", "40001", "40001", "cancelled", "cancelled"},
	// What it says was true at its snapshot, and nothing was done.
	{"cancel, replayed", dead(""), statement(replayElsewhere), cancelIt, "ready", "dead", "dead", "dead", "dead"},
	{"retry, due", retrying, statement("select stem.due(10)"), retryIt, "ready", "40001", "busy", "due", "scheduled"},
	{"retry, replayed", dead(""), statement(replayElsewhere), retryIt, "ready", "40001", "busy", "replayed", "ready"},
	{"replay, replayed", dead(""), statement(replayElsewhere), replayIt, "ready", "40001", "busy", "replayed", "ready"},
	{"replay, purged", dead(""), statement("select stem.purge_dead(array[$1::uuid], 'other')"), replayIt, "", "40001", "busy", "replayed", "ready"},
	{
		"replay, key taken", dead("unique_key => 'k'"), statement("select stem.enqueue('t', unique_key => 'k')"),
		replayIt, "dead", "40001", "40001", "replayed", "ready",
	},
	{"purge dead, replayed", dead(""), statement(replayElsewhere), purgeIt, "ready", "40001", "busy", "purged", ""},
	{"purge queue, claimed", waiting(""), claimed, purgeQueueIt, "running", "40001", "unchanged", "changed", "cancelled"},
	{"pause, paused", queueMail, statement("select stem.pause_queue('mail', 'other')"), pauseIt, "paused by other keeps", "40001", "40001", "changed", "paused by strict keeps"},
	{"pause, made and paused", func(*testing.T, *scene) {}, statement("select stem.pause_queue('mail', 'other')"), pauseIt, "paused by other keeps", "40001", "40001", "changed", "paused by strict keeps"},
	{"resume, resumed", pausedMail, statement("select stem.resume_queue('mail', 'other')"), resumeIt, "keeps", "40001", "40001", "changed", "keeps"},
	{"set, set", queueMail, statement("select stem.set_queue('mail', false, 'other')"), dropIt, "drops", "40001", "40001", "changed", "drops"},
	{"set, made", func(*testing.T, *scene) {}, statement("select stem.set_queue('mail', true, 'other')"), dropIt, "keeps", "40001", "40001", "changed", "drops"},
	{"forget, set", queueMail, statement("select stem.set_queue('mail', false, 'other')"), forgetIt, "drops", "40001", "40001", "changed", ""},
}

// TestActionsUnderStricterIsolation: what was done to a job or a queue since the caller's snapshot is 40001 for the caller, or an
// outcome that says that nothing was done; and then nothing was. No job is lost, and none is in two places.
func TestActionsUnderStricterIsolation(t *testing.T) {
	t.Parallel()
	for _, c := range contests {
		for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
			t.Run(c.name+" at "+string(level), func(t *testing.T) {
				t.Parallel()
				l := open(t)
				for _, function := range []string{"cancel", "_replay_jobs"} { // or what is in flight is busy, after a second
					l.patient(t, function)
				}
				for timing, want := range map[string]string{"committed": c.committed, "in flight": c.inFlight, "rolled back": c.alone} {
					run(t, l.owner, "truncate stem.jobs, stem.ready, stem.scheduled, stem.running, stem.finished, stem.attempts, stem.dead, "+
						"stem.unique_keys, stem.queues, stem.audit")
					s := &scene{lab: l}
					s.w = s.hire(t, "n", `{"default": 1}`)
					c.set(t, s)
					strict := s.strict(t, level)
					other := s.begin(t)
					c.change(t, other, s)
					switch timing {
					case "committed":
						commit(t, other)
					case "rolled back":
						rollback(t, other)
					}
					call := labtest.Start(func() (string, error) { return c.act(t.Context(), control.New(strict), s) })
					if timing == "in flight" {
						labtest.Blocks(t, s.owner, strict.Conn().PgConn().PID(), call.Done)
						commit(t, other)
					}
					<-call.Done
					if got := answer(call.Value, call.Err); got != want {
						t.Errorf("%s: got %s, want %s", timing, got, want)
					}
					s.wantEnd(t, strict, call.Err, timing, map[bool]string{true: c.acted, false: c.after}[timing == "rolled back"])
				}
			})
		}
	}
}

// wantEnd ends the transaction as a caller would, and checks where that leaves the job or the queue. The audit log has the
// action when it was committed, and only then.
func (s *scene) wantEnd(t *testing.T, strict pgx.Tx, err error, timing, want string) {
	t.Helper()
	audited := 0
	if err == nil {
		audited = 1
		commit(t, strict)
	} else {
		rollback(t, strict)
	}
	if got := s.state(t); got != want {
		t.Errorf("%s: it is %q, want %q", timing, got, want)
	}
	// A purge of a queue goes on until it finds nothing, and each batch has its row.
	if got := one[int](t, s.owner, "select count(distinct action) from stem.audit where reason = 'strict'"); got != audited {
		t.Errorf("%s: %d actions in the audit log, want %d", timing, got, audited)
	}
}
