package queue

import (
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// Conditions that callers branch on, with errors.Is.
var (
	// ErrInvalid marks everything that was refused before any SQL was sent: the transaction is as it was.
	ErrInvalid = errors.New("invalid job")
	// ErrDuplicateID means that the id was enqueued before. A unique key that is taken is no error: see Receipt.
	ErrDuplicateID = errors.New("job id was enqueued before")
	// ErrClock means that this process's clock is more than ten minutes from the server's.
	ErrClock = errors.New("clock differs from the server's by more than 10 minutes")
	// ErrTxAborted means that the caller's transaction had failed already, before this enqueue.
	ErrTxAborted = errors.New("transaction is already aborted")
	// ErrCommitUnknown means that the connection died after the commit was sent: the jobs may be there or not.
	// errors.AsType[*CommitUnknownError] has the ids, and the transaction id where it is known.
	ErrCommitUnknown = errors.New("the outcome of the commit is unknown")
	// ErrNotFound means that there is no such job: never enqueued, purged, or retired with its history.
	ErrNotFound = errors.New("no such job")
)

// CommitUnknownError says which jobs are in doubt. Resolve it with CommitStatus when XID is set, else enqueue again with
// the same ids (WithID): a job that is there already answers ErrDuplicateID.
type CommitUnknownError struct {
	IDs []uuid.UUID
	XID string // as in Receipt; empty when the answer that would have carried it was lost
	Err error  // what the connection said
}

func (e *CommitUnknownError) Error() string {
	if e.XID == "" {
		return fmt.Sprintf("%v (%d jobs): %v", ErrCommitUnknown, len(e.IDs), e.Err)
	}
	return fmt.Sprintf("%v (%d jobs, transaction %s): %v", ErrCommitUnknown, len(e.IDs), e.XID, e.Err)
}

// Is makes errors.Is(err, ErrCommitUnknown) true.
func (e *CommitUnknownError) Is(target error) bool { return target == ErrCommitUnknown }

// Unwrap returns what the connection said.
func (e *CommitUnknownError) Unwrap() error { return e.Err }
