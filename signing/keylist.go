package signing

import (
	"errors"
	"slices"
	"strings"

	"github.com/stemqueue/stem/internal/keylist"
)

// keyList reads a list of keys of one algorithm.
func (r *reader) keyList(source, text, alg, field string) {
	list, problems := keylist.Parse(source, text)
	for _, err := range problems {
		r.add(source, "%v", err)
	}
	for _, e := range list {
		if k := r.entry(e.ID, alg, source, false); k != nil {
			r.fill(k, source, field, e.Encoded)
		}
	}
}

// entry returns the key of an id: a new one, or the one that has the other half of an Ed25519 pair from another source. Two key files
// do not share an entry: each states what the key is good for, and one of them would not be believed.
func (r *reader) entry(id, alg, source string, stated bool) *key {
	k := r.content.byID[id]
	switch {
	case k == nil:
		k = &key{id: id, alg: alg, uses: allUses, state: StateSign, source: source}
		r.content.keys = append(r.content.keys, k)
		r.content.byID[id] = k
	case alg != Ed25519 || k.alg != Ed25519 || k.source == source || k.stated && stated:
		r.add(source, "key id %s appears twice", keylist.QuoteID(id))
		return nil
	}
	k.stated = k.stated || stated
	return k
}

// setters give a key its bytes, by the field of a key file that holds them.
var setters = map[string]func(*key, []byte) error{
	"secret": (*key).setSecret, "private": (*key).setPrivate, "public": (*key).setPublic,
}

func (r *reader) fill(k *key, source, field, encoded string) {
	material, urlSafe, err := keylist.Decode(encoded)
	if err == nil {
		err = setters[field](k, material)
	}
	switch {
	case errors.Is(err, errMismatch):
		r.add(source, "public key of %s does not belong to its private key", keylist.QuoteID(k.id))
	case err != nil:
		r.add(source, "key %s: %v", keylist.QuoteID(k.id), err)
	case field == "secret":
		r.content.warnings = append(r.content.warnings, keylist.Doubts(k.id, material, urlSafe)...)
	case urlSafe:
		r.content.warnings = append(r.content.warnings, keylist.Doubts(k.id, nil, urlSafe)...)
	}
}

// identical refuses one key under two ids: it could not be retired under either. And an HMAC key that is a public key is no secret.
func (r *reader) identical() {
	seen := map[string]*key{}
	for _, k := range r.content.keys {
		for _, m := range k.material() {
			if other := seen[string(m)]; other != nil && other != k {
				r.add(k.source, "keys %s and %s are identical", keylist.QuoteID(other.id), keylist.QuoteID(k.id))
				break
			}
			seen[string(m)] = k
		}
	}
}

// sources names where the keys are from.
func (r *reader) sources() string {
	var names []string
	for _, k := range r.content.keys {
		if !slices.Contains(names, k.source) {
			names = append(names, k.source)
		}
	}
	return strings.Join(names, ", ")
}

func (r *reader) ids() string {
	var ids []string
	for _, k := range r.content.keys {
		ids = append(ids, strings.Trim(keylist.QuoteID(k.id), `"`))
	}
	return strings.Join(ids, ", ")
}
