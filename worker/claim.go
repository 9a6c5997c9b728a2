package worker

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/store"
)

// claim takes up to total jobs, wants[i] of line i, and gives them to their lines. It returns what it took.
func (s *session) claim(life context.Context, wants []int32, total int, suspect bool) ([]*held, error) {
	s.seq++
	p := store.ClaimParams{Worker: s.id, Epoch: s.epoch, Claim: uuid.New(), Seq: s.seq, Total: int32(total)} //nolint:gosec // at most 12 000 a queue
	look := s.marks.look(&p, wants, suspect, time.Now())
	// Well under the lease: what this statement took and could not tell must be put back before anybody else wonders.
	ctx, cancel := context.WithTimeout(life, min(5*time.Second, s.config.Lease/2))
	defer cancel()
	claimed, xid, err := s.claimRows(ctx, p)
	if pgCode(err) == "23505" {
		if err = s.dropStrays(ctx, p); err == nil {
			claimed, xid, err = s.claimRows(ctx, p)
		}
	}
	if err != nil {
		s.marks.forget()
		if life.Err() == nil {
			s.log.WarnContext(life, "claim failed", "worker", s.id, "error", err)
		}
		if !answered(err) {
			s.voidClaim(life, p.Claim)
		}
		return nil, err
	}
	s.marks.saw(look, claimed, xid, len(claimed) < total, time.Now())
	s.take(wants, claimed, suspect)
	return claimed, nil
}

// claimRows calls stem.claim, and returns what it took with the transaction's id.
func (s *session) claimRows(ctx context.Context, p store.ClaimParams) (claimed []*held, xid int64, err error) {
	err = s.db.ClaimEach(ctx, p, func(row *store.ClaimRow) {
		claimed, xid = append(claimed, newHeld(row, p.Claim, s.id)), row.Xid
	})
	return claimed, xid, err
}

// dropStrays takes tickets out of the way that made a claim fail: their jobs run already, or they are there twice.
func (s *session) dropStrays(ctx context.Context, p store.ClaimParams) error {
	n, err := s.db.DropStrays(ctx, store.DropStraysParams{
		Queues: p.Queues, Limits: p.Limits, First: p.First, Last: p.Last, Lanes: p.Lanes, Lows: p.Lows,
	})
	if err == nil {
		s.log.WarnContext(ctx, "stray tickets dropped: their jobs were running already, or they were there twice", "worker", s.id, "tickets", n)
	}
	return err
}

// voidClaim resolves a claim whose answer was lost: it may have taken jobs, and may still be running. The epoch is raised,
// which waits for one in flight and voids one that has not started; then what it took goes back, uncharged.
func (s *session) voidClaim(life context.Context, claim uuid.UUID) {
	// No heartbeat in between: it would present an epoch that may be raised already, and take the answer for a lost lease.
	s.epochMu.Lock()
	defer s.epochMu.Unlock()
	for pause := 10 * time.Millisecond; life.Err() == nil; pause = min(2*pause, time.Second) {
		if s.tryVoid(life, claim) {
			return
		}
		select {
		case <-life.Done(): // what it took, if anything, is left to rescue
			return
		case <-time.After(pause):
		}
	}
}

// tryVoid tries once. The caller holds epochMu.
func (s *session) tryVoid(life context.Context, claim uuid.UUID) bool {
	ctx, cancel := context.WithTimeout(life, s.config.Heartbeat)
	defer cancel()
	raised, err := s.db.RaiseEpoch(ctx, s.id, s.epoch)
	if err != nil {
		return false
	}
	if raised == 0 {
		s.lose() // the row is gone
		return true
	}
	n, err := s.db.VoidClaim(ctx, s.id, claim)
	if err != nil {
		return false // raising once more is harmless: it names the epoch it wants
	}
	s.epoch = raised
	if n > 0 {
		s.log.WarnContext(life, "a claim whose answer was lost was put back", "worker", s.id, "jobs", n)
	}
	return true
}

// claimSuspect takes one suspect, when this worker holds nothing else. True when it got one: it runs alone.
func (s *session) claimSuspect(life context.Context) bool {
	wants := make([]int32, len(s.lines))
	for i := range wants {
		wants[i] = 1
	}
	claimed, err := s.claim(life, wants, 1, true)
	return err == nil && len(claimed) > 0
}

// watchSuspects looks, once a poll interval, whether suspects wait while this worker is busy. One seen twice makes it take the
// duty of a queue, if nobody has it: it claims nothing more, runs dry, and runs the suspects one by one.
func (s *session) watchSuspects(life context.Context) {
	if time.Since(s.suspectAt) < s.config.PollInterval {
		return
	}
	s.suspectAt = time.Now()
	ctx, cancel := context.WithTimeout(life, s.config.Heartbeat)
	defer cancel()
	names := make([]string, len(s.lines))
	for i, l := range s.lines {
		names[i] = l.name
	}
	waiting, err := s.db.Suspects(ctx, names)
	if err != nil || len(waiting) == 0 {
		s.suspects = 0
		return
	}
	if s.suspects++; s.suspects < 2 {
		return
	}
	for _, name := range waiting {
		taken, err := s.db.TakeDuty(ctx, s.id, s.epoch, name, (2 * s.config.Lease).Microseconds())
		if err == nil && taken {
			s.log.InfoContext(life, "running suspects alone", "worker", s.id, "queue", name)
			s.duty = true
		}
	}
}

// onDuty waits until this worker is empty, then runs suspects one at a time until there are none.
func (s *session) onDuty(life context.Context, poll time.Duration) time.Duration {
	if !s.isEmpty() {
		return poll // release wakes the loop when the last one is settled
	}
	if s.claimSuspect(life) {
		return poll
	}
	if s.duty {
		s.duty, s.suspects = false, 0
		ctx, cancel := context.WithTimeout(life, s.config.Heartbeat)
		defer cancel()
		if err := s.db.DropDuty(ctx, s.id); err != nil {
			s.log.WarnContext(life, "drop duty", "worker", s.id, "error", err)
		}
	}
	return 0
}
