// Package secretfile reads small files that hold a secret, and refuses those that others can get at.
package secretfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Limit is the size of the largest file.
const Limit = 64 << 10

// A Guard says who keeps others from a file.
type Guard int

// The guards.
const (
	Private Guard = iota // the file's mode and owner
	Mounted              // systemd, which mounts a credential for one service
)

// A Fault is what kind of mistake an Error is.
type Fault int

// The faults.
const (
	Missing   Fault = iota // not there, or not to be read for a reason of the system's
	Forbidden              // this user may not read it
	Exposed                // others may read or write it
	Bad                    // a directory, empty or too large
)

// Error is a file that is not read.
type Error struct {
	Fault Fault
	Path  string
	What  string // what is wrong and what to do
	Cause error
}

func (e *Error) Error() string { return e.Path + ": " + e.What }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Read returns what a file holds, less one trailing newline. It opens the file once and judges what it opened, so a link that is
// turned meanwhile changes nothing. Every error is an *Error.
func Read(path string, g Guard) (string, error) {
	fail := func(f Fault, cause error, format string, args ...any) (string, error) {
		return "", &Error{Fault: f, Path: path, What: fmt.Sprintf(format, args...), Cause: cause}
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(Missing, err, "no such file")
	case errors.Is(err, fs.ErrPermission):
		return fail(Forbidden, err, "this user may not read it")
	case err != nil:
		return fail(Missing, err, "cannot be read")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fail(Missing, err, "cannot be read")
	}
	if info.IsDir() {
		return fail(Bad, nil, "is a directory")
	}
	if what := exposed(info, os.Geteuid()); g == Private && what != "" {
		return fail(Exposed, nil, "%s", what)
	}
	text, err := io.ReadAll(io.LimitReader(f, Limit+1))
	switch {
	case err != nil:
		return fail(Missing, err, "cannot be read")
	case len(text) > Limit:
		return fail(Bad, nil, "larger than 64 KiB")
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if value == "" {
		return fail(Bad, nil, "empty")
	}
	return value, nil
}

// exposed says how others get at a file, or nothing. A pipe, as of a shell's <(…), is nobody else's. Root may read what belongs to
// anybody: in a container a mounted file keeps its owner on the host.
func exposed(info fs.FileInfo, user int) string {
	mode := info.Mode()
	if !mode.IsRegular() {
		return ""
	}
	owner, known := ownerOf(info)
	switch {
	case mode.Perm()&0o044 != 0:
		return fmt.Sprintf("readable by others (%04o); chmod 0600 or use LoadCredential", mode.Perm())
	case mode.Perm()&0o022 != 0:
		return fmt.Sprintf("writable by others (%04o); chmod 0600 or use LoadCredential", mode.Perm())
	case known && owner != 0 && owner != user && user != 0:
		return fmt.Sprintf("belongs to user %d, who could change it; want root or this user (%d)", owner, user)
	}
	return ""
}
