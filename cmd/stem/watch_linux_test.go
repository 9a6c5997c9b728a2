package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stemqueue/stem/internal/pgtest"
)

// pseudoTerminal opens a pair of terminal ends, 60 columns wide and 10 lines high.
func pseudoTerminal(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("NOT RUN: no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	fd := int(ours.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 60}); err != nil {
		t.Fatal(err)
	}
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// On a terminal the table is drawn over itself, no wider and no higher than the screen; Ctrl-C ends it.
func TestWatchRedrawsOnATerminal(t *testing.T) {
	t.Parallel()
	url := pgtest.Database(t)
	pool := pgtest.Open(t, url)
	for i := range 20 {
		enqueue(t, pool, fmt.Sprintf("mail%02d", i))
	}
	ours, theirs := pseudoTerminal(t)
	cmd := stemCommand(t, pgtest.Login(t, url, "observer"), "queue", "ls", "--watch", "--interval", "100ms")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	w := &watching{cmd, bufio.NewScanner(ours)}
	w.until(t, "\x1b[HNAME", "READY")
	drawn := 1
	for w.lines.Scan() {
		line := strings.TrimRight(w.lines.Text(), "\r")
		if strings.Contains(line, "\x1b[H") {
			break // the next picture
		}
		drawn++
		if text := strings.NewReplacer("\x1b[K", "", "\x1b[J", "").Replace(line); len([]rune(text)) > 60 {
			t.Errorf("a line of %d columns: %q", len([]rune(text)), text)
		}
	}
	if drawn != 9 {
		t.Errorf("%d lines on a screen of 10, want 9", drawn)
	}
	if _, err := pool.Exec(t.Context(), "select stem.pause_queue('mail00', '')"); err != nil {
		t.Fatal(err)
	}
	w.until(t, "mail00", "paused")
	if _, err := ours.Write([]byte{3}); err != nil { // Ctrl-C: the terminal makes the signal
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for w.lines.Scan() { // drained, or the program could not say goodbye
	}
	if err := <-done; err == nil || err.Error() != "exit status 130" {
		t.Errorf("got %v, want exit status 130", err)
	}
}
