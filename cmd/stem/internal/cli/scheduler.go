package cli

import (
	"context"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/cmd/stem/internal/config"
	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/scheduler"
)

func newScheduler(a *App) *cobra.Command {
	return group("scheduler", "Run a scheduler", "  stem scheduler run", newSchedulerRun(a))
}

// schedulerFlags are settings that a flag may decide.
type schedulerFlags struct {
	node                    string
	tolerance, poll, keeper arg.Duration
	pollOnly                bool
}

func (s *schedulerFlags) bind(cmd *cobra.Command) {
	s.tolerance = arg.Within(config.MinTolerance, config.MaxTolerance, 0)
	s.poll = arg.Within(config.MinSchedulerPoll, config.MaxSchedulerPoll, 0)
	s.keeper = arg.Within(config.MinKeepRuns, config.MaxKeepRuns, 0)
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&s.node, "node", "", "name of this scheduler (default: the name of the host)")
	f.Var(&s.tolerance, "tolerance", "how late a run may be without being missed (default: that of the settings)")
	f.Var(&s.keeper, "keep-runs", "how long the ledger is kept; of several schedulers the shortest counts (default: that of the settings)")
	f.Var(&s.poll, "poll-interval", "how long to sleep at most when nothing is due (default: that of the settings)")
	f.BoolVar(&s.pollOnly, "poll-only", false, "do not LISTEN: find changes by polling alone")
	for flag, key := range map[string]string{
		"node": "scheduler.node", "tolerance": "scheduler.tolerance", "keep-runs": "scheduler.keep_runs", "poll-interval": "scheduler.poll_interval",
	} {
		config.BindFlag(f.Lookup(flag), key)
	}
}

func newSchedulerRun(a *App) *cobra.Command {
	var flags schedulerFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Enqueue the jobs of schedules when they are due",
		Long: "Run a scheduler, which enqueues the job of each schedule at its instants. Run as many as you like, none is the leader: each instant\n" +
			"has one job, whoever is there and whoever dies.\n\n" +
			"SIGTERM and SIGINT make it end within two seconds, when what it enqueues at that moment is committed; a second one does not\n" +
			"wait, nor does SIGQUIT, which also prints all goroutines: what is not committed never was, and another scheduler does it.\n" +
			"SIGHUP reads the keys of signing and of encryption again: new ones count at once; when anything is wrong the old ones stay.",
		Example: "  stem scheduler run\n  stem scheduler run --node eu-1 --tolerance 1m --keep-runs 30d",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s := schedulerSignals{App: a, hard: make(chan struct{})}
			s.ctx, s.stop = context.WithCancel(cmd.Context())
			a.release = append(a.release, s.stop)
			a.onSignal(s.take)
			ended := make(chan error, 1)
			go func() {
				run, err := a.openScheduler(s.ctx, flags.pollOnly)
				if err == nil {
					err = run(s.ctx)
				}
				ended <- err
			}()
			select {
			case err := <-ended:
				return s.result(err)
			case <-s.hard:
				return s.result(nil)
			}
		},
	}
	flags.bind(cmd)
	return daemon(cmd)
}

// schedulerSignals turns signals into the end of a scheduler.
type schedulerSignals struct {
	*App
	ctx  context.Context //nolint:containedctx // done at the first of them that is a shutdown
	stop context.CancelFunc
	hard chan struct{} // closed at one that does not wait
	over bool
}

func (s *schedulerSignals) take(sig os.Signal) {
	if sig == syscall.SIGHUP {
		s.reload(s.ctx, sig)
		return
	}
	at := sig == syscall.SIGQUIT || s.ctx.Err() != nil
	if sig == syscall.SIGQUIT {
		s.dump(s.ctx)
	}
	s.Log.InfoContext(s.ctx, "shutting down", "signal", sig.String(), "waits", !at)
	if at && !s.over {
		s.over = true
		close(s.hard)
	}
	s.stop()
}

// result is what the command ends with.
func (s *schedulerSignals) result(err error) error {
	select {
	case <-s.hard:
		return fault.New(fault.ExitInterrupted, "interrupted", "ended at once: what was not committed is left to the other schedulers")
	default:
		return interrupted(s.ctx, err)
	}
}

// openScheduler makes a scheduler that the returned function runs until its context is done.
func (a *App) openScheduler(ctx context.Context, pollOnly bool) (run func(context.Context) error, err error) {
	q, err := a.producer()
	if err != nil {
		return nil, err
	}
	s := a.Config
	c := scheduler.Config{
		Node: s.SchedulerNode, Keys: s.Keys, Encryption: s.Encryption,
		Tolerance: s.Tolerance, PollInterval: s.SchedulerPoll, KeepRuns: s.KeepRuns, PollOnly: pollOnly, Logger: a.Log,
	}
	pool, err := a.Open(ctx, PoolOptions{Name: "stem/scheduler/" + c.Node, MaxConns: 1})
	if err != nil {
		return nil, err
	}
	if err := a.warnOfSettings(ctx, pool); err != nil {
		pool.Close()
		return nil, fault.From(err, a.database.Target())
	}
	if !pollOnly {
		c.ListenConfig = a.listenConfig(ctx, "stem/listen/"+c.Node)
	}
	runner, err := scheduler.New(pool, q, c)
	if err != nil {
		pool.Close()
		return nil, fault.Config("bad_setting", "%s", err).Because(err)
	}
	a.sayKeys(ctx)
	return closing(pool, runner.Run), nil
}
