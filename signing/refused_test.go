package signing

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// forged is a vector whose signature is right over something else than its message.
func forged(t *testing.T, name string, v vector, over []byte) vector {
	t.Helper()
	v.Name, v.Outcome = name, string(Invalid)
	v.Signed = hex.EncodeToString(over)
	v.Signature.Bytes = hex.EncodeToString(signRaw(t, v.Key, over))
	return v
}

// resigned is a vector with another signature.
func resigned(name string, v vector, outcome Reason, change func(*vectorSignature)) vector {
	v.Name, v.Outcome = name, string(outcome)
	change(&v.Signature)
	return v
}

// pae is DSSE's encoding once more, for types and bodies that no encoder makes.
func pae(mediaType string, body []byte) []byte {
	return slices.Concat([]byte("DSSEv1 "), decimal(len(mediaType)), []byte(" "+mediaType+" "), decimal(len(body)), []byte(" "), body)
}

func decimal(n int) []byte { return big.NewInt(int64(n)).Append(nil, 10) }

// fieldsOf takes a body apart.
func fieldsOf(t *testing.T, body []byte) [][]byte {
	t.Helper()
	n, rest := int(binary.BigEndian.Uint16(body)), body[2:]
	fields := make([][]byte, 0, n)
	for len(rest) > 0 {
		size := 6 + int(binary.BigEndian.Uint32(rest[2:]))
		fields, rest = append(fields, rest[:size:size]), rest[size:]
	}
	if len(fields) != n {
		t.Fatalf("%d fields, the count says %d", len(fields), n)
	}
	return fields
}

// bodyOf puts fields together, whatever they are.
func bodyOf(fields ...[]byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(fields))), slices.Concat(fields...)...)
}

func refusedVectors(t *testing.T) []vector {
	t.Helper()
	var list []vector
	for _, base := range []vector{
		makeVector(t, "run_at", hmacKey, "job", pageJob()),
		makeVector(t, "every field but run_at", ed25519Key, "job", fullJob()),
		makeVector(t, "every field", hmacKey, "schedule", pageSchedule()),
		makeVector(t, "every field", hmacKey, "result", pageResult()),
		makeVector(t, "every field", ed25519Key, "control", pageControl()),
	} {
		changed := flips(t, base.Type, base.Message)
		for _, field := range slices.Sorted(maps.Keys(changed)) {
			m := changed[field]
			if j, ok := m.(*Job); ok && !j.RunAt.IsZero() && j.Delay != 0 {
				continue // no row can have both
			}
			v := makeVector(t, base.Type+" with "+base.Name+": "+field+" changed", base.Key, base.Type, m)
			v.Signature, v.Outcome = base.Signature, string(Invalid)
			list = append(list, v)
		}
	}
	page := makeVector(t, "", hmacKey, "job", pageJob())
	edwards := makeVector(t, "", ed25519Key, "job", pageJob())
	elsewhere := page
	elsewhere.Name, elsewhere.Audience, elsewhere.Outcome = "a row of another audience", "stem/staging", string(Invalid)
	body, message := encodings(t, hmacKey, elsewhere.Audience, pageJob())
	sum := sha256.Sum256(message)
	elsewhere.Body, elsewhere.MessageSHA256 = hex.EncodeToString(body), hex.EncodeToString(sum[:])
	list = append(list, elsewhere)

	fields := fieldsOf(t, unhex(t, page.Body))
	jobType := (*Job)(nil).kind().mediaType
	none := binary.BigEndian.AppendUint64([]byte{0, 12, 0, 0, 0, 8}, 0)
	swapped := slices.Clone(fields)
	swapped[4], swapped[5] = swapped[5], swapped[4]
	_, schedule := encodings(t, hmacKey, audience, pageSchedule())
	list = append(
		list,
		forged(t, "the type of a schedule", page, pae((*Schedule)(nil).kind().mediaType, unhex(t, page.Body))),
		forged(t, "the type of version 2", page, pae("application/vnd.stem.job.v2", unhex(t, page.Body))),
		forged(t, "the signature of a schedule", page, schedule),
		forged(t, "the body alone is signed", page, unhex(t, page.Body)),
		forged(t, "fields 5 and 6 change places", page, pae(jobType, bodyOf(swapped...))),
		forged(t, "field 5 stands twice", page, pae(jobType, bodyOf(slices.Insert(slices.Clone(fields), 5, fields[4])...))),
		forged(t, "field 13 is left out", page, pae(jobType, bodyOf(slices.Delete(slices.Clone(fields), 11, 12)...))),
		forged(t, "field 12 is 0 and not left out", page, pae(jobType, bodyOf(slices.Insert(slices.Clone(fields), 11, none)...))),
		forged(t, "the count of fields is one too few", page, pae(jobType, slices.Concat([]byte{0, byte(len(fields) - 1)}, slices.Concat(fields...)))),
		forged(t, "a byte follows the body", page, pae(jobType, append(unhex(t, page.Body), 0))),
		forged(t, "a byte follows the message", page, append(pae(jobType, unhex(t, page.Body)), 0)),
		forged(t, "a length with a leading zero", page, []byte(strings.Replace(string(pae(jobType, unhex(t, page.Body))), " 27 ", " 027 ", 1))),
	)
	cut := func(n int) func(*vectorSignature) { return func(s *vectorSignature) { s.Bytes = s.Bytes[:2*n] } }
	list = append(
		list,
		resigned("31 bytes", page, Invalid, cut(31)),
		resigned("33 bytes", page, Invalid, func(s *vectorSignature) { s.Bytes += "00" }),
		resigned("63 bytes", edwards, Invalid, cut(63)),
		resigned("65 bytes", edwards, Invalid, func(s *vectorSignature) { s.Bytes += "00" }),
		resigned("no bytes", page, Invalid, cut(0)),
		resigned("one bit", page, Invalid, func(s *vectorSignature) { s.Bytes = "99" + s.Bytes[2:] }),
		resigned("a key id with a space behind it", page, Invalid, func(s *vectorSignature) { s.KeyID += " " }),
		resigned("no key id", page, Invalid, func(s *vectorSignature) { s.KeyID = "" }),
		resigned("another key id", page, UnknownKey, func(s *vectorSignature) { s.KeyID = "V1" }),
		resigned("another algorithm", page, Invalid, func(s *vectorSignature) { s.Alg = Ed25519 }),
		resigned("no algorithm", page, Invalid, func(s *vectorSignature) { s.Alg = "" }),
		resigned("the algorithm in capitals", page, Invalid, func(s *vectorSignature) { s.Alg = "HMAC-SHA256" }),
		resigned("unsigned", page, Missing, func(s *vectorSignature) { *s = vectorSignature{} }),
		resigned("a signature of nothing but zeros", edwards, Invalid, func(s *vectorSignature) { s.Bytes = strings.Repeat("00", 64) }),
		resigned("ed25519 with S above the order of the group", edwards, Invalid, func(s *vectorSignature) {
			s.Bytes = hex.EncodeToString(addOrder(unhex(t, s.Bytes)))
		}),
	)
	revoked := page
	revoked.Name, revoked.Key.State, revoked.Outcome = "a revoked key", StateRevoked, string(Revoked)

	// The oldest mistake: a verifier that takes the algorithm from the message uses the public key as an HMAC key.
	confused := edwards
	confused.Name, confused.Outcome = "HMAC with the public key of ed25519 as its key", string(Invalid)
	public := vectorKey{ID: "e1", Alg: HMACSHA256, Secret: ed25519Key.Public}
	_, over := encodings(t, public, audience, pageJob())
	confused.Signed, confused.Signature = hex.EncodeToString(over), vectorSignature{
		KeyID: "e1", Alg: HMACSHA256, Bytes: hex.EncodeToString(signRaw(t, public, over)),
	}
	quiet := confused
	quiet.Name, quiet.Signature.Alg = "the same, and the signature says ed25519", Ed25519
	return append(list, revoked, confused, quiet)
}

// addOrder adds the order of the group to S, the second half: the same signature to whoever reduces S, and so a second one that is
// valid (RFC 8032 section 5.1.7 forbids it).
func addOrder(sig []byte) []byte {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := slices.Clone(sig[32:])
	slices.Reverse(s)
	sum := new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
	slices.Reverse(sum)
	return append(slices.Clone(sig[:32]), sum...)
}
