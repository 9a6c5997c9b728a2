package encryption

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/stemqueue/stem/internal/keylist"
	"github.com/stemqueue/stem/internal/nearest"
	"github.com/stemqueue/stem/internal/secretfile"
	"github.com/stemqueue/stem/signing"
)

const (
	prefix     = "STEM_ENCRYPTION_"
	keysName   = prefix + "KEYS"
	credential = "encryption-keys"
)

var variables = []string{keysName, keysName + "_FILE"}

// A Ring holds master keys: the first encrypts, and each decrypts what it has encrypted. A nil *Ring has none. It is safe for
// concurrent use.
type Ring struct {
	reading sync.Mutex
	read    func() (*content, error) // a function, so that no way of printing a Ring reaches the environment
	content atomic.Pointer[content]
}

// content is a ring as it was read once. It never changes.
type content struct {
	audience string
	keys     []key
	byID     map[string]*key
	warnings []string
}

type key struct {
	id     string
	secret []byte
}

func (k *key) fingerprint() string {
	h := hmac.New(sha256.New, k.secret)
	h.Write([]byte("stem key fingerprint v1"))
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// FromEnv makes the ring that the environment of the process describes: STEM_ENCRYPTION_KEYS, a list as in STEM_SIGNING_KEYS, or a file
// with it that STEM_ENCRYPTION_KEYS_FILE names, or the credential encryption-keys. To rotate, add the new key behind the old one
// everywhere, then put it first.
//
// With none of these the ring is off. Everything that is wrong is reported at once, as joined [*signing.SettingError]s. A key that
// also signs is a mistake.
func FromEnv() (*Ring, error) { return FromEnviron(os.Environ()) }

// FromEnviron is [FromEnv] with the environment given, in the form of os.Environ.
func FromEnviron(environ []string) (*Ring, error) {
	environ = slices.Clone(environ)
	r := &Ring{read: func() (*content, error) { return read(environ) }}
	if err := r.Reload(); err != nil {
		return nil, err
	}
	return r, nil
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

func (r *Ring) load() *content {
	if r == nil || r.read == nil {
		return &content{}
	}
	return r.content.Load()
}

// On implements [Codec]: it tells whether there is a key to encrypt with.
func (r *Ring) On() bool { return len(r.load().keys) > 0 }

// Warnings lists what is allowed and should not stay.
func (r *Ring) Warnings() []string { return r.load().warnings }

// String names the keys by id and fingerprint. Every other way to print a ring says the same: nothing of a key comes out.
func (r *Ring) String() string {
	c := r.load()
	if len(c.keys) == 0 {
		return "encryption off"
	}
	var b strings.Builder
	b.WriteString("encryption for " + c.audience + " with ")
	for i := range c.keys {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (%s)", c.keys[i].id, c.keys[i].fingerprint())
	}
	return b.String()
}

// GoString is [Ring.String].
func (r *Ring) GoString() string { return r.String() }

// Format is [Ring.String], whatever the verb.
func (r *Ring) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) } //nolint:errcheck // as fmt's own: there is nobody to tell

// MarshalJSON is [Ring.String].
func (r *Ring) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// LogValue is [Ring.String].
func (r *Ring) LogValue() slog.Value { return slog.StringValue(r.String()) }

// read turns an environment into a content, and reports everything that is wrong with it.
func read(environ []string) (*content, error) {
	env := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = strings.TrimSpace(value)
	}
	var problems []error
	add := func(source, format string, args ...any) {
		problems = append(problems, &signing.SettingError{Source: source, Message: fmt.Sprintf(format, args...)})
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		switch {
		case !strings.HasPrefix(name, prefix):
		case !slices.Contains(variables, name):
			text := "unknown variable " + name
			if near, ok := nearest.Name(name, slices.Values(variables)); ok {
				text += ". Did you mean " + near + "?"
			}
			add(name, "%s", text)
		case env[name] == "":
			add(name, "%s is set to nothing; unset it or give it a value", name)
		}
	}
	found, err := secretfile.Find(func(name string) string { return env[name] }, keysName, credential)
	if err != nil {
		problems = append(problems, &signing.SettingError{Source: cmp.Or(found.Source, keysName), Message: err.Error(), Cause: err})
	}
	// The audience is that of the signatures; whoever makes their ring says what is wrong with it.
	c := &content{audience: cmp.Or(env["STEM_SIGNING_AUDIENCE"], "stem"), byID: map[string]*key{}}
	if found.Value != "" {
		c.fill(found, add)
	}
	if len(c.keys) > 0 {
		if signer, err := signing.FromEnviron(environ); err == nil {
			c.apart(signer, found.Source, add)
		}
	}
	return c, errors.Join(problems...)
}

// fill reads the list.
func (c *content) fill(found secretfile.Setting, add func(source, format string, args ...any)) {
	list, problems := keylist.Parse(found.Source, found.Value)
	for _, err := range problems {
		add(found.Source, "%v", err)
	}
	ids, secrets := map[string]bool{}, map[string]string{}
	for _, e := range list {
		secret, urlSafe, err := keylist.Decode(e.Encoded)
		if err == nil {
			err = keylist.CheckSecret(name, secret)
		}
		other, twin := secrets[string(secret)]
		switch {
		case ids[e.ID]:
			add(found.Source, "key id %s appears twice", keylist.QuoteID(e.ID))
		case err != nil:
			add(found.Source, "key %s: %v", keylist.QuoteID(e.ID), err)
		case twin:
			add(found.Source, "keys %s and %s are identical", keylist.QuoteID(other), keylist.QuoteID(e.ID))
		default:
			c.keys = append(c.keys, key{e.ID, secret})
			c.warnings = append(c.warnings, keylist.Doubts(e.ID, secret, urlSafe)...)
			secrets[string(secret)] = e.ID
		}
		ids[e.ID] = true
	}
	for i := range c.keys {
		c.byID[c.keys[i].id] = &c.keys[i]
	}
}

// apart refuses a key that signs as well: whoever verifies with it could read, and the other way round.
func (c *content) apart(signer *signing.Ring, source string, add func(source, format string, args ...any)) {
	for i := range c.keys {
		for _, k := range signer.Keys() {
			if k.Fingerprint == c.keys[i].fingerprint() {
				add(source, "key %s is the signing key %s; make one of its own: openssl rand -base64 32",
					keylist.QuoteID(c.keys[i].id), keylist.QuoteID(k.ID))
			}
		}
	}
}
