package worker

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/boottime"
	"github.com/stemqueue/stem/internal/store"
)

// lease is what a session knows about its own lease, by a clock that goes on while the process is stopped or the machine
// sleeps (CLOCK_BOOTTIME).
type lease struct {
	leaseMu  sync.Mutex
	renewing time.Duration // when the attempt that succeeded last began: the lease cannot end before that + lease
	steady   time.Duration // since when it has been renewed without a gap
	fenced   bool          // the deadline passed without a renewal: no handler may run
}

func (l *lease) clock() time.Duration { return boottime.Now() }

// renewed notes a successful renewal whose attempt began at that time.
func (s *session) renewed(began time.Duration) {
	s.leaseMu.Lock()
	defer s.leaseMu.Unlock()
	if s.steady == 0 || s.fenced || began-s.renewing > s.config.Lease {
		s.steady = began
	}
	s.renewing, s.fenced = began, false
}

// deadline is when handlers must be stopped unless the lease is renewed before.
func (s *session) deadline() time.Duration {
	s.leaseMu.Lock()
	defer s.leaseMu.Unlock()
	return s.renewing + s.config.Lease - s.config.margin()
}

// steadyFor is how long the lease has been renewed without a gap.
func (s *session) steadyFor() time.Duration {
	s.leaseMu.Lock()
	defer s.leaseMu.Unlock()
	if s.fenced || s.steady == 0 {
		return 0
	}
	return s.clock() - s.steady
}

// isFenced tells whether this worker must not start anything, looking at the clock first: the process may have been stopped.
func (s *session) isFenced() bool {
	if s.clock() < s.deadline() {
		s.leaseMu.Lock()
		defer s.leaseMu.Unlock()
		return s.fenced
	}
	s.leaseMu.Lock()
	defer s.leaseMu.Unlock()
	s.fenced = true
	return true
}

// fenceLoop stops every handler when the lease could not be renewed in time, although the database may be out of reach.
func (s *session) fenceLoop(life context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	said := false
	for {
		select {
		case <-life.Done():
			return
		case <-timer.C:
		}
		if !s.isFenced() {
			said = false
			timer.Reset(max(s.deadline()-s.clock(), 5*time.Millisecond))
			continue
		}
		if stopped := s.cancelRunning(nil, ErrLeaseLost); stopped > 0 || !said {
			s.log.WarnContext(life, "lease not renewed in time; handlers cancelled", "worker", s.id, "lease", s.config.Lease, "handlers", stopped)
			said = true
		}
		timer.Reset(s.config.Heartbeat / 4)
	}
}

// renewLoop sends the heartbeat, the first at once: it carries what a registration does not.
func (s *session) renewLoop(life context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-life.Done():
			return
		case <-s.beat:
		case <-timer.C:
		}
		pause := s.config.Heartbeat
		if !s.renew(life) {
			pause = s.config.Heartbeat / 4 // sooner, while it can still be saved
		}
		timer.Reset(pause)
	}
}

// renew sends one heartbeat and acts upon the answer. False when there was none.
func (s *session) renew(life context.Context) bool {
	jobs, claims := s.running()
	stats, err := json.Marshal(s.stats())
	if err != nil {
		s.log.ErrorContext(life, "stats", "error", err)
		return false
	}
	ctx, cancel := context.WithTimeout(life, s.config.Heartbeat)
	defer cancel()
	s.epochMu.Lock()
	began := s.clock()
	row, err := s.db.Heartbeat(ctx, store.HeartbeatParams{Worker: s.id, Epoch: s.epoch, Stats: stats, Jobs: jobs, Claims: claims})
	s.epochMu.Unlock()
	switch {
	case life.Err() != nil:
		return true
	case err != nil:
		s.log.WarnContext(life, "heartbeat failed", "worker", s.id, "error", err)
		return false
	case !row.Alive:
		s.log.ErrorContext(life, "lease lost: other workers have taken what this one held", "worker", s.id)
		s.lose()
		return true
	}
	s.renewed(began)
	if len(row.Cancelled) > 0 {
		s.cancelRunning(only(jobs, claims, row.Cancelled), ErrCancelled)
	}
	if len(row.Lost) > 0 {
		s.loseClaims(only(jobs, claims, row.Lost))
	}
	s.kick()
	return true
}

// lose stops everything: the handlers, and the session.
func (s *session) lose() {
	s.stopHandlers(ErrLeaseLost)
	s.loseClaims(nil)
	s.end(errLost)
}

// loseClaims stops the handlers of claims that this worker no longer holds, nil meaning all. Not those whose outcome is
// decided, nor those that called Complete after the heartbeat asked: their row is gone because they committed, or ST001
// tells them.
func (s *session) loseClaims(claims map[uuid.UUID]uuid.UUID) {
	s.activeMu.Lock()
	defer s.activeMu.Unlock()
	for h := range s.active {
		if claims != nil && claims[h.run.ID] != h.hold.ID || h.settled.Load() || h.hold.IsCompleting() {
			continue
		}
		h.cancel(ErrLeaseLost)
		s.lostClaim(h)
	}
}

// lostClaim says, once for each, that a job which this worker began is no longer its own: no outcome of it will count.
func (s *session) lostClaim(h *held) {
	h.said.Do(func() {
		s.log.WarnContext(s.life, "lost claim", "job_id", h.run.ID, "claim", h.hold.ID, "attempt", h.run.Attempt, "worker", s.id)
	})
}

// running lists the jobs whose handlers run, and whose outcome neither this worker nor the handler itself has decided: for those
// a missing row means a lost claim.
func (s *session) running() (jobs, claims []uuid.UUID) {
	s.activeMu.Lock()
	defer s.activeMu.Unlock()
	jobs, claims = []uuid.UUID{}, []uuid.UUID{}
	for t := range s.active {
		if !t.hold.IsCompleting() && !t.settled.Load() {
			jobs, claims = append(jobs, t.run.ID), append(claims, t.hold.ID)
		}
	}
	return jobs, claims
}

// only returns the claims, by job, of those jobs that are chosen. The answer to a heartbeat is about the claims it named: a job
// may have ended meanwhile and have been claimed again.
func only(jobs, claims, chosen []uuid.UUID) map[uuid.UUID]uuid.UUID {
	found := make(map[uuid.UUID]uuid.UUID, len(chosen))
	for i, id := range jobs {
		if slices.Contains(chosen, id) {
			found[id] = claims[i]
		}
	}
	return found
}

// cancelRunning cancels the handlers of these claims, nil meaning all, and returns how many it cancelled now.
func (s *session) cancelRunning(claims map[uuid.UUID]uuid.UUID, cause error) int {
	s.activeMu.Lock()
	defer s.activeMu.Unlock()
	n := 0
	for t := range s.active {
		if claims != nil && claims[t.run.ID] != t.hold.ID {
			continue
		}
		if t.ctx.Err() == nil {
			t.cancel(cause)
			n++
		}
	}
	return n
}
