package encryption

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/stemqueue/stem/internal/keylist"
	"github.com/stemqueue/stem/signing"
)

// A Codec encrypts what messages carry: the payload of a job or a schedule, a result. The message is as it is stored, with its
// Codec already what [Wrap] returns; its payload does not matter. It must be safe for concurrent use.
type Codec interface {
	// On tells whether what is enqueued is to be sealed. One that is off opens what it can.
	On() bool
	// Seal returns what to store instead of plain. It is bound to the message: when any other field of that changes, seal again.
	Seal(m signing.Message, plain []byte) ([]byte, error)
	// Open returns what was sealed. Its errors are ErrUnknownKey, and ErrNotSealed for everything that Seal did not make of this message.
	Open(m signing.Message, stored []byte) ([]byte, error)
}

var _ Codec = (*Ring)(nil)

// Errors of [Ring].
var (
	ErrNoKey      = errors.New("no key to encrypt with")
	ErrUnknownKey = errors.New("sealed with a key that is not in this process")
	ErrNotSealed  = errors.New("not what was sealed for this message")
)

const (
	name      = "enc+a256gcm"
	algorithm = "a256gcm"
	usual     = "application/json"
	version   = 1
	saltSize  = 16
	overhead  = 12 + 16 // nonce and tag
)

// Wrap returns the codec of a message whose payload is sealed, for the codec of that payload.
func Wrap(codec string) string {
	if codec == usual {
		return name
	}
	return name + ";" + codec
}

// Unwrap returns the codec underneath, and whether there is one: whether what it belongs to is sealed.
func Unwrap(codec string) (underneath string, sealed bool) {
	if codec == name {
		return usual, true
	}
	return strings.CutPrefix(codec, name+";")
}

// Seal implements [Codec], with the first key of the ring.
func (r *Ring) Seal(m signing.Message, plain []byte) ([]byte, error) {
	c := r.load()
	if len(c.keys) == 0 {
		return nil, fmt.Errorf("encryption: %w: set %s", ErrNoKey, keysName)
	}
	k := &c.keys[0]
	stored := make([]byte, 0, 2+len(k.id)+saltSize+overhead+len(plain))
	stored = append(stored, version, byte(len(k.id))) //nolint:gosec // at most 64
	stored = append(stored, k.id...)
	var salt [saltSize]byte
	_, _ = rand.Read(salt[:]) // never fails: it ends the program
	stored = append(stored, salt[:]...)
	aead, aad, err := c.prepare(m, k, salt[:])
	if err != nil {
		return nil, err
	}
	return aead.Seal(stored, nil, plain, aad), nil //nolint:gosec // no nonce is given, because this AEAD draws one
}

// Open implements [Codec], with any key of the ring.
func (r *Ring) Open(m signing.Message, stored []byte) ([]byte, error) {
	c := r.load()
	if len(stored) < 2 || stored[0] != version {
		return nil, fmt.Errorf("encryption: %w: it does not begin as version 1 does", ErrNotSealed)
	}
	n := int(stored[1])
	if len(stored) < 2+n+saltSize+overhead || !keylist.ValidID(string(stored[2:2+n])) {
		return nil, fmt.Errorf("encryption: %w: %d bytes, and no id of a key", ErrNotSealed, len(stored))
	}
	id, rest := string(stored[2:2+n]), stored[2+n:]
	k := c.byID[id]
	if k == nil {
		return nil, fmt.Errorf("encryption: %w: %q", ErrUnknownKey, id)
	}
	aead, aad, err := c.prepare(m, k, rest[:saltSize])
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, rest[saltSize:], aad)
	if err != nil {
		return nil, fmt.Errorf("encryption: %w (key %q)", ErrNotSealed, id)
	}
	return plain, nil
}

// prepare derives the key of a payload and what it is bound to.
func (c *content) prepare(m signing.Message, k *key, salt []byte) (cipher.AEAD, []byte, error) {
	if _, sealed := Unwrap(codecOf(m)); !sealed {
		return nil, nil, fmt.Errorf("encryption: %w: its codec is %q; want %s", ErrNotSealed, codecOf(m), name)
	}
	aad, err := signing.AssociatedData(m, algorithm, k.id, c.audience)
	if err != nil {
		return nil, nil, fmt.Errorf("encryption: %w: %w", ErrNotSealed, err)
	}
	derived, err := hkdf.Key(sha256.New, k.secret, salt, "stem payload v1|"+k.id, 32)
	if err != nil {
		return nil, nil, fmt.Errorf("encryption: %w", err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, nil, fmt.Errorf("encryption: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block) // which puts the nonce before the ciphertext
	return aead, aad, err
}

// resultVersion is the first byte of a sealed result: no JSON begins with it, and no sealed payload.
const resultVersion = 2

// SealResult seals the result of a job, whose codec it sets. What is stored begins with the claim, which a result is bound to and which nothing
// else keeps.
func SealResult(c Codec, m signing.Result, plain []byte) ([]byte, error) {
	m.Codec = name
	stored, err := c.Seal(&m, plain)
	if err != nil {
		return nil, err
	}
	return append(append([]byte{resultVersion}, m.ClaimID[:]...), stored...), nil
}

// IsSealedResult tells whether a stored result is one that SealResult made.
func IsSealedResult(stored []byte) bool { return len(stored) > 0 && stored[0] == resultVersion }

// OpenResult returns what SealResult sealed for the result m, whose claim is read from what was stored. Its errors are those of
// [Codec].Open.
func OpenResult(c Codec, m signing.Result, stored []byte) ([]byte, error) {
	if !IsSealedResult(stored) || len(stored) < 1+len(m.ClaimID) {
		return nil, fmt.Errorf("encryption: %w: it does not begin as a sealed result does", ErrNotSealed)
	}
	copy(m.ClaimID[:], stored[1:])
	m.Codec = name
	return c.Open(&m, stored[1+len(m.ClaimID):])
}

func codecOf(m signing.Message) string {
	switch m := m.(type) {
	case *signing.Job:
		return m.Codec
	case *signing.Schedule:
		return m.Codec
	case *signing.Result:
		return m.Codec
	default:
		return "" // what a control command says is no secret
	}
}
