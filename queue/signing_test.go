package queue

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/stemqueue/stem/signing"
)

var secret = base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))

func ring(t *testing.T, environ ...string) *signing.Ring {
	t.Helper()
	r, err := signing.FromEnviron(environ)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func hmacRing(t *testing.T) *signing.Ring {
	t.Helper()
	return ring(t, "STEM_SIGNING_KEYS=v1:"+secret, "STEM_SIGNING_ACTIVE_KEY=v1", "STEM_SIGNING_AUDIENCE=stem/test")
}

// verifyAll reads every envelope as a worker in another language would, column by column, and returns how many are valid.
func verifyAll(t *testing.T, owner *pgxpool.Pool, r *signing.Ring) int {
	t.Helper()
	rows, err := owner.Query(t.Context(), `select id, task, queue, codec, payload, headers, run_at, coalesce(delay_us, 0), issued_at, expires_at,
		nominal_at, priority, max_attempts, coalesce(hard_limit_us, 0), coalesce(soft_limit_us, 0), unique_key, origin,
		coalesce(payload_version, 0), coalesce(group_name, ''), sig, coalesce(sig_key_id, ''), coalesce(sig_alg, '') from stem.jobs`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var j signing.Job
		var s signing.Signature
		var headers []byte
		var runAt, issuedAt, expiresAt, nominalAt pgtype.Timestamptz
		var delay, hard, soft int64
		if err := rows.Scan(&j.ID, &j.Task, &j.Queue, &j.Codec, &j.Payload, &headers, &runAt, &delay, &issuedAt, &expiresAt, &nominalAt,
			&j.Priority, &j.MaxAttempts, &hard, &soft, &j.UniqueKey, &j.Origin, &j.PayloadVersion, &j.Group, &s.Bytes, &s.KeyID, &s.Algorithm); err != nil {
			t.Fatal(err)
		}
		if headers != nil {
			if err := json.Unmarshal(headers, &j.Headers); err != nil {
				t.Fatal(err)
			}
		}
		j.RunAt, j.IssuedAt, j.ExpiresAt, j.NominalAt = runAt.Time, issuedAt.Time, expiresAt.Time, nominalAt.Time
		j.Delay, j.HardLimit, j.SoftLimit = time.Duration(delay)*time.Microsecond, time.Duration(hard)*time.Microsecond, time.Duration(soft)*time.Microsecond
		if err := r.Verify(&j, s); err != nil {
			t.Errorf("job %x of task %s: %v", j.ID, j.Task, err)
			continue
		}
		n++
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestEveryWayToEnqueueSigns: what is stored is what was signed, to the microsecond and whatever the option, by every door and
// after the hooks. Mutants that it catches: signing before the hooks, signing a time with its nanoseconds, leaving a field out
// of Envelope.Signed (the vectors of package signing say that each is covered).
func TestEveryWayToEnqueueSigns(t *testing.T) {
	t.Parallel()
	owner, pool := open(t)
	r := hmacRing(t)
	q := newQueue(t, Config{Signer: r, Hooks: []Hook{
		func(ctx context.Context, jobs []*Envelope, next func(context.Context) ([]Receipt, error)) ([]Receipt, error) {
			for _, e := range jobs {
				e.Headers = map[string]string{"ключ": "značka \u0001 \"\\", "a": ""}
			}
			return next(ctx)
		},
	}})
	odd := time.Now().Add(time.Hour + 123*time.Nanosecond)
	raw := func(name string, options ...Option) Request {
		return Raw(name, []byte(`{"a":1e3,"ä":"\u00e4"}`), "", options...)
	}
	all := []Request{
		raw("plain"), raw("at", At(odd)), raw("after", After(time.Minute+time.Nanosecond)), raw("priority", Priority(0)),
		raw("expires", ExpiresIn(time.Hour+time.Nanosecond)), raw("attempts", MaxAttempts(3)),
		raw("limits", HardLimit(time.Second+time.Nanosecond), SoftLimit(time.Millisecond+time.Nanosecond)),
		raw("unique", UntilFinished("k")), raw("version", Version(3)), raw("group", Group("g")), raw("origin", Origin("job:1")),
		Raw("bytes", []byte{0, 0xff}, "application/octet-stream"), Raw("empty", nil, "text/plain"),
	}
	enqueue := func(how string, db DB, requests ...Request) {
		t.Helper()
		if _, err := q.Enqueue(t.Context(), db, requests...); err != nil {
			t.Fatalf("%s: %v", how, err)
		}
	}
	enqueue("bulk", pool, all...)
	for _, one := range all {
		if one.spec.uniqueScope == notUnique {
			enqueue("single", pool, one)
		}
	}
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	enqueue("transaction", tx, all[0])
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDBFromPool(pool)
	defer func() { _ = db.Close() }()
	enqueue("database/sql", SQL(db), all[0], all[1])
	sqlTx, err := db.BeginTx(t.Context(), &sql.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	enqueue("database/sql transaction", SQL(sqlTx), all[2])
	if err := sqlTx.Commit(); err != nil {
		t.Fatal(err)
	}
	if got, want := verifyAll(t, owner, r), count(t, owner); got != want || want != 2*len(all)-1+4 {
		t.Errorf("%d of %d envelopes are valid, want all of %d", got, want, 2*len(all)-1+4)
	}
}

// TestAClockThatIsOffSignsAgain: the second try has other ids and times.
func TestAClockThatIsOffSignsAgain(t *testing.T) {
	t.Parallel()
	owner, pool := open(t)
	r := hmacRing(t)
	q := newQueue(t, Config{Signer: r})
	q.offset.Store(int64(-time.Hour))
	if _, err := q.Enqueue(t.Context(), pool, job); err != nil {
		t.Fatal(err)
	}
	if n := verifyAll(t, owner, r); n != 1 {
		t.Errorf("%d envelopes are valid, want 1", n)
	}
}

// TestNothingIsStoredUnsigned: a ring that cannot sign makes no Queue, and one that has lost its key fails the enqueue.
func TestNothingIsStoredUnsigned(t *testing.T) {
	t.Parallel()
	owner, pool := open(t)
	if _, err := New(Config{Signer: ring(t, "STEM_SIGNING_KEYS=v1:"+secret)}); !errors.Is(err, signing.ErrNoKey) {
		t.Errorf("a ring without an active key: %v", err)
	}
	file := filepath.Join(t.TempDir(), "keys")
	write := func(state string) {
		t.Helper()
		text := `{"keys":[{"id":"v1","alg":"hmac-sha256","secret":"` + secret + `","state":"` + state + `"}]}`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("sign")
	r := ring(t, "STEM_SIGNING_KEYS_FILE="+file, "STEM_SIGNING_ACTIVE_KEY=v1")
	q := newQueue(t, Config{Signer: r})
	if _, err := q.Enqueue(t.Context(), pool, job); err != nil {
		t.Fatal(err)
	}
	write("verify")
	if err := r.Reload(); err != nil && !strings.Contains(err.Error(), "v1") {
		t.Fatal(err)
	}
	_, err := q.Enqueue(t.Context(), pool, job)
	if n := count(t, owner); (err == nil) != (n == 2) || n > 2 || verifyAll(t, owner, r) != n {
		t.Errorf("got %v and %d jobs: one is unsigned", err, n)
	}
}
