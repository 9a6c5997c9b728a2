package devpg

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user of the operating system that runs the server. The zero value is the user of this process.
type account struct {
	name     string
	uid, gid int
	other    bool // not the user of this process
}

// serverAccount chooses the account: this user, unless that is root, whom Postgres and PgBouncer refuse. It must be in
// the passwd file, or initdb cannot look itself up.
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return account{}, fmt.Errorf("user %s: %w", name, err)
		}
		return account{name: name, uid: uid, gid: gid, other: true}, nil
	}
	return account{}, errors.New("root may not run a Postgres server, and there is neither a user postgres nor nobody; " +
		"run as an ordinary user")
}

// command prepares a program to run as this account in the root directory (the present one may be closed to it), with
// an environment that cannot change what the server does: English messages, no PG variables.
func (a account) command(getenv func(string) string, program string, args ...string) *exec.Cmd {
	cmd := command(program, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C", "PATH=" + getenv("PATH"), "HOME=/"}
	if path := getenv("LD_LIBRARY_PATH"); path != "" {
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+path)
	}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)} //nolint:gosec // from passwd
	}
	return cmd
}

// give makes the account the owner of path.
func (a account) give(path string) error {
	if !a.other {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// reach says whether the account can walk to dir: every directory on the way must let it through.
func (a account) reach(dir string) error {
	if !a.other {
		return nil
	}
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if !a.mayEnter(info) {
			return fmt.Errorf("%s is closed to the user %s, who is to run the server (mode %04o)", dir, a.name, info.Mode().Perm())
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

func (a account) mayEnter(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case ok && int(stat.Uid) == a.uid:
		return info.Mode()&0o100 != 0
	case ok && int(stat.Gid) == a.gid:
		return info.Mode()&0o010 != 0
	default:
		return info.Mode()&0o001 != 0
	}
}
