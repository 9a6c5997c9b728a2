package worker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/stemqueue/stem/signing"
)

// unknownKeyGrace is how long a job may wait for a worker that has its key: it is what makes "set the keys, switch, deploy" safe in
// that order.
const unknownKeyGrace = 10 * time.Minute

// verify decides by its signature what becomes of a job, before its payload is decoded and any code of the user sees it; nil means that it may run.
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
		s.doubts.unsigned.Add(1)
		return nil
	case signing.Bury, signing.Release:
	}
	reason := string(refusal.Reason)
	s.doubts.refused.Add(1)
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
	unsigned, refused atomic.Int64

	mu     sync.Mutex
	logged map[string]time.Time
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
	policy := ring.Policy()
	if policy == signing.Off {
		return nil
	}
	stats := &keyStats{
		Policy: policy.String(), Audience: ring.Audience(), Keys: []keyState{},
		Unsigned: s.doubts.unsigned.Load(), Refused: s.doubts.refused.Load(),
	}
	for _, k := range ring.Keys() {
		if k.State != signing.StateRevoked {
			stats.Keys = append(stats.Keys, keyState{k.ID, k.Fingerprint, k.Uses.String()})
		}
	}
	return stats
}
