// Package pgsession holds the settings of the connections that are Stem's own. Connections of callers are theirs.
package pgsession

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// settings bound what a session can do to others: a statement that hangs, a lock that is not to be had, a transaction
// that nobody ends, a client that is gone without a word.
var settings = map[string]string{
	"statement_timeout":                   "30s",
	"lock_timeout":                        "3s",
	"idle_in_transaction_session_timeout": "60s",
	"client_connection_check_interval":    "10s",
	"tcp_user_timeout":                    "30s",
}

// Name sets the application's name and the time zone, unless they are set. Poolers know these two.
func Name(params map[string]string, application string) {
	add(params, "application_name", application)
	add(params, "timezone", "UTC")
}

// Bound sets the time limits, where none is set. Poolers refuse them, see [Refused]: then the connection is made without,
// and what is set for the role stands in.
func Bound(params map[string]string) {
	for name, value := range settings {
		add(params, name, value)
	}
}

func add(params map[string]string, name, value string) {
	if _, given := params[name]; !given {
		params[name] = value
	}
}

// Refused tells whether a connection failed because of a setting: a pooler passes none on, and a server on a system
// without the means refuses client_connection_check_interval.
func Refused(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.Contains(pe.Message, "unsupported startup parameter") || pe.Code == "22023" && pe.Severity == "FATAL")
}

// Pool opens a pool of Stem's own beside a caller's, of that many connections, with time limits unless a pooler refuses those. life ends
// what the pool does by itself, starting the first connection, which is opened here; what is wrong with that shows when it is used.
func Pool(life, starting context.Context, beside *pgxpool.Pool, application string, connections int32) (*pgxpool.Pool, error) {
	config := beside.Config().Copy()
	config.MaxConns, config.MinConns, config.MinIdleConns = connections, 0, 0
	Name(config.ConnConfig.RuntimeParams, application)
	plain := config.Copy()
	Bound(config.ConnConfig.RuntimeParams)
	own, err := pgxpool.NewWithConfig(life, config)
	if err != nil {
		return nil, err
	}
	conn, err := own.Acquire(starting)
	switch {
	case err == nil:
		conn.Release()
	case Refused(err):
		own.Close()
		return pgxpool.NewWithConfig(life, plain)
	}
	return own, nil
}
