// Package answer tells failures after which a statement certainly did not take effect from those after which nobody knows.
package answer

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Refused tells whether the server itself answered that the statement failed. What a pooler says in the server's name when
// it lost the server (PgBouncer: class 08), and what a server says that goes down (57P01 to 57P03) or does not know
// itself (40003), is no such answer.
func Refused(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	return !strings.HasPrefix(pg.Code, "08") && !strings.HasPrefix(pg.Code, "57P0") && pg.Code != "40003"
}

// Unsent tells whether a statement that was given to an open connection (or to a pool) certainly never left.
// pgconn.SafeToRetry is not enough: when the answer to a simple query is lost, pgx reports the closed connection that it
// finds next, as an error that is "safe to retry". Who holds a connection looks before whether it is open.
func Unsent(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	return pgconn.SafeToRetry(err) && !errors.Is(err, pgconn.ErrConnClosed)
}
