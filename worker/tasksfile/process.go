package tasksfile

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	// drainLimit is how long output may still come from processes that left the command's group.
	drainLimit = 2 * time.Second
	// groupPoll is how soon a group that was told to stop is looked at first, the kernel tells nobody when it is empty;
	// the pauses grow to groupPollMost, because a look reads all of /proc.
	groupPoll     = 10 * time.Millisecond
	groupPollMost = 160 * time.Millisecond
)

// process is a command in a process group of its own.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when the command has ended; on Linux before it is reaped, so that its id is still its own
}

// start starts cmd, which is killed when this process ends in any way.
func start(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	p := &process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux takes the *thread* that forked for the parent. A thread of the Go runtime may end at any time, so this
		// one is held, forking first and then waiting.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			await(cmd)
			close(p.ended)
		}
	}()
	return p, <-started
}

// supervise waits until no process of the group is left. It returns why the command was told to stop, nil when it ended
// by itself.
func (p *process) supervise(ctx context.Context, limit, grace time.Duration) error {
	var expired <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		expired = timer.C
	}
	var why error
	select {
	case <-p.ended:
		p.signalGroup(syscall.SIGKILL)
		reap(p.cmd)
		return nil
	case <-expired:
		why = limitError(limit)
	case <-ctx.Done():
		why = context.Cause(ctx)
	}
	p.signalGroup(syscall.SIGTERM)
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	select {
	case <-p.ended:
	case <-deadline.C:
		p.signalGroup(syscall.SIGKILL)
		<-p.ended
		p.signalGroup(syscall.SIGKILL) // what was forked in between
		reap(p.cmd)
		return why
	}
	// The command is gone; its children have the rest of the grace. Its id cannot be given away while they live.
	reap(p.cmd)
	for pause := groupPoll; p.signalGroup(0) && groupLives(p.cmd.Process.Pid); pause = min(2*pause, groupPollMost) {
		select {
		case <-time.After(pause):
		case <-deadline.C:
			p.signalGroup(syscall.SIGKILL)
			return why
		}
	}
	return why
}

// signalGroup tells whether there was anyone to send it to.
func (p *process) signalGroup(sig syscall.Signal) bool {
	return syscall.Kill(-p.cmd.Process.Pid, sig) == nil
}

// pipes connect a command with its payload and the keepers of its output. They are not those of os/exec, whose Wait
// reaps the command before its group could be killed, and waits for any process that holds its stdout.
type pipes struct {
	child   []*os.File
	parent  []*os.File
	payload []byte
	sinks   []io.Writer // for parent[1:]
	pumping sync.WaitGroup
}

func connect(cmd *exec.Cmd, payload []byte, stdout, stderr io.Writer) (*pipes, error) {
	p := &pipes{payload: payload, sinks: []io.Writer{stdout, stderr}}
	for i := range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			p.drop()
			return nil, err
		}
		if i == 0 {
			r, w = w, r
		}
		p.parent, p.child = append(p.parent, r), append(p.child, w)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.child[0], p.child[1], p.child[2]
	return p, nil
}

func (p *pipes) closeChildEnds() {
	for _, f := range p.child {
		f.Close()
	}
	p.child = nil
}

func (p *pipes) drop() {
	p.closeChildEnds()
	for _, f := range p.parent {
		f.Close()
	}
}

func (p *pipes) pump() {
	p.pumping.Go(func() {
		// A command need not read its payload: EPIPE is no error.
		_, _ = io.Copy(p.parent[0], bytes.NewReader(p.payload))
		p.parent[0].Close()
	})
	for i, sink := range p.sinks {
		from := p.parent[i+1]
		p.pumping.Go(func() { _, _ = io.Copy(sink, struct{ io.Reader }{from}) })
	}
}

// drain waits for the end of the output, though not for processes that left the group and hold it open.
func (p *pipes) drain() {
	p.parent[0].Close()
	until := time.Now().Add(drainLimit)
	for _, f := range p.parent[1:] {
		_ = f.SetReadDeadline(until) // pipes have deadlines
	}
	p.pumping.Wait()
	p.drop()
}
