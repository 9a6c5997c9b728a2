package devpg

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// process is a child that is not to outlive this process.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the child is gone
	err  error         // how it went; to be read after done
}

// command prepares a child in a process group of its own: Ctrl-C on the terminal must reach Stem alone, which drains
// its work before it takes the database away.
func command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...) //nolint:noctx // ends by signals chosen for it, not by SIGKILL with a context
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// start starts cmd, which gets the signal onDeath when this process ends in any way.
func start(cmd *exec.Cmd, onDeath syscall.Signal) (*process, error) {
	dieWithParent(cmd.SysProcAttr, onDeath)
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux takes the *thread* that forked for the parent. A thread of the Go runtime may end at any time, so this
		// one is held, forking first and then waiting.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// signal sends sig to the child alone; a child that is gone already is no error.
func (p *process) signal(sig syscall.Signal) {
	_ = p.cmd.Process.Signal(sig)
}

// end sends the signal and waits until the child is gone; when ctx ends first it kills.
func (p *process) end(ctx context.Context, sig syscall.Signal) {
	p.signal(sig)
	select {
	case <-p.done:
	case <-ctx.Done():
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

// endSoon is end for a child that has nothing to finish.
func (p *process) endSoon(sig syscall.Signal) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	p.end(ctx, sig)
}

// running says whether the child is still there.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// runToEnd runs cmd and waits for it. When ctx ends first, cmd and its children get the signal, and ctx's cause is
// the error.
func runToEnd(ctx context.Context, cmd *exec.Cmd, sig syscall.Signal) error {
	p, err := start(cmd, sig)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		_ = syscall.Kill(-p.pid(), sig)
		<-p.done
		return context.Cause(ctx)
	}
}

// run is runToEnd for a short command: it returns what the command printed, and on error says it.
func run(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := runToEnd(ctx, cmd, syscall.SIGKILL)
	if said := strings.TrimSpace(out.String()); err != nil && said != "" {
		return "", fmt.Errorf("%w: %s", err, said)
	}
	return out.String(), err
}

// lines hands each whole line that is written to it to a function, and keeps the last one.
type lines struct {
	each func(string)
	last string
	rest []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.rest = rest
		if text := strings.TrimSpace(string(line)); text != "" {
			l.last = text
			l.each(text)
		}
	}
}
