package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/stemqueue/stem/internal/jsonlimit"
	"github.com/stemqueue/stem/signing/encryption"
)

// jsonCodec is the media type of payloads that Task.New makes.
const jsonCodec = "application/json"

func (r *Request) encode() (payload []byte, codec string, err error) {
	if r.isRaw {
		if r.rawCodec != "" && r.rawCodec != jsonCodec {
			if _, sealed := encryption.Unwrap(r.rawCodec); sealed {
				return nil, "", fmt.Errorf("codec %q is what Config.Encryption makes of another", abbreviate(r.rawCodec))
			}
			if len(r.rawCodec) > maxCodec || !cleanText(r.rawCodec) {
				return nil, "", fmt.Errorf("codec: want a media type of at most %d bytes, got %q", maxCodec, abbreviate(r.rawCodec))
			}
			return r.raw, r.rawCodec, nil
		}
		if err := jsonlimit.Check(r.raw); err != nil {
			return nil, "", fmt.Errorf("payload: %w", err)
		}
		return r.raw, jsonCodec, nil
	}
	payload, err = json.Marshal(r.args)
	if err != nil {
		if _, ok := errors.AsType[*json.UnsupportedValueError](err); ok {
			if path, text, found := findFlaw(reflect.ValueOf(r.args), "Args", 0); found {
				return nil, "", fmt.Errorf("%s: %s", path, text)
			}
		}
		return nil, "", fmt.Errorf("arguments of type %T cannot be JSON: %w", r.args, err)
	}
	// json.Marshal replaces invalid UTF-8 by \ufffd and says nothing. A valid U+FFFD is written as itself, so the escape
	// is a sure sign (or the text of one, which the search below tells apart).
	if bytes.Contains(payload, []byte(`\ufffd`)) {
		if path, text, found := findFlaw(reflect.ValueOf(r.args), "Args", 0); found {
			return nil, "", fmt.Errorf("%s: %s", path, text)
		}
	}
	// What no worker would decode is refused here, before it is stored.
	if err := jsonlimit.CheckLimits(payload); err != nil {
		return nil, "", fmt.Errorf("arguments: %w", err)
	}
	return payload, jsonCodec, nil
}

// findFlaw looks for the value that JSON cannot hold, and names its path.
func findFlaw(v reflect.Value, path string, depth int) (at, text string, found bool) {
	if depth > 1000 {
		return path, "the value contains itself", true
	}
	switch v.Kind() {
	case reflect.String:
		if s := v.String(); !utf8.ValidString(s) {
			return path, fmt.Sprintf("invalid UTF-8 at byte %d", validPrefix(s)), true
		}
	case reflect.Float32, reflect.Float64:
		if f := v.Float(); math.IsNaN(f) || math.IsInf(f, 0) {
			return path, fmt.Sprintf("%v cannot be JSON", f), true
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return findFlaw(v.Elem(), path, depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Tag.Get("json") != "-" {
				if at, text, found = findFlaw(v.Field(i), path+"."+f.Name, depth+1); found {
					return at, text, found
				}
			}
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if at, text, found = findFlaw(v.Index(i), fmt.Sprintf("%s[%d]", path, i), depth+1); found {
				return at, text, found
			}
		}
	case reflect.Map:
		for entry := v.MapRange(); entry.Next(); {
			key := fmt.Sprintf("%s[%q]", path, fmt.Sprint(entry.Key()))
			if at, text, found = findFlaw(entry.Key(), key, depth+1); found {
				return at, text, found
			}
			if at, text, found = findFlaw(entry.Value(), key, depth+1); found {
				return at, text, found
			}
		}
	default:
	}
	return "", "", false
}

// validPrefix is the index of the first byte that is not UTF-8. A U+FFFD that was written as such is: it is three bytes wide,
// an invalid byte decodes to the same rune with a width of one.
func validPrefix(s string) int {
	for i, r := range s {
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)) {
			return i
		}
	}
	return len(s)
}
