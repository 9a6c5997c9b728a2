// Package signing signs what Stem stores, and verifies it before anything is done with it.
//
// A [Ring] holds the keys and the [Policy]. A producer signs with it, a worker verifies:
//
//	ring, err := signing.FromEnv()
//	signature, err := ring.Sign(&job)    // an error means: do not store
//
//	action, refusal := ring.Admit(&job, signature, createdAt, claimedAt, nil) // Verify, CheckTimes and Judge in one
//
// # What a signature stops
//
// Somebody who can write to the database without having a key (through SQL injection in an application that shares it, with a stolen
// password, as its administrator, in its backups) can neither make a job nor change one: its task, queue, payload, headers, times,
// limits, priority and the rest are bound, and so are its id, which keeps a signature in its row, and the audience, which keeps a
// row in its environment. A downgrade is not possible, because nothing in a row says what is demanded of it.
//
// # What it does not stop
//
//   - Running a job again that is genuine: its bytes are as they were. CheckTimes finds a row that comes back a day later; handlers
//     must be idempotent anyhow.
//   - Deleting, delaying, starving or reordering jobs.
//   - Reading them: see signing/encryption.
//   - Whoever has a key. Every holder of an HMAC key can sign: one compromised worker forges. With Ed25519 workers hold public
//     keys only.
//   - An older version of a schedule: it was genuine once.
//
// Keys are bytes in the memory of the process. Go can neither keep them from being copied nor overwrite the copies, so a core dump
// or swap may hold them.
//
// # Keys
//
// A list of keys is "id:base64,id:base64", in the variable or in the file that the name with _FILE gives. A file may be JSON instead, and
// then says of each key what it is good for:
//
//	{"keys": [
//	  {"id": "v2", "alg": "hmac-sha256", "secret": "…", "state": "sign", "uses": ["job", "schedule", "result"]},
//	  {"id": "v1", "alg": "hmac-sha256", "secret": "…", "state": "verify"},
//	  {"id": "e1", "alg": "ed25519", "public": "…", "state": "verify", "uses": ["control"]},
//	  {"id": "v0", "alg": "hmac-sha256", "state": "revoked"}
//	]}
//
// An Ed25519 key has "private" or "public" for "secret". Without uses a key has all. STEM_SIGNING_ACTIVE_KEY names the key that signs; where
// it does not, the only one in a file with the state sign and that use does, so that [Ring.Reload] can switch keys. What a revoked
// key has signed is refused, and told apart from what an unknown one has.
//
// # The bytes
//
// Version 1, for other implementations. Numbers are big endian. A message is a list of fields, numbered in ascending order; a field
// that has no value is left out:
//
//	BODY = u16 n || n × ( u16 number || u32 length || value )
//	MSG  = "DSSEv1 " || dec(len(TYPE)) || " " || TYPE || " " || dec(len(BODY)) || " " || BODY
//	signature = HMAC-SHA256(key, MSG) or Ed25519(private key, MSG)
//
// MSG is the pre-authentication encoding of [DSSE]; HMAC is [RFC 2104], Ed25519 [RFC 8032] with its strict check of S. A verifier
// builds BODY from the row and compares; there is nothing to parse. The algorithm is that of the key in the verifier's ring.
//
// Every message begins with 1 the algorithm ("hmac-sha256" or "ed25519"), 2 the id of the key, 3 the audience; all three are text. Then
// come, by TYPE:
//
//   - application/vnd.stem.job.v1: 4 id (16 bytes), 5 task, 6 queue, 7 codec, 8 SHA-256 of the payload, 9 SHA-256 of the headers, 10
//     run_at, 11 issued_at, 12 expires_at, 13 priority i32, 14 max_attempts i32, 15 hard limit, 16 unique key (bytes), 17 origin, 18
//     delay, 19 nominal_at, 20 payload_version i32, 21 soft limit, 22 group
//   - application/vnd.stem.schedule.v1: 4 id, 5 task, 6 queue, 7 codec, 8 SHA-256 of the payload, 9 SHA-256 of the headers, 10 version
//     i64, 11 spec, 12 zone, 13 priority i32, 14 max_attempts i32, 15 hard limit, 16 soft limit, 17 start, 18 end, 19 enabled u8,
//     20 policies, 21 jitter
//   - application/vnd.stem.result.v1: 4 job id (16 bytes), 5 generation i32, 6 attempt i32, 7 claim id (16 bytes), 8 outcome, 9 SHA-256
//     of the result, 10 codec
//   - application/vnd.stem.control.v1: 4 id (16 bytes), 5 verb, 6 target, 7 SHA-256 of the argument, 8 issued_at, 9 ttl, 10 nonce (16
//     bytes), 11 issuer
//
// What has no form here is text, in UTF-8, as it is stored. Times are i64 microseconds since 1970-01-01T00:00:00Z, limits, delays and
// other durations i64 microseconds. The headers are u32 n, then n times the name and the value, each with its length as u32 before
// it, sorted by the bytes of the names.
//
// Vectors, right ones and wrong ones, are in testdata/signing, with a second implementation that checks them.
//
// [DSSE]: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
// [RFC 2104]: https://www.rfc-editor.org/rfc/rfc2104
// [RFC 8032]: https://www.rfc-editor.org/rfc/rfc8032#section-5.1.7
package signing
