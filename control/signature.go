package control

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/signing"
)

// A KeyUsage counts the jobs that a key has signed, by their tables.
type KeyUsage struct {
	Key       string // "" counts those that nobody signed
	Algorithm string
	Ready     int64
	Scheduled int64
	Running   int64
	Dead      int64
}

// SignatureUsage counts what a key could still be asked about: jobs that have not ended, and dead letters. In short statements, so
// over millions it takes its time. Keys come by name, what is unsigned comes last.
func (p *Plane) SignatureUsage(ctx context.Context) ([]KeyUsage, error) {
	var list []KeyUsage
	for before, more := uuid.Nil, true; more; {
		rows, err := p.queries.SignatureUsage(ctx, before, scanSize)
		if err != nil {
			return nil, wrap("signature usage", err)
		}
		more = false
		for _, r := range rows {
			before, more = r.NextBefore, r.NextBefore != uuid.Nil
			if r.State == "" {
				continue
			}
			i := slices.IndexFunc(list, func(u KeyUsage) bool { return u.Key == r.KeyID && u.Algorithm == r.Alg })
			if i < 0 {
				i, list = len(list), append(list, KeyUsage{Key: r.KeyID, Algorithm: r.Alg})
			}
			list[i].add(r.State, r.Jobs)
		}
	}
	slices.SortFunc(list, func(a, b KeyUsage) int {
		if (a.Key == "") != (b.Key == "") {
			return strings.Compare(b.Key, a.Key)
		}
		return cmp.Or(strings.Compare(a.Key, b.Key), strings.Compare(a.Algorithm, b.Algorithm))
	})
	return list, nil
}

func (u *KeyUsage) add(state string, n int64) {
	switch state {
	case "ready":
		u.Ready += n
	case "scheduled":
		u.Scheduled += n
	case "running":
		u.Running += n
	case "dead":
		u.Dead += n
	}
}

// A Verdict says what a worker would do with a job, and why.
type Verdict struct {
	ID     uuid.UUID
	State  string // ready, scheduled, running or dead
	Queue  string
	Task   string
	Key    string // that it says it was signed with
	Action signing.Action
	Reason string // that of the dead letter it would become; "" where it runs
	Detail string // for people
}

// Refused tells whether the job would not run with these keys: it would be buried, now or when the grace of an unknown key is over.
func (v *Verdict) Refused() bool { return v.Action == signing.Bury || v.Action == signing.Release }

// verifyPage bounds what one statement returns: so many envelopes, and no more payload than one more would exceed.
const verifyPage = 500

// Verify says of each job, newest id first, what a worker with these keys would do: without states of all that have not ended. A dead
// letter is judged as if it were replayed.
func (p *Plane) Verify(ctx context.Context, ring *signing.Ring, unsignedQueues []string, states ...string) iter.Seq2[Verdict, error] {
	if len(states) == 0 {
		states = []string{"ready", "scheduled", "running"}
	}
	return func(yield func(Verdict, error) bool) {
		for before := uuid.Nil; ; {
			rows, err := p.queries.ListEnvelopes(ctx, states, before, verifyPage, pageBytes)
			if err != nil {
				yield(Verdict{}, wrap("verify", err))
				return
			}
			if len(rows) == 0 {
				return
			}
			for _, r := range rows {
				if !yield(judge(r, ring, unsignedQueues), nil) {
					return
				}
				before = r.JobID
			}
		}
	}
}

// VerifyJob is Verify for one job, dead or not; ErrNotFound when it has ended or is not known.
func (p *Plane) VerifyJob(ctx context.Context, ring *signing.Ring, unsignedQueues []string, id uuid.UUID) (Verdict, error) {
	rows, err := p.queries.ListEnvelopes(ctx, []string{"ready", "scheduled", "running", "dead"}, after(id), 1, pageBytes)
	if err == nil && (len(rows) == 0 || rows[0].JobID != id) {
		return Verdict{}, unknownJob("verify", id)
	}
	if err != nil {
		return Verdict{}, wrap("verify", err)
	}
	return judge(rows[0], ring, unsignedQueues), nil
}

// after returns the id that follows: pages begin below an id.
func after(id uuid.UUID) uuid.UUID {
	for i := len(id) - 1; i >= 0; i-- {
		if id[i]++; id[i] != 0 {
			break
		}
	}
	return id
}

// judge does what a worker does between the claim and the handler, in the same order.
func judge(r *store.ListEnvelopesRow, ring *signing.Ring, unsignedQueues []string) Verdict {
	v := Verdict{ID: r.JobID, State: r.State, Queue: cmp.Or(r.TicketQueue, r.Queue), Task: r.Task, Key: r.SigKeyID, Action: signing.Bury}
	runAt, claimed := store.Instant(r.RunAt), store.Instant(r.DueAt)
	if claimed.IsZero() { // dead: a replay does not run it before its time
		claimed = latest(runAt, store.Instant(r.IssuedAt).Add(store.Span(r.DelayUs)))
	}
	switch {
	case r.Task == "":
		v.Reason, v.Detail = "envelope_missing", "the ticket has no envelope"
		return v
	case r.Queue != v.Queue:
		v.Reason, v.Detail = string(signing.Early), fmt.Sprintf("the ticket stands in queue %q, the envelope says %q", v.Queue, r.Queue)
		return v
	case !runAt.IsZero() && claimed.Before(runAt):
		v.Reason, v.Detail = string(signing.Early), fmt.Sprintf("claimed at %s, before its run_at %s", claimed.Format(time.RFC3339), runAt.Format(time.RFC3339))
		return v
	}
	var headers map[string]string
	if len(r.Headers) > 0 {
		if err := json.Unmarshal(r.Headers, &headers); err != nil {
			v.Reason, v.Detail = string(signing.Early), fmt.Sprintf("headers: %v", err)
			return v
		}
	}
	job := signing.Job{
		ID: r.JobID, Task: r.Task, Queue: r.Queue, Codec: r.Codec, Payload: r.Payload, Headers: headers, RunAt: runAt,
		Delay: store.Span(r.DelayUs), IssuedAt: store.Instant(r.IssuedAt), ExpiresAt: store.Instant(r.ExpiresAt), NominalAt: store.Instant(r.NominalAt),
		Priority: int(r.Priority), MaxAttempts: int(r.MaxAttempts), HardLimit: store.Span(r.HardLimitUs), SoftLimit: store.Span(r.SoftLimitUs),
		UniqueKey: r.UniqueKey, Origin: r.Origin, PayloadVersion: int(r.PayloadVersion), Group: r.GroupName,
	}
	s := signing.Signature{Bytes: r.Sig, KeyID: r.SigKeyID, Algorithm: r.SigAlg}
	action, refusal := ring.Admit(&job, s, store.Instant(r.CreatedAt), claimed, unsignedQueues)
	v.Action = action
	if refusal != nil {
		v.Reason, v.Detail = string(refusal.Reason), refusal.Detail
	}
	return v
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
