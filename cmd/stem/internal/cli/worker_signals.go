package cli

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime/pprof"
	"sync"
	"syscall"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/worker"
)

// workerSignals turns signals into shutdowns of a worker.
type workerSignals struct {
	*App
	ctx  context.Context //nolint:containedctx // done at the first of them that is a shutdown
	stop context.CancelFunc

	mu     sync.Mutex
	mode   worker.ShutdownMode // the hardest that was asked for; 0 is none
	worker *worker.Worker      // nil before there is one
}

// shutdownOnSignal takes the signals from now on.
func (a *App) shutdownOnSignal(ctx context.Context) *workerSignals {
	s := &workerSignals{App: a}
	s.ctx, s.stop = context.WithCancel(ctx)
	a.release = append(a.release, s.stop)
	a.onSignal(s.take)
	return s
}

// onSignal takes the signals of a daemon from now on, one after the other.
func (a *App) onSignal(take func(os.Signal)) {
	signals, done := make(chan os.Signal, 4), make(chan struct{})
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGQUIT, syscall.SIGHUP)
	var taking sync.WaitGroup
	taking.Go(func() {
		for {
			select {
			case sig := <-signals:
				take(sig)
			case <-done:
				return
			}
		}
	})
	a.release = append(a.release, func() {
		signal.Stop(signals)
		close(done)
		taking.Wait()
	})
}

// reload is SIGHUP.
func (a *App) reload(ctx context.Context, sig os.Signal) {
	a.Log.InfoContext(ctx, "reading the keys again", "signal", sig.String())
	a.reloadKeys(ctx)
}

// dump is the first half of SIGQUIT.
func (a *App) dump(ctx context.Context) {
	if err := pprof.Lookup("goroutine").WriteTo(a.streams.Err, 2); err != nil {
		a.Log.WarnContext(ctx, "goroutine dump", "error", err)
	}
}

func (s *workerSignals) take(sig os.Signal) {
	switch sig {
	case syscall.SIGHUP:
		s.reload(s.ctx, sig)
	case syscall.SIGTERM:
		s.shutdown(sig, worker.Warm)
	case os.Interrupt:
		s.shutdown(sig, worker.Soft)
	case syscall.SIGQUIT:
		s.dump(s.ctx)
		s.shutdown(sig, worker.Hard)
	}
}

// shutdown asks for a mode; what was soft before is hard now.
func (s *workerSignals) shutdown(sig os.Signal, mode worker.ShutdownMode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mode == worker.Soft && mode == worker.Soft {
		mode = worker.Hard
	}
	if mode <= s.mode {
		return
	}
	s.mode = mode
	s.Log.InfoContext(s.ctx, "shutting down", "signal", sig.String(), "mode", mode.String())
	if s.worker != nil {
		s.worker.Shutdown(mode)
	}
	s.stop()
}

// direct takes over the worker.
func (s *workerSignals) direct(w *worker.Worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.worker = w
	if s.mode > 0 {
		w.Shutdown(s.mode)
	}
}

// result is what the command ends with.
func (s *workerSignals) result(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.mode == worker.Hard && err != nil:
		return fault.New(fault.ExitInterrupted, "interrupted", "ended at once: %s", err).Because(err)
	case s.mode == worker.Hard:
		return fault.New(fault.ExitInterrupted, "interrupted", "ended at once: what ran was stopped and put back")
	case s.mode > 0 && s.worker == nil && errors.Is(err, context.Canceled):
		return nil // it was stopped before it had connected
	}
	return err
}
