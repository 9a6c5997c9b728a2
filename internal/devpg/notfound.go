package devpg

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// NotFoundError says that no rung of the ladder held.
type NotFoundError struct {
	// Major is the version that was asked for; 0 is any.
	Major int
	// Tried are the rungs, in order.
	Tried []Attempt
	// Fix is the one command that helps on this machine.
	Fix string
}

// Attempt is a rung that did not hold.
type Attempt struct {
	Rung string
	Why  string
}

// Error is several lines: one for each rung and one for the remedy.
func (e *NotFoundError) Error() string {
	var b strings.Builder
	if e.Major == 0 {
		fmt.Fprintf(&b, "no Postgres %d or newer found", Oldest)
	} else {
		fmt.Fprintf(&b, "no Postgres %d found", e.Major)
	}
	width := 0
	for _, a := range e.Tried {
		width = max(width, len(a.Rung))
	}
	for _, a := range e.Tried {
		fmt.Fprintf(&b, "\n  %-*s  %s", width, a.Rung, a.Why)
	}
	fmt.Fprintf(&b, "\nto fix it, run: %s", e.Fix)
	return b.String()
}

// fix names the one command that helps here.
func (l *ladder) fix() string {
	if l.Major != 0 {
		return fmt.Sprintf("scripts/dev/ensure-postgres.sh --major %d", l.Major)
	}
	sudo := "sudo "
	if os.Geteuid() == 0 {
		sudo = ""
	}
	switch {
	case l.lookPath("apt-get") != "":
		return sudo + "apt-get install -y postgresql"
	case l.lookPath("dnf") != "":
		return sudo + "dnf install -y postgresql-server"
	case l.lookPath("apk") != "":
		return sudo + "apk add postgresql"
	case l.lookPath("brew") != "" || runtime.GOOS == "darwin":
		return "brew install postgresql@18"
	case l.URLVar != "":
		return "export " + l.URLVar + "=postgres://user:password@host:5432/database"
	default:
		return "scripts/dev/ensure-postgres.sh"
	}
}
