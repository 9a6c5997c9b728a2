package worker

import (
	"context"
	"slices"
	"time"

	"github.com/stemqueue/stem/internal/listen"
	"github.com/stemqueue/stem/internal/store"
)

const dueBatch = 1000

// nudgeDue makes the due loop look now.
func (d *dispatcher) nudgeDue() {
	select {
	case d.dueNow <- struct{}{}:
	default:
	}
}

// dueLoop moves what is due to the line: at the instant of the next one, and at every poll.
func (s *session) dueLoop(life context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-life.Done():
			return
		case <-s.dueNow:
		case <-timer.C:
		}
		timer.Reset(s.due(life))
	}
}

func (s *session) due(life context.Context) time.Duration {
	for {
		ctx, cancel := context.WithTimeout(life, s.config.Lease)
		row, err := s.db.Due(ctx, dueBatch)
		cancel()
		if err != nil {
			if life.Err() == nil {
				s.log.WarnContext(life, "due move", "worker", s.id, "error", err)
			}
			return s.config.PollInterval
		}
		if row.Moved > 0 {
			s.kick()
		}
		if row.Moved+row.Expired >= dueBatch {
			continue
		}
		if row.NextUs < 0 {
			return s.config.PollInterval
		}
		return min(store.Span(row.NextUs)+time.Millisecond, s.config.PollInterval)
	}
}

// upkeepLoop turns the ring, forgets unique keys whose period is over and adopts orphans, once a minute. Any number of workers
// may do so; nothing is elected.
func (s *session) upkeepLoop(life context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		s.upkeep(life)
		select {
		case <-life.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *session) upkeep(life context.Context) {
	s.turnRing(life)
	ctx, cancel := context.WithTimeout(life, time.Minute)
	defer cancel()
	for {
		pruned, err := s.db.PruneKeys(ctx, dueBatch)
		if err != nil || pruned < dueBatch {
			break
		}
	}
	if adopted, err := s.db.AdoptOrphans(ctx); err == nil && adopted > 0 {
		s.log.WarnContext(life, "claims of unknown workers found; they will be rescued", "workers", adopted)
	}
}

// turnRing empties the next leaf of the ring when it is time. What outlives the leaf is moved batch by batch, with pauses as long
// as the batches take; for a minute at most, so that the rest of the upkeep has its turn.
func (s *session) turnRing(life context.Context) {
	ctx, cancel := context.WithTimeout(life, time.Minute)
	defer cancel()
	for {
		began := time.Now()
		result, err := s.db.Rotate(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil:
			s.log.WarnContext(life, "turn the ring", "error", err)
		case result == "turned":
			s.log.InfoContext(life, "the ring turned: the oldest leaf is retired")
		case result == "busy":
			s.log.WarnContext(life, "the ring could not turn: its next leaf is locked")
		case result == "late":
			s.log.WarnContext(life, "the ring did not turn in time: what its next leaf holds stays for one more turn")
		case result == "moving":
			select {
			case <-ctx.Done():
			case <-time.After(time.Since(began) + time.Millisecond):
				continue
			}
		}
		return
	}
}

// listenLoop wakes the dispatch loop when somebody enqueued, and the heartbeat when somebody cancelled.
func (s *session) listenLoop(life context.Context) {
	own := s.pool.Config()
	config := s.config.ListenConfig
	if config == nil {
		config = own.ConnConfig
	}
	listen.Run(life, config, own.BeforeConnect, []string{"stem_wake", "stem_control"}, s.log, s.kick, func(channel, payload string) {
		if channel == "stem_control" {
			select {
			case s.beat <- struct{}{}:
			default:
			}
			return
		}
		if slices.ContainsFunc(s.lines, func(l *line) bool { return l.name == payload }) {
			s.kick()
		}
	})
}
