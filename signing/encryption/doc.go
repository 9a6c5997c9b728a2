// Package encryption encrypts payloads, so that who reads the database, its backups or its replicas does not read them. It is off
// until STEM_ENCRYPTION_KEYS is set.
//
// [Codec] is what the rest of Stem needs of it, [Ring] the one that there is: a key for each payload, derived by HKDF ([RFC 5869]),
// and AES-256 in Galois/Counter Mode ([SP 800-38D]). What is encrypted is bound to everything else that is signed of its message, so a
// ciphertext can be moved to no other job, and to no other task or queue. Encrypt first, then sign.
//
// What follows from it:
//
//   - Nothing searches or shows payloads any more that has no key: not SQL, not the dashboard.
//   - A unique key that is made of the arguments gives them away to whoever can guess them, hashed or not. Make it with HMAC and a
//     key of your own.
//   - Results, errors and logs can hold what was in the payload. Results can be encrypted like payloads; what an error says is the
//     handler's business.
//   - Headers, the name of the task and the times stay readable. A ciphertext is as long as its payload, and at most 110 bytes more.
//   - An encrypted job without its key is lost. Keep the keys as long as the jobs, dead letters and backups.
//
// # The bytes
//
//	codec  = "enc+a256gcm", or "enc+a256gcm;" and the codec underneath where that is not application/json
//	key    = HKDF-SHA256(master key, salt, "stem payload v1|" || key id), 32 bytes
//	AAD    = BODY as in package signing, without the field that holds the hash of the payload; its fields 1 to 3 are "a256gcm",
//	         the id of the master key, and the audience (STEM_SIGNING_AUDIENCE)
//	stored = 0x01 || u8 length of key id || key id || salt (16) || nonce (12) || ciphertext and tag (16)
//
// A result of a job is stored as 0x02 || claim id (16 bytes) || stored; its codec is "enc+a256gcm" and its BODY that of a result.
//
// Salt and nonce are random. Vectors are in testdata/signing/encryption.json.
//
// [RFC 5869]: https://www.rfc-editor.org/rfc/rfc5869
// [SP 800-38D]: https://doi.org/10.6028/NIST.SP.800-38D
package encryption
