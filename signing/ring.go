package signing

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/stemqueue/stem/internal/keylist"
)

// A Signature over a message. The zero value means unsigned.
type Signature struct {
	Bytes     []byte
	KeyID     string
	Algorithm string // HMACSHA256 or Ed25519
}

// A Ring holds the keys of a process: what it signs with and what it accepts. Make one with [FromEnv]. A nil *Ring and the zero one
// have no keys and the policy [Off]. It is safe for concurrent use, and stays the same ring when its content is reloaded, so
// producers and workers that hold it need not be told.
type Ring struct {
	reading sync.Mutex               // one reload at a time: the last one read wins
	read    func() (*content, error) // a function, so that no way of printing a Ring reaches the environment
	content atomic.Pointer[content]
}

// content is a ring as it was read once. It never changes.
type content struct {
	policy   Policy
	audience string
	keys     []*key
	byID     map[string]*key
	active   string // the id that STEM_SIGNING_ACTIVE_KEY gives, or ""
	warnings []string
}

var none = &content{audience: defaultAudience}

func (r *Ring) load() *content {
	if r == nil || r.read == nil {
		return none
	}
	return r.content.Load()
}

// Policy returns what the ring demands of messages.
func (r *Ring) Policy() Policy { return r.load().policy }

// Audience returns what signatures are bound to besides the message: an environment, such as "stem/prod".
func (r *Ring) Audience() string { return r.load().audience }

// Warnings lists what is allowed and should not stay: for the log, at each start and reload.
func (r *Ring) Warnings() []string { return r.load().warnings }

// ErrNoKey means that a ring has no key to sign a message with.
var ErrNoKey = errors.New("no key to sign with")

// CanSign tells whether [Ring.Sign] can sign messages of a use, and why not. Under [Off] it can: there is nothing to do.
func (r *Ring) CanSign(use Uses) error {
	c := r.load()
	if c.policy == Off {
		return nil
	}
	_, err := c.signer(use)
	return err
}

// Sign signs a message with the active key. Under [Off] it returns the zero Signature and no error. An error means that the message
// must not be stored: nothing is ever sent unsigned because it could not be signed.
func (r *Ring) Sign(m Message) (Signature, error) {
	c := r.load()
	if c.policy == Off {
		return Signature{}, nil
	}
	kind := kindOf(m)
	k, err := c.signer(kind.use)
	if err != nil {
		return Signature{}, err
	}
	e := takeEncoder()
	defer e.put()
	message, err := e.message(m, kind.mediaType, k.alg, k.id, c.audience)
	if err != nil {
		return Signature{}, fmt.Errorf("signing: %s: %w", kind.name, err)
	}
	return Signature{Bytes: k.sign(message), KeyID: k.id, Algorithm: k.alg}, nil
}

// signer returns the key that signs messages of a use.
func (c *content) signer(use Uses) (*key, error) {
	k, err := c.chosen(use)
	if err == nil && !k.canSign() {
		return nil, fmt.Errorf("signing: %w: %s=%q has no private key in this process", ErrNoKey, activeName, k.id)
	}
	return k, err
}

// chosen returns the key for a use: the active one, or where that is not for it the only one of which a key file says that it
// signs. The active one may lack its private half here.
func (c *content) chosen(use Uses) (*key, error) {
	if k := c.byID[c.active]; k != nil && k.uses&use != 0 {
		return k, nil
	}
	var able []*key
	for _, k := range c.keys {
		if k.stated && k.canSign() && k.uses&use != 0 {
			able = append(able, k)
		}
	}
	switch len(able) {
	case 1:
		return able[0], nil
	case 0:
		return nil, fmt.Errorf("signing: %w: set %s to a key that signs a %v", ErrNoKey, activeName, use)
	}
	return nil, fmt.Errorf("signing: %w: both %q and %q could; set %s", ErrNoKey, able[0].id, able[1].id, activeName)
}

// Verify checks a signature over a message and returns nil or a [*Refusal]. It does not know the policy: give what it returns to
// [Policy.Judge]. Which algorithm is used is the key's to say, not the signature's.
func (r *Ring) Verify(m Message, s Signature) error { return r.load().verify(m, s) }

func (c *content) verify(m Message, s Signature) error {
	if len(s.Bytes) == 0 && s.KeyID == "" && s.Algorithm == "" {
		return refuse(Missing, "", "unsigned")
	}
	if !keylist.ValidID(s.KeyID) {
		return refuse(Invalid, s.KeyID, "no key can have the id %s", abbreviate(s.KeyID))
	}
	kind, k := kindOf(m), c.byID[s.KeyID]
	switch {
	case k == nil:
		return refuse(UnknownKey, s.KeyID, "no key %q in this process", s.KeyID)
	case k.state == StateRevoked:
		return refuse(Revoked, s.KeyID, "key %q is revoked", s.KeyID)
	case k.uses&kind.use == 0:
		return refuse(Invalid, s.KeyID, "key %q is for %v, not for a %s", s.KeyID, k.uses, kind.name)
	case s.Algorithm != k.alg:
		return refuse(Invalid, s.KeyID, "key %q is of %s, the signature says %s", s.KeyID, k.alg, abbreviate(s.Algorithm))
	}
	e := takeEncoder()
	defer e.put()
	message, err := e.message(m, kind.mediaType, k.alg, k.id, c.audience)
	if err != nil {
		return refuse(Invalid, s.KeyID, "%s: %v", kind.name, err)
	}
	if !k.verify(message, s.Bytes) {
		return refuse(Invalid, s.KeyID, "the signature is not of key %q over this %s for %s", s.KeyID, kind.name, c.audience)
	}
	return nil
}

// kindOf goes through the types by hand: see encoder.body.
func kindOf(m Message) kind {
	switch m := m.(type) {
	case *Schedule:
		return m.kind()
	case *Result:
		return m.kind()
	case *Control:
		return m.kind()
	default:
		return (*Job)(nil).kind()
	}
}

// Key describes an entry of a ring. There is nothing secret in it.
type Key struct {
	ID          string
	Algorithm   string
	Fingerprint string // "" of a revoked key whose bytes are gone
	Uses        Uses
	State       State
	Active      Uses   // what is signed with it now: see STEM_SIGNING_ACTIVE_KEY
	CanSign     bool   // may, and has what it takes
	Source      string // the variable, its _FILE variant, or the credential
}

// Keys lists the entries in the order in which they were read.
func (r *Ring) Keys() []Key {
	c := r.load()
	active := map[*key]Uses{}
	for use := UseJob; use <= UseControl; use <<= 1 {
		if k, err := c.chosen(use); err == nil {
			active[k] |= use
		}
	}
	list := make([]Key, 0, len(c.keys))
	for _, k := range c.keys {
		list = append(list, Key{
			ID: k.id, Algorithm: k.alg, Fingerprint: k.fingerprint(), Uses: k.uses, State: k.state,
			Active: active[k], CanSign: k.canSign(), Source: k.source,
		})
	}
	return list
}

// Reload reads the sources again: files and credentials as they are now, variables as they were. When anything is wrong the ring
// keeps what it had, and the error says what.
func (r *Ring) Reload() error {
	if r == nil || r.read == nil {
		return nil
	}
	r.reading.Lock()
	defer r.reading.Unlock()
	c, err := r.read()
	if err != nil {
		return err
	}
	r.content.Store(c)
	return nil
}
