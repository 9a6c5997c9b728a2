#!/usr/bin/env python3
"""Checks the vectors in this directory, or those in the files that are given.

This is a second implementation of Stem's signatures and of its encryption: the bytes are built here, from the descriptions in
signing/doc.go and signing/encryption/doc.go, and OpenSSL does the cryptography. It needs Python 3.8 and the openssl command (3.0 or newer).
"""

import hashlib
import hmac
import json
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent

# What is a field's number and how its value is written. The first three are the same in every type.
U128, TEXT, BYTES, HASH, HEADERS, I32, I64, U8 = "u128 text bytes hash headers i32 i64 u8".split()
FIELDS = {
    "job": [
        (4, U128, "id"), (5, TEXT, "task"), (6, TEXT, "queue"), (7, TEXT, "codec"), (8, HASH, "payload"),
        (9, HEADERS, "headers"), (10, I64, "run_at_us"), (11, I64, "issued_at_us"), (12, I64, "expires_at_us"),
        (13, I32, "priority"), (14, I32, "max_attempts"), (15, I64, "hard_limit_us"), (16, BYTES, "unique_key"),
        (17, TEXT, "origin"), (18, I64, "delay_us"), (19, I64, "nominal_at_us"), (20, I32, "payload_version"),
        (21, I64, "soft_limit_us"), (22, TEXT, "group"),
    ],
    "schedule": [
        (4, TEXT, "id"), (5, TEXT, "task"), (6, TEXT, "queue"), (7, TEXT, "codec"), (8, HASH, "payload"),
        (9, HEADERS, "headers"), (10, I64, "version"), (11, TEXT, "spec"), (12, TEXT, "zone"), (13, I32, "priority"),
        (14, I32, "max_attempts"), (15, I64, "hard_limit_us"), (16, I64, "soft_limit_us"), (17, I64, "start_us"),
        (18, I64, "end_us"), (19, U8, "enabled"), (20, TEXT, "policies"), (21, I64, "jitter_us"),
    ],
    "result": [
        (4, U128, "job_id"), (5, I32, "generation"), (6, I32, "attempt"), (7, U128, "claim_id"), (8, TEXT, "outcome"),
        (9, HASH, "result"), (10, TEXT, "codec"),
    ],
    "control": [
        (4, U128, "id"), (5, TEXT, "verb"), (6, TEXT, "target"), (7, HASH, "argument"), (8, I64, "issued_at_us"),
        (9, I64, "ttl_us"), (10, U128, "nonce"), (11, TEXT, "issuer"),
    ],
}


def binary(message, name):
    """The bytes of a field, in whichever form the vector gives them; None when it is not there."""
    if name in message:
        return message[name].encode()
    if name + "_hex" in message:
        return bytes.fromhex(message[name + "_hex"])
    if name + "_repeat" in message:
        repeat = message[name + "_repeat"]
        return bytes.fromhex(repeat["hex"]) * repeat["times"]
    return None


def header_list(headers):
    out = struct.pack(">I", len(headers))
    for name, value in sorted((k.encode(), v.encode()) for k, v in headers.items()):
        out += struct.pack(">I", len(name)) + name + struct.pack(">I", len(value)) + value
    return out


def value(kind, message, name):
    """What a field holds, or None when it is left out."""
    if kind == HASH:
        return hashlib.sha256(binary(message, name) or b"").digest()
    if kind == HEADERS:
        return hashlib.sha256(header_list(message.get(name, {}))).digest()
    if kind == BYTES:
        return binary(message, name)
    v = message.get(name)
    if v is None:
        return None
    if kind == TEXT:
        return v.encode()
    if kind == U128:
        return bytes.fromhex(v)
    return {I32: lambda: struct.pack(">i", v), I64: lambda: struct.pack(">q", v), U8: lambda: bytes([int(v)])}[kind]()


def body(kind, message, alg, key_id, audience, content=True):
    fields = [(1, alg.encode()), (2, key_id.encode()), (3, audience.encode())]
    fields += [(number, value(form, message, name)) for number, form, name in FIELDS[kind] if content or form != HASH]
    fields = [(number, v) for number, v in fields if v is not None]
    return struct.pack(">H", len(fields)) + b"".join(struct.pack(">HI", number, len(v)) + v for number, v in fields)


def pae(kind, encoded):
    media_type = b"application/vnd.stem.%s.v1" % kind.encode()
    return b"DSSEv1 %d %s %d %s" % (len(media_type), media_type, len(encoded), encoded)


def openssl(directory, message, *args):
    path = pathlib.Path(directory, "message")
    path.write_bytes(message)
    return subprocess.run(["openssl", *args, str(path)], capture_output=True, check=False)


def hmac_verifies(directory, secret, message, signature):
    got = openssl(directory, message, "dgst", "-sha256", "-mac", "HMAC", "-macopt", "hexkey:" + secret)
    if got.returncode != 0:
        sys.exit(got.stderr.decode())
    return got.stdout.decode().rsplit("= ", 1)[1].strip() == signature.hex()


def ed25519_verifies(directory, public, message, signature):
    # SubjectPublicKeyInfo of RFC 8410: what is before the 32 bytes is always the same.
    key, sig = pathlib.Path(directory, "key.der"), pathlib.Path(directory, "signature")
    key.write_bytes(bytes.fromhex("302a300506032b6570032100") + public)
    sig.write_bytes(signature)
    got = openssl(directory, message, "pkeyutl", "-verify", "-pubin", "-inkey", str(key), "-keyform", "DER", "-rawin",
                  "-sigfile", str(sig), "-in")
    return got.returncode == 0


def verifies(directory, key, message, signature):
    if key["alg"] == "hmac-sha256":
        return len(signature) == 32 and hmac_verifies(directory, key["secret"], message, signature)
    return len(signature) == 64 and ed25519_verifies(directory, bytes.fromhex(key["public"]), message, signature)


def outcome(directory, vector, message):
    key, signature = vector["key"], vector["signature"]
    if not any(signature.values()):
        return "signature_missing"
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", signature["key_id"]):
        return "signature_invalid"
    if signature["key_id"] != key["id"]:
        return "signature_unknown_key"
    if key.get("state") == "revoked":
        return "signature_revoked"
    # The key says which algorithm; the signature may only agree.
    if signature["alg"] != key["alg"] or not verifies(directory, key, message, bytes.fromhex(signature["bytes"])):
        return "signature_invalid"
    return "valid"


def hkdf_sha256(master, salt, info):
    """RFC 5869, for one block of output."""
    extracted = hmac.new(salt, master, "sha256").digest()
    return hmac.new(extracted, info + b"\x01", "sha256").digest()


def gcm_multiply(x, h):
    """SP 800-38D, 6.3: bits count from the left, and the field's polynomial is 1 + a + a^2 + a^7 + a^128."""
    z = 0
    for i in range(127, -1, -1):
        if x >> i & 1:
            z ^= h
        h = h >> 1 ^ (0xE1 << 120 if h & 1 else 0)
    return z


def gcm_hash(h, aad, ciphertext):
    padded = [data + bytes(-len(data) % 16) for data in (aad, ciphertext)]
    blocks = b"".join(padded) + struct.pack(">QQ", 8 * len(aad), 8 * len(ciphertext))
    y = 0
    for i in range(0, len(blocks), 16):
        y = gcm_multiply(y ^ int.from_bytes(blocks[i:i + 16], "big"), h)
    return y


def aes(directory, key, mode, data, iv=None):
    args = ["enc", "-aes-256-" + mode, "-K", key.hex(), "-nopad"] + (["-iv", iv.hex()] if iv else []) + ["-in"]
    got = openssl(directory, data, *args)
    if got.returncode != 0:
        sys.exit(got.stderr.decode())
    return got.stdout


def gcm_open(directory, key, nonce, sealed, aad):
    """openssl's command line has no GCM, but the counter mode underneath."""
    ciphertext, tag = sealed[:-16], sealed[-16:]
    h = int.from_bytes(aes(directory, key, "ecb", bytes(16)), "big")
    mask = int.from_bytes(aes(directory, key, "ecb", nonce + struct.pack(">I", 1)), "big")
    if not hmac.compare_digest((gcm_hash(h, aad, ciphertext) ^ mask).to_bytes(16, "big"), tag):
        return None
    return aes(directory, key, "ctr", ciphertext, nonce + struct.pack(">I", 2))


def unseal(directory, key, stored, aad):
    """What is in a sealed payload, or None."""
    if len(stored) < 2 or stored[0] != 1 or len(stored) < 2 + stored[1] + 16 + 12 + 16:
        return None
    key_id, rest = stored[2:2 + stored[1]], stored[2 + stored[1]:]
    if key_id.decode("ascii", "replace") != key["id"]:
        return None
    derived = hkdf_sha256(bytes.fromhex(key["secret"]), rest[:16], b"stem payload v1|" + key_id)
    return gcm_open(directory, derived, rest[16:28], rest[28:], aad)


def check_sealed(directory, vector):
    aad = body(vector["type"], vector["message"], "a256gcm", vector["key"]["id"], vector["audience"], content=False)
    if aad.hex() != vector["aad"]:
        yield "the associated data is %s" % aad.hex()
    plain = unseal(directory, vector["key"], bytes.fromhex(vector["stored"]), aad)
    if (plain is not None) != (vector["outcome"] == "opens"):
        yield "it opens" if plain is not None else "it does not open"
    elif plain is not None and plain != vector["plain"].encode():
        yield "it opens to %r" % plain


def check_signed(directory, vector):
    """What is wrong with a vector, one line each."""
    key = vector["key"]
    encoded = body(vector["type"], vector["message"], key["alg"], key["id"], vector["audience"])
    message = pae(vector["type"], encoded)
    if encoded.hex() != vector["body"]:
        yield "the body is %s" % encoded.hex()
    if hashlib.sha256(message).hexdigest() != vector["message_sha256"]:
        yield "the message's SHA-256 is %s" % hashlib.sha256(message).hexdigest()
    got = outcome(directory, vector, message)
    if got != vector["outcome"]:
        yield "the outcome is %s" % got
    if "signed" in vector:
        # The signature is refused because of what it is over, not because it is no signature.
        forger = key
        if len(vector["signature"]["bytes"]) == 64 and key["alg"] == "ed25519":
            forger = {"alg": "hmac-sha256", "secret": key["public"]}
        if not verifies(directory, forger, bytes.fromhex(vector["signed"]), bytes.fromhex(vector["signature"]["bytes"])):
            yield "the signature is not over what is signed"


def main():
    paths = [pathlib.Path(p) for p in sys.argv[1:]] or sorted(HERE.glob("*.json"))
    count, wrong = 0, 0
    with tempfile.TemporaryDirectory() as directory:
        for path in paths:
            for vector in json.loads(path.read_text(encoding="utf-8"))["vectors"]:
                count += 1
                check = check_sealed if "stored" in vector else check_signed
                for problem in check(directory, vector):
                    wrong += 1
                    print("%s: %s: %s" % (path.name, vector["name"], problem))
    if wrong or count == 0:
        sys.exit("%d problems in %d vectors" % (wrong, count))
    print("%d vectors are as they say" % count)


if __name__ == "__main__":
    main()
