package cli

import (
	"cmp"
	"strings"

	"github.com/stemqueue/stem/cmd/stem/internal/doctor"
)

// signing says in a sentence what the settings say about signatures.
func (a *App) signing() string {
	if !a.hasKeys() {
		return "off: no keys are set"
	}
	return "on, policy " + cmp.Or(a.getenv("STEM_SIGNING_POLICY"), "required") + ", algorithm " +
		cmp.Or(a.getenv("STEM_SIGNING_ALGORITHM"), "hmac-sha256")
}

// signingFindings lists how signatures are less than they could be, where there are keys at all.
func (a *App) signingFindings() []doctor.Finding {
	policy := a.getenv("STEM_SIGNING_POLICY")
	if !a.hasKeys() || policy != "permissive" && policy != "off" {
		return nil
	}
	return []doctor.Finding{{
		Name: "signing_" + policy, Message: "STEM_SIGNING_POLICY is " + policy + ": workers run what nobody has signed",
		Fix: "when every producer signs, set STEM_SIGNING_POLICY=required",
	}}
}

func (a *App) hasKeys() bool {
	for _, pair := range a.streams.Environ {
		name, value, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "STEM_SIGNING_") && strings.HasSuffix(strings.TrimSuffix(name, "_FILE"), "_KEYS") && value != "" {
			return true
		}
	}
	return false
}
