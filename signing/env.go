package signing

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/stemqueue/stem/internal/keylist"
	"github.com/stemqueue/stem/internal/nearest"
	"github.com/stemqueue/stem/internal/secretfile"
)

const (
	prefix        = "STEM_SIGNING_"
	algorithmName = prefix + "ALGORITHM"
	keysName      = prefix + "KEYS"
	activeName    = prefix + "ACTIVE_KEY"
	policyName    = prefix + "POLICY"
	audienceName  = prefix + "AUDIENCE"
	publicName    = prefix + "PUBLIC_KEYS"
	privateName   = prefix + "PRIVATE_KEYS"

	defaultAudience = "stem"
)

var variables = []string{
	algorithmName, keysName, keysName + "_FILE", activeName, policyName, audienceName,
	publicName, publicName + "_FILE", privateName, privateName + "_FILE",
}

// A SettingError is one mistake in the configuration of a ring. [FromEnv] and [Ring.Reload] join all that they find.
type SettingError struct {
	Source  string // the variable, its _FILE variant or "credential signing-keys"
	Message string // holds no secret
	Cause   error  // what reading a file said
}

// Error names the source, where the message does not.
func (e *SettingError) Error() string {
	if strings.Contains(e.Message, e.Source) {
		return e.Message
	}
	return e.Source + ": " + e.Message
}

// Unwrap returns the cause.
func (e *SettingError) Unwrap() error { return e.Cause }

// FromEnv makes the ring that the environment of the process describes: STEM_SIGNING_ALGORITHM, STEM_SIGNING_KEYS,
// STEM_SIGNING_ACTIVE_KEY, STEM_SIGNING_PUBLIC_KEYS, STEM_SIGNING_PRIVATE_KEYS, STEM_SIGNING_POLICY and STEM_SIGNING_AUDIENCE. The
// keys may stand in a file that the name with _FILE gives, or in a credential of systemd: signing-keys, signing-private-keys.
//
// The policy is [Required] as soon as there is a key, and [Off] when no such variable is set. Everything that is wrong is
// reported at once, as joined [*SettingError]s, and nothing is guessed: a ring that could leave something unsigned by mistake is not made.
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

// reader turns an environment into a content and collects what is wrong with it.
type reader struct {
	env      map[string]string
	content  content
	alg      string // what STEM_SIGNING_ALGORITHM says, or ""
	problems []error
}

func read(environ []string) (*content, error) {
	r := &reader{env: map[string]string{}, content: content{byID: map[string]*key{}, audience: defaultAudience}}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, prefix) || name == secretfile.CredentialsDirectory {
			r.env[name] = strings.TrimSpace(value)
		}
	}
	r.names()
	r.algorithm()
	r.keys()
	r.audience()
	r.policy()
	r.active()
	if len(r.problems) > 0 {
		return nil, errors.Join(r.problems...)
	}
	return &r.content, nil
}

// names refuses what is misspelt, and what is set to nothing: either would leave signing off when somebody wanted it on.
func (r *reader) names() {
	for _, name := range slices.Sorted(maps.Keys(r.env)) {
		switch {
		case name == secretfile.CredentialsDirectory:
		case !slices.Contains(variables, name):
			text := "unknown variable " + name
			if near, ok := nearest.Name(name, slices.Values(variables)); ok {
				text += ". Did you mean " + near + "?"
			}
			r.add(name, "%s", text)
		case r.env[name] == "":
			r.add(name, "%s is set to nothing; unset it or give it a value", name)
		}
	}
}

func (r *reader) algorithm() {
	text := r.env[algorithmName]
	r.alg = strings.ToLower(text)
	if text != "" && r.alg != HMACSHA256 && r.alg != Ed25519 {
		r.add(algorithmName, "unknown algorithm %s; have %s, %s", keylist.QuoteID(text), HMACSHA256, Ed25519)
		r.alg = ""
	}
}

// keys reads the three lists, each from its one source.
func (r *reader) keys() {
	before := len(r.problems)
	switch found := r.source(keysName, "signing-keys"); {
	case found.Value == "":
	case found.File && isJSON(found.Value):
		r.keyFile(found.Source, found.Value, "secret", "private", "public")
	case r.alg == Ed25519:
		r.add(found.Source, "%s is set but the algorithm is %s", found.Source, Ed25519)
	default:
		r.keyList(found.Source, found.Value, HMACSHA256, "secret")
	}
	r.ed25519Keys(publicName, "", "public")
	r.ed25519Keys(privateName, "signing-private-keys", "private")
	r.identical()
	if len(r.problems) == before {
		r.usable()
	}
}

func (r *reader) ed25519Keys(name, credential, field string) {
	switch found := r.source(name, credential); {
	case found.Value == "":
	case r.alg != Ed25519:
		r.add(found.Source, "%s is set but the algorithm is %s", found.Source, HMACSHA256)
	case found.File && isJSON(found.Value):
		r.keyFile(found.Source, found.Value, field)
	default:
		r.keyList(found.Source, found.Value, Ed25519, field)
	}
}

// source returns the text of a list, from its one source.
func (r *reader) source(name, credential string) secretfile.Setting {
	found, err := secretfile.Find(func(name string) string { return r.env[name] }, name, credential)
	if err != nil {
		r.problem(cmp.Or(found.Source, name), err, "%v", err)
	}
	return found
}

// usable refuses settings that say something about keys where there are none. Keys of which all are revoked are no mistake: when the
// only one has leaked, refusing everything is what is wanted.
func (r *reader) usable() {
	if len(r.content.keys) > 0 {
		if !slices.ContainsFunc(r.content.keys, func(k *key) bool { return k.state != StateRevoked }) {
			r.warn("every key in %s is revoked: nothing is accepted", r.sources())
		}
		return
	}
	for _, name := range []string{algorithmName, activeName, policyName} {
		if r.env[name] != "" && r.env[name] != Off.String() {
			r.add(name, "%s is set but there are no keys; signing would be off. Unset it or add keys", name)
		}
	}
}

func (r *reader) audience() {
	text := r.env[audienceName]
	switch {
	case text == "":
	case !validName(text):
		r.add(audienceName, "%s: names are 1-%d of letters, digits, _ . : / -; got %s", audienceName, maxName, keylist.QuoteID(text))
	default:
		r.content.audience = text
	}
}

func (r *reader) policy() {
	text := r.env[policyName]
	i := slices.Index(policyNames, text)
	switch {
	case text == "" && len(r.content.keys) > 0:
		r.content.policy = Required
	case text != "" && i < 0:
		r.add(policyName, "%s: want required, permissive or off, got %s", policyName, keylist.QuoteID(text))
	case i >= 0:
		r.content.policy = Policy(i)
	}
	if r.content.policy == Permissive {
		r.warn("%s=permissive: jobs that nobody signed run; set it to required when every producer signs", policyName)
	}
}

// active checks that the key that is to sign is there and may.
func (r *reader) active() {
	id := r.env[activeName]
	if id == "" || len(r.content.keys) == 0 {
		return
	}
	k := r.content.byID[id]
	switch {
	case !keylist.ValidID(id):
		r.add(activeName, "%s: want the id of a key, 1-%d letters, digits, _ . -", activeName, keylist.MaxID)
		return
	case k == nil:
		r.add(activeName, "%s=%s is not in %s (have %s)", activeName, keylist.QuoteID(id), r.sources(), r.ids())
	case k.state != StateSign:
		r.add(activeName, "%s=%q has the state %s in %s; want one with the state %s", activeName, id, k.state, k.source, StateSign)
	case r.alg != "" && r.alg != k.alg:
		r.add(activeName, "%s=%q is a key of %s, but %s is %s", activeName, id, k.alg, algorithmName, r.alg)
	case !k.canSign():
		r.warn("%s=%q has no private key in this process: it can verify, not sign", activeName, id)
	}
	r.content.active = id
}

func (r *reader) add(source, format string, args ...any) { r.problem(source, nil, format, args...) }

func (r *reader) problem(source string, cause error, format string, args ...any) {
	r.problems = append(r.problems, &SettingError{Source: source, Message: fmt.Sprintf(format, args...), Cause: cause})
}

func (r *reader) warn(format string, args ...any) {
	r.content.warnings = append(r.content.warnings, fmt.Sprintf(format, args...))
}
