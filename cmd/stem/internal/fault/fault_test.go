package fault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
)

var target = fault.Target{Address: "db.internal:5432", User: "app", Database: "shop"}

func TestFromNamesTheFix(t *testing.T) {
	t.Parallel()
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	tests := []struct {
		name string
		err  error
		exit int
		want string
	}{
		{
			"function", &pgconn.PgError{Code: "42501", Message: "permission denied for function enqueue"}, 77,
			`role "app" lacks EXECUTE on stem.enqueue; grant with: stem roles print producer --to app`,
		},
		{
			"worker function", &pgconn.PgError{Code: "42501", Message: "permission denied for function claim"}, 77,
			`role "app" lacks EXECUTE on stem.claim; grant with: stem roles print worker --to app`,
		},
		{
			"operator function", &pgconn.PgError{Code: "42501", Message: "permission denied for function purge_dead"}, 77,
			`role "app" lacks EXECUTE on stem.purge_dead; grant with: stem roles print operator --to app`,
		},
		{
			"view", &pgconn.PgError{Code: "42501", Message: "permission denied for view job_status"}, 77,
			`role "app" lacks SELECT on stem.job_status; grant with: stem roles print observer --to app`,
		},
		{
			"table", &pgconn.PgError{Code: "42501", Message: "permission denied for table jobs"}, 77,
			`role "app": permission denied for table jobs`,
		},
		{
			"schema", &pgconn.PgError{Code: "42501", Message: "permission denied for schema stem"}, 77,
			`role "app" is a member of none of Stem's roles (USAGE on schema stem); grant with: stem roles print ROLE --to app`,
		},
		{
			"owner", &pgconn.PgError{Code: "42501", Message: `permission denied to set role "stem_owner"`}, 77,
			`role "app": permission denied to set role "stem_owner"`,
		},
		{
			"not the owner", &pgconn.PgError{Code: "42501", Message: "must be owner of function claim"}, 77,
			`role "app": must be owner of function claim`,
		},
		{
			"password", &pgconn.PgError{Code: "28P01", Message: `password authentication failed for user "app"`}, 77,
			`the database refused the login: password authentication failed for user "app" (db.internal:5432, user app, database shop)`,
		},
		{
			"database", &pgconn.PgError{Code: "3D000", Message: `database "shop" does not exist`}, 69,
			`database "shop" does not exist (db.internal:5432, user app, database shop)`,
		},
		{
			"connections", &pgconn.PgError{Code: "53300", Message: "sorry, too many clients already"}, 69,
			"the server takes no more connections: sorry, too many clients already (db.internal:5432, user app, database shop)",
		},
		{
			"schema missing", &pgconn.PgError{Code: "3F000", Message: `schema "stem" does not exist`}, 78,
			"schema stem is missing or older than this binary: run stem migrate up",
		},
		{
			"refused", fmt.Errorf("control: %w", refused), 69,
			"database unreachable: connection refused (db.internal:5432, user app, database shop)",
		},
		{
			"dns", &net.DNSError{Err: "no such host", Name: "db.internal"}, 69,
			"database unreachable: no such host db.internal (db.internal:5432, user app, database shop)",
		},
		{"deadline", fmt.Errorf("x: %w", context.DeadlineExceeded), 75, "gave up: the time limit passed"},
		{"cancelled", fmt.Errorf("x: %w", context.Canceled), 130, "interrupted"},
		{"other", errors.New("boom"), 70, "boom"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := fault.From(fmt.Errorf("wrapped: %w", tt.err), target)
			if tt.name == "other" {
				tt.want = "wrapped: boom"
			}
			if got := err.Error(); got != tt.want {
				t.Errorf("message %q\n   want %q", got, tt.want)
			}
			if got := fault.Exit(err); got != tt.exit {
				t.Errorf("exit %d, want %d", got, tt.exit)
			}
		})
	}
}

// The reason of a server that refuses a client's certificate can be lost with the connection.
func TestAConnectionCutOffWithAClientCertificate(t *testing.T) {
	t.Parallel()
	reset := &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	for expires, want := range map[time.Time]string{
		time.Now().Add(time.Hour): "A server that refuses the certificate of STEM_TLS_CLIENT_CERT (app) may do that; its log has the reason.",
		time.Unix(0, 0):           "Renew STEM_TLS_CLIENT_CERT (expired 1970-01-01T00:00:00Z).",
	} {
		with := target
		with.TLS = &fault.TLS{Mode: "verify-full", ClientSource: "STEM_TLS_CLIENT_CERT", ClientName: "app", ClientExpires: expires}
		f := fault.FromTLS(fmt.Errorf("failed to receive message: %w", reset), with)
		if f == nil || f.Hint != want || f.Exit != fault.ExitUnavailable ||
			f.Message != "database unreachable: the server ended the connection during the handshake (db.internal:5432, user app, database shop)" {
			t.Errorf("got %+v", f)
		}
	}
	if f := fault.FromTLS(reset, target); f != nil {
		t.Errorf("without a certificate: %v", f)
	}
}

// What is printed is to be pasted into a shell.
func TestFromQuotesTheLogin(t *testing.T) {
	t.Parallel()
	for user, want := range map[string]string{"app-1": "app-1", "$(reboot)": "'$(reboot)'", "it's": `'it'\''s'`, "-x": "'-x'", "": "''"} {
		err := fault.From(&pgconn.PgError{Code: "42501", Message: "permission denied for function claim"}, fault.Target{User: user})
		if !strings.HasSuffix(err.Error(), " --to "+want) {
			t.Errorf("%q: %s", user, err)
		}
	}
}

func TestFromLeavesFaultsAlone(t *testing.T) {
	t.Parallel()
	usage := fault.Usage("x", "a message")
	if got := fault.From(usage, target); !errors.Is(got, usage) {
		t.Errorf("From changed a fault into %v", got)
	}
	if got := fault.From(nil, target); got != nil {
		t.Errorf("From(nil) = %v", got)
	}
}

func TestPrint(t *testing.T) {
	t.Parallel()
	one := fault.Usage("bad_flag", "--x: bad \x1b[2J").About("flag --x").WithHint("try y").Showing("a\tb\n  ^")
	two := fault.Config("other", "second")
	var b bytes.Buffer
	fault.Print(&b, errors.Join(one, two))
	if got, want := b.String(), "stem: --x: bad \\x1b[2J\n    a\\tb\n      ^\n  hint: try y\nstem: second\n"; got != want {
		t.Errorf("Print wrote %q, want %q", got, want)
	}
	b.Reset()
	fault.PrintJSON(&b, one)
	want := `{"error":{"code":"bad_flag","message":"--x: bad \u001b[2J","source":"flag --x","hint":"try y"}}` + "\n"
	if got := b.String(); got != want {
		t.Errorf("PrintJSON wrote %q, want %q", got, want)
	}
	b.Reset()
	fault.PrintJSON(&b, errors.Join(one, two))
	if got := b.String(); strings.Count(got, `"code":"bad_flag"`) != 2 || strings.Count(got, `"code":"other"`) != 1 {
		t.Errorf("PrintJSON of two problems wrote %q", got)
	}
	b.Reset()
	fault.Print(&b, fault.Quiet(2))
	fault.PrintJSON(&b, fault.Quiet(2))
	if b.Len() > 0 {
		t.Errorf("a quiet fault wrote %q", b.String())
	}
}

func TestExitHelpDocumentsEveryConstant(t *testing.T) {
	t.Parallel()
	help := fault.ExitHelp()
	constants := []int{
		fault.ExitOK, fault.ExitNotFound, fault.ExitPartial, fault.ExitNotRunning, fault.ExitUnknown, fault.ExitUsage,
		fault.ExitData, fault.ExitNoInput, fault.ExitUnavailable, fault.ExitInternal, fault.ExitTryLater,
		fault.ExitPermission, fault.ExitConfig, fault.ExitInterrupted,
	}
	want := []int{0, 1, 2, 3, 4, 64, 65, 66, 69, 70, 75, 77, 78, 130}
	if !slices.Equal(constants, want) {
		t.Errorf("constants are %v, want %v", constants, want)
	}
	for _, code := range want {
		if !strings.Contains(help, fmt.Sprintf("\n  %3d  ", code)) {
			t.Errorf("exit code %d is not in the help text", code)
		}
	}
	if len(fault.ExitCodes) != len(want) {
		t.Errorf("help lists %d codes, want %d", len(fault.ExitCodes), len(want))
	}
}
