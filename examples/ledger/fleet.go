package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"
)

// fleet is the worker processes.
type fleet struct {
	*ledger
	logs  io.Writer
	kills int           // to be read when done is closed
	done  chan struct{} // closed when the killer has stopped

	mu       sync.Mutex
	closing  bool
	started  int
	members  map[string]*member // by node
	accident error              // a worker that ended by itself
}

type member struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser // its end tells the process that the parent is gone
	killed bool
	gone   chan struct{}
}

func newFleet(l *ledger, logs io.Writer) *fleet {
	return &fleet{ledger: l, logs: logs, members: map[string]*member{}}
}

// start starts one more worker process.
func (f *fleet) start(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.started++
	node := fmt.Sprintf("%s-%d", f.queue, f.started)
	text, err := json.Marshal(order{
		URL: f.clients, Run: f.id, Queue: f.queue, Node: node, Notes: f.notes, Work: f.work,
		Poll: !f.notify || f.pooled, Verbose: f.log != "",
	})
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self)
	cmd.Env = append(os.Environ(), orderVar+"="+string(text))
	cmd.Stdout, cmd.Stderr = os.Stderr, f.logs
	// Ctrl-C reaches the parent alone.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a worker: %w", err)
	}
	m := &member{cmd: cmd, stdin: stdin, gone: make(chan struct{})}
	f.members[node] = m
	go f.await(node, m)
	return nil
}

// await reaps a process. One that ends by itself is an accident.
func (f *fleet) await(node string, m *member) {
	err := m.cmd.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.members, node)
	if !m.killed && (!f.closing || err != nil) {
		f.accident = fmt.Errorf("worker process %s ended by itself: %w", node, err)
		f.say("%v", f.accident)
	}
	close(m.gone)
}

// broken is the error of a worker that ended by itself.
func (f *fleet) broken() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.accident
}

// killNowAndThen kills the first worker as soon as so many files are done and a worker is busy. From then on it looks once
// every period and kills, at random, one of those that hold jobs just then, and nothing but jobs that never crashed.
func (f *fleet) killNowAndThen(ctx context.Context, after int) {
	defer close(f.done)
	pause := 10 * time.Millisecond
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if f.kills == 0 {
			if c, err := f.count(ctx); err != nil || c.digests < after {
				continue
			}
		}
		if f.killOne(ctx) {
			f.kills++
			pause = f.killEvery
		}
	}
}

// killOne kills a busy worker, at random, and replaces it. False when there was none. A worker may claim a suspect after the look
// and before its death: then a job crashes twice, which is why the time limit has room for its pause.
func (f *fleet) killOne(ctx context.Context) bool {
	held, err := f.busy(ctx)
	if err != nil {
		return false
	}
	f.mu.Lock()
	maps.DeleteFunc(held, func(node string, _ int) bool { return f.members[node] == nil || f.members[node].killed })
	if len(held) == 0 {
		f.mu.Unlock()
		return false
	}
	nodes := slices.Sorted(maps.Keys(held))
	node := nodes[rand.IntN(len(nodes))]
	victim := f.members[node]
	victim.killed = true
	_ = victim.cmd.Process.Kill() // one that is gone already is reported by await
	f.mu.Unlock()
	<-victim.gone
	f.say("killed %s, which held %d jobs", node, held[node])
	if err := f.start(ctx); err != nil && ctx.Err() == nil {
		f.say("%v", err)
	}
	return true
}

// drain asks all to stop and waits until they have: what a late handler would still do must be done before the check.
func (f *fleet) drain() {
	members := f.close()
	for _, m := range members {
		_ = m.cmd.Process.Signal(syscall.SIGTERM) // one that is gone already is reported by await
	}
	patience := time.After(40 * time.Second)
	for _, m := range members {
		select {
		case <-m.gone:
		case <-patience:
			return // the rest are killed
		}
	}
}

// killAll leaves no process behind.
func (f *fleet) killAll() {
	for _, m := range f.close() {
		_ = m.cmd.Process.Kill() // it may be gone already
		<-m.gone
	}
}

func (f *fleet) close() []*member {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closing = true
	return slices.Collect(maps.Values(f.members))
}
