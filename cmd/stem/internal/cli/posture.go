package cli

import (
	"strings"

	"github.com/stemqueue/stem/cmd/stem/internal/doctor"
	"github.com/stemqueue/stem/signing"
)

// signing says in a sentence what the settings say about signatures.
func (a *App) signing() string {
	ring := a.Config.Keys
	if len(ring.Keys()) == 0 {
		return "off: no keys are set"
	}
	var keys []string
	for _, k := range ring.Keys() {
		text := k.ID + " (" + k.Algorithm + ", " + k.Fingerprint + ")"
		if k.Active != 0 {
			text += " signs"
		}
		keys = append(keys, text)
	}
	return "policy " + ring.Policy().String() + ", audience " + ring.Audience() + ", keys " + strings.Join(keys, ", ")
}

// signingFindings lists how signatures are less than they could be, where there are keys at all.
func (a *App) signingFindings() []doctor.Finding {
	ring := a.Config.Keys
	if len(ring.Keys()) == 0 {
		return nil
	}
	var found []doctor.Finding
	if policy := ring.Policy(); policy != signing.Required {
		found = append(found, doctor.Finding{
			Name: "signing_" + policy.String(), Message: "STEM_SIGNING_POLICY is " + policy.String() + ": workers run what nobody has signed",
			Fix: "when every producer signs, set STEM_SIGNING_POLICY=required",
		})
	}
	if queues := a.Config.UnsignedQueues; len(queues) > 0 {
		found = append(found, doctor.Finding{
			Name: "unsigned_queues", Message: "unsigned jobs run in " + strings.Join(queues, ", "),
			Fix: "let a program that has a key enqueue them, and unset STEM_WORKER_UNSIGNED_QUEUES",
		})
	}
	return found
}
