package worker

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/store"
)

var errNotCommitted = errors.New("complete_not_committed: the handler called Complete and returned nil, but that transaction did not commit")

// sighting is a heartbeat of another worker, and since when this one has seen it stand still, by its own clock.
type sighting struct {
	heartbeat time.Time
	since     time.Duration
}

// rescueLoop watches the other workers and takes back what the silent ones hold.
//
// Leases are absolute server time: after an outage all of them look expired, and the first worker back would take everything
// from everybody. So a rescuer judges only after it has renewed its own lease without a gap for a whole lease, and has seen
// the victim's heartbeat stand still for a whole lease of the victim's, by its own clock.
func (s *session) rescueLoop(life context.Context) {
	seen := map[uuid.UUID]sighting{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-life.Done():
			return
		case <-timer.C:
		}
		timer.Reset(s.rescueOnce(life, seen))
	}
}

// rescueOnce looks once, and returns when to look again: at the interval, or just when a victim's time is up.
func (s *session) rescueOnce(life context.Context, seen map[uuid.UUID]sighting) time.Duration {
	next := s.config.RescueInterval
	ctx, cancel := context.WithTimeout(life, s.config.Lease)
	defer cancel()
	others, err := s.db.Watch(ctx, s.id)
	if err != nil {
		clear(seen) // nothing was seen while the database was away
		return next
	}
	now, present := s.clock(), make(map[uuid.UUID]bool, len(others))
	for _, o := range others {
		present[o.ID] = true
		if o.Lost {
			s.rescue(ctx, o.ID, o.Node)
			continue
		}
		before, known := seen[o.ID]
		if !known || !before.heartbeat.Equal(o.HeartbeatAt.Time) {
			seen[o.ID] = sighting{heartbeat: o.HeartbeatAt.Time, since: now}
			before = seen[o.ID]
		}
		lease := store.Span(o.LeaseUs)
		rest := max(before.since+lease-now, s.config.Lease-s.steadyFor())
		if rest > 0 || !o.Expired {
			if rest > 0 {
				next = min(next, max(rest, 10*time.Millisecond))
			}
			continue
		}
		lost, err := s.db.DeclareLost(ctx, s.id, s.currentEpoch(), o.ID, o.HeartbeatAt)
		if err != nil || !lost {
			continue
		}
		s.log.WarnContext(life, "worker lost", "lost_worker", o.ID, "node", o.Node, "silent_since", o.HeartbeatAt.Time)
		s.rescue(ctx, o.ID, o.Node)
	}
	for id := range seen {
		if !present[id] {
			delete(seen, id)
		}
	}
	return next
}

// rescue moves what a lost worker held. What an open transaction holds comes at a later look.
func (s *session) rescue(ctx context.Context, victim uuid.UUID, node string) {
	row, err := s.db.Rescue(ctx, s.id, s.currentEpoch(), victim, int32(s.config.MaxCrashes)) //nolint:gosec // small
	if err != nil {
		s.log.WarnContext(ctx, "rescue", "lost_worker", victim, "error", err)
		return
	}
	if row.Moved > 0 {
		s.log.InfoContext(ctx, "rescued", "lost_worker", victim, "node", node, "jobs", row.Moved, "charged", row.Charged, "buried", row.Buried)
		s.nudgeDue()
	}
}

func (s *session) currentEpoch() int64 {
	s.epochMu.Lock()
	defer s.epochMu.Unlock()
	return s.epoch
}
