package signing

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// String names the policy, the audience and the keys by id and fingerprint. Every other way to print a ring says the same: nothing
// of a key comes out.
func (r *Ring) String() string {
	c := r.load()
	var b strings.Builder
	fmt.Fprintf(&b, "signing %v for %s", c.policy, c.audience)
	for i, k := range c.keys {
		separator := ", "
		if i == 0 {
			separator = " with "
		}
		fmt.Fprintf(&b, "%s%s (%s)", separator, k.id, k.fingerprint())
	}
	return b.String()
}

// GoString is [Ring.String].
func (r *Ring) GoString() string { return r.String() }

// Format is [Ring.String], whatever the verb.
func (r *Ring) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) } //nolint:errcheck // as fmt's own: there is nobody to tell

// MarshalJSON writes what [Ring.String] says.
func (r *Ring) MarshalJSON() ([]byte, error) {
	type entry struct {
		ID          string `json:"id"`
		Fingerprint string `json:"fingerprint"`
	}
	c := r.load()
	keys := make([]entry, 0, len(c.keys))
	for _, k := range c.keys {
		keys = append(keys, entry{k.id, k.fingerprint()})
	}
	return json.Marshal(struct {
		Policy   string  `json:"policy"`
		Audience string  `json:"audience"`
		Keys     []entry `json:"keys"`
	}{c.policy.String(), c.audience, keys})
}

// LogValue is [Ring.String].
func (r *Ring) LogValue() slog.Value { return slog.StringValue(r.String()) }
