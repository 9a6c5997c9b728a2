package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/internal/answer"
	"github.com/stemqueue/stem/internal/store"
)

// A TxStatus is what became of a transaction.
type TxStatus string

// What CommitStatus answers.
const (
	TxCommitted  TxStatus = "committed"
	TxAborted    TxStatus = "aborted"
	TxInProgress TxStatus = "in progress" // the server has not noticed yet that its client is gone: ask again
	TxForgotten  TxStatus = ""            // too long ago for the server to remember
)

// CommitStatus asks the server what became of the transaction with that id (Receipt.XID), on a fresh handle of the same
// server. It needs no right on any table.
func CommitStatus(ctx context.Context, db DB, xid string) (TxStatus, error) {
	status, err := store.Over(db).CommitStatus(ctx, xid)
	if err != nil {
		return TxForgotten, fmt.Errorf("queue: commit status of %q: %w", xid, err)
	}
	return TxStatus(status), nil
}

// Commit commits tx, and tells an honest answer from a lost one: when the connection dies after COMMIT was sent, the error
// is ErrCommitUnknown and carries the transaction id of the receipts, for CommitStatus.
func Commit(ctx context.Context, tx pgx.Tx, receipts ...Receipt) error {
	// Asked before: afterwards a closed connection says nothing about when it was closed.
	sendable := ctx.Err() == nil && !tx.Conn().IsClosed()
	err := tx.Commit(ctx)
	if err == nil || !sendable || answered(err) {
		return err
	}
	unknown := &CommitUnknownError{IDs: make([]uuid.UUID, 0, len(receipts)), Err: err}
	for _, r := range receipts {
		unknown.IDs = append(unknown.IDs, r.ID)
		unknown.XID = r.XID
	}
	return unknown
}

// answered tells whether the outcome of a COMMIT that was given to an open connection is known all the same.
func answered(err error) bool {
	return answer.Refused(err) || answer.Unsent(err) || errors.Is(err, pgx.ErrTxClosed) || errors.Is(err, pgx.ErrTxCommitRollback)
}
