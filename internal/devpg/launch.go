package devpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience bounds a start. A start takes well under a second; a long recovery after a crash may take more.
const patience = time.Minute

var errPortTaken = errors.New("the port was taken meanwhile")

// launching is a server about to be started.
type launching struct {
	cmd     *exec.Cmd
	log     string              // the file that it prints to
	url     string              // where it answers when it is ready
	onDeath syscall.Signal      // what it gets when this process ends
	started func(pid int) error // told before the server is ready; may be nil
}

// launch starts a server and returns when it accepts connections. The error is errPortTaken if that is why it did not.
func launch(ctx context.Context, l launching) (*process, error) {
	log, err := os.OpenFile(l.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the server writes to its own copy
	before, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	l.cmd.Stdout, l.cmd.Stderr = log, log
	p, err := start(l.cmd, l.onDeath)
	if err != nil {
		return nil, err
	}
	if l.started != nil {
		err = l.started(p.pid())
	}
	if err == nil {
		err = answers(ctx, p, l.url)
	}
	if err == nil {
		return p, nil
	}
	p.endSoon(l.onDeath)
	said := tail(l.log, before)
	if strings.Contains(strings.ToLower(said), "address already in use") {
		err = errPortTaken
	}
	return nil, fmt.Errorf("%w; the server said:\n%s", err, said)
}

// answers waits until a client gets in.
func answers(ctx context.Context, p *process, url string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer within %v", patience))
	defer cancel()
	var last error
	for {
		conn, err := pgx.Connect(ctx, url)
		if err == nil {
			return conn.Close(ctx)
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-p.done:
			return fmt.Errorf("the server ended at once (%w)", exitReason(p.err))
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), last)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// exitReason names the case that Wait has no error for.
func exitReason(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// freePort returns a port that nobody listened on a moment ago.
func freePort() (int, error) {
	//nolint:noctx // a bind on loopback does not wait
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

// tail returns the last lines of the file from the offset on.
func tail(path string, from int64) string {
	const most = 20
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if int64(len(content)) < from {
		from = 0 // somebody truncated it
	}
	lines := strings.Split(strings.TrimSpace(string(content[from:])), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-most):], "\n  ")
}
