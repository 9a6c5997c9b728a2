// Package store holds the calls of the functions of schema stem. sqlc generates it from db/queries, but for this file.
package store

import (
	"context"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Over is New for handles of any query mode. In pgx's mode exec, which poolers need, nobody asks the server for the types of
// the arguments, and pgx itself knows no array of google's UUIDs.
func Over(db DBTX) *Queries { return New(known{db}) }

// known passes arguments on in types that every pgx connection knows.
type known struct{ db DBTX }

func (k known) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return k.db.Exec(ctx, sql, translate(args)...)
}

func (k known) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return k.db.Query(ctx, sql, translate(args)...) //nolint:rowserrcheck // the caller looks
}

func (k known) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return k.db.QueryRow(ctx, sql, translate(args)...)
}

func translate(args []any) []any {
	for i, arg := range args {
		ids, ok := arg.([]uuid.UUID)
		if !ok || ids == nil {
			continue
		}
		list := make([]pgtype.UUID, len(ids))
		for j, id := range ids {
			list[j] = pgtype.UUID{Bytes: id, Valid: true}
		}
		args[i] = list
	}
	return args
}

// What stem.claim leaves out, because nearly all jobs have it.
const (
	UsualCodec  = "application/json"
	UsualOrigin = "app"
)
