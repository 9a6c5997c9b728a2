package cli

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/stemqueue/stem/cmd/stem/internal/fault"
	"github.com/stemqueue/stem/internal/devpg"
)

// child runs the command and returns its exit code as an error that prints nothing.
func (d *dev) child(ctx context.Context, command []string) error {
	if ctx.Err() != nil {
		return fault.Quiet(fault.ExitInterrupted)
	}
	cmd, err := d.command(command)
	if err != nil {
		return err
	}
	if err := d.signals.start(cmd, d.interactive); err != nil {
		return fault.New(fault.ExitNoInput, "cannot_run", "%s: %s", command[0], reason(err)).About("command line").Because(err)
	}
	err = cmd.Wait()
	d.signals.ended()
	exit, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return nil
	case !ok:
		return err
	case exit.ExitCode() >= 0:
		return fault.Quiet(exit.ExitCode())
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	if !ok {
		return err
	}
	return fault.Quiet(128 + int(status.Signal())) // as a shell does
}

func (d *dev) command(args []string) (*exec.Cmd, error) {
	path := args[0]
	var err error
	if path == "stem" {
		path, err = os.Executable()
	} else {
		path, err = exec.LookPath(path)
	}
	if err != nil {
		return nil, fault.New(fault.ExitNoInput, "cannot_run", "%s: %s", args[0], reason(err)).About("command line").Because(err)
	}
	return &exec.Cmd{Path: path, Args: args, Env: d.childEnv(), Stdin: d.In, Stdout: d.streams.Out, Stderr: d.streams.Err}, nil
}

// childEnv is the environment of the child: the URL goes this way only, because a command line is public. What else
// could name a database goes, and with it what the TLS of that one needed.
func (d *dev) childEnv() []string {
	if d.server.Rung == devpg.RungURL {
		return d.streams.Environ
	}
	env := slices.DeleteFunc(slices.Clone(d.streams.Environ), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return strings.HasPrefix(name, "STEM_TLS_") ||
			strings.HasPrefix(name, "STEM_") && strings.HasSuffix(strings.TrimSuffix(name, "_FILE"), "_URL")
	})
	return append(env, databaseVar+"="+d.url)
}

// reason is an error of a program that does not start, without its name.
func reason(err error) string {
	if e, ok := errors.AsType[*exec.Error](err); ok {
		return e.Err.Error()
	}
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}

// devSignals decides who hears of a signal: dev itself, or the child while there is one.
type devSignals struct {
	mu    sync.Mutex
	child *os.Process
	tty   bool // the terminal sends Ctrl-C to the child as well
	again bool
}

// take returns a context that ends at the first signal that is not the child's.
func (s *devSignals) take(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		for {
			select {
			case sig := <-signals:
				s.deliver(sig, cancel)
			case <-ctx.Done():
				signal.Stop(signals) // a second Ctrl-C kills; the next start removes what that leaves
				return
			}
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel() }
}

func (s *devSignals) deliver(sig os.Signal, cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.child == nil:
		cancel()
	case s.again:
		_ = s.child.Kill() // it has ended by itself, or does now
	default:
		s.again = true
		if !s.tty || sig != os.Interrupt {
			_ = s.child.Signal(sig)
		}
	}
}

// start starts the child.
func (s *devSignals) start(cmd *exec.Cmd, tty bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	s.child, s.tty = cmd.Process, tty
	return nil
}

// ended says that there is no child any more.
func (s *devSignals) ended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.child = nil
}
