package tasksfile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stemqueue/stem/queue"
)

// Exit statuses with a meaning of their own, from sysexits.h.
const (
	exitDataErr  = 65
	exitTempFail = 75
)

// secrets are patterns of variables that no command gets: what opens Stem's database, signs jobs, or speaks to systemd
// in the worker's name. A task may still be given one by name, in its env.
var secrets = []string{
	"STEM_SIGNING_*", "STEM_*URL*", "STEM_*_FILE", "STEM_*KEY*", "STEM_*SECRET*", "STEM_*PASSWORD*", "STEM_*TOKEN*",
	"STEM_*_HEADERS", "DATABASE_URL", "PGPASSWORD", "PGPASSFILE", "PGSERVICEFILE", "PGSSLKEY", "PGSSLPASSWORD",
	"CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_*", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
}

func secret(name string) bool {
	return slices.ContainsFunc(secrets, func(pattern string) bool {
		match, _ := path.Match(pattern, name) // the patterns are well-formed
		return match
	})
}

func (t *Task) environment(run *queue.Run) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return secret(name) || slices.Contains(ownEnv, name)
	})
	env = append(env, t.Env...)
	env = append(env, "STEM_JOB_ID="+run.ID.String(), "STEM_TASK="+run.Task, "STEM_QUEUE="+run.Queue,
		"STEM_ATTEMPT="+strconv.Itoa(run.Attempt))
	if tp := traceparent(run); tp != "" {
		env = append(env, "TRACEPARENT="+tp)
	}
	return env
}

func (t *Task) execute(ctx context.Context, run *queue.Run) Report {
	cmd := exec.Command(t.path) //nolint:noctx // ends by signals to its group, not by SIGKILL with a context
	cmd.Args = t.Command
	cmd.Dir = t.Dir
	cmd.Env = t.environment(run)

	stdout, stderr := &head{limit: queue.MaxResultBytes}, &tail{}
	pipes, err := connect(cmd, run.Payload, stdout, stderr)
	if err != nil {
		return notStarted(t.Command[0], run, err)
	}
	p, err := start(cmd)
	pipes.closeChildEnds()
	if err != nil {
		pipes.drop()
		return notStarted(t.Command[0], run, err)
	}
	pipes.pump()
	why := p.supervise(ctx, t.HardLimit, t.KillGrace)
	pipes.drain()
	return settle(cmd.ProcessState, why, run, stdout, stderr)
}

// notStarted puts the job back when the machine is short of something for now; the job has no part in that.
func notStarted(name string, run *queue.Run, err error) Report {
	r := Report{Outcome: Failed, Err: fmt.Errorf("command %s cannot be started: %w", name, bare(err))}
	for _, passing := range []error{syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.ETXTBSY} {
		if errors.Is(err, passing) {
			r.Outcome, r.Delay = PutBack, backoff(run.Releases)
		}
	}
	return r
}

// settle turns how the command ended into a report. why is nil unless the command was told to stop.
func settle(state *os.ProcessState, why error, run *queue.Run, stdout *head, stderr *tail) Report {
	status, ok := state.Sys().(syscall.WaitStatus)
	if !ok {
		return Report{Outcome: Failed, Err: errors.New(state.String())}
	}
	text := "exit status " + strconv.Itoa(status.ExitStatus())
	if status.Signaled() {
		text = "killed by signal " + unix.SignalName(status.Signal())
	}
	if said := stderr.text(); said != "" {
		text += ": " + said
	}
	err := errors.New(text)
	if why != nil {
		err = fmt.Errorf("%w: %s", why, text)
	}
	switch {
	case status.Exited() && status.ExitStatus() == exitTempFail:
		return Report{Outcome: PutBack, Delay: backoff(run.Releases), Err: err}
	case status.Exited() && status.ExitStatus() == exitDataErr:
		return Report{Outcome: Dead, Err: err}
	case status.Exited() && status.ExitStatus() == 0 && why == nil:
		return Report{Outcome: Completed, Result: result(stdout.bytes, stdout.total)}
	default:
		return Report{Outcome: Failed, Err: err}
	}
}

// limitError is the reason to stop a command that ran too long.
func limitError(limit time.Duration) error {
	return fmt.Errorf("ran longer than the hard limit %v", limit)
}
