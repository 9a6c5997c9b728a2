package worker

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/stemqueue/stem/signing"
)

// unknownKeyGrace is how long a job may wait for a worker that has its key: it is what makes "set the keys, switch, deploy" safe in
// that order.
const unknownKeyGrace = 10 * time.Minute

// verify decides by its signature what becomes of a job, before anything of it is decoded; nil means that it may run.
func (s *session) verify(h *held) *outcome {
	policy := s.config.Keys.Policy()
	if policy == signing.Off {
		return nil
	}
	run := &h.run
	signed := run.Signed()
	err := s.config.Keys.Verify(&signed, run.Signature)
	if err == nil {
		err = signed.CheckTimes(run.EnqueuedAt, run.ClaimedAt)
	}
	refusal, _ := errors.AsType[*signing.Refusal](err)
	action := policy.Judge(err)
	if action == signing.Bury && refusal != nil && refusal.Reason == signing.Missing && slices.Contains(s.config.UnsignedQueues, run.Queue) {
		action = signing.Count
	}
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
	reason, keyID := string(signing.Invalid), run.Signature.KeyID
	if refusal != nil {
		reason = string(refusal.Reason)
	}
	s.doubts.count(&s.doubts.refused)
	if s.doubts.mayLog(reason, time.Now()) {
		s.log.ErrorContext(s.life, "signature refused; no code of this job ran", "job_id", run.ID, "task", run.Task, "queue", run.Queue,
			"key_id", keyID, "reason", reason)
	}
	if action == signing.Release {
		return s.waitFor(run, unknownKeyGrace, reason, err.Error())
	}
	return &outcome{verb: verbReject, reason: reason, err: err.Error()}
}

// doubts are what verification found. A forged batch must not flood the log: one line a second for each reason.
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
	Policy   string   `json:"policy"`
	Audience string   `json:"audience"`
	Keys     []string `json:"keys"` // id:fingerprint of each that it accepts
	Unsigned int64    `json:"unsigned"`
	Refused  int64    `json:"refused"`
}

func (s *session) keyStats() *keyStats {
	ring := s.config.Keys
	if ring.Policy() == signing.Off {
		return nil
	}
	stats := &keyStats{Policy: ring.Policy().String(), Audience: ring.Audience(), Keys: []string{}}
	for _, k := range ring.Keys() {
		if k.State != signing.StateRevoked {
			stats.Keys = append(stats.Keys, k.ID+":"+k.Fingerprint)
		}
	}
	s.doubts.mu.Lock()
	defer s.doubts.mu.Unlock()
	stats.Unsigned, stats.Refused = s.doubts.unsigned, s.doubts.refused
	return stats
}
