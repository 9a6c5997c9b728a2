//go:build !linux

package tasksfile

import (
	"os/exec"
	"syscall"
)

// dieWithParent does nothing: only Linux has such a signal.
func dieWithParent(*syscall.SysProcAttr) {}

// await returns when the command has ended. How it ended is in cmd.ProcessState.
func await(cmd *exec.Cmd) { _ = cmd.Wait() }

// reap does nothing: await did it.
func reap(*exec.Cmd) {}

// groupLives tells whether any process of the group still runs, as far as signals can tell.
func groupLives(int) bool { return true }
