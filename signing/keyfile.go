package signing

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/stemqueue/stem/internal/keylist"
)

// fileKey is an entry of a key file.
type fileKey struct {
	ID      string   `json:"id"`
	Alg     string   `json:"alg"`
	Secret  string   `json:"secret"`
	Private string   `json:"private"`
	Public  string   `json:"public"`
	Uses    []string `json:"uses"`
	State   State    `json:"state"`
}

func isJSON(text string) bool { return strings.HasPrefix(strings.TrimSpace(text), "{") }

// keyFile reads {"keys":[…]}: keys of both algorithms, and each says what it is good for. fields are those that may hold the bytes
// of a key in this file.
func (r *reader) keyFile(source, text string, fields ...string) {
	var file struct {
		Keys []fileKey `json:"keys"`
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(&file)
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("something follows the closing brace")
		}
	}
	switch {
	case err != nil:
		r.add(source, `%s: not {"keys": [{"id", "alg", "secret" | "private" | "public", "uses", "state"}]}: %s`, source, jsonProblem(err))
		return
	case len(file.Keys) == 0:
		r.add(source, "%s: no keys in it", source)
	}
	for i, f := range file.Keys {
		where := fmt.Sprintf("%s keys[%d]", source, i)
		before := len(r.problems)
		uses := r.fileUses(source, where, f)
		field, encoded := r.fileMaterial(source, where, f, fields)
		if len(r.problems) > before {
			continue
		}
		k := r.entry(f.ID, f.Alg, source, true)
		if k == nil {
			continue
		}
		k.uses, k.state = uses, f.State
		if encoded != "" {
			r.fill(k, source, field, encoded)
		}
	}
}

// fileUses checks everything about an entry but its bytes, and returns what it may be used for: everything unless it says.
func (r *reader) fileUses(source, where string, f fileKey) Uses {
	switch {
	case !keylist.ValidID(f.ID):
		r.add(source, "%s.id: want 1-%d letters, digits, _ . -", where, keylist.MaxID)
	case f.Alg != HMACSHA256 && f.Alg != Ed25519:
		r.add(source, "%s.alg: unknown algorithm %s; have %s, %s", where, keylist.QuoteID(f.Alg), HMACSHA256, Ed25519)
	}
	if f.State != StateSign && f.State != StateVerify && f.State != StateRevoked {
		r.add(source, "%s.state: want sign, verify or revoked, got %s", where, keylist.QuoteID(string(f.State)))
	}
	if f.Uses == nil {
		return allUses
	}
	var uses Uses
	for _, name := range f.Uses {
		use, known := useNames[name]
		if !known {
			r.add(source, "%s.uses: want some of job, schedule, result, control, got %s", where, keylist.QuoteID(name))
		}
		uses |= use
	}
	if len(f.Uses) == 0 {
		r.add(source, "%s.uses: empty; leave it out, or name some of job, schedule, result, control", where)
	}
	return uses
}

// fileMaterial returns the one field with the bytes of a key. A revoked key needs none.
func (r *reader) fileMaterial(source, where string, f fileKey, fields []string) (field, encoded string) {
	var given []string
	for name, text := range map[string]string{"secret": f.Secret, "private": f.Private, "public": f.Public} {
		if text != "" {
			given = append(given, name)
			field, encoded = name, text
		}
	}
	want := slices.DeleteFunc(slices.Clone(fields), func(name string) bool { return (name == "secret") != (f.Alg == HMACSHA256) })
	switch {
	case f.Alg != HMACSHA256 && f.Alg != Ed25519: // said already
	case len(given) == 0 && f.State == StateRevoked:
	case len(want) == 0:
		r.add(source, "%s: no key of %s belongs into %s", where, f.Alg, source)
	case len(given) != 1 || !slices.Contains(want, field):
		r.add(source, "%s: want %s", where, strings.Join(want, " or "))
	}
	return field, encoded
}

// jsonProblem says what is wrong with a JSON text without quoting any of it.
func jsonProblem(err error) string {
	if at, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Sprintf("%v (byte %d)", err, at.Offset)
	}
	if at, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("%s is not the right type (byte %d)", at.Field, at.Offset)
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	if name, unknown := strings.CutPrefix(text, "unknown field "); unknown {
		return "unknown field " + keylist.QuoteID(strings.Trim(name, `"`))
	}
	return text
}
