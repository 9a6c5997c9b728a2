package secretfile

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"syscall"
	"testing"
)

// TestReadWhatThisUserMayNot also as root, which may read everything: the file system takes the thread that reads for nobody.
func TestReadWhatThisUserMayNot(t *testing.T) {
	t.Parallel()
	path := write(t, "s", 0)
	read := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if os.Geteuid() == 0 {
			_ = syscall.Setfsuid(65534) // has no error: what follows shows whether it took effect
		}
		_, err := Read(path, Private)
		read <- err
	}()
	err := <-read
	if e, ok := errors.AsType[*Error](err); !ok || e.Fault != Forbidden || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
}
