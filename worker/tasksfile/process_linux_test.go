package tasksfile

import (
	"context"
	"errors"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// A process that died is a member of its group until its parent reaps it, and the init of a container may be slow at that.
func TestTheDeadDoNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	p, err := start(exec.CommandContext(t.Context(), "sleep", "600"))
	if err != nil {
		t.Fatal(err)
	}
	member := exec.CommandContext(t.Context(), "sleep", "600")
	member.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: p.cmd.Process.Pid}
	if err := member.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = member.Wait() }) // not before: until then it is dead and not reaped

	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	ended := make(chan error, 1)
	go func() { ended <- p.supervise(ctx, 0, time.Minute) }()
	select {
	case err := <-ended:
		if !errors.Is(err, cause) {
			t.Errorf("got %v, want %v", err, cause)
		}
	case <-time.After(20 * time.Second):
		t.Error("still waiting for a group of which nobody lives")
	}
	if !p.signalGroup(0) {
		t.Error("the group is gone: this test has shown nothing")
	}
}

func TestTheLivingAreWaitedFor(t *testing.T) {
	t.Parallel()
	p, err := start(exec.CommandContext(t.Context(), "sh", "-c", "trap '' TERM; sleep 600 & sleep 600"))
	if err != nil {
		t.Fatal(err)
	}
	pid := p.cmd.Process.Pid
	if !groupLives(pid) {
		t.Error("a group that lives is taken for dead")
	}
	p.signalGroup(syscall.SIGKILL)
	<-p.ended
	reap(p.cmd)
	deadline := time.After(20 * time.Second)
	for groupLives(pid) {
		select {
		case <-deadline:
			t.Fatal("a group that was killed is taken for alive")
		case <-time.After(groupPoll):
		}
	}
}
