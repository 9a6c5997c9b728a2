//go:build !linux

package devpg

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent does nothing: only Linux has such a signal. The next Start stops a server that was left running.
func dieWithParent(*syscall.SysProcAttr, syscall.Signal) {}

// startTime tells a process from another that got its number later: it returns when pid was started, or "" if there is
// no such process or only its corpse.
func startTime(pid int) string {
	//nolint:noctx // ps answers at once
	out, err := exec.Command("ps", "-o", "state=,lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	state, started, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if strings.HasPrefix(state, "Z") {
		return ""
	}
	return strings.TrimSpace(started)
}
