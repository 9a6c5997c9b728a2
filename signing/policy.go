package signing

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Policy says what is done with what is not validly signed. It comes from the configuration alone, never from a row. They are
// ordered: the greater of two is the stricter.
type Policy int

// The policies, as STEM_SIGNING_POLICY names them.
const (
	Off        Policy = iota // nothing is signed and nothing is looked at
	Permissive               // what is unsigned runs and is counted: for the time in which signing is introduced
	Required                 // only what is validly signed runs
)

var policyNames = []string{"off", "permissive", "required"}

func (p Policy) String() string { return policyNames[p] }

// Action is what is to become of a claimed job. The zero value is the one that harms least.
type Action int

// The actions.
const (
	Bury    Action = iota // to the dead letters, with the reason of the refusal
	Run                   // as if nothing were signed
	Count                 // run it, and count that it was unsigned
	Release               // put it back for a worker that knows the key; after a grace of 10 minutes, bury it
	Expire                // it is past the expiry that was signed
)

// Judge says what a policy does about the outcome of [Ring.Verify] or [Job.CheckTimes]. An error that is no [*Refusal] is as bad as
// an invalid signature.
func (p Policy) Judge(err error) Action {
	if err == nil || p == Off {
		return Run
	}
	refusal, known := errors.AsType[*Refusal](err)
	switch {
	case !known:
		return Bury
	case refusal.Reason == Expired:
		return Expire
	case refusal.Reason == UnknownKey:
		return Release
	case refusal.Reason == Missing && p == Permissive:
		return Count
	}
	return Bury
}

// Admit decides what is to become of a claimed job by its signature, by when the server says that it was created and claimed, and by
// the ring's policy. Where that is [Required], unsigned jobs of the queues in unsigned run all the same. The refusal says why the action
// is not Run; it is nil where it is.
func (r *Ring) Admit(j *Job, s Signature, created, claimed time.Time, unsigned []string) (Action, *Refusal) {
	c := r.load() // once: a reload in between must not judge by one policy what was verified with the keys of another
	if c.policy == Off {
		return Run, nil
	}
	err := c.verify(j, s)
	if err == nil {
		err = j.CheckTimes(created, claimed)
	}
	action, refusal := c.judge(err, s)
	if action == Bury && refusal.Reason == Missing && slices.Contains(unsigned, j.Queue) {
		action = Count
	}
	return action, refusal
}

// Judge decides what is to become of a message by its signature and by the ring's policy: [Ring.Verify] and [Policy.Judge] in one, so that
// a reload in between does no harm. The refusal says why the action is not Run; it is nil where it is.
func (r *Ring) Judge(m Message, s Signature) (Action, *Refusal) {
	c := r.load()
	if c.policy == Off {
		return Run, nil
	}
	return c.judge(c.verify(m, s), s)
}

func (c *content) judge(err error, s Signature) (Action, *Refusal) {
	if err == nil {
		return Run, nil
	}
	refusal, is := errors.AsType[*Refusal](err)
	if !is {
		refusal = &Refusal{Reason: Invalid, KeyID: s.KeyID, Detail: err.Error()}
	}
	return c.policy.Judge(err), refusal
}

// Reason is why something is refused: the reason of its dead letter.
type Reason string

// The reasons.
const (
	Missing    Reason = "signature_missing"
	Invalid    Reason = "signature_invalid"
	UnknownKey Reason = "signature_unknown_key"
	Revoked    Reason = "signature_revoked"
	Stale      Reason = "signature_stale"
	Early      Reason = "malformed_row" // what the row says does not fit: as here, to run it before the time that was signed
	Expired    Reason = "expired"
)

// A Refusal is the error of a message that is not as it was signed.
type Refusal struct {
	Reason Reason
	KeyID  string // as the row has it: whoever wrote the row chose it
	Detail string // for people; holds no key
}

func (r *Refusal) Error() string { return "signing: " + string(r.Reason) + ": " + r.Detail }

func refuse(reason Reason, keyID, format string, args ...any) error {
	return &Refusal{Reason: reason, KeyID: keyID, Detail: fmt.Sprintf(format, args...)}
}

const (
	clockSlack = 5 * time.Minute // between a producer's clock and the server's, where only a delay was signed
	staleAfter = 24 * time.Hour
)

// CheckTimes holds what was signed against what the server says: when the row was created, and when it was claimed. It is for jobs
// whose signature is valid. A row that was deleted and inserted again later is stale; what runs before the signed time, or
// after the signed expiry, is refused too.
func (j *Job) CheckTimes(created, claimed time.Time) error {
	switch apart := created.Sub(j.IssuedAt).Abs(); {
	case apart > staleAfter:
		return refuse(Stale, "", "issued at %s, created at %s: more than %v apart",
			rfc3339(j.IssuedAt), rfc3339(created), staleAfter)
	case !j.RunAt.IsZero() && claimed.Before(j.RunAt):
		return refuse(Early, "", "claimed at %s, before the signed run_at %s", rfc3339(claimed), rfc3339(j.RunAt))
	case j.Delay > 0 && claimed.Before(j.IssuedAt.Add(j.Delay-clockSlack)):
		return refuse(Early, "", "claimed at %s, before the signed delay of %v from %s was over",
			rfc3339(claimed), j.Delay, rfc3339(j.IssuedAt))
	case !j.ExpiresAt.IsZero() && !claimed.Before(j.ExpiresAt):
		return refuse(Expired, "", "claimed at %s, expired at %s", rfc3339(claimed), rfc3339(j.ExpiresAt))
	}
	return nil
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
