package worker

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stemqueue/stem/internal/claim"
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

	runners runners
	doubts  doubts

	activeMu sync.Mutex
	active   map[*held]struct{} // whose handlers run
	zombies  map[*held]struct{} // those of lost sessions before this one
	heir     *session           // the one after this one, when this one was lost

	kicked     chan struct{} // look at the line
	freed      chan struct{} // a slot is free
	beat       chan struct{}
	dueNow     chan struct{}
	dispatched chan struct{} // closed when nothing is claimed any more

	// Only the dispatch loop touches these.
	seq       int64
	marks     marks
	idle      bool // the idle flag is up: this worker sleeps until it is notified
	quiet     int  // how often in a row nothing was found, since the flag was raised or lowered
	rush      int  // how often in a row a sleeping worker was woken soon after the last time
	foundAt   time.Time
	duty      bool      // this worker runs the suspects of a queue: it claims nothing else
	suspectAt time.Time // when this worker last looked whether suspects wait
	aloneAt   time.Time // when it last tried to take one
	suspects  int       // how many looks in a row found one waiting

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
	sated  bool          // the last look found less than there was room for: one slot more finds nothing more
	buffer []*held       // claimed, not begun, in claim order
	mean   time.Duration // of how long its jobs take, smoothed
}

// held is one claim of this worker, in one piece: a process that runs fifty thousand jobs a second pays for each allocation.
type held struct {
	run     queue.Run
	hold    claim.Claim // run.Claim
	lane    int16
	pos     int64
	headers json.RawMessage // of the run, not decoded yet
	bare    bool            // there is no envelope
	foreign string          // the envelope's queue, when it is not the ticket's
	expired bool
	line    *line
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
	d.dispatched = make(chan struct{})
	d.runners.init(&d.mu)
	d.kicked, d.freed = make(chan struct{}, 1), make(chan struct{}, 1)
	d.beat, d.dueNow = make(chan struct{}, 1), make(chan struct{}, 1)
	for _, name := range slices.Sorted(maps.Keys(c.Queues)) {
		d.lines = append(d.lines, &line{name: name, slots: c.Queues[name], free: c.Queues[name]})
	}
	d.marks.init(slices.Sorted(maps.Keys(c.Queues)))
}

// kick makes the dispatch loop look again, soon.
func (d *dispatcher) kick() { poke(d.kicked) }

// poke wakes who waits on c, now or next.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
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
		case <-s.freed:
			if !s.duty && s.isSated() {
				continue // the look that the timer stands for comes in its time
			}
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

func (s *session) isAlone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.alone
}

// isSated tells whether more room finds nothing more.
func (s *session) isSated() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(s.lines, func(l *line) bool { return !l.sated })
}

// isEmpty tells whether this worker holds nothing at all.
func (s *session) isEmpty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending == 0
}

// take puts what was claimed into the buffers, in claim order, and begins what can begin.
func (s *session) take(wants []int32, claimed []*held, suspect bool) {
	now := time.Now()
	slices.SortFunc(claimed, inLine)
	s.mu.Lock()
	s.sate(wants, claimed, suspect)
	for _, h := range claimed {
		h.line, h.taken = s.lineOf(h.run.Queue), now
		h.line.buffer = append(h.line.buffer, h)
	}
	s.pending += len(claimed)
	s.totals.claimed += int64(len(claimed))
	s.alone = s.alone || suspect && len(claimed) > 0
	s.mu.Unlock()
	s.begin()
}

// inLine is the order in which claimed jobs begin: the highest lane first, then the oldest ticket. RETURNING comes in physical
// order, and rescue assumes this very one when it tells what can have begun.
func inLine(a, b *held) int {
	return cmp.Or(cmp.Compare(b.lane, a.lane), cmp.Compare(a.pos, b.pos))
}

// sate notes which lines have nothing more. The caller holds mu.
func (s *session) sate(wants []int32, claimed []*held, suspect bool) {
	found := make(map[string]int32, len(s.lines))
	for _, h := range claimed {
		found[h.run.Queue]++
	}
	for i, l := range s.lines {
		l.sated = !suspect && found[l.name] < wants[i]
	}
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
		s.runners.ready = append(s.runners.ready, h)
	}
	s.runners.muster(s.execute)
}

// closeLines lets nothing begin any more. The caller holds mu.
func (s *session) closeLines() {
	s.closed = true
	s.runners.dismiss()
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
			if !h.hold.Started.IsZero() {
				took := time.Since(h.hold.Started)
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
	poke(s.freed)
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
	poke(s.freed)
}

// stats is what a heartbeat carries for `stem worker stats`.
func (s *session) stats() map[string]any {
	keys := s.keyStats() // makes fingerprints: not under a mutex that claims wait for
	s.mu.Lock()
	defer s.mu.Unlock()
	buffered := 0
	for _, l := range s.lines {
		buffered += len(l.buffer)
	}
	all := map[string]any{
		"held": s.pending, "buffered": buffered, "claimed": s.totals.claimed, "completed": s.totals.completed,
		"failed": s.totals.failed, "lost": s.totals.lost,
	}
	if keys != nil {
		all["signing"] = keys
	}
	return all
}
