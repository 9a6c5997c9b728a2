package fault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stemqueue/stem/db"
)

// Target names the database in messages: what was dialled, without any secret.
type Target struct {
	Address  string // host:port, or the path of a socket
	User     string
	Database string

	Timeout      time.Duration // how long a connection was tried; 0 is not known
	Passwordless bool          // no password was given
	Conns        int           // how many connections were wanted; 0 is not known
	TLS          *TLS          // nil: nothing about TLS is worth saying
}

func (t Target) String() string {
	return t.Address + ", user " + t.User + ", database " + t.Database
}

// From turns any error of a command into one that the user can act upon. Faults, alone or joined, pass unchanged.
func From(err error, t Target) error {
	if _, ok := errors.AsType[*Error](err); ok || err == nil {
		return err
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fromPostgres(pe, t).Because(err)
	}
	if ce, ok := errors.AsType[*pgconn.ConnectError](err); ok && !errors.Is(err, context.Canceled) {
		if e := FromTLS(err, t); e != nil {
			return e.Because(err)
		}
		return unreachable(t, dialReason(ce, t)).Because(err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return New(ExitTryLater, "timeout", "gave up: the time limit passed").
			WithHint("give --timeout more, or look for what blocks the database").Because(err)
	}
	if errors.Is(err, context.Canceled) {
		return New(ExitInterrupted, "interrupted", "interrupted").Because(err)
	}
	if ne, ok := errors.AsType[net.Error](err); ok {
		return unreachable(t, dialReason(ne, t)).Because(err)
	}
	if errors.Is(err, os.ErrNotExist) {
		return New(ExitNoInput, "input_missing", "%s", err).Because(err)
	}
	return New(ExitInternal, "internal", "%s", strings.TrimSpace(err.Error())).Because(err)
}

func unreachable(t Target, reason string) *Error {
	return New(ExitUnavailable, "database_unreachable", "database unreachable: %s (%s)", reason, t).
		About("database")
}

// dialReason says what stopped a connection in the words of the operating system or the TLS library. It never returns
// the whole text of a connection error, which lists every address and setting tried.
func dialReason(err error, t Target) string {
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return "no such host " + dns.Name
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		if t.Timeout > 0 {
			return "no answer within " + t.Timeout.String()
		}
		return "no answer in time"
	}
	text := err.Error()
	for _, prefix := range []string{"tls error: ", "tls: ", "x509: "} {
		if i := strings.LastIndex(text, prefix); i >= 0 {
			return text[i:]
		}
	}
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return text
}

func fromPostgres(pe *pgconn.PgError, t Target) *Error {
	switch pe.Code {
	case "42501": // insufficient_privilege
		return denied(pe, t)
	case "28P01", "28000": // invalid_password, invalid_authorization_specification
		return New(ExitPermission, "login_refused", "the database refused the login: %s (%s)", pe.Message, t).
			About("database").WithHint("%s", loginAdvice(pe, t))
	case "3D000": // invalid_catalog_name
		return New(ExitUnavailable, "no_such_database", "%s (%s)", pe.Message, t).About("database").
			WithHint("create it first: createdb %s", t.Database)
	case "53300": // too_many_connections
		e := New(ExitUnavailable, "too_many_connections", "the server takes no more connections: %s (%s)", pe.Message, t).
			About("database").WithHint("raise max_connections, or connect through a pooler")
		if t.Conns > 0 {
			e.Hint += fmt.Sprintf("; this command takes up to %d", t.Conns)
		}
		return e
	case "42704": // undefined_object: at the start of a session, a setting that the server does not know
		if pe.Severity == "FATAL" {
			return New(ExitConfig, "bad_database_url", "%s (%s)", pe.Message, t).About("database").
				WithHint("look at options= in the URL, and at what alter role and alter database set")
		}
	case "57P01", "57P02", "57P03": // admin_shutdown, crash_shutdown, cannot_connect_now
		return unreachable(t, pe.Message)
	case "57014": // query_canceled
		return New(ExitTryLater, "timeout", "the server stopped the statement: %s", pe.Message).About("database")
	case "55P03", "40001", "40P01": // lock_not_available, serialization_failure, deadlock_detected
		return New(ExitTryLater, "try_later", "%s (SQLSTATE %s)", pe.Message, pe.Code).About("database").
			WithHint("run it again")
	case "25006": // read_only_sql_transaction
		return New(ExitUnavailable, "read_only", "server is in recovery (read-only); use target_session_attrs=read-write").
			About("database")
	case "3F000", "42883", "42P01", "42703": // schema, function, table or column that this binary expects is not there
		return New(ExitConfig, "schema_outdated", "schema stem is missing or older than this binary: run stem migrate up").
			About("database").WithHint("the server said: %s", pe.Message)
	}
	return New(ExitInternal, "database_error", "%s (SQLSTATE %s)", pe.Message, pe.Code).About("database").
		WithHint("%s", pe.Hint)
}

var deniedObject = regexp.MustCompile(`^permission denied for (\w+) "?([\w.]+)"?$`)

// denied names the function that the role may not execute and the group role that may.
func denied(pe *pgconn.PgError, t Target) *Error {
	refused := New(ExitPermission, "permission_denied", "role %q: %s", t.User, pe.Message).About("database")
	if strings.HasPrefix(pe.Message, "permission denied to set role") {
		return refused.WithHint("grant with: stem roles print owner --to %s", shellWord(t.User))
	}
	m := deniedObject.FindStringSubmatch(pe.Message)
	if m == nil {
		return refused
	}
	kind, object := m[1], strings.TrimPrefix(m[2], "stem.")
	role := strings.TrimPrefix(db.RoleFor(object), "stem_")
	switch {
	case role != "" && (kind == "function" || kind == "procedure"):
		refused.Message = fmt.Sprintf("role %q lacks EXECUTE on stem.%s", t.User, object)
	case role != "" && kind == "view":
		refused.Message = fmt.Sprintf("role %q lacks SELECT on stem.%s", t.User, object)
	case kind == "schema" && object == "stem":
		refused.Message = fmt.Sprintf("role %q is a member of none of Stem's roles (USAGE on schema stem)", t.User)
		role = "ROLE"
		refused.Hint = "the roles: stem roles --help"
	default:
		return refused.WithHint("none of Stem's roles has that right: it is the owner's")
	}
	refused.Message += fmt.Sprintf("; grant with: stem roles print %s --to %s", role, shellWord(t.User))
	return refused
}

// shellWord quotes a word where a shell would take it for something else.
func shellWord(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-@") == "" && s[0] != '-' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
