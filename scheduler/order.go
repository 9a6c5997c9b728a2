package scheduler

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler/spec"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

// An order is a schedule as it is stored and signed, and what its texts mean.
type order struct {
	message     signing.Schedule // the payload as it is stored: perhaps encrypted
	signature   signing.Signature
	timing      Timing
	terms       terms
	description string
}

// terms are what is stored in the text policies: all of an order that has no column of its own.
type terms struct {
	Policies
	ExpiresIn time.Duration
	UniqueKey []byte
	Version   int
	Group     string
}

const maxTerms = 8192

// termsForm is the JSON of terms. Defaults are written out: what was signed does not change its meaning with a new version of Stem.
type termsForm struct {
	Gap                string `json:"gap"`
	Overlap            string `json:"overlap"`
	Missed             string `json:"missed"`
	CatchUpWindow      string `json:"catchUpWindow"`
	CatchUpMax         int    `json:"catchUpMax"`
	Previous           string `json:"previous"`
	PauseAfterFailures int    `json:"pauseAfterFailures,omitempty"`
	ExpiresIn          string `json:"expiresIn,omitempty"`
	UniqueKey          []byte `json:"uniqueKey,omitempty"`
	Version            int    `json:"version,omitempty"`
	Group              string `json:"group,omitempty"`
}

func (t terms) String() string {
	f := termsForm{
		Gap: t.Gap, Overlap: t.Overlap, Missed: t.Missed, CatchUpWindow: t.CatchUpWindow.String(), CatchUpMax: t.CatchUpMax,
		Previous: t.Previous, PauseAfterFailures: t.PauseAfterFailures, UniqueKey: t.UniqueKey, Version: t.Version, Group: t.Group,
	}
	if t.ExpiresIn > 0 {
		f.ExpiresIn = t.ExpiresIn.String()
	}
	text, err := json.Marshal(f)
	if err != nil {
		panic(err) // strings and numbers
	}
	return string(text)
}

func parseTerms(text string) (terms, error) {
	var f termsForm
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return terms{}, fmt.Errorf("policies: %w", err)
	}
	t := terms{
		Policies: Policies{
			Gap: f.Gap, Overlap: f.Overlap, Missed: f.Missed, CatchUpMax: f.CatchUpMax, Previous: f.Previous,
			PauseAfterFailures: f.PauseAfterFailures,
		},
		UniqueKey: f.UniqueKey, Version: f.Version, Group: f.Group,
	}
	var err, err2 error
	t.CatchUpWindow, err = time.ParseDuration(f.CatchUpWindow)
	if f.ExpiresIn != "" {
		t.ExpiresIn, err2 = time.ParseDuration(f.ExpiresIn)
	}
	if err := errors.Join(err, err2); err != nil {
		return terms{}, fmt.Errorf("policies: %w", err)
	}
	if list := t.problems(); len(list) > 0 {
		return terms{}, fmt.Errorf("policies: %s: %w", list[0].name, list[0].err)
	}
	return t, nil
}

// newOrder is the order of an entry that has been checked.
func newOrder(t Timing, with terms, template queue.Template, e *Entry) *order {
	return &order{
		message: signing.Schedule{
			ID: e.ID, Task: template.Task, Queue: template.Queue, Codec: template.Codec, Payload: template.Payload, Headers: template.Headers,
			Spec: t.Spec.String(), Zone: t.Zone.String(), Priority: template.Priority, MaxAttempts: template.MaxAttempts,
			HardLimit: template.HardLimit, SoftLimit: template.SoftLimit, End: t.ExpireAt, Enabled: e.Enabled == nil || *e.Enabled,
			Policies: with.String(), Jitter: t.Jitter,
		},
		timing: t, terms: with, description: e.Description,
	}
}

// orderOf is what a row says, before anything of it is understood.
func orderOf(r *store.ReadSchedulesRow) (*order, error) {
	o := &order{
		message: signing.Schedule{
			ID: r.ID, Task: r.Task, Queue: r.Queue, Codec: r.Codec, Payload: r.Payload, Version: r.Version, Spec: r.Spec, Zone: r.Zone,
			Priority: int(r.Priority), MaxAttempts: int(r.MaxAttempts), HardLimit: store.Span(r.HardLimitUs), SoftLimit: store.Span(r.SoftLimitUs),
			End: store.Instant(r.ExpireAt), Enabled: r.Enabled, Policies: r.Policies, Jitter: store.Span(r.JitterUs),
		},
		signature:   signing.Signature{Bytes: r.Sig, KeyID: r.SigKeyID, Algorithm: r.SigAlg},
		description: r.Description,
	}
	if len(r.Headers) > 0 {
		if err := json.Unmarshal(r.Headers, &o.message.Headers); err != nil {
			return o, fmt.Errorf("headers: %w", err)
		}
	}
	return o, nil
}

// understand reads the texts of a stored order.
func (o *order) understand() error {
	m := &o.message
	parsed, err := spec.Parse(m.Spec)
	if err != nil {
		return fmt.Errorf("spec: %w", err)
	}
	zone, err := spec.Zone(m.Zone)
	if err != nil {
		return err
	}
	if o.terms, err = parseTerms(m.Policies); err != nil {
		return err
	}
	o.timing = Timing{ID: m.ID, Spec: parsed, Zone: zone, Policy: o.terms.daylight(), Jitter: m.Jitter, ExpireAt: m.End}
	return nil
}

// judge says what is to become of a stored order by its signature. One that is off may be signed as one that is on: to switch a schedule off
// needs no key.
func (o *order) judge(ring *signing.Ring) (signing.Action, *signing.Refusal) {
	action, refusal := ring.Judge(&o.message, o.signature)
	if action == signing.Bury && !o.message.Enabled {
		on := o.message
		on.Enabled = true
		if second, why := ring.Judge(&on, o.signature); second == signing.Run {
			return second, why
		}
	}
	return action, refusal
}

// bound is what an encrypted payload is bound to: all that is signed but the version and whether it is on, so that neither needs the
// key of the payload to be changed.
func (o *order) bound() *signing.Schedule {
	m := o.message
	m.Version, m.Enabled = 0, true
	return &m
}

// seal encrypts the payload, if a codec is on.
func (o *order) seal(c encryption.Codec) error {
	if c == nil || !c.On() {
		return nil
	}
	o.message.Codec = encryption.Wrap(o.message.Codec)
	sealed, err := c.Seal(o.bound(), o.message.Payload)
	if err != nil {
		return fmt.Errorf("schedule %q: encrypt: %w", o.message.ID, err)
	}
	if n := len(sealed); n > queue.MaxPayload {
		return fmt.Errorf("schedule %q: the payload is %d bytes when it is encrypted; limit %d", o.message.ID, n, queue.MaxPayload)
	}
	o.message.Payload = sealed
	return nil
}

// opened returns the payload and its codec, readable.
func (o *order) opened(c encryption.Codec) (payload []byte, codec string, err error) {
	codec, sealed := encryption.Unwrap(o.message.Codec)
	if !sealed {
		return o.message.Payload, codec, nil
	}
	if c == nil {
		return nil, "", fmt.Errorf("encryption: %w: it has none", encryption.ErrUnknownKey)
	}
	payload, err = c.Open(o.bound(), o.message.Payload)
	return payload, codec, err
}

// requests are the jobs of runs: of nominal instants, or for the zero time of none. What they have in common is opened and checked once.
func (o *order) requests(q *queue.Queue, c encryption.Codec, nominal ...time.Time) ([]queue.Request, error) {
	payload, codec, err := o.opened(c)
	if err != nil {
		return nil, err
	}
	m := &o.message
	template := queue.Envelope{
		Task: m.Task, Queue: m.Queue, Payload: payload, Codec: codec, Headers: m.Headers, Priority: m.Priority, MaxAttempts: m.MaxAttempts,
		HardLimit: m.HardLimit, SoftLimit: m.SoftLimit, UniqueKey: o.terms.UniqueKey, PayloadVersion: o.terms.Version, Group: o.terms.Group,
	}
	if _, err := q.Template(q.Reissue(&template)); err != nil {
		return nil, err
	}
	options := []queue.Option{queue.Origin("schedule:" + m.ID)}
	if o.terms.ExpiresIn > 0 {
		options = append(options, queue.ExpiresIn(o.terms.ExpiresIn))
	}
	list := make([]queue.Request, len(nominal))
	for i, at := range nominal {
		list[i] = q.Reissue(&template, append(slices.Clone(options), queue.NominalAt(at))...)
	}
	return list, nil
}
