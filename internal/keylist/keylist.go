// Package keylist reads lists of keys: "id:base64,id:base64". No error of it repeats a key, or what may be one.
package keylist

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Sizes of what a list may hold.
const (
	MaxID     = 64
	MinSecret = 32
	MaxSecret = 1024
)

// An Entry is one key of a list, still encoded.
type Entry struct {
	ID      string
	Encoded string
}

// Parse takes a list apart. Blanks around an entry and one comma at the end are forgiven. The errors name the source.
func Parse(source, text string) (list []Entry, problems []error) {
	entries := strings.Split(text, ",")
	if n := len(entries); n > 1 && strings.TrimSpace(entries[n-1]) == "" {
		entries = entries[:n-1]
	}
	for i, entry := range entries {
		id, encoded, colon := strings.Cut(strings.TrimSpace(entry), ":")
		switch {
		case !colon:
			problems = append(problems, fmt.Errorf("%s entry %d: want id:base64", source, i+1))
		case !ValidID(id):
			// Not quoted: who swaps the two halves would find the key in the log.
			problems = append(problems, fmt.Errorf("%s entry %d: want an id of 1-%d letters, digits, _ . - before the colon", source, i+1, MaxID))
		default:
			list = append(list, Entry{id, encoded})
		}
	}
	return list, problems
}

// ValidID tells whether s may be the id of a key.
func ValidID(s string) bool {
	for i := range len(s) {
		if !IDByte(s[i]) {
			return false
		}
	}
	return s != "" && len(s) <= MaxID
}

// IDByte tells whether a byte may stand in the id of a key.
func IDByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '.' || c == '-'
}

// QuoteID quotes the id of a key for an error, unless it is so long that it may be a key by mistake.
func QuoteID(id string) string {
	if len(id) >= base64.RawStdEncoding.EncodedLen(MinSecret) {
		return fmt.Sprintf("(%d characters)", len(id))
	}
	return strconv.Quote(id)
}

// Decode reads base64, of either alphabet, padded or not, and tells whether it was the URL-safe one. Nothing in it is skipped.
func Decode(text string) (key []byte, urlSafe bool, err error) {
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
	key, err = encoding.Strict().DecodeString(text)
	if at, ok := errors.AsType[base64.CorruptInputError](err); ok {
		return nil, false, fmt.Errorf("not base64 (character %d)", int64(at)+1)
	}
	return key, urlSafe, err
}

// CheckSecret refuses what is surely no good as the secret key of an algorithm. How good the rest is cannot be told.
func CheckSecret(algorithm string, b []byte) error {
	switch {
	case len(b) < MinSecret:
		return fmt.Errorf("%d bytes; %s needs at least %d. Make one: openssl rand -base64 32", len(b), algorithm, MinSecret)
	case len(b) > MaxSecret:
		return fmt.Errorf("%d bytes; want at most %d", len(b), MaxSecret)
	case Repeated(b):
		return errors.New("every byte is the same. Make one: openssl rand -base64 32")
	}
	return nil
}

// Repeated tells whether all bytes are the same.
func Repeated(b []byte) bool {
	for _, c := range b {
		if c != b[0] {
			return false
		}
	}
	return true
}

// Doubts lists what is accepted in a key and should be looked at.
func Doubts(id string, secret []byte, urlSafe bool) []string {
	var doubts []string
	if urlSafe {
		doubts = append(doubts, fmt.Sprintf("key %q is written in the URL-safe alphabet; openssl rand -base64 32 writes the standard one", id))
	}
	if printable(secret) {
		doubts = append(doubts, fmt.Sprintf("key %q decodes to printable text; if that is a password, make a key: openssl rand -base64 32", id))
	}
	return doubts
}

// printable tells whether a key looks like something that somebody typed.
func printable(b []byte) bool {
	for _, c := range b {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return len(b) > 0
}
