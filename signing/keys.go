package signing

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

func sorted(env map[string]string) []string { return slices.Sorted(maps.Keys(env)) }

func (r *reader) problem(source string, cause error, format string, args ...any) {
	r.problems = append(r.problems, &SettingError{Source: source, Message: fmt.Sprintf(format, args...), Cause: cause})
}

// keyList reads "id:base64,id:base64". Blanks around an entry and one comma at the end are forgiven.
func (r *reader) keyList(source, text, alg string, set func(*key, []byte) error) {
	entries := strings.Split(text, ",")
	if n := len(entries); n > 1 && strings.TrimSpace(entries[n-1]) == "" {
		entries = entries[:n-1]
	}
	seen := map[string]bool{}
	for i, entry := range entries {
		id, encoded, colon := strings.Cut(strings.TrimSpace(entry), ":")
		where := fmt.Sprintf("%s entry %d", source, i+1)
		switch {
		case !colon:
			r.add(source, "%s: want id:base64", where)
			continue
		case !validKeyID(id):
			// Not quoted: who swaps the two halves would find the key in the log.
			r.add(source, "%s: want an id of 1-%d letters, digits, _ . - before the colon", where, maxKeyID)
			continue
		case seen[id]:
			r.add(source, "key id %q appears twice", id)
			continue
		}
		seen[id] = true
		k := r.entry(id, alg, source)
		if k == nil {
			continue
		}
		r.fill(k, encoded, set)
	}
}

// entry returns the key of an id: a new one, or the other half of an Ed25519 pair.
func (r *reader) entry(id, alg, source string) *key {
	k := r.content.byID[id]
	switch {
	case k == nil:
		k = &key{id: id, alg: alg, uses: allUses, state: StateSign, source: source}
		r.content.keys = append(r.content.keys, k)
		r.content.byID[id] = k
		return k
	case k.alg == Ed25519 && alg == Ed25519 && k.source != source:
		return k
	}
	r.add(source, "key id %q appears twice", id)
	return nil
}

// fill decodes a key and gives it to its entry.
func (r *reader) fill(k *key, encoded string, set func(*key, []byte) error) {
	material, note, err := decode(encoded)
	if err == nil {
		err = set(k, material)
	}
	switch {
	case errors.Is(err, errMismatch):
		r.add(k.source, "public key of %q does not belong to its private key", k.id)
	case err != nil:
		r.add(k.source, "%s: %v", k.label(), err)
	case note != "":
		r.warn(fmt.Sprintf("key %q: %s", k.id, note))
	}
	if err == nil && k.alg == HMACSHA256 && printable(material) {
		r.warn(fmt.Sprintf("key %q decodes to printable text; if that is a password, make a key: openssl rand -base64 32", k.id))
	}
}

// label names a key in an error. An id as long as an encoded key may be one, by mistake.
func (k *key) label() string {
	if len(k.id) >= base64.RawStdEncoding.EncodedLen(minSecret) {
		return fmt.Sprintf("key with an id of %d characters", len(k.id))
	}
	return fmt.Sprintf("key %q", k.id)
}

// decode reads base64, of either alphabet, padded or not. Nothing is skipped.
func decode(text string) (material []byte, note string, err error) {
	if i := strings.IndexAny(text, " \t\r\n\v\f"); i >= 0 {
		return nil, "", fmt.Errorf("not base64 (character %d)", i+1)
	}
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(text, "-_") {
		encoding, note = base64.RawURLEncoding, "written in the URL-safe alphabet; openssl rand -base64 32 writes the standard one"
	}
	if strings.HasSuffix(text, "=") {
		encoding = encoding.WithPadding(base64.StdPadding)
	}
	material, err = encoding.Strict().DecodeString(text)
	if at, ok := errors.AsType[base64.CorruptInputError](err); ok {
		return nil, "", fmt.Errorf("not base64 (character %d)", int64(at)+1)
	}
	return material, note, err
}

// identical refuses one key under two names: it could not be retired under either. An HMAC key that is somebody's public key is no
// secret at all.
func (r *reader) identical() {
	seen := map[string]*key{}
	for _, k := range r.content.keys {
		for _, m := range k.material() {
			if other := seen[string(m)]; other != nil && other != k {
				r.add(k.source, "keys %q and %q are identical", other.id, k.id)
				break
			}
			seen[string(m)] = k
		}
	}
}

// sources names where the keys are from, for errors.
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
		ids = append(ids, k.id)
	}
	return strings.Join(ids, ", ")
}
