package pgtest

import (
	"cmp"
	"os"
	"os/exec"
	"testing"

	"github.com/stemqueue/stem/internal/devpg"
)

// PgBouncer starts a pooler in transaction mode in front of the server of address and returns the URL through it, over
// verified TLS, for the same user and database. It ends with the test. Where pgbouncer is not installed the test is
// skipped, or fails where a database is required. Before version 1.21 (Debian 12 has 1.18) it knows no prepared
// statements: clients need default_query_exec_mode=exec or simple_protocol.
func PgBouncer(tb testing.TB, address string) string {
	tb.Helper()
	program, err := exec.LookPath(cmp.Or(os.Getenv("STEM_PGBOUNCER"), "pgbouncer"))
	if err != nil && os.Getenv("STEM_PGBOUNCER") == "" {
		program, err = exec.LookPath("/usr/sbin/pgbouncer") // not on an ordinary user's PATH
	}
	if err != nil {
		const remedy = "%v; to fix it, run: apt-get install -y pgbouncer, or set STEM_PGBOUNCER"
		if required() {
			tb.Fatalf(remedy, err)
		}
		tb.Skipf("NOT RUN: "+remedy, err)
	}
	pooled, stop, err := devpg.StartPgBouncer(tb.Context(), program, address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(stop)
	return pooled
}
