package fault

import (
	"fmt"
	"strings"
)

// Exit codes of every command. Sixty-four and up follow sysexits.h; 3 and 4 follow the LSB.
const (
	ExitOK          = 0
	ExitNotFound    = 1 // not found, or a check failed
	ExitPartial     = 2
	ExitNotRunning  = 3
	ExitUnknown     = 4
	ExitUsage       = 64
	ExitData        = 65
	ExitNoInput     = 66
	ExitUnavailable = 69
	ExitInternal    = 70
	ExitTryLater    = 75
	ExitPermission  = 77
	ExitConfig      = 78
	ExitInterrupted = 130
)

// An ExitCode is one line of the documentation of exit codes.
type ExitCode struct {
	Code    int
	Meaning string
}

// ExitCodes lists every code that stem returns, in ascending order.
var ExitCodes = []ExitCode{
	{ExitOK, "ok; an empty list is ok too"},
	{ExitNotFound, "not found, or a check failed"},
	{ExitPartial, "partial success: some were done, the rest are named on stderr"},
	{ExitNotRunning, "not running"},
	{ExitUnknown, "state unknown (stem worker multi status only)"},
	{ExitUsage, "usage: an unknown command or flag, or a value out of range"},
	{ExitData, "bad data: a payload or a file that does not parse"},
	{ExitNoInput, "input missing: a file that does not exist or cannot be read"},
	{ExitUnavailable, "database unreachable"},
	{ExitInternal, "internal failure, no reply, or unhealthy"},
	{ExitTryLater, "try later: it changed underneath you, or time ran out"},
	{ExitPermission, "permission: a role lacks a right, or a secret is readable by others"},
	{ExitConfig, "configuration: a setting is missing or wrong, or the schema is out of date"},
	{ExitInterrupted, "interrupted by a signal"},
}

// ExitHelp is the text of "stem help exit-codes".
func ExitHelp() string {
	var b strings.Builder
	b.WriteString("Every stem command exits with one of these codes:\n\n")
	for _, c := range ExitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", c.Code, c.Meaning)
	}
	b.WriteString("\nhealthcheck, health and diagnose answer 70 when unhealthy; doctor, signing status and every check and\n" +
		"verify command answer 1. With --json an error is one object on stderr:\n\n" +
		`  {"error":{"code":"unknown_flag","message":"...","source":"flag --lmit","hint":"..."}}` + "\n")
	return b.String()
}
