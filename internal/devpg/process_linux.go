package devpg

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// dieWithParent has the kernel send sig to the child when its parent ends.
func dieWithParent(attr *syscall.SysProcAttr, sig syscall.Signal) { attr.Pdeathsig = sig }

// startTime tells a process from another that got its number later: it returns the clock tick at which pid was
// started, or "" if there is no such process or only its corpse.
func startTime(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	// The second field is the command in parentheses and may hold anything, so count from the last parenthesis:
	// state is field 3, starttime is field 22.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return ""
	}
	return fields[19]
}
