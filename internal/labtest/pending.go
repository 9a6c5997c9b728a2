package labtest

import (
	"testing"
	"time"
)

// Eventually polls until the condition holds. Three minutes are for a machine that has more to do than this.
func Eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(3 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		case <-tick.C:
		}
	}
}

// Pending is a call, on a connection of its own, that is still running until Done is closed.
type Pending[T any] struct {
	Done  chan struct{}
	Value T
	Err   error
}

// Start makes a call and does not wait for its end.
func Start[T any](call func() (T, error)) *Pending[T] {
	p := &Pending[T]{Done: make(chan struct{})}
	go func() {
		defer close(p.Done)
		p.Value, p.Err = call()
	}()
	return p
}

// Wait waits for the end of the call, which must be a good one.
func (p *Pending[T]) Wait(t *testing.T) T {
	t.Helper()
	<-p.Done
	if p.Err != nil {
		t.Fatal(p.Err)
	}
	return p.Value
}

// Blocked tells whether the connection with that process id waits for a lock.
func Blocked(t *testing.T, owner DB, process uint32) bool {
	t.Helper()
	return One[bool](t, owner, "select exists (select from pg_locks where pid = $1 and not granted)", process)
}

// Blocks waits until the call on that connection waits for a lock, or has ended, and tells whether it waits.
func Blocks(t *testing.T, owner DB, process uint32, done <-chan struct{}) bool {
	t.Helper()
	blocked := false
	Eventually(t, "the call ends or blocks", func() bool {
		select {
		case <-done:
			return true
		default:
		}
		blocked = Blocked(t, owner, process)
		return blocked
	})
	return blocked
}
