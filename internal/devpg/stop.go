package devpg

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

var errNotPrivate = errors.New("devpg: only a private cluster can be crashed and restarted; unset the URL in the environment")

// PID returns the process number of the postmaster: another one after Restart, and 0 while the server is down or if
// the cluster is not private.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil || !s.process.running() {
		return 0
	}
	return s.process.pid()
}

// Done returns a channel that is closed when the server's process ends, for whatever reason. After Restart it takes
// another call to get the channel of the new process. If the cluster is not private the channel is nil.
func (s *Server) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	return s.process.done
}

// Stop ends what Start began: it shuts a private cluster down, which cuts open connections off, and removes its
// directory; it stops a container; it leaves somebody else's server alone. When ctx ends before the shutdown does,
// the server is killed. Stop may be called again.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stop != nil:
		stop := s.stop
		s.stop = nil
		return stop(ctx)
	case s.cluster == nil:
		return nil
	}
	s.end(ctx, syscall.SIGINT)
	if err := s.cluster.home.remove(); err != nil {
		return fmt.Errorf("devpg: %w", err)
	}
	s.cluster.home.owner = nil
	return nil
}

// StopImmediate ends the server as pg_ctl's immediate mode does: open transactions are lost, and the next Restart
// recovers from the write-ahead log. The directory stays. It returns when the postmaster is gone.
func (s *Server) StopImmediate(ctx context.Context) error { return s.crash(ctx, syscall.SIGQUIT) }

// Kill ends the postmaster by SIGKILL, which leaves its children to notice by themselves. They do so within moments,
// but until then one of them may still commit. It returns when the postmaster is gone.
func (s *Server) Kill(ctx context.Context) error { return s.crash(ctx, syscall.SIGKILL) }

// Restart starts the server again on the same directory and port, after shutting it down if it runs.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cluster == nil {
		return errNotPrivate
	}
	s.end(ctx, syscall.SIGINT)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := s.launch(ctx)
		if err == nil {
			return nil
		}
		if !strings.Contains(err.Error(), "is still in use") && !errors.Is(err, errPortTaken) {
			return fmt.Errorf("devpg: restart: %w", err)
		}
		// After Kill the orphaned children hold the shared memory, and perhaps the port, for a moment.
		select {
		case <-ctx.Done():
			return fmt.Errorf("devpg: restart: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) crash(ctx context.Context, sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cluster == nil {
		return errNotPrivate
	}
	s.end(ctx, sig)
	return nil
}

// end sends the signal and waits; when ctx ends first it kills. The caller holds mu.
func (s *Server) end(ctx context.Context, sig syscall.Signal) {
	if s.process != nil {
		s.process.end(ctx, sig)
	}
}
