package worker

import (
	"sync"
	"time"

	"github.com/stemqueue/stem/signing"
)

// unknownKeyGrace is how long a job may wait for a worker that has its key: it is what makes "set the keys, switch, deploy" safe in
// that order.
const unknownKeyGrace = 10 * time.Minute

// verify decides by its signature what becomes of a job, before anything of it is decoded; nil means that it may run.
func (s *session) verify(h *held) *outcome {
	run := &h.run
	signed := run.Signed()
	action, refusal := s.config.Keys.Admit(&signed, run.Signature, run.EnqueuedAt, run.ClaimedAt, s.config.UnsignedQueues)
	switch action {
	case signing.Run:
		return nil
	case signing.Expire:
		return &outcome{verb: verbExpired}
	case signing.Count:
		s.doubts.count(&s.doubts.unsigned)
		return nil
	case signing.Bury, signing.Release:
	}
	reason := string(refusal.Reason)
	s.doubts.count(&s.doubts.refused)
	if s.doubts.mayLog(reason, time.Now()) {
		s.log.ErrorContext(s.life, "signature refused; no code of this job ran", "job_id", run.ID, "task", run.Task, "queue", run.Queue,
			"key_id", run.Signature.KeyID, "reason", reason)
	}
	if action == signing.Release {
		return s.waitFor(run, unknownKeyGrace, reason, refusal.Error())
	}
	return &outcome{verb: verbReject, reason: reason, err: refusal.Error()}
}

// doubts are what verifying and opening found. A forged batch must not flood the log: one line a second for each reason.
type doubts struct {
	mu                sync.Mutex
	unsigned, refused int64
	logged            map[string]time.Time
}

func (d *doubts) count(n *int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*n++
}

func (d *doubts) mayLog(reason string, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.logged[reason]) < time.Second {
		return false
	}
	if d.logged == nil {
		d.logged = map[string]time.Time{}
	}
	d.logged[reason] = now
	return true
}

// keyStats is what a heartbeat tells of a worker's keys: nothing secret, and enough to see whether all know a new one.
type keyStats struct {
	Policy   string     `json:"policy"`
	Audience string     `json:"audience"`
	Keys     []keyState `json:"keys"` // those that it accepts
	Unsigned int64      `json:"unsigned"`
	Refused  int64      `json:"refused"`
}

type keyState struct {
	ID          string `json:"id"`
	Fingerprint string `json:"fingerprint"`
	Uses        string `json:"uses"`
}

func (s *session) keyStats() *keyStats {
	ring := s.config.Keys
	if ring.Policy() == signing.Off {
		return nil
	}
	stats := &keyStats{Policy: ring.Policy().String(), Audience: ring.Audience(), Keys: []keyState{}}
	for _, k := range ring.Keys() {
		if k.State != signing.StateRevoked {
			stats.Keys = append(stats.Keys, keyState{k.ID, k.Fingerprint, k.Uses.String()})
		}
	}
	s.doubts.mu.Lock()
	defer s.doubts.mu.Unlock()
	stats.Unsigned, stats.Refused = s.doubts.unsigned, s.doubts.refused
	return stats
}
