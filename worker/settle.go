package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/fingerprint"
	"github.com/stemqueue/stem/internal/sanitize"
	"github.com/stemqueue/stem/internal/store"
)

// verb is how a claim ends. Those in lower case are the words of stem.finish and stem.put_back.
type verb string

const (
	verbComplete  verb = "completed"
	verbCancelled verb = "cancelled"
	verbExpired   verb = "expired"
	verbFail      verb = "fail"
	verbDiscard   verb = "discard"
	verbReject    verb = "reject"
	verbRelease   verb = "release"
	verbWait      verb = "wait"
	verbCheck     verb = "check" // the handler called Complete: look whether it has committed
)

func (v verb) finishes() bool { return v == verbComplete || v == verbCancelled || v == verbExpired }

type outcome struct {
	held   *held
	verb   verb
	delay  time.Duration
	grace  time.Duration
	reason string
	err    string
	result []byte
	age    int64 // of the handler in microseconds, -1 when it did not begin
}

const (
	maxBatch     = 1000
	busyBatch    = 8                     // a batch of so many says that more are about to come
	linger       = time.Millisecond      // for which those are waited then
	lockedPause  = 20 * time.Millisecond // before a row that an open transaction holds is looked at again
	settleChunks = 4096
)

// settler stores outcomes in batches: one call each for those that finish jobs and those that put them back.
type settler struct {
	outcomes chan outcome
}

func (s *settler) init() { s.outcomes = make(chan outcome, settleChunks) }

// settle hands over how a claim ended. Only the first counts: a handler may return after its hard limit, or after the
// shutdown gave its job away.
func (s *session) settle(h *held, o outcome) {
	if h.settled.Swap(true) {
		return
	}
	o.held, o.age = h, h.hold.Age()
	select {
	case s.outcomes <- o:
	case <-s.life.Done():
	}
	if s.life.Err() != nil { // also when it was handed over: the loop may have ended before
		s.drop(o)
	}
}

// drop is the end of outcomes that are not stored because the session is over.
func (s *session) drop(outcomes ...outcome) {
	if !errors.Is(context.Cause(s.life), errLost) {
		return // the drain says how many are left
	}
	for _, o := range outcomes {
		if o.verb != verbCheck { // its handler says that it has committed
			s.lostClaim(o.held)
		}
	}
}

// settleLoop stores outcomes until the session ends: while a batch is on its way the next one gathers.
func (s *session) settleLoop(life context.Context) {
	var waiting []outcome // rows that an open transaction held
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		batch := waiting
		select {
		case <-life.Done():
			s.drop(batch...)
			for len(s.outcomes) > 0 {
				s.drop(<-s.outcomes)
			}
			return
		case o := <-s.outcomes:
			batch = append(batch, o)
		case <-again.C:
		}
		batch = s.gather(batch)
		waiting = s.store(life, batch)
		again.Reset(lockedPause)
		if len(waiting) == 0 {
			again.Stop()
		}
	}
}

// gather takes what is there, and lingers when more is about to come.
func (s *session) gather(batch []outcome) []outcome {
	var patience <-chan time.Time
	batch = slices.Grow(batch, min(maxBatch, 2*len(s.outcomes)+busyBatch))
	for len(batch) < maxBatch {
		select {
		case o := <-s.outcomes:
			batch = append(batch, o)
			continue
		default:
		}
		if len(batch) < busyBatch {
			return batch
		}
		if patience == nil {
			patience = time.After(linger)
		}
		select {
		case o := <-s.outcomes:
			batch = append(batch, o)
		case <-patience:
			return batch
		}
	}
	return batch
}

// store writes a batch and returns what must be tried again later, because an open transaction holds the rows. It goes on
// through connection errors: repeating with the same claim ids is safe, a row that is gone is looked up.
func (s *session) store(life context.Context, batch []outcome) (waiting []outcome) {
	if len(batch) == 0 {
		return nil
	}
	s.isFenced() // the process may have been stopped: notice before anything is written
	writes, checks := split(batch, func(v verb) bool { return v != verbCheck })
	left := s.write(life, writes)
	return s.lookUp(life, append(left, checks...))
}

// split tells outcomes apart by their verb. A batch that is all of one kind, which is the rule, is not copied.
func split(batch []outcome, is func(verb) bool) (yes, no []outcome) {
	if !slices.ContainsFunc(batch, func(o outcome) bool { return !is(o.verb) }) {
		return batch, nil
	}
	for _, o := range batch {
		if is(o.verb) {
			yes = append(yes, o)
		} else {
			no = append(no, o)
		}
	}
	return yes, no
}

// write sends outcomes and returns those that moved nothing.
func (s *session) write(life context.Context, batch []outcome) []outcome {
	finish, back := split(batch, verb.finishes)
	return append(s.writeAll(life, finish, s.sendFinish), s.writeAll(life, back, s.sendBack)...)
}

// A sender stores outcomes and returns the jobs of those that moved nothing.
type sender func(context.Context, []outcome) (map[uuid.UUID]bool, error)

func (s *session) writeAll(life context.Context, batch []outcome, send sender) (left []outcome) {
	for pause := 20 * time.Millisecond; len(batch) > 0 && life.Err() == nil; pause = min(2*pause, time.Second) {
		ctx, cancel := context.WithTimeout(life, 10*time.Second)
		stayed, err := send(ctx, batch)
		cancel()
		if err == nil {
			return s.settled(batch, stayed)
		}
		if pgCode(err) != "" && !transient(pgCode(err)) {
			return s.writeSingly(life, batch, send, err)
		}
		s.log.WarnContext(life, "cannot store outcomes; trying again", "worker", s.id, "outcomes", len(batch), "error", err)
		select {
		case <-life.Done():
		case <-time.After(pause):
		}
	}
	s.drop(batch...)
	return nil
}

// transient tells the server's refusals that go away by themselves: deadlock, serialization, lock and statement timeouts,
// shutdown, too many connections, out of space or memory, read-only.
func transient(code string) bool {
	switch code[:2] {
	case "40", "55", "57", "53", "58", "25", "08":
		return true
	}
	return false
}

// writeSingly keeps one row that the server refuses from stopping the batch it travels in. That one is stored as a failure
// without any text of its own.
func (s *session) writeSingly(life context.Context, batch []outcome, send sender, cause error) (left []outcome) {
	for _, o := range batch {
		if len(batch) > 1 {
			left = append(left, s.writeAll(life, []outcome{o}, send)...)
			continue
		}
		s.log.ErrorContext(life, "the server refuses this outcome; the attempt counts as failed", "job_id", o.held.run.ID, "error", cause)
		plain := outcome{held: o.held, verb: verbFail, delay: time.Minute, err: "the outcome could not be stored: SQLSTATE " + pgCode(cause), age: -1}
		stayed, err := s.sendBack(life, []outcome{plain})
		if err != nil {
			s.log.ErrorContext(life, "job left to rescue", "job_id", o.held.run.ID, "error", err)
			s.release([]*held{o.held})
			continue
		}
		left = append(left, s.settled([]outcome{plain}, stayed)...)
	}
	return left
}

// settled frees the slots of what moved, and returns the rest.
func (s *session) settled(batch []outcome, stayed map[uuid.UUID]bool) (left []outcome) {
	done := make([]*held, 0, len(batch))
	var completed, failed int64
	for _, o := range batch {
		if stayed[o.held.run.ID] {
			left = append(left, o)
			continue
		}
		done = append(done, o.held)
		switch o.verb {
		case verbComplete:
			completed++
		case verbFail, verbDiscard, verbReject:
			failed++
		default:
		}
	}
	s.count(completed, failed, 0)
	if len(done) > 0 {
		s.release(done)
	}
	return left
}

func (s *session) count(completed, failed, lost int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.totals.completed += completed
	s.totals.failed += failed
	s.totals.lost += lost
}

// lookUp finds out about claims that a settle did not move and about handlers that called Complete.
func (s *session) lookUp(life context.Context, batch []outcome) (waiting []outcome) {
	if len(batch) == 0 {
		return nil
	}
	jobs, claims := make([]uuid.UUID, len(batch)), make([]uuid.UUID, len(batch))
	attempts := make([]int32, len(batch))
	for i, o := range batch {
		jobs[i], claims[i] = o.held.run.ID, o.held.hold.ID
		attempts[i] = int32(o.held.run.Attempt) //nolint:gosec // it came as one
	}
	ctx, cancel := context.WithTimeout(life, 10*time.Second)
	defer cancel()
	rows, err := s.db.ClaimStates(ctx, jobs, claims, attempts)
	if err != nil {
		if life.Err() == nil {
			s.log.WarnContext(life, "cannot look up claims; trying again", "worker", s.id, "error", err)
		}
		return batch
	}
	states := make(map[uuid.UUID]string, len(rows))
	for _, row := range rows {
		states[row.JobID] = row.State
	}
	for _, o := range batch {
		if next, again := s.concluded(o, states[o.held.run.ID]); again {
			waiting = append(waiting, next)
		}
	}
	return waiting
}

// concluded decides about one claim by its state; again means that the outcome returned is still to be stored.
func (s *session) concluded(o outcome, state string) (next outcome, again bool) {
	completing := o.held.hold.IsCompleting()
	switch state {
	case "free":
		if o.verb == verbCheck {
			o = s.failure(&o.held.run, errNotCommitted).of(o.held)
		}
		return o, true
	case "locked":
		return o, true // an open transaction holds it: the slot stays taken, the lease renewed
	case "finished":
		s.count(1, 0, 0)
	default:
		if completing {
			break // finished in a queue that keeps nothing, or lost: the transaction decided, not we
		}
		s.lostClaim(o.held)
		s.count(0, 0, 1)
	}
	s.release([]*held{o.held})
	return outcome{}, false
}

func (o outcome) of(h *held) outcome {
	o.held, o.age = h, h.hold.Age()
	return o
}

func (s *session) sendFinish(ctx context.Context, batch []outcome) (map[uuid.UUID]bool, error) {
	n := len(batch)
	p := store.FinishParams{Worker: s.id, Jobs: make([]uuid.UUID, 0, n), Claims: make([]uuid.UUID, 0, n), AgesUs: make([]int64, 0, n)}
	alike, results := true, false
	for _, o := range batch {
		p.Jobs, p.Claims = append(p.Jobs, o.held.run.ID), append(p.Claims, o.held.hold.ID)
		p.AgesUs = append(p.AgesUs, o.age)
		alike, results = alike && o.verb == batch[0].verb, results || o.result != nil
	}
	for _, o := range batch {
		if !alike || p.Outcomes == nil {
			p.Outcomes = append(p.Outcomes, string(o.verb)) // one stands for all
		}
		if results {
			p.Results = append(p.Results, o.result)
		}
	}
	rows, err := s.db.Finish(ctx, p)
	stayed := make(map[uuid.UUID]bool, len(rows))
	for _, id := range rows {
		stayed[id] = true
	}
	return stayed, err
}

func (s *session) sendBack(ctx context.Context, batch []outcome) (map[uuid.UUID]bool, error) {
	p := store.PutBackParams{Worker: s.id}
	for _, o := range batch {
		text := sanitize.Text(o.err)
		mark := ""
		if text != "" && o.verb != verbRelease {
			mark = fingerprint.Of(o.held.run.Task, text)
		}
		p.Jobs, p.Claims = append(p.Jobs, o.held.run.ID), append(p.Claims, o.held.hold.ID)
		p.Verbs, p.DelaysUs = append(p.Verbs, string(o.verb)), append(p.DelaysUs, o.delay.Microseconds())
		p.GracesUs, p.AgesUs = append(p.GracesUs, o.grace.Microseconds()), append(p.AgesUs, o.age)
		p.Reasons, p.Errors = append(p.Reasons, o.reason), append(p.Errors, text)
		p.Fingerprints = append(p.Fingerprints, mark)
	}
	rows, err := s.db.PutBack(ctx, p)
	stayed := make(map[uuid.UUID]bool, len(batch))
	for _, o := range batch {
		stayed[o.held.run.ID] = true
	}
	for _, row := range rows {
		delete(stayed, row.JobID)
	}
	return stayed, err
}
