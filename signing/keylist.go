package signing

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// keyList reads "id:base64,id:base64". Blanks around an entry and one comma at the end are forgiven.
func (r *reader) keyList(source, text, alg, field string) {
	entries := strings.Split(text, ",")
	if n := len(entries); n > 1 && strings.TrimSpace(entries[n-1]) == "" {
		entries = entries[:n-1]
	}
	for i, entry := range entries {
		id, encoded, colon := strings.Cut(strings.TrimSpace(entry), ":")
		switch {
		case !colon:
			r.add(source, "%s entry %d: want id:base64", source, i+1)
		case !validKeyID(id):
			// Not quoted: who swaps the two halves would find the key in the log.
			r.add(source, "%s entry %d: want an id of 1-%d letters, digits, _ . - before the colon", source, i+1, maxKeyID)
		default:
			if k := r.entry(id, alg, source, false); k != nil {
				r.fill(k, source, field, encoded)
			}
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
		r.add(source, "key id %s appears twice", quoteID(id))
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
	material, urlSafe, err := decode(encoded)
	if err == nil {
		err = setters[field](k, material)
	}
	switch {
	case errors.Is(err, errMismatch):
		r.add(source, "public key of %s does not belong to its private key", quoteID(k.id))
	case err != nil:
		r.add(source, "key %s: %v", quoteID(k.id), err)
	case urlSafe:
		r.warn("key %q is written in the URL-safe alphabet; openssl rand -base64 32 writes the standard one", k.id)
	}
	if err == nil && field == "secret" && printable(material) {
		r.warn("key %q decodes to printable text; if that is a password, make a key: openssl rand -base64 32", k.id)
	}
}

// decode reads base64, of either alphabet, padded or not. Nothing in it is skipped.
func decode(text string) (material []byte, urlSafe bool, err error) {
	if i := strings.IndexAny(text, " \t\r\n\v\f"); i >= 0 {
		return nil, false, fmt.Errorf("not base64 (character %d)", i+1)
	}
	encoding := base64.RawStdEncoding
	if urlSafe = strings.ContainsAny(text, "-_"); urlSafe {
		encoding = base64.RawURLEncoding
	}
	if strings.HasSuffix(text, "=") {
		encoding = encoding.WithPadding(base64.StdPadding)
	}
	material, err = encoding.Strict().DecodeString(text)
	if at, ok := errors.AsType[base64.CorruptInputError](err); ok {
		return nil, false, fmt.Errorf("not base64 (character %d)", int64(at)+1)
	}
	return material, urlSafe, err
}

// identical refuses one key under two ids: it could not be retired under either. And an HMAC key that is a public key is no secret.
func (r *reader) identical() {
	seen := map[string]*key{}
	for _, k := range r.content.keys {
		for _, m := range k.material() {
			if other := seen[string(m)]; other != nil && other != k {
				r.add(k.source, "keys %s and %s are identical", quoteID(other.id), quoteID(k.id))
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
		ids = append(ids, strings.Trim(quoteID(k.id), `"`))
	}
	return strings.Join(ids, ", ")
}

// quoteID quotes the id of a key for an error, unless it is so long that it may be a key by mistake.
func quoteID(id string) string {
	if len(id) >= base64.RawStdEncoding.EncodedLen(minSecret) {
		return fmt.Sprintf("(%d characters)", len(id))
	}
	return strconv.Quote(id)
}
