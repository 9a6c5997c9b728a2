package worker

import (
	"context"
	"fmt"
	"maps"
	"runtime/pprof"
	"slices"
	"strings"
	"time"
)

// handlers are the handlers that run, by their claims. A zombie is one whose session was lost: nothing it writes counts, but
// it holds the user's resources, and so its slot in the sessions after.
//
// activeMu guards all of it.

// join notes that a handler begins. False when the session has stopped its handlers before.
func (s *session) join(h *held) bool {
	s.activeMu.Lock()
	defer s.activeMu.Unlock()
	if s.handling.Err() != nil {
		return false
	}
	s.active[h] = struct{}{}
	return true
}

// leave notes that a handler has ended.
func (s *session) leave(h *held) {
	s.activeMu.Lock()
	delete(s.active, h)
	heir := s.heir
	s.activeMu.Unlock()
	if heir != nil {
		heir.buried(h)
	} else if s.life.Err() != nil {
		s.kick() // lastWords waits
	}
}

// bequeath leaves the handlers that still run to the session that follows a lost one: each holds its slot there.
func (s *session) bequeath(heir *session) {
	s.activeMu.Lock()
	defer s.activeMu.Unlock()
	s.heir = heir
	for _, set := range []map[*held]struct{}{s.active, s.zombies} {
		for h := range set {
			heir.zombies[h] = struct{}{}
			heir.lineOf(h.run.Queue).free--
		}
	}
}

// buried frees the slot of a zombie that has ended.
func (s *session) buried(h *held) {
	s.activeMu.Lock()
	_, mine := s.zombies[h]
	delete(s.zombies, h)
	heir := s.heir
	s.activeMu.Unlock()
	switch {
	case heir != nil:
		heir.buried(h)
	case mine:
		fenced := s.isFenced()
		s.mu.Lock()
		l := s.lineOf(h.run.Queue)
		l.free++
		if !fenced {
			s.beginLine(l)
		}
		s.mu.Unlock()
		s.kick()
	}
}

func (s *session) lineOf(queue string) *line {
	return s.lines[slices.IndexFunc(s.lines, func(l *line) bool { return l.name == queue })]
}

// runningHandlers are those of this session.
func (s *session) runningHandlers() []*held {
	s.activeMu.Lock()
	defer s.activeMu.Unlock()
	return slices.Collect(maps.Keys(s.active))
}

func (s *session) zombieCount() int {
	s.activeMu.Lock()
	defer s.activeMu.Unlock()
	return len(s.zombies)
}

func (s *session) handlerCount() int {
	s.activeMu.Lock()
	defer s.activeMu.Unlock()
	return len(s.active) + len(s.zombies)
}

// handlersEnd is closed when no handler of this session runs any more. It is only for a session where nothing begins.
func (s *session) handlersEnd() <-chan struct{} {
	ended := make(chan struct{})
	go func() { s.runners.all.Wait(); close(ended) }()
	return ended
}

// lastWords waits for the handlers of a lost session that has no heir, until the shutdown is hard.
func (s *session) lastWords() error {
	for left := s.handlerCount(); left > 0; left = s.handlerCount() {
		select {
		case <-s.kicked:
		case <-s.stop.hard:
			return fmt.Errorf("worker: shutdown: %d handlers are still running although their lease was lost", left)
		}
	}
	return nil
}

// zombieWatch speaks up about handlers that ignore for longer than the shutdown grace that their lease was lost. When they
// hold every slot, the worker can do nothing any more: then Run ends, so that whoever supervises the process starts it again.
func (s *session) zombieWatch(life context.Context) {
	if s.zombieCount() == 0 {
		return
	}
	patience := max(s.config.ShutdownGrace, time.Second)
	select {
	case <-life.Done():
		return
	case <-time.After(patience):
	}
	s.activeMu.Lock()
	zombies := slices.Collect(maps.Keys(s.zombies))
	s.activeMu.Unlock()
	for _, h := range zombies {
		s.log.ErrorContext(life, "handler still running long after its lease was lost; it keeps its slot",
			"job_id", h.run.ID, "task", h.run.Task, "queue", h.run.Queue, "attempt", h.run.Attempt, "since", patience)
	}
	if len(zombies) == 0 {
		return
	}
	var dump strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&dump, 1); err == nil {
		s.log.DebugContext(life, "goroutines", "dump", dump.String())
	}
	slots := 0
	for _, l := range s.lines {
		slots += l.slots
	}
	if len(zombies) >= slots {
		s.end(fmt.Errorf("worker: all %d slots are held by handlers that go on although their lease was lost", slots))
	}
}
