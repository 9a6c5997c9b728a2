package signing

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"
	"sync"

	"github.com/stemqueue/stem/internal/keylist"
)

// The algorithms. There is nothing to negotiate: a key has one.
const (
	HMACSHA256 = "hmac-sha256" // RFC 2104: who verifies can also sign
	Ed25519    = "ed25519"     // RFC 8032: who verifies needs the public key only
)

// Uses is a set of the types of message that a key may sign and vouch for.
type Uses uint8

// The uses. A key of the environment has all of them, a key of a file those that the file says.
const (
	UseJob Uses = 1 << iota
	UseSchedule
	UseResult
	UseControl

	allUses = UseJob | UseSchedule | UseResult | UseControl
)

var useNames = map[string]Uses{"job": UseJob, "schedule": UseSchedule, "result": UseResult, "control": UseControl}

// String lists the uses as a key file names them, separated by commas.
func (u Uses) String() string {
	var names []string
	for _, name := range []string{"job", "schedule", "result", "control"} {
		if u&useNames[name] != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// State is what a key is still good for.
type State string

// The states, as a key file names them.
const (
	StateSign    State = "sign"    // may sign, and is accepted
	StateVerify  State = "verify"  // is accepted
	StateRevoked State = "revoked" // was leaked: what it signed is refused
)

// key is one entry of a ring. What it is made of never leaves this file.
type key struct {
	id      string
	alg     string
	uses    Uses
	state   State
	source  string             // which variable or file it came from
	stated  bool               // a key file gave the state
	secret  []byte             // HMAC
	public  ed25519.PublicKey  // Ed25519
	private ed25519.PrivateKey // Ed25519; nil on a host that only verifies
	macs    sync.Pool          // of *mac
}

// mac is an HMAC state that has its key already, and room for what it computes.
type mac struct {
	hash.Hash

	sum [sha256.Size]byte
}

func (k *key) canSign() bool { return k.state == StateSign && (k.secret != nil || k.private != nil) }

func (k *key) sign(message []byte) []byte {
	if k.alg == Ed25519 {
		return ed25519.Sign(k.private, message)
	}
	m := k.mac(message)
	defer k.macs.Put(m)
	return append([]byte(nil), m.sum[:]...)
}

// verify takes the time of comparing, however much of the signature is right.
func (k *key) verify(message, sig []byte) bool {
	if k.alg == Ed25519 {
		return ed25519.Verify(k.public, message, sig)
	}
	m := k.mac(message)
	defer k.macs.Put(m)
	return hmac.Equal(m.sum[:], sig)
}

func (k *key) mac(message []byte) *mac {
	m, pooled := k.macs.Get().(*mac)
	if pooled {
		m.Reset()
	} else {
		m = &mac{Hash: hmac.New(sha256.New, k.secret)}
	}
	m.Write(message)
	m.Sum(m.sum[:0])
	return m
}

// material is what must differ between two keys: for Ed25519 the seed where it is known.
func (k *key) material() [][]byte {
	switch {
	case k.secret != nil:
		return [][]byte{k.secret}
	case k.private != nil:
		return [][]byte{k.private.Seed(), k.public}
	case k.public != nil:
		return [][]byte{k.public}
	}
	return nil
}

// fingerprint tells keys apart in logs and heartbeats and says nothing about them. Of an Ed25519 key it is the public half's,
// so that whoever signs and whoever verifies print the same.
func (k *key) fingerprint() string {
	over := k.secret
	if k.alg == Ed25519 {
		over = k.public
	}
	if over == nil {
		return ""
	}
	h := hmac.New(sha256.New, over)
	h.Write([]byte("stem key fingerprint v1"))
	return hex.EncodeToString(h.Sum(nil)[:8])
}

func (k *key) setSecret(b []byte) error {
	if err := keylist.CheckSecret(HMACSHA256, b); err != nil {
		return err
	}
	k.secret = b
	return nil
}

func (k *key) setPublic(b []byte) error {
	switch {
	case len(b) != ed25519.PublicKeySize:
		return fmt.Errorf("%d bytes; an ed25519 public key has %d", len(b), ed25519.PublicKeySize)
	case keylist.Repeated(b):
		return errors.New("every byte is the same")
	case !onCurve(b):
		return errors.New("not a public key: no point of the curve")
	}
	return k.pair(b)
}

// onCurve tells whether b is a public key that anything can be signed for. The standard library tells only by its error: it is another
// one than for a signature that does not fit.
func onCurve(b []byte) bool {
	verify := func(public ed25519.PublicKey) error {
		return ed25519.VerifyWithOptions(public, nil, make([]byte, ed25519.SignatureSize), &ed25519.Options{})
	}
	good, _ := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public().(ed25519.PublicKey)
	err := verify(b)
	return err != nil && err.Error() == verify(good).Error()
}

// setPrivate takes a seed, or a seed with its public key.
func (k *key) setPrivate(b []byte) error {
	switch {
	case len(b) != ed25519.SeedSize && len(b) != ed25519.PrivateKeySize:
		return fmt.Errorf("%d bytes; an ed25519 private key has %d (the seed) or %d", len(b), ed25519.SeedSize, ed25519.PrivateKeySize)
	case keylist.Repeated(b[:ed25519.SeedSize]):
		return errors.New("every byte is the same. Make one: stem signing keygen")
	}
	private := ed25519.NewKeyFromSeed(b[:ed25519.SeedSize])
	public, _ := private.Public().(ed25519.PublicKey)
	if len(b) == ed25519.PrivateKeySize && !public.Equal(ed25519.PublicKey(b[ed25519.SeedSize:])) {
		return errMismatch
	}
	k.private = private
	return k.pair(public)
}

// errMismatch has its own wording in the catalogue of messages.
var errMismatch = errors.New("the public key does not belong to the private key")

func (k *key) pair(public ed25519.PublicKey) error {
	if k.public != nil && !k.public.Equal(public) {
		return errMismatch
	}
	k.public = public
	return nil
}
