// Package doctor looks for what weakens Stem's promises: in the server's settings, in the rights of the login, in what
// stands between, and in how the connection is secured. It only reads.
package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stemqueue/stem/cmd/stem/internal/arg"
	"github.com/stemqueue/stem/internal/devpg"
)

// Finding is something that weakens a promise.
type Finding struct {
	Name    string // a stable word: "fsync_off"
	Message string // what it means
	Fix     string // what to do: SQL, a command, or a sentence
}

const (
	soon   = 14 * 24 * time.Hour // a certificate that expires within this should be renewed by now
	astray = 5 * time.Second     // a clock that is further off than this is kept by nobody
)

// facts are what a connection tells.
type facts struct {
	database, login   string
	version, encoding string
	major             int
	recovering        bool
	isolation         string
	settings          map[string]string // fsync and its kin, in the units of pg_settings
	superuser         bool
	owns, superowned  bool // the login is a member of its owner; that is a superuser
	owner             string
	public            []string // what everybody may do in schema stem
	creatable         []string // schemas of the search path in which everybody may create
	offset, slack     time.Duration
	pooled            bool
}

// Examine lists what weakens a promise in the database of conn and in the rights of its login. conn must be idle.
func Examine(ctx context.Context, conn *pgx.Conn) ([]Finding, error) {
	var f facts
	for _, look := range []func(context.Context, *pgx.Conn) error{f.lookAtServer, f.lookAtLogin, f.lookAtPublic, f.lookAtClock} {
		if err := look(ctx, conn); err != nil {
			return nil, fmt.Errorf("doctor: %w", err)
		}
	}
	return f.findings(), nil
}

func (f *facts) findings() []Finding {
	var list []Finding
	list = append(list, f.server()...)
	list = append(list, Durability(f.settings)...)
	list = append(list, f.rights()...)
	return append(list, f.between()...)
}

func (f *facts) server() []Finding {
	var list []Finding
	if f.major < devpg.Oldest {
		list = append(list, Finding{
			"server_too_old", fmt.Sprintf("PostgreSQL %s; need %d or newer", f.version, devpg.Oldest), "upgrade the server",
		})
	}
	if f.encoding != "UTF8" {
		list = append(list, Finding{
			"bad_encoding", fmt.Sprintf("database %q is %s; Stem needs UTF8", f.database, f.encoding),
			"make another: createdb --encoding UTF8 --template template0 NAME",
		})
	}
	if f.recovering {
		list = append(list, Finding{
			"standby", "the server is in recovery (read-only): nothing can be enqueued, claimed or settled there",
			"use target_session_attrs=read-write, with all hosts in the URL",
		})
	}
	if f.isolation != "read committed" {
		list = append(list, Finding{
			"isolation", fmt.Sprintf("transactions of this login are %s: claims need a fresh snapshot in each statement, and workers do not start", f.isolation),
			fmt.Sprintf("alter role %s set default_transaction_isolation = 'read committed'", quote(f.login)),
		})
	}
	return list
}

// Durability lists what the settings of a server (fsync, full_page_writes, synchronous_commit) put at risk.
func Durability(settings map[string]string) []Finding {
	var list []Finding
	if settings["fsync"] == "off" {
		list = append(list, Finding{
			"fsync_off", "fsync is off: when the machine stops, the database may be damaged beyond repair; commits are faster here than they can be in earnest",
			Set("fsync", "on"),
		})
	}
	if settings["full_page_writes"] == "off" {
		list = append(list, Finding{
			"full_page_writes_off", "full_page_writes is off: when the machine stops, pages that were half written stay so, unless the file system prevents it",
			Set("full_page_writes", "on"),
		})
	}
	if settings["synchronous_commit"] == "off" {
		list = append(list, Finding{
			"synchronous_commit_off", "synchronous_commit is off for this login: when the server stops, the jobs of the last moments are lost although they were " +
				"reported as enqueued, and those that had finished run again",
			"find where it is set (alter system, database or role), and reset it there",
		})
	}
	return list
}

// Set is how a setting of the server is changed.
func Set(name, value string) string {
	return fmt.Sprintf("alter system set %s = %s; select pg_reload_conf();", name, value)
}

func (f *facts) rights() []Finding {
	var list []Finding
	if f.superuser {
		list = append(list, Finding{
			"superuser", fmt.Sprintf("%s is a superuser: whoever has its password can change every row and every function, signed or not", f.login),
			"make a login that is none, and grant it roles: stem roles print worker --to LOGIN",
		})
	} else if f.owns {
		list = append(list, Finding{
			"owner", fmt.Sprintf("%s is or may become %s, who owns schema stem: whoever has its password can change every row and every function", f.login, f.owner),
			"let another login migrate, and grant this one roles: stem roles print worker --to LOGIN",
		})
	}
	if f.superowned {
		list = append(list, Finding{
			"superuser_owns", fmt.Sprintf("schema stem belongs to %s, a superuser: its functions run with every right there is", f.owner),
			"stem roles print owner | psql \"$URL\", as a superuser, and from then on stem migrate up --owner stem_owner",
		})
	}
	if len(f.public) > 0 {
		list = append(list, Finding{
			"public_rights", "every login has " + strings.Join(f.public, " and ") + " on schema stem", "revoke all on schema stem from public",
		})
	}
	for _, schema := range f.creatable {
		list = append(list, Finding{
			"public_create", fmt.Sprintf("every login may create objects in schema %s, which is on the search path: what it makes there can be taken for what was meant", schema),
			fmt.Sprintf("revoke create on schema %s from public", quote(schema)),
		})
	}
	return list
}

func (f *facts) between() []Finding {
	var list []Finding
	if f.offset.Abs() > astray+f.slack {
		direction := "behind"
		if f.offset < 0 {
			direction = "ahead of"
		}
		list = append(list, Finding{
			"clock", fmt.Sprintf("the clock here is %s %s the server's: times in logs and signatures are off by that, and certificates may seem expired",
				arg.Text(f.offset.Abs().Round(time.Millisecond)), direction),
			"let a time service keep both clocks: timedatectl set-ntp true",
		})
	}
	if f.pooled && f.settings["statement_timeout"] == "0" {
		list = append(list, Finding{
			"no_limits", fmt.Sprintf("a pooler stands between, so Stem cannot set time limits for its sessions, and none are set for %s", f.login),
			fmt.Sprintf("alter role %s set statement_timeout = '30s'; alter role %[1]s set lock_timeout = '3s'; "+
				"alter role %[1]s set idle_in_transaction_session_timeout = '60s'", quote(f.login)),
		})
	}
	return list
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
