package devpg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	homePrefix = "stem-pg-"
	// socketLimit is the length of sun_path on macOS with its final zero, the shortest in use (Linux has 108).
	socketLimit = 104
	ownerFile   = "owner"  // locked as long as the owner lives
	serverFile  = "server" // number and start time of the server
)

// home is the private directory of one server. It has an owner, the process that made it, which holds a lock on the
// file owner in it. The kernel drops the lock when the owner ends, however it ends, and unlike a recorded process
// number it cannot be mistaken for somebody else's, not even from another container that shares the directory.
type home struct {
	path  string
	owner *os.File
}

// newHome makes a private directory below parent that the account can walk through. An empty parent is a default.
func newHome(parent string, a account) (*home, error) {
	parent, err := homeParent(parent, a)
	if err != nil {
		return nil, err
	}
	sweep(parent)
	path, err := os.MkdirTemp(parent, homePrefix)
	if err != nil {
		return nil, err
	}
	h := &home{path: path}
	if err := h.claim(a); err != nil {
		return nil, errors.Join(err, h.remove())
	}
	return h, nil
}

func homeParent(parent string, a account) (string, error) {
	if parent == "" {
		parent = os.TempDir()
		if a.reach(parent) != nil {
			parent = "/tmp" // TMPDIR may lie in a home
		}
	}
	parent, err := filepath.Abs(parent)
	if err != nil {
		return "", err
	}
	if parent, err = filepath.EvalSymlinks(parent); err != nil {
		return "", err
	}
	if err := a.reach(parent); err != nil {
		return "", fmt.Errorf("%w; give another directory", err)
	}
	if long := len(filepath.Join(parent, homePrefix+"1234567890", "s", ".s.PGSQL.65535")); long >= socketLimit {
		return "", fmt.Errorf("%s is too long for the path of a socket (%d bytes, %d at most); give another directory",
			parent, long, socketLimit-1)
	}
	return parent, nil
}

// claim takes the lock before the file gets its name: a sweep never sees the file without it.
func (h *home) claim(a account) error {
	if a.other {
		if err := os.Chmod(h.path, 0o711); err != nil { //nolint:gosec // the server's user must walk through
			return err
		}
	}
	file, err := os.CreateTemp(h.path, ownerFile+"-")
	if err != nil {
		return err
	}
	h.owner = file
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(file, os.Getpid()); err != nil {
		return err
	}
	return os.Rename(file.Name(), filepath.Join(h.path, ownerFile))
}

// dir makes a directory in h that belongs to the account and to nobody else.
func (h *home) dir(name string, a account) (string, error) {
	path := filepath.Join(h.path, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		return "", err
	}
	return path, a.give(path)
}

// file writes a file in h that only the account can read.
func (h *home) file(name string, a account, content string) (string, error) {
	path := filepath.Join(h.path, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return "", err
	}
	return path, a.give(path)
}

// certificates makes the files of a server's TLS in h.
func (h *home) certificates(a account) (Certificates, error) {
	c, err := NewCertificates(h.path)
	if err != nil {
		return Certificates{}, err
	}
	return c, a.give(c.Key)
}

// note records the server, so that a sweep can stop it if it outlives its owner. The record lies where only the owner
// can write, unlike the server's own postmaster.pid: root acts on it.
func (h *home) note(pid int) error {
	return os.WriteFile(filepath.Join(h.path, serverFile), fmt.Appendf(nil, "%d %s\n", pid, startTime(pid)), 0o600)
}

// remove deletes the directory and lets go of it.
func (h *home) remove() error {
	var err error
	for range 100 {
		if err = os.RemoveAll(h.path); err == nil {
			break
		}
		<-time.After(20 * time.Millisecond) // orphans of a killed postmaster may still write
	}
	if h.owner != nil {
		err = errors.Join(err, h.owner.Close())
	}
	return err
}

// sweep removes the directories below parent whose owner is dead, and stops a server that outlived its owner. It never
// touches a directory of another user or one whose owner lives. What cannot be removed stays for the next sweep.
func sweep(parent string) {
	paths, err := filepath.Glob(filepath.Join(parent, homePrefix+"*"))
	if err != nil {
		return // the name of parent holds a bracket; nothing is lost but disk space
	}
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil || !info.IsDir() {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || int(stat.Uid) != os.Geteuid() {
			continue
		}
		sweepOne(path, info)
	}
}

func sweepOne(path string, info os.FileInfo) {
	owner, err := os.OpenFile(filepath.Join(path, ownerFile), os.O_RDWR, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		// Being made at this moment, or its maker died between two system calls. An hour tells them apart.
		if time.Since(info.ModTime()) > time.Hour {
			_ = os.RemoveAll(path)
		}
		return
	case err != nil:
		return
	}
	h := home{path: path, owner: owner}
	if syscall.Flock(int(owner.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil || !stopLeftover(path) {
		_ = owner.Close()
		return
	}
	_ = h.remove()
}

// stopLeftover stops the server of a dead owner and says whether it is gone. Its data is about to be removed, so it
// needs no time to write it.
func stopLeftover(path string) bool {
	record, err := os.ReadFile(filepath.Join(path, serverFile))
	if err != nil {
		return errors.Is(err, os.ErrNotExist) // the owner died before it had a server
	}
	number, started, _ := strings.Cut(strings.TrimSpace(string(record)), " ")
	pid, err := strconv.Atoi(number)
	if err != nil || pid <= 1 || started == "" || startTime(pid) != started {
		return true
	}
	_ = syscall.Kill(pid, syscall.SIGQUIT)
	for range 500 {
		if startTime(pid) != started {
			return true
		}
		<-time.After(10 * time.Millisecond)
	}
	return false
}
