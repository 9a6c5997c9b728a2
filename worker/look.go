package worker

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// round claims once, if there is room, and returns when to look again.
func (s *session) round(life context.Context) time.Duration {
	poll := s.config.PollInterval - rand.N(s.config.PollInterval/4+1)
	if len(s.handlers) == 0 {
		return poll // a worker without tasks heartbeats and rescues; what it claimed it could only put back
	}
	if s.duty || s.isAlone() {
		return s.onDuty(life, poll)
	}
	s.giveBack()
	wants, total := s.wants()
	if total == 0 {
		s.setIdle(life, false) // a busy worker wants no notifications: each one serialises commits
		s.watchSuspects(life)
		return poll
	}
	claimed, err := s.claim(life, wants, total, false)
	if err != nil {
		s.idle = false // the connection may have broken, and the flag with the server: raise it again
		return s.config.PollInterval
	}
	if len(claimed) >= total {
		s.setIdle(life, false)
		s.watchSuspects(life)
		return 0
	}
	if len(claimed) > 0 {
		return s.foundSome(life, poll)
	}
	if s.isEmpty() && time.Since(s.aloneAt) >= s.config.PollInterval {
		s.aloneAt = time.Now()
		if s.claimSuspect(life) {
			return poll
		}
	}
	return s.foundNone(life, poll)
}

// A worker that found less than it has room for is awake or asleep. Awake it looks every few milliseconds, its idle flag down, so that
// producers need not notify: each notification serialises commits, and each claim of a single job costs as much as one of a hundred.
// Asleep its flag is up, and it waits to be notified. When it has been woken a few times in short order it stays awake; when it
// has found nothing for a while it goes to sleep.
const (
	awakePause = 2 * time.Millisecond // between two looks
	awakeLooks = 2                    // in a row that find nothing, before it goes to sleep
	rushPace   = 5 * time.Millisecond // between two wakes that count as in short order
	rushWakes  = 3                    // of those keep it awake
)

// foundSome returns the pause after a look that found jobs, but fewer than there is room for.
func (s *session) foundSome(life context.Context, poll time.Duration) time.Duration {
	if s.foundAt, s.rush = time.Now(), s.rushed(); s.rush >= rushWakes {
		s.setIdle(life, false)
	}
	if s.idle && !s.config.PollOnly {
		return poll // the flag was up all the while: whoever committed meanwhile has notified
	}
	s.quiet = 0
	return min(awakePause, poll)
}

// rushed counts the wakes of a sleeping worker that came in short order.
func (s *session) rushed() int {
	if s.idle && time.Since(s.foundAt) < rushPace {
		return s.rush + 1
	}
	return 0
}

// foundNone returns the pause after a look that found nothing. The idle flag is raised and committed, then comes one more look, and
// only then sleep: a job that was committed in between found no flag. The growing pauses cover what is left, the time between the
// gate's look at a commit and that commit becoming visible.
func (s *session) foundNone(life context.Context, poll time.Duration) time.Duration {
	if !s.idle {
		if s.quiet < awakeLooks {
			s.quiet++
			return min(awakePause, poll)
		}
		s.quiet = 0
		if s.setIdle(life, true); s.idle {
			return 0
		}
		return poll
	}
	pauses := [...]time.Duration{2 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 250 * time.Millisecond}
	if s.quiet < len(pauses) {
		s.quiet++
		return min(pauses[s.quiet-1], poll)
	}
	s.watchSuspects(life)
	return poll
}

// giveBack puts back what was prefetched for a slot that did not become free: the jobs before it take longer than those that
// the prefetch was reckoned from, and another worker may have room.
func (s *session) giveBack() {
	s.mu.Lock()
	var stale []*held
	for _, l := range s.lines {
		if len(l.buffer) > 0 && time.Since(l.buffer[0].taken) > s.config.PollInterval {
			stale, l.buffer = append(stale, l.buffer...), nil
			l.mean = max(l.mean, s.config.PollInterval) // no prefetch until jobs are seen to be short again
		}
	}
	s.mu.Unlock()
	for _, h := range stale {
		s.settle(h, outcome{verb: verbRelease})
	}
}

// setIdle raises or lowers this worker's flag for all its queues.
func (s *session) setIdle(life context.Context, idle bool) {
	if s.idle == idle {
		return
	}
	queues := []string{}
	if idle {
		queues = slices.Sorted(maps.Keys(s.config.Queues))
	}
	ctx, cancel := context.WithTimeout(life, s.config.Heartbeat)
	defer cancel()
	if err := s.db.SetIdle(ctx, s.id, s.epoch, queues); err != nil {
		if life.Err() != nil {
			return
		}
		s.log.WarnContext(life, "idle flag", "worker", s.id, "error", err)
		return
	}
	s.idle, s.quiet = idle, 0
}

// A line prefetches what its slots work off in prefetchFor, so that one claim and one settlement can be under way while handlers run: with
// less, either waits for the other (1 000 slots, no-op jobs: 1.62 cores busy of 2 with half of it, 1.72 with this).
const (
	prefetchFor  = 40 * time.Millisecond
	prefetchMost = 2000
)

// wants says how many more jobs each line can take: its free slots, and a prefetch.
func (s *session) wants() ([]int32, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wants, total := make([]int32, len(s.lines)), 0
	for i, l := range s.lines {
		want := max(l.free+l.prefetch()-len(l.buffer), 0)
		wants[i], total = int32(want), total+want //nolint:gosec // at most 12 000 a queue
	}
	return wants, total
}

func (l *line) prefetch() int {
	if l.mean <= 0 {
		return 0 // not known yet
	}
	return int(min(float64(l.slots)*float64(prefetchFor)/float64(l.mean), prefetchMost))
}
