package signing

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stemqueue/stem/internal/keylist"
)

// perhapsSecret is what is long enough to be an encoded key.
var perhapsSecret = regexp.MustCompile(`[A-Za-z0-9+/_-]{43,}`)

// wantNoSecret fails when an error repeats what may be a key.
func wantNoSecret(t *testing.T, text string, err error) {
	t.Helper()
	for _, s := range perhapsSecret.FindAllString(text, -1) {
		if strings.Contains(err.Error(), s) {
			t.Errorf("the error has the key: %v", err)
		}
	}
}

// wantSound fails when a ring that was accepted breaks one of its own rules.
func wantSound(t *testing.T, keys []*key) {
	t.Helper()
	for i, k := range keys {
		switch {
		case !keylist.ValidID(k.id):
			t.Errorf("id %q", k.id)
		case k.alg == HMACSHA256 && k.state != StateRevoked && len(k.secret) < keylist.MinSecret:
			t.Errorf("key %s has %d bytes", k.id, len(k.secret))
		case k.alg == Ed25519 && k.state != StateRevoked && k.public == nil:
			t.Errorf("key %s has nothing to verify with", k.id)
		}
		for _, other := range keys[:i] {
			if other.id == k.id || k.secret != nil && bytes.Equal(other.secret, k.secret) || k.public != nil && k.public.Equal(other.public) {
				t.Errorf("%s and %s are the same", other.id, k.id)
			}
		}
	}
}

// FuzzKeyList: any text is a sound ring, which is the same again when it is written out, or an error that tells no secret.
func FuzzKeyList(f *testing.F) {
	for _, seed := range []string{
		"v1:" + key1, "v1:" + key1 + ",v2:" + key2 + ",", " v1:" + key1 + " ,\n v2:" + strings.TrimRight(key2, "="), "v1:%%%", "v1", ",", ":", "v1:",
		"v1:" + key1 + ",v1:" + key2, strings.Repeat("v", 64) + ":" + secret(7, 1024), "v1:" + strings.ReplaceAll(secret(0xf0, 33), "+", "-"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, environ := range [][]string{
			{"STEM_SIGNING_KEYS=" + text},
			{"STEM_SIGNING_ALGORITHM=ed25519", "STEM_SIGNING_PRIVATE_KEYS=" + text},
			{"STEM_SIGNING_ALGORITHM=ed25519", "STEM_SIGNING_PUBLIC_KEYS=" + text},
		} {
			ring, err := FromEnviron(environ)
			if err != nil {
				wantNoSecret(t, text, err)
				continue
			}
			keys := ring.load().keys
			wantSound(t, keys)
			if len(environ) > 1 {
				continue
			}
			var list []string
			for _, k := range keys {
				list = append(list, k.id+":"+base64.StdEncoding.EncodeToString(k.secret))
			}
			again, err := FromEnviron([]string{"STEM_SIGNING_KEYS=" + strings.Join(list, ",")})
			if err != nil || again.String() != ring.String() {
				t.Errorf("%v written out is %v, %v", ring, again, err)
			}
		}
	})
}

// FuzzKeyFile is the same for key files.
func FuzzKeyFile(f *testing.F) {
	for _, seed := range []string{
		`{"keys": [{"id": "v1", "alg": "hmac-sha256", "secret": "` + key2 + `", "state": "sign", "uses": ["job", "result"]}]}`,
		`{"keys": [{"id": "e1", "alg": "ed25519", "private": "` + key1 + `", "state": "verify"}]}`,
		`{"keys": [{"id": "e1", "alg": "ed25519", "public": "` + public + `", "state": "verify"}, {"id": "v0", "alg": "hmac-sha256", "state": "revoked"}]}`,
		`{"keys": []}`, `{}`, `{"keys": [{}]} x`, `{"keys": {"v1": 1}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := &reader{env: map[string]string{}, content: content{byID: map[string]*key{}}}
		r.keyFile("F", text, "secret", "private", "public")
		r.identical()
		for _, err := range r.problems {
			wantNoSecret(t, text, err)
		}
		if len(r.problems) == 0 {
			wantSound(t, r.content.keys)
			if len(r.content.keys) == 0 || !json.Valid([]byte(text)) {
				t.Errorf("%q is accepted", text)
			}
		}
	})
}

// FuzzBody encodes a job and takes the bytes apart again: they hold the job and nothing else, so no two jobs are encoded alike.
func FuzzBody(f *testing.F) {
	for _, j := range []*Job{pageJob(), fullJob()} {
		f.Add(j.ID[:], j.Task, j.Queue, j.Codec, j.Payload, j.RunAt.UnixMicro(), j.IssuedAt.UnixMicro(), j.ExpiresAt.UnixMicro(), j.NominalAt.UnixMicro(),
			int64(j.Priority), int64(j.MaxAttempts), int64(j.PayloadVersion), int64(j.HardLimit), int64(j.SoftLimit), int64(j.Delay), j.UniqueKey, j.Origin, j.Group)
	}
	f.Fuzz(func(t *testing.T, id []byte, task, queue, codec string, payload []byte, runAt, issuedAt, expiresAt, nominalAt,
		priority, maxAttempts, version, hard, soft, delay int64, uniqueKey []byte, origin, group string,
	) {
		at := func(us int64) time.Time {
			if us == 0 {
				return time.Time{}
			}
			return time.UnixMicro(us).UTC()
		}
		j := &Job{
			Task: task, Queue: queue, Codec: codec, Payload: payload, RunAt: at(runAt), IssuedAt: at(issuedAt), ExpiresAt: at(expiresAt),
			NominalAt: at(nominalAt), Priority: int(priority), MaxAttempts: int(maxAttempts), PayloadVersion: int(version),
			HardLimit: time.Duration(hard), SoftLimit: time.Duration(soft), Delay: time.Duration(delay), UniqueKey: uniqueKey, Origin: origin, Group: group,
		}
		copy(j.ID[:], id)
		e := takeEncoder()
		defer e.put()
		e.bare = false
		body, err := e.body(j, HMACSHA256, "v1", "stem")
		if err != nil {
			return
		}
		wantJob(t, body, j)
	})
}

// wantJob fails unless a body holds a job whose headers are empty.
func wantJob(t *testing.T, body []byte, want *Job) {
	t.Helper()
	got, last := &Job{Headers: want.Headers, Payload: want.Payload}, uint16(0)
	for _, f := range fieldsOf(t, body) {
		number, value := binary.BigEndian.Uint16(f), f[6:]
		if number <= last {
			t.Fatalf("field %d after %d", number, last)
		}
		last = number
		integer := func() int64 {
			if len(value) == 4 {
				return int64(int32(binary.BigEndian.Uint32(value)))
			}
			return int64(binary.BigEndian.Uint64(value))
		}
		switch number {
		case 4:
			copy(got.ID[:], value)
		case 5:
			got.Task = string(value)
		case 6:
			got.Queue = string(value)
		case 7:
			got.Codec = string(value)
		case 8:
			if sum := sha256.Sum256(want.Payload); !bytes.Equal(value, sum[:]) {
				t.Error("the payload's hash")
			}
		case 10:
			got.RunAt = time.UnixMicro(integer()).UTC()
		case 11:
			got.IssuedAt = time.UnixMicro(integer()).UTC()
		case 12:
			got.ExpiresAt = time.UnixMicro(integer()).UTC()
		case 13:
			got.Priority = int(integer())
		case 14:
			got.MaxAttempts = int(integer())
		case 15:
			got.HardLimit = time.Duration(integer()) * time.Microsecond
		case 16:
			got.UniqueKey = value
		case 17:
			got.Origin = string(value)
		case 18:
			got.Delay = time.Duration(integer()) * time.Microsecond
		case 19:
			got.NominalAt = time.UnixMicro(integer()).UTC()
		case 20:
			got.PayloadVersion = int(integer())
		case 21:
			got.SoftLimit = time.Duration(integer()) * time.Microsecond
		case 22:
			got.Group = string(value)
		}
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Error(diff)
	}
}

// FuzzHeaders takes an encoded list of headers apart again: it holds the same, in order.
func FuzzHeaders(f *testing.F) {
	f.Add("tenant\x01t1\x02traceparent\x0100-aa-bb-01")
	f.Add("b\x011\x02B\x012\x02é\x01ü\x02aa\x01\x02a\x013")
	f.Add("\x01v\x02\xff\x01v\x02a\x00\x01v\x02")
	f.Fuzz(func(t *testing.T, text string) {
		headers := map[string]string{}
		for pair := range strings.SplitSeq(text, "\x02") {
			name, value, _ := strings.Cut(pair, "\x01")
			headers[name] = value
		}
		e := &encoder{buf: make([]byte, room)}
		e.headers(9, headers)
		if e.err != nil {
			return
		}
		if sum := sha256.Sum256(e.list); !bytes.Equal(e.buf[room+6:], sum[:]) {
			t.Error("the hash is not the list's")
		}
		got, names, rest := map[string]string{}, []string(nil), e.list[4:]
		take := func() string {
			n := binary.BigEndian.Uint32(rest)
			s := string(rest[4 : 4+n])
			rest = rest[4+n:]
			return s
		}
		for range binary.BigEndian.Uint32(e.list) {
			name := take()
			names = append(names, name)
			got[name] = take()
		}
		if !maps.Equal(got, headers) || len(rest) > 0 || !slices.IsSorted(names) || len(names) != len(headers) {
			t.Errorf("got %q in the order %q, %d bytes left; want %q", got, names, len(rest), headers)
		}
	})
}
