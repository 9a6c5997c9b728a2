package worker

import (
	"errors"
	"time"

	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

// unseal makes the payload readable where it is encrypted, and sees to it that the result will not be where it is to be. The outcome is
// what becomes of a job whose payload cannot be opened; nil means that it may run.
func (s *session) unseal(h *held) *outcome {
	run, codec := &h.run, s.config.Encryption
	if err := run.Open(codec); errors.Is(err, encryption.ErrUnknownKey) {
		return s.waitFor(run, unknownKeyGrace, "encryption_unknown_key", err.Error())
	} else if err != nil {
		const reason = "undecryptable"
		if s.doubts.mayLog(reason, time.Now()) {
			s.log.ErrorContext(s.life, "payload cannot be opened", "job_id", run.ID, "task", run.Task, "queue", run.Queue, "error", err)
		}
		return &outcome{verb: verbReject, reason: reason, err: err.Error()}
	}
	if codec != nil && codec.On() {
		h.hold.Seal = func(plain []byte) ([]byte, error) {
			return encryption.SealResult(codec, signing.Result{
				JobID: run.ID, Generation: run.Generation, Attempt: run.Attempt, ClaimID: h.hold.ID, Outcome: string(verbComplete),
			}, plain)
		}
	}
	return nil
}
