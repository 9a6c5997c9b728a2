package db_test

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/stemqueue/stem/internal/store"
)

// TestClaimEachReadsWhatClaimReads: the two read the same columns of the same statement, one by hand. Two jobs with everything
// that a row can hold (an instant excludes a delay), and another with nothing: no value is left over from the row before.
func TestClaimEachReadsWhatClaimReads(t *testing.T) {
	t.Parallel()
	l := open(t)
	w := l.hire(t)
	run(t, l.owner, `with j as (
			insert into stem.jobs (slot, id, queue, task, payload, codec, headers, priority, run_at, delay_us, nominal_at, expires_at,
				max_attempts, hard_limit_us, soft_limit_us, unique_key, unique_scope, origin, payload_version, group_name, issued_at,
				sig, sig_key_id, sig_alg)
			select 0, gen_random_uuid(), 'mail', 't', '{}', 'text/plain', '{"a": "b"}', 7,
				case when i = 1 then now() - interval '2 s' end, case when i = 2 then 5 end, now(), now() - interval '1 s',
				20, 6, 7, 'key', 1, 'elsewhere', 8, 'g', now(), decode(repeat('ab', 32), 'hex'), 'v1', 'hmac-sha256'
			from generate_series(1, 2) i returning id)
		insert into stem.ready (queue, lane, pos, job_id, slot, attempt, failures, crashes, releases, generation, max_attempts)
		select 'default', 5, nextval('stem.ticket_pos'), id, 0, 9, 1, 2, 3, 4, 20 from j`)
	enqueue(t, l.me, 1, "")

	tx := l.begin(t)
	want := claim(t, tx, w, 10)
	rollback(t, tx)
	var got []*store.ClaimRow
	err := store.New(l.me).ClaimEach(t.Context(), claimParams(w, 10), func(r *store.ClaimRow) { got = append(got, new(*r)) })
	if err != nil || len(got) != 3 {
		t.Fatalf("claimed %d, %v", len(got), err)
	}
	for i := range got {
		for _, r := range []*store.ClaimRow{got[i], want[i]} { // another transaction, another time
			r.Xid, r.ClaimedAt = 0, pgtype.Timestamptz{}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-Claim +ClaimEach:\n%s", diff)
	}
	first, second := reflect.ValueOf(*got[0]), reflect.ValueOf(*got[1])
	for i := range first.NumField() {
		if name := first.Type().Field(i).Name; first.Field(i).IsZero() && second.Field(i).IsZero() && name != "Xid" && name != "ClaimedAt" {
			t.Errorf("%s is zero in the full rows: this test does not see it", name)
		}
	}
}
