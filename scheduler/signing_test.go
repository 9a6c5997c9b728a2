package scheduler_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stemqueue/stem/internal/labtest"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
	"github.com/stemqueue/stem/signing"
)

// Whatever of a signed schedule is changed in the table, it does not fire, and says so.
func TestAnEditedScheduleDoesNotFire(t *testing.T) {
	t.Parallel()
	l := newLab(t, signed("v1")...)
	edits := []string{
		"task = 'other'", "queue = 'other'", "payload = convert_to('{\"n\":2}', 'UTF8')", "headers = '{\"a\":\"b\"}'", "codec = 'text/plain'",
		"spec = '{\"every\":\"1h\",\"startAt\":\"" + fullHour.AddDate(-5, 0, 0).Format(time.RFC3339) + "\"}'", "zone = 'Europe/Berlin'", "priority = 9", "max_attempts = 1", "hard_limit_us = 1", "soft_limit_us = 1",
		"policies = replace(policies, 'allow', 'skip')", "jitter_us = 1000", "expire_at = '2100-01-01'", "version = version + 1",
		"sig = null, sig_key_id = null, sig_alg = null", "sig = sha256('x')",
		"(sig, id) = (select sig, schedules.id from stem.schedules o where o.id = 'whole')", "spec = 'nonsense'",
	}
	entries := []scheduler.Entry{hourly("whole")}
	for i := range edits {
		entries = append(entries, hourly("edited"+string(rune('a'+i))))
	}
	l.apply(entries...)
	for i, edit := range edits {
		labtest.Run(t, l.owner, "update stem.schedules set "+edit+" where id = $1", entries[i+1].ID)
	}
	for _, e := range entries {
		l.overdue(e.ID, 0)
	}
	l.fire(tolerant)
	if got := l.ledger("whole"); !slices.Equal(got, []string{"fired"}) {
		t.Errorf("the one that nobody touched: %q", got)
	}
	for i, edit := range edits {
		s := l.get(entries[i+1].ID)
		ledger := l.ledger(s.ID)
		accepted := slices.ContainsFunc(ledger, func(row string) bool { return !strings.HasPrefix(row, "rejected signature_") })
		if len(l.jobs(s.ID)) != 0 || len(ledger) == 0 || accepted || s.Status(time.Now()) != scheduler.StatusRejected {
			t.Errorf("%s: %d jobs, ledger %q, status %s", edit, len(l.jobs(s.ID)), ledger, s.Status(time.Now()))
		}
	}
	refused := 0
	for v, err := range l.table.Verify(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if v.Refused() {
			refused++
		}
	}
	if refused != len(edits) {
		t.Errorf("Verify refuses %d, want %d", refused, len(edits))
	}
	job := l.jobs("whole")[0]
	if id := labtest.One[string](t, l.owner, "select sig_key_id from stem.jobs where id = $1", job); id != "v1" {
		t.Errorf("the job is signed with %q", id)
	}
	l.apply(entries...) // mends all
	for _, e := range entries {
		l.overdue(e.ID, 0)
		labtest.Run(t, l.owner, "delete from stem.schedule_runs where schedule = $1", e.ID)
	}
	l.fire(tolerant)
	for _, e := range entries {
		if got := l.ledger(e.ID); !slices.Equal(got, []string{"fired"}) {
			t.Errorf("%s, applied again: %q", e.ID, got)
		}
	}
}

// Nobody signs what schedulers write. Where somebody moves the next instant, no other instant than the spec's fires, and none twice.
func TestAMovedInstantDoesNotFire(t *testing.T) {
	t.Parallel()
	l := newLab(t, signed("v1")...)
	l.apply(hourly("a"))
	at := l.overdue("a", 0)
	l.fire(tolerant)
	for _, moved := range []string{"$1", "$1::timestamptz + interval '7 minutes'", "$1::timestamptz - interval '7 minutes'"} {
		labtest.Run(t, l.owner, "update stem.schedules set next_at = "+moved+", due_at = now()", at)
		l.fire(tolerant)
	}
	if got := l.ledger("a"); !slices.Equal(got, []string{"fired"}) || len(l.jobs("a")) != 1 {
		t.Errorf("ledger %q, %d jobs", got, len(l.jobs("a")))
	}
	if next := l.get("a").NextAt; !next.Equal(at.Add(time.Hour)) {
		t.Errorf("next %v, want %v", next, at.Add(time.Hour))
	}
}

func TestAnUnknownKeyWaits(t *testing.T) {
	t.Parallel()
	l := newLab(t, signed("v2")...)
	l.apply(hourly("a"))
	l.overdue("a", 0)
	l.use(signed("v1")...)
	l.fire(tolerant)
	if s := l.get("a"); len(l.ledger("a")) != 0 || s.Status(time.Now()) != scheduler.StatusFailing || !strings.Contains(s.Failed, "signature_unknown_key") {
		t.Fatalf("ledger %q, status %s, failed %q", l.ledger("a"), s.Status(time.Now()), s.Failed)
	}
	l.use("STEM_SIGNING_KEYS=v1:"+signingKey("v1")+",v2:"+signingKey("v2"), "STEM_SIGNING_ACTIVE_KEY=v1")
	labtest.Run(t, l.owner, "update stem.schedules set due_at = next_at")
	l.fire(tolerant)
	if got := l.ledger("a"); !slices.Equal(got, []string{"fired"}) || l.get("a").Failed != "" {
		t.Errorf("with the key: ledger %q, failed %q", got, l.get("a").Failed)
	}
}

func TestSwitchingOffNeedsNoKey(t *testing.T) {
	t.Parallel()
	l := newLab(t, signed("v1")...)
	l.apply(hourly("a"), hourly("b"))
	keyed := l.table
	l.use()
	if changed, err := l.table.Disable(t.Context(), "a", "emergency"); !changed || err != nil {
		t.Fatal(changed, err)
	}
	if _, err := l.table.Enable(t.Context(), "a", "", false); err == nil {
		t.Error("who has no key switched a signed schedule on")
	}
	if changed, err := keyed.Disable(t.Context(), "b", "by key"); !changed || err != nil {
		t.Fatal(changed, err)
	}
	// Signed as off: the table cannot switch it on. Off without a key: it can, which the guide says.
	labtest.Run(t, l.owner, "update stem.schedules set enabled = true")
	got := map[string]string{}
	for v, err := range keyed.Verify(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got[v.ID] = v.Reason
	}
	if got["a"] != "" || got["b"] != string(signing.Invalid) {
		t.Errorf("verdicts %v", got)
	}
	labtest.Run(t, l.owner, "update stem.schedules set enabled = false")
	for _, id := range []string{"a", "b"} {
		if changed, err := keyed.Enable(t.Context(), id, "over", false); !changed || err != nil {
			t.Errorf("%s: %v, %v", id, changed, err)
		}
		if s := l.get(id); !s.Enabled || s.NextAt.IsZero() {
			t.Errorf("%s is not on", id)
		}
	}
	labtest.Run(t, l.owner, "update stem.schedules set task = 'forged', enabled = false where id = 'a'")
	if _, err := keyed.Enable(t.Context(), "a", "", false); err == nil || !strings.Contains(err.Error(), "signature_invalid") {
		t.Errorf("a forged schedule was signed: %v", err)
	}
}

func TestPayloadsAreEncryptedAtRest(t *testing.T) {
	t.Parallel()
	l := newLab(t, append(signed("v1"), "STEM_ENCRYPTION_KEYS=e1:"+signingKey("e"))...)
	l.apply(hourly("a", func(e *scheduler.Entry) { e.Job = queue.Raw("t", []byte(`{"secret":"canary"}`), "") }))
	if n := labtest.One[int](t, l.owner, "select count(*) from stem.schedules where position('canary'::bytea in payload) > 0"); n != 0 {
		t.Fatal("the payload is readable in the table")
	}
	if s := l.get("a"); string(s.Job.Payload) != `{"secret":"canary"}` || s.Job.Sealed {
		t.Errorf("Get: %s", s.Job.Payload)
	}
	if p := l.apply(hourly("a", func(e *scheduler.Entry) { e.Job = queue.Raw("t", []byte(`{"secret":"canary"}`), "") })); !p.IsEmpty() {
		t.Errorf("applied again: %+v", p.Changes)
	}
	p, err := l.table.Plan(t.Context(), false, hourly("a", func(e *scheduler.Entry) { e.Job = queue.Raw("t", []byte(`{"secret":"other"}`), "") }))
	if err != nil || p.Changes[0].Fields[0].Name != "args" || strings.Contains(fmt.Sprint(p.Changes[0].Fields), "secret") {
		t.Errorf("a plan shows what is encrypted: %+v, %v", p, err)
	}
	for _, change := range []func() (bool, error){
		func() (bool, error) { return l.table.Disable(t.Context(), "a", "") },
		func() (bool, error) { return l.table.Enable(t.Context(), "a", "", false) },
	} {
		if changed, err := change(); !changed || err != nil {
			t.Fatal(changed, err)
		}
	}
	l.overdue("a", 0)
	l.fire(tolerant)
	if got := l.ledger("a"); !slices.Equal(got, []string{"fired"}) {
		t.Errorf("ledger %q", got)
	}
	l.use(signed("v1")...)
	if s := l.get("a"); !s.Job.Sealed {
		t.Error("readable without the key")
	}
}
