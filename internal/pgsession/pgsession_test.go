package pgsession_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/internal/pgsession"
	"github.com/stemqueue/stem/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestAServerTakesTheLimits(t *testing.T) {
	t.Parallel()
	config, err := pgx.ParseConfig(pgtest.Login(t, pgtest.Database(t)))
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["lock_timeout"] = "1s"
	pgsession.Name(config.RuntimeParams, "stem/test")
	pgsession.Bound(config.RuntimeParams)
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for name, want := range map[string]string{
		"statement_timeout": "30s", "lock_timeout": "1s", "idle_in_transaction_session_timeout": "1min",
		"client_connection_check_interval": "10s", "tcp_user_timeout": "30000", "application_name": "stem/test", "TimeZone": "UTC",
	} {
		var got string
		if err := conn.QueryRow(t.Context(), "select current_setting($1)", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, want %s (%v)", name, got, want, err)
		}
	}
}

func TestAPoolerRefusesThem(t *testing.T) {
	t.Parallel()
	config, err := pgx.ParseConfig(pgtest.PgBouncer(t, pgtest.Login(t, pgtest.Database(t))))
	if err != nil {
		t.Fatal(err)
	}
	pgsession.Name(config.RuntimeParams, "stem/test")
	plain := config.Copy()
	pgsession.Bound(config.RuntimeParams)
	if _, err := pgx.ConnectConfig(t.Context(), config); !pgsession.Refused(err) {
		t.Errorf("not refused: %v", err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), plain)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close(t.Context())
	for err, want := range map[error]bool{
		&pgconn.PgError{Code: "22023", Severity: "FATAL"}: true, &pgconn.PgError{Code: "22023", Severity: "ERROR"}: false,
		errors.New("unsupported startup parameter"): false,
	} {
		if got := pgsession.Refused(fmt.Errorf("x: %w", err)); got != want {
			t.Errorf("Refused(%v) = %v", err, got)
		}
	}
}
