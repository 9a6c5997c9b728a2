package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// A ShutdownMode says how much a worker that ends still waits for.
type ShutdownMode int

const (
	// Warm claims nothing more, lets handlers finish for at most the shutdown grace, and then goes on as Soft.
	Warm ShutdownMode = iota + 1
	// Soft also cancels the handlers with ErrShutdown, and goes on as Hard a second and a half later.
	Soft
	// Hard also puts back the jobs whose handlers have not ended.
	Hard
)

func (m ShutdownMode) String() string {
	switch m {
	case Warm:
		return "warm"
	case Soft:
		return "soft"
	case Hard:
		return "hard"
	}
	return fmt.Sprintf("ShutdownMode(%d)", int(m))
}

const (
	softPatience = 1500 * time.Millisecond // with handlers whose contexts were cancelled
	softLimit    = 1900 * time.Millisecond // from then until Run stops talking to the database: two seconds, less what it takes to return
	hardPatience = 400 * time.Millisecond  // with handlers whose jobs were put back
	closeLimit   = 50 * time.Millisecond   // for connections that do not close by themselves
)

// Shutdown makes Run end in that mode, and does not wait for it. A mode only ever gets harder: by a later call, or as time
// passes. Run returns within the grace and two seconds of the first call, and within two seconds of a Soft or Hard one, even
// when the database does not answer. Before Run it makes Run return at once. It is safe for concurrent use.
func (w *Worker) Shutdown(mode ShutdownMode) { w.stop.ask(mode) }

// stopper is what was asked of a worker. Each mode has a channel that is closed when it, or a harder one, is asked for.
type stopper struct {
	mu   sync.Mutex
	mode ShutdownMode // the hardest asked for
	soft chan struct{}
	warm chan struct{}
	hard chan struct{}
}

func newStopper() *stopper {
	return &stopper{warm: make(chan struct{}), soft: make(chan struct{}), hard: make(chan struct{})}
}

func (s *stopper) ask(mode ShutdownMode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mode = min(max(mode, Warm), Hard)
	for ; s.mode < mode; s.mode++ {
		close([...]chan struct{}{s.warm, s.soft, s.hard}[s.mode])
	}
}

// conduct makes a shutdown harder as its time passes, from when it was asked for. It calls begun when there is one, and over
// when its time is up, unless done comes before.
func (s *stopper) conduct(done <-chan struct{}, grace time.Duration, begun, over func()) {
	select {
	case <-done:
		return
	case <-s.warm:
	}
	begun()
	if !s.askAfter(done, grace, s.soft, Soft) {
		return
	}
	limit := time.NewTimer(softLimit)
	defer limit.Stop()
	if !s.askAfter(done, softPatience, s.hard, Hard) {
		return
	}
	select {
	case <-done:
	case <-limit.C:
		over()
	}
}

// askAfter waits for a mode to be asked for, and asks for it when the time is up. False when done came before.
func (s *stopper) askAfter(done <-chan struct{}, patience time.Duration, asked <-chan struct{}, mode ShutdownMode) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
		return false
	case <-asked:
	case <-timer.C:
		s.ask(mode)
	}
	return true
}

// finish runs f, which ends by itself unless the database swallows what is sent to it: then it goes on in the background when
// the time of the shutdown is up.
func finish(whole context.Context, f func()) {
	ended := make(chan struct{})
	go func() { f(); close(ended) }()
	select {
	case <-ended:
		return
	case <-whole.Done():
	}
	select {
	case <-ended:
	case <-time.After(closeLimit):
	}
}

// closePool closes a pool. A connection in the middle of a statement asks the server to cancel it, and waits for up to 15 s.
func closePool(whole context.Context, pool *pgxpool.Pool) { finish(whole, pool.Close) }
