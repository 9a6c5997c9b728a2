package control

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/signing"
	"github.com/stemqueue/stem/signing/encryption"
)

// An Edit says in what a job differs from the dead letter in whose stead it is enqueued. The zero Edit changes nothing but its id and its
// signature.
type Edit struct {
	Queue   string // "" leaves it
	Payload []byte // nil leaves it
	// Reviewed says that somebody has looked at what would run: letters whose signature was refused are left alone without it.
	Reviewed bool
}

// refusedSignatures are the reasons of dead letters that somebody may have forged.
var refusedSignatures = []string{
	string(signing.Missing), string(signing.Invalid), string(signing.Revoked), string(signing.Stale),
}

// Reissue enqueues dead letters anew, due after delay: with a new id, the origin "replay:<old id>", the producer's signature, and the
// edit. Each goes in a transaction of its own, in which the letter is taken away and both ids go to the audit log; inside the caller's
// transaction each is a savepoint. A unique key is taken again where it would have been held until the job had finished. Outcomes that are
// not Done are those of Replay, and:
//
//	needs_resign   its signature was refused, and the edit is not Reviewed
//	invalid        the producer does not take it, or has no key to encrypt it anew; Detail says why
func (p *Plane) Reissue(ctx context.Context, producer *queue.Queue, reason string, delay time.Duration, e Edit, ids ...uuid.UUID) ([]Result, error) {
	all := make([]Result, 0, len(ids))
	for _, id := range ids {
		r, err := p.reissue(ctx, producer, reason, delay, e, id)
		if err != nil {
			return all, wrap("reissue "+id.String(), err)
		}
		all = append(all, r)
	}
	return all, nil
}

// ReissueAll reissues every dead letter that the filter lists, the latest first. It can be called again after an error, and goes on
// with the rest.
func (p *Plane) ReissueAll(ctx context.Context, producer *queue.Queue, f DeadFilter, e Edit, b Bulk) (Progress, error) {
	return b.run(p.deadPages(ctx, f), func(ids []uuid.UUID) ([]Result, error) {
		return p.Reissue(ctx, producer, b.Reason, b.Delay, e, ids...)
	})
}

func (p *Plane) reissue(ctx context.Context, producer *queue.Queue, reason string, delay time.Duration, e Edit, id uuid.UUID) (Result, error) {
	d, err := p.Job(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return Result{ID: id, Outcome: "unknown"}, nil
	case err != nil:
		return Result{}, err
	case d.State != "dead":
		return Result{ID: id, Outcome: place(d.State)}, nil
	case slices.Contains(refusedSignatures, d.Reason) && !e.Reviewed:
		return Result{ID: id, Outcome: "needs_resign"}, nil
	case d.Reason == "envelope_missing":
		return Result{ID: id, Outcome: "envelope_missing"}, nil
	}
	request, problem := renewed(producer, d, delay, e)
	if problem != "" {
		return Result{ID: id, Outcome: "invalid", Detail: problem}, nil
	}
	return p.supersede(ctx, producer, reason, id, request)
}

// place is where a job is in the words of stem._whereabouts.
func place(state string) string {
	switch state {
	case "ready", "scheduled", "running", "unknown":
		return state
	}
	return "finished"
}

// renewed is the request for a job in the stead of a dead letter, or what keeps there from being one.
func renewed(producer *queue.Queue, d *Detail, delay time.Duration, e Edit) (request queue.Request, problem string) {
	old, err := d.envelope()
	if err != nil {
		return queue.Request{}, err.Error()
	}
	if e.Payload != nil {
		old.Payload = e.Payload
		old.Codec, _ = encryption.Unwrap(old.Codec)
	}
	if err := producer.Open(&old); err != nil { // bound to what it was: before anything is changed
		return queue.Request{}, err.Error()
	}
	if e.Queue != "" {
		old.Queue = e.Queue
	}
	if d.UniqueScope != 2 { // the other scopes had their time, and a replay does not take their keys either
		old.UniqueKey = nil
	}
	options := []queue.Option{queue.Origin("replay:" + d.ID.String())}
	if delay > 0 && !d.RunAt.After(time.Now().Add(delay)) { // never before the time that was signed
		options = append(options, queue.After(delay))
	}
	return producer.Reissue(&old, options...), ""
}

// errUndo rolls back what would leave both the letter and the job.
var errUndo = errors.New("undo")

func (p *Plane) supersede(ctx context.Context, producer *queue.Queue, reason string, id uuid.UUID, request queue.Request) (r Result, err error) {
	for try := 1; ; try++ {
		err = p.atomically(ctx, func(tx DB) error {
			receipts, err := producer.Enqueue(ctx, tx, request)
			if err != nil {
				return err
			}
			if receipts[0].Duplicate {
				r = Result{ID: id, Outcome: "duplicate", Holder: receipts[0].ID}
				return errUndo
			}
			outcome, err := store.Over(tx).SupersedeDead(ctx, id, receipts[0].ID, reason)
			if err != nil {
				return err
			}
			if outcome != "superseded" {
				r = Result{ID: id, Outcome: outcome}
				return errUndo
			}
			r = Result{ID: id, Outcome: "reissued", Done: true, Successor: receipts[0].ID}
			return nil
		})
		if try > 1 || !errors.Is(err, queue.ErrClock) { // of which the producer learns the server's time
			break
		}
	}
	switch {
	case errors.Is(err, queue.ErrInvalid):
		return Result{ID: id, Outcome: "invalid", Detail: err.Error()}, nil
	case errors.Is(err, errUndo):
		return r, nil
	}
	return r, err
}

// atomically runs f in a transaction of its own, or in a savepoint where the handle is inside somebody's.
func (p *Plane) atomically(ctx context.Context, f func(DB) error) error {
	if b, own := p.own(); own {
		return inTx(ctx, b, func(tx pgx.Tx) error { return f(tx) })
	}
	if _, err := p.db.Exec(ctx, "savepoint stem_reissue"); err != nil {
		return err
	}
	failed := f(p.db)
	if failed != nil {
		if _, err := p.db.Exec(ctx, "rollback to savepoint stem_reissue"); err != nil {
			return errors.Join(failed, err)
		}
	}
	_, err := p.db.Exec(ctx, "release savepoint stem_reissue")
	return errors.Join(failed, err)
}
