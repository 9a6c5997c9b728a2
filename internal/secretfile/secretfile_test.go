//go:build unix

package secretfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func write(t *testing.T, text string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"s":                          "s",
		"s\n":                        "s",
		"s\r\n":                      "s",
		"s\n\n":                      "s\n",
		" s ":                        " s ",
		strings.Repeat("x", 64<<10):  strings.Repeat("x", 64<<10),
		"a\x00b\n":                   "a\x00b",
		"{\n \"keys\": []\n}\n":      "{\n \"keys\": []\n}",
		strings.Repeat("v1:x,", 100): strings.Repeat("v1:x,", 100),
	} {
		if got, err := Read(write(t, text, 0o600), Private); got != want || err != nil {
			t.Errorf("%.20q: got %.20q, %v", text, got, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(write(t, "s", 0o644), link); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path  string
		guard Guard
		fault Fault
		what  string
	}{
		{filepath.Join(dir, "none"), Private, Missing, "no such file"},
		{filepath.Join(dir, "none"), Mounted, Missing, "no such file"},
		{write(t, "s", 0o600) + "/x", Private, Missing, "cannot be read"},
		{dir, Private, Bad, "is a directory"},
		{dir, Mounted, Bad, "is a directory"},
		{write(t, "", 0o600), Private, Bad, "empty"},
		{write(t, "\n", 0o600), Private, Bad, "empty"},
		{write(t, strings.Repeat("x", 64<<10+1), 0o600), Private, Bad, "larger than 64 KiB"},
		{write(t, strings.Repeat("x", 64<<10+1), 0o600), Mounted, Bad, "larger than 64 KiB"},
		{write(t, "s", 0o644), Private, Exposed, "readable by others (0644); chmod 0600 or use LoadCredential"},
		{write(t, "s", 0o640), Private, Exposed, "readable by others (0640); chmod 0600 or use LoadCredential"},
		{write(t, "s", 0o604), Private, Exposed, "readable by others (0604); chmod 0600 or use LoadCredential"},
		{write(t, "s", 0o620), Private, Exposed, "writable by others (0620); chmod 0600 or use LoadCredential"},
		{link, Private, Exposed, "readable by others (0644); chmod 0600 or use LoadCredential"},
	} {
		_, err := Read(tt.path, tt.guard)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Fault != tt.fault || e.Error() != tt.path+": "+tt.what {
			t.Errorf("%s: got %v, want %s", tt.path, err, tt.what)
		}
	}
	for _, path := range []string{link, write(t, "s", 0o444)} {
		if got, err := Read(path, Mounted); got != "s" || err != nil {
			t.Errorf("mounted: got %q, %v", got, err)
		}
	}
}

// TestPipe: what a shell's <(…) makes has no mode worth the name.
func TestPipe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- os.WriteFile(path, []byte("s\n"), 0o600) }()
	got, err := Read(path, Private)
	if got != "s" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// info is a file of a given owner, which a test that is not root cannot make.
type info struct {
	uid  uint32
	mode fs.FileMode
}

func (i info) Name() string       { return "secret" }
func (i info) Size() int64        { return 1 }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return false }
func (i info) Sys() any           { return &syscall.Stat_t{Uid: i.uid} }

func TestOwner(t *testing.T) {
	t.Parallel()
	const mine, foreign = 1000, "belongs to user 1001, who could change it; want root or this user (1000)"
	for _, tt := range []struct {
		owner uint32
		user  int
		want  string
	}{
		{0, mine, ""},
		{mine, mine, ""},
		{1001, mine, foreign},
		{1001, 0, ""},
	} {
		if got := exposed(info{tt.owner, 0o600}, tt.user); got != tt.want {
			t.Errorf("owner %d, user %d: got %q, want %q", tt.owner, tt.user, got, tt.want)
		}
	}
}
