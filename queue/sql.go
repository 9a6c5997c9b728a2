package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// An SQLHandle is a *sql.Tx, *sql.DB or *sql.Conn of a database that was opened with pgx's database/sql driver
// (github.com/jackc/pgx/v5/stdlib). Other drivers cannot carry the arguments.
type SQLHandle interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}

// SQL makes a database/sql handle fit for Enqueue, and for worker.Complete.
func SQL(handle SQLHandle) DB {
	_, inTx := handle.(*sql.Tx)
	return sqlDB{handle: handle, inTx: inTx}
}

type sqlDB struct {
	handle SQLHandle
	inTx   bool
}

func (d sqlDB) Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error) {
	_, err := d.handle.ExecContext(ctx, query, args...)
	return pgconn.CommandTag{}, err
}

func (d sqlDB) Query(ctx context.Context, query string, args ...any) (pgx.Rows, error) {
	rows, err := d.handle.QueryContext(ctx, query, args...) //nolint:rowserrcheck // checked by whoever reads the rows
	if err != nil {
		return nil, err
	}
	return &sqlRows{rows: rows}, nil
}

func (d sqlDB) QueryRow(ctx context.Context, query string, args ...any) pgx.Row {
	rows, err := d.Query(ctx, query, args...) //nolint:rowserrcheck // checked in sqlRow.Scan
	return sqlRow{rows: rows, err: err}
}

type sqlRow struct {
	rows pgx.Rows
	err  error
}

func (r sqlRow) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

// sqlRows gives database/sql's rows the shape that generated code reads.
type sqlRows struct {
	rows     *sql.Rows
	closeErr error
}

var errUnsupported = errors.New("queue: not available through database/sql")

func (r *sqlRows) Close()                                       { r.closeErr = r.rows.Close() }
func (r *sqlRows) Err() error                                   { return errors.Join(r.rows.Err(), r.closeErr) }
func (r *sqlRows) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }
func (r *sqlRows) FieldDescriptions() []pgconn.FieldDescription { return nil }
func (r *sqlRows) Next() bool                                   { return r.rows.Next() }
func (r *sqlRows) Values() ([]any, error)                       { return nil, errUnsupported }
func (r *sqlRows) RawValues() [][]byte                          { return nil }
func (r *sqlRows) Conn() *pgx.Conn                              { return nil }
func (r *sqlRows) TypeMap() *pgtype.Map                         { return nil }

func (r *sqlRows) Scan(dest ...any) error {
	if err := r.rows.Scan(dest...); err != nil {
		return fmt.Errorf("queue: scan: %w", err)
	}
	return nil
}
