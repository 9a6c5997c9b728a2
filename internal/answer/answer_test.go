package answer_test

import (
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/internal/answer"
)

func TestOnlyTheServersOwnWordIsARefusal(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"23505": true, "ST001": true, "40001": true, "57014": true, // the statement's own end
		"08P01": false, // PgBouncer: server conn crashed?
		"08006": false, "57P01": false, "57P02": false, "40003": false,
	} {
		if got := answer.Refused(fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: code})); got != want {
			t.Errorf("%s: got %v, want %v", code, got, want)
		}
	}
	if answer.Refused(pgconn.ErrConnClosed) || answer.Unsent(fmt.Errorf("lost: %w", pgconn.ErrConnClosed)) {
		t.Error("a closed connection was taken for an answer")
	}
}
