package signing

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// TestJudge is the table of policies.
func TestJudge(t *testing.T) {
	t.Parallel()
	outcomes := []error{
		nil, refuse(Missing, "", ""), refuse(Invalid, "v1", ""), refuse(UnknownKey, "v9", ""), refuse(Revoked, "v0", ""),
		refuse(Stale, "", ""), refuse(Early, "", ""), refuse(Expired, "", ""), errors.New("something else"),
	}
	for policy, want := range map[Policy][]Action{
		Required:   {Run, Bury, Bury, Release, Bury, Bury, Bury, Expire, Bury},
		Permissive: {Run, Count, Bury, Release, Bury, Bury, Bury, Expire, Bury},
		Off:        {Run, Run, Run, Run, Run, Run, Run, Run, Run},
	} {
		for i, err := range outcomes {
			if got := policy.Judge(err); got != want[i] {
				t.Errorf("%v, %v: got %d, want %d", policy, err, got, want[i])
			}
			if err == nil {
				continue
			}
			if got := policy.Judge(fmt.Errorf("worker: %w", err)); got != want[i] {
				t.Errorf("%v, wrapped %v: got %d, want %d", policy, err, got, want[i])
			}
		}
	}
	if max(Required, Permissive, Off) != Required || max(Permissive, Off) != Permissive {
		t.Error("the stricter policy is not the greater")
	}
	var zero Action
	if zero != Bury {
		t.Error("an action that nobody chose runs the job")
	}
}

// TestAdmit: the signature first, then the times, then the policy; an unsigned queue forgives that nobody signed, and nothing else.
func TestAdmit(t *testing.T) {
	t.Parallel()
	ring := ringOf(t, "STEM_SIGNING_KEYS=v1:"+key1, "STEM_SIGNING_ACTIVE_KEY=v1")
	job := with(func(j *Job) { j.RunAt, j.Queue = time.Time{}, "sql" })
	good, err := ring.Sign(job)
	if err != nil {
		t.Fatal(err)
	}
	forged := good
	forged.Bytes = append([]byte{good.Bytes[0] ^ 1}, good.Bytes[1:]...)
	foreign := good
	foreign.KeyID = "v9"
	late := pageTime.Add(48 * time.Hour)
	permissive := ringOf(t, "STEM_SIGNING_KEYS=v1:"+key1, "STEM_SIGNING_ACTIVE_KEY=v1", "STEM_SIGNING_POLICY=permissive")
	for name, tt := range map[string]struct {
		ring     *Ring
		s        Signature
		created  time.Time
		unsigned []string
		want     Action
		reason   Reason
	}{
		"signed":                       {ring, good, pageTime, nil, Run, ""},
		"unsigned":                     {ring, Signature{}, pageTime, []string{"other"}, Bury, Missing},
		"unsigned in an unsigned one":  {ring, Signature{}, pageTime, []string{"other", "sql"}, Count, Missing},
		"unsigned under permissive":    {permissive, Signature{}, pageTime, nil, Count, Missing},
		"forged in an unsigned one":    {ring, forged, pageTime, []string{"sql"}, Bury, Invalid},
		"stale in an unsigned one":     {ring, good, late, []string{"sql"}, Bury, Stale},
		"unknown key, unsigned queue":  {ring, foreign, pageTime, []string{"sql"}, Release, UnknownKey},
		"forged, and nobody looks":     {nil, forged, late, nil, Run, ""},
		"forged under permissive":      {permissive, forged, pageTime, nil, Bury, Invalid},
		"forged and stale is forged":   {ring, forged, late, nil, Bury, Invalid},
		"unsigned and stale is missed": {ring, Signature{}, late, []string{"sql"}, Count, Missing},
	} {
		action, refusal := tt.ring.Admit(job, tt.s, tt.created, tt.created, tt.unsigned)
		var reason Reason
		if refusal != nil {
			reason = refusal.Reason
		}
		if action != tt.want || reason != tt.reason {
			t.Errorf("%s: got %d for %q, want %d for %q", name, action, reason, tt.want, tt.reason)
		}
	}
}

func TestCheckTimes(t *testing.T) {
	t.Parallel()
	at := pageTime.Add
	none := func(j *Job) { j.RunAt = time.Time{} }
	delay := func(d time.Duration) func(*Job) { return func(j *Job) { j.RunAt, j.Delay = time.Time{}, d } }
	const us, day = time.Microsecond, 24 * time.Hour
	for name, tt := range map[string]struct {
		change           func(*Job)
		created, claimed time.Time
		want             Reason
	}{
		"due at once":                      {none, at(0), at(0), ""},
		"created a day after":              {none, at(day), at(day), ""},
		"created more than a day after":    {none, at(day + us), at(day + us), Stale},
		"created a day before":             {none, at(-day), at(-day), ""},
		"created more than a day before":   {none, at(-day - us), at(0), Stale},
		"claimed years later":              {none, at(0), at(3 * 365 * day), ""},
		"at run_at":                        {func(j *Job) { j.RunAt = at(time.Hour) }, at(0), at(time.Hour), ""},
		"before run_at":                    {func(j *Job) { j.RunAt = at(time.Hour) }, at(0), at(time.Hour - us), Early},
		"run_at is long past":              {func(j *Job) { j.RunAt = at(-30 * day) }, at(0), at(0), ""},
		"after the delay":                  {delay(time.Hour), at(0), at(time.Hour), ""},
		"a delay, and clocks that differ":  {delay(time.Hour), at(0), at(55 * time.Minute), ""},
		"before the delay":                 {delay(time.Hour), at(0), at(55*time.Minute - us), Early},
		"a delay shorter than the slack":   {delay(time.Minute), at(-time.Minute), at(-time.Minute), ""},
		"before the expiry":                {func(j *Job) { none(j); j.ExpiresAt = at(time.Hour) }, at(0), at(time.Hour - us), ""},
		"at the expiry":                    {func(j *Job) { none(j); j.ExpiresAt = at(time.Hour) }, at(0), at(time.Hour), Expired},
		"stale weighs more than expired":   {func(j *Job) { none(j); j.ExpiresAt = at(time.Hour) }, at(2 * day), at(2 * day), Stale},
		"never created, says the row":      {none, time.Time{}, at(0), Stale},
		"another zone is the same instant": {none, at(0).In(time.FixedZone("", 3600)), at(0).In(time.FixedZone("", -3600)), ""},
	} {
		j := with(tt.change)
		var got Reason
		if err := j.CheckTimes(tt.created, tt.claimed); err != nil {
			got = reasonOf(t, err)
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}
