package worker

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/queue"
)

// dispatcher decides what to claim, and starts what was claimed. A slot is free only when the outcome of its last job is
// stored, and the jobs of a queue begin in the order in which they were claimed: rescue rests on both, since it charges only
// the first S claims of a queue with S slots.
type dispatcher struct {
	mu      sync.Mutex
	lines   []*line
	pending int  // claimed and not settled yet
	closed  bool // draining or lost: nothing begins any more
	alone   bool // a suspect runs: nothing else may begin or be claimed
	totals  totals

	// The goroutines that run handlers, at most one a slot. They wait for the next job, because a new one grows its stack in the
	// decoder each time: a fifth of what a worker does with short jobs.
	runners sync.WaitGroup
	next    chan *held
	over    chan struct{} // closed with closed

	activeMu sync.Mutex
	active   map[*held]struct{} // whose handlers run
	zombies  map[*held]struct{} // those of lost sessions before this one
	heir     *session           // the one after this one, when this one was lost

	kicked     chan struct{}
	beat       chan struct{}
	dueNow     chan struct{}
	dispatched chan struct{} // closed when nothing is claimed any more

	// Only the dispatch loop touches these.
	seq       int64
	marks     marks
	idle      bool // the idle flag is up
	quiet     int  // how often in a row nothing was found
	duty      bool // this worker runs the suspects of a queue: it claims nothing else
	suspectAt time.Time
	suspects  int // how many looks in a row found one waiting

	life         context.Context //nolint:containedctx // the session's own
	handling     context.Context //nolint:containedctx // the parent of all handlers' contexts, which outlives any one call
	stopHandlers context.CancelCauseFunc
	end          context.CancelCauseFunc
	stopping     <-chan struct{} // closed when a shutdown begins
}

// line is one queue as this worker sees it.
type line struct {
	name   string
	slots  int
	free   int
	buffer []*held       // claimed, not begun, in claim order
	mean   time.Duration // of how long its jobs take, smoothed
}

// held is one claim of this worker.
type held struct {
	line    *line
	run     *queue.Run
	claim   uuid.UUID
	row     store.ClaimRow
	ctx     context.Context //nolint:containedctx // the handler's, so that others can look at its end
	cancel  context.CancelCauseFunc
	begun   bool
	taken   time.Time    // when it was claimed, by this clock
	said    sync.Once    // that this claim is lost
	settled atomic.Bool  // its outcome was decided, which is done once
	ends    atomic.Int32 // of two: its handler returned, its outcome is stored. The slot is free after both
}

type totals struct {
	claimed, completed, failed, lost int64
}

func (d *dispatcher) init(c Config) {
	d.active, d.zombies = map[*held]struct{}{}, map[*held]struct{}{}
	d.dispatched, d.next, d.over = make(chan struct{}), make(chan *held), make(chan struct{})
	d.kicked, d.beat, d.dueNow = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	for _, name := range slices.Sorted(maps.Keys(c.Queues)) {
		d.lines = append(d.lines, &line{name: name, slots: c.Queues[name], free: c.Queues[name]})
	}
	d.marks.init(slices.Sorted(maps.Keys(c.Queues)))
}

// kick makes the dispatch loop look again, soon.
func (d *dispatcher) kick() {
	select {
	case d.kicked <- struct{}{}:
	default:
	}
}

// dispatch claims until a shutdown begins, or until the session is lost.
func (s *session) dispatch(life context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-s.stopping:
		case <-life.Done():
		case <-s.kicked:
		case <-timer.C:
		}
		if isClosed(s.stopping) || life.Err() != nil {
			break
		}
		if s.isFenced() {
			timer.Reset(s.config.PollInterval)
			continue
		}
		s.begin()
		timer.Reset(s.round(life))
	}
	close(s.dispatched)
	if !s.isEmpty() {
		s.setIdle(life, false) // it takes nothing more, and each notification costs producers something
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// round claims once, if there is room, and returns when to look again.
func (s *session) round(life context.Context) time.Duration {
	poll := s.config.PollInterval - rand.N(s.config.PollInterval/4+1)
	if len(s.handlers) == 0 {
		return poll // a worker without tasks heartbeats and rescues; what it claimed it could only put back
	}
	if s.duty || s.isAlone() {
		return s.onDuty(life, poll)
	}
	s.giveBack()
	wants, total := s.wants()
	if total == 0 {
		s.setIdle(life, false) // a busy worker wants no notifications: each one serialises commits
		s.watchSuspects(life)
		return poll
	}
	rows, err := s.claim(life, wants, total, false)
	if err != nil {
		return s.config.PollInterval
	}
	if len(rows) > 0 {
		s.quiet = 0
		if len(rows) >= total {
			s.setIdle(life, false)
			s.watchSuspects(life)
			return 0
		}
		return s.lookAgain(life, poll)
	}
	if s.isEmpty() && s.claimSuspect(life) {
		return poll
	}
	return s.lookAgain(life, poll)
}

// lookAgain returns the pause after a look that found less than there is room for. The idle flag is raised and committed, then
// comes one more look, and only then sleep: a job that was committed in between found no flag. The growing pauses cover what
// is left, the time between the gate's look at a commit and that commit becoming visible.
func (s *session) lookAgain(life context.Context, poll time.Duration) time.Duration {
	if !s.idle {
		if s.setIdle(life, true); s.idle {
			return 0
		}
		return poll
	}
	pauses := [...]time.Duration{2 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 250 * time.Millisecond}
	if s.quiet < len(pauses) {
		s.quiet++
		return min(pauses[s.quiet-1], poll)
	}
	s.watchSuspects(life)
	return poll
}

// giveBack puts back what was prefetched for a slot that did not become free: the jobs before it take longer than those that
// the prefetch was reckoned from, and another worker may have room.
func (s *session) giveBack() {
	s.mu.Lock()
	var stale []*held
	for _, l := range s.lines {
		if len(l.buffer) > 0 && time.Since(l.buffer[0].taken) > s.config.PollInterval {
			stale, l.buffer = append(stale, l.buffer...), nil
			l.mean = max(l.mean, s.config.PollInterval) // no prefetch until jobs are seen to be short again
		}
	}
	s.mu.Unlock()
	for _, h := range stale {
		s.settle(h, outcome{verb: verbRelease})
	}
}

// setIdle raises or lowers this worker's flag for all its queues.
func (s *session) setIdle(life context.Context, idle bool) {
	if s.idle == idle {
		return
	}
	queues := []string{}
	if idle {
		queues = slices.Sorted(maps.Keys(s.config.Queues))
	}
	ctx, cancel := context.WithTimeout(life, s.config.Heartbeat)
	defer cancel()
	if err := s.db.SetIdle(ctx, s.id, s.epoch, queues); err != nil {
		if life.Err() != nil {
			return
		}
		s.log.WarnContext(life, "idle flag", "worker", s.id, "error", err)
		return
	}
	s.idle = idle
}

// wants says how many more jobs each line can take: its free slots, and a prefetch worth 20 ms of its work.
func (s *session) wants() ([]int32, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wants, total := make([]int32, len(s.lines)), 0
	for i, l := range s.lines {
		prefetch := 0
		if l.mean > 0 {
			prefetch = min(l.slots*int(20*time.Millisecond/max(l.mean, 10*time.Microsecond)), 1000)
		}
		want := max(l.free+prefetch-len(l.buffer), 0)
		wants[i], total = int32(want), total+want //nolint:gosec // at most 11 000
	}
	return wants, total
}

func (s *session) isAlone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.alone
}

// isEmpty tells whether this worker holds nothing at all.
func (s *session) isEmpty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending == 0
}

// take puts what was claimed into the buffers, in claim order, and begins what can begin.
func (s *session) take(claim uuid.UUID, rows []store.ClaimRow, suspect bool) {
	now := time.Now()
	s.mu.Lock()
	var l *line
	for i := range rows {
		if l == nil || l.name != rows[i].Queue {
			l = s.lineOf(rows[i].Queue)
		}
		l.buffer = append(l.buffer, &held{line: l, claim: claim, row: rows[i], taken: now})
		s.pending++
		s.totals.claimed++
		s.alone = s.alone || suspect
	}
	s.mu.Unlock()
	s.begin()
}

// begin starts buffered jobs in free slots.
func (s *session) begin() {
	if s.isFenced() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lines {
		s.beginLine(l)
	}
}

// beginLine starts the oldest claims of one line while it has free slots. The caller holds mu.
func (s *session) beginLine(l *line) {
	for !s.closed && l.free > 0 && len(l.buffer) > 0 {
		h := l.buffer[0]
		l.buffer[0] = nil
		l.buffer = l.buffer[1:]
		l.free--
		h.begun = true
		select {
		case s.next <- h:
		default:
			s.runners.Go(func() { s.runOn(h) })
		}
	}
}

// runOn runs a job, and then those that it is given, until nothing begins any more. A handler that calls runtime.Goexit ends it.
func (s *session) runOn(h *held) {
	for {
		s.execute(h)
		select {
		case h = <-s.next:
		case <-s.over:
			return
		}
	}
}

// closeLines lets nothing begin any more. The caller holds mu.
func (s *session) closeLines() {
	if !s.closed {
		s.closed = true
		close(s.over)
	}
}

// release frees the slots of settled jobs, and gives them to the next in line.
func (s *session) release(settled []*held) {
	fenced := s.isFenced()
	s.mu.Lock()
	for _, h := range settled {
		s.pending--
		if h.begun {
			if h.ends.Add(1) == 2 {
				h.line.free++
			}
			if h.run != nil && !h.run.Claim.Started.IsZero() {
				took := time.Since(h.run.Claim.Started)
				h.line.mean += (took - h.line.mean) / 8
			}
		}
		if !fenced {
			s.beginLine(h.line)
		}
	}
	if s.pending == 0 {
		s.alone = false
	}
	s.mu.Unlock()
	s.kick()
}

// returned notes that the handler has ended. One that outlived its hard limit frees its slot only now.
func (s *session) returned(h *held) {
	if h.ends.Add(1) < 2 {
		return // release will
	}
	fenced := s.isFenced()
	s.mu.Lock()
	h.line.free++
	if !fenced {
		s.beginLine(h.line)
	}
	s.mu.Unlock()
	s.kick()
}

// stats is what a heartbeat carries for `stem worker stats`.
func (s *session) stats() map[string]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	buffered := 0
	for _, l := range s.lines {
		buffered += len(l.buffer)
	}
	return map[string]any{
		"held": s.pending, "buffered": buffered, "claimed": s.totals.claimed, "completed": s.totals.completed,
		"failed": s.totals.failed, "lost": s.totals.lost,
	}
}
