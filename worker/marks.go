package worker

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/stemqueue/stem/internal/store"
)

// marks remembers where in each lane a claim may begin, so that it need not walk over entries that are dead but cannot be
// vacuumed yet (0.2 µs each). A mark is a hint: late commits are the normal case for a transactional queue.
//
// safe comes from what is finished. Read P, the last position drawn; then get an xid X that is really assigned (a later
// claim's own). Once a later snapshot says that every transaction up to X has ended, every ticket with a position up to P is
// visible or gone, and the lane's safe mark is the lower of P and the lowest visible ticket less one. This is exact because a
// transaction has its xid before it draws a position.
//
// recent is the last position claimed. A long writer, in any database of the server, holds the safe mark back; then claims
// start at recent, and a sweep from safe runs as often as keeps its cost under 5 % of the time. Every lane is swept from
// its very start every 60 s, stretched in the same way, whatever happens: that is the longest a ticket can be overlooked.
type marks struct {
	mu    sync.Mutex
	lanes []lane
	first map[string]int // index of a queue's first lane; it has ten, highest priority first

	asked    int64  // the highest mark when stem.horizon was asked
	proposed int64  // P; 0 when none is under way
	proof    uint64 // X; 0 until a claim took something after P was read
	nextSafe time.Time
	nextFull time.Time
}

type lane struct {
	queue        string
	number       int16
	safe, recent int64
}

type look int

const (
	lookRecent look = iota
	lookSafe
	lookFull
	lookSuspects
)

const (
	laneCount   = 10
	suspectLane = 100
	fullEvery   = 60 * time.Second
	costFactor  = 19 // a sweep that took t is not repeated for 19 t: 5 % of the time
)

func (m *marks) init(queues []string) {
	m.first = map[string]int{}
	for _, q := range queues {
		m.first[q] = len(m.lanes)
		for n := int16(laneCount - 1); n >= 0; n-- {
			m.lanes = append(m.lanes, lane{queue: q, number: n})
		}
	}
}

// began is when a look was begun, and of which kind it is.
type began struct {
	kind     look
	at       time.Time
	proposed int64 // P at that time: only a claim that began after P was read gives a proof
}

// look fills in the lanes of a claim, and decides where each begins.
func (m *marks) look(p *store.ClaimParams, wants []int32, suspect bool, now time.Time) began {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := began{kind: lookRecent, at: now, proposed: m.proposed}
	switch {
	case suspect:
		b.kind = lookSuspects
	case !now.Before(m.nextFull):
		b.kind = lookFull
	case !now.Before(m.nextSafe):
		b.kind = lookSafe
	}
	for i := range wants {
		begin := i * laneCount
		if wants[i] == 0 {
			continue
		}
		p.Queues = append(p.Queues, m.lanes[begin].queue)
		p.Limits = append(p.Limits, wants[i])
		p.First = append(p.First, int32(len(p.Lanes)+1)) //nolint:gosec // a few thousand lanes
		for _, l := range m.lanes[begin : begin+laneCount] {
			number, low := l.number, int64(0)
			switch b.kind {
			case lookSuspects:
				number += suspectLane
			case lookRecent:
				low = max(l.safe, l.recent)
			case lookSafe:
				low = l.safe
			case lookFull:
			}
			p.Lanes, p.Lows = append(p.Lanes, number), append(p.Lows, low)
		}
		p.Last = append(p.Last, int32(len(p.Lanes))) //nolint:gosec // a few thousand lanes
	}
	return b
}

// saw notes what a claim took. short: it took less than it wanted, so nothing more was to be seen above its marks.
func (m *marks) saw(b began, claimed []*held, xid int64, short bool, now time.Time) {
	if b.kind == lookSuspects {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	cost := now.Sub(b.at)
	switch b.kind {
	case lookFull:
		m.nextFull = now.Add(max(fullEvery, costFactor*cost))
		m.nextSafe = now.Add(costFactor * cost)
	case lookSafe:
		m.nextSafe = now.Add(costFactor * cost)
	case lookRecent, lookSuspects:
	}
	if short && b.kind == lookRecent {
		m.nextSafe = time.Time{} // nothing left above the recent marks: late commits are next
	}
	if len(claimed) > 0 && m.proposed > 0 && m.proof == 0 && b.proposed == m.proposed {
		m.proof = uint64(xid) //nolint:gosec // an xid8 counts from 3 upwards
	}
	for _, h := range claimed {
		if h.lane < laneCount {
			l := &m.lanes[m.first[h.run.Queue]+laneCount-1-int(h.lane)]
			l.recent = max(l.recent, h.pos)
		}
	}
}

// forget throws the marks away: a crash or a failover may have taken the sequence back.
func (m *marks) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.lanes {
		m.lanes[i].safe, m.lanes[i].recent = 0, 0
	}
	m.proposed, m.proof, m.nextSafe, m.nextFull = 0, 0, time.Time{}, time.Time{}
}

// question returns what to ask stem.horizon: every lane, with its safe mark.
func (m *marks) question() (queues []string, lanes []int16, lows []int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = 0
	for _, l := range m.lanes {
		m.asked = max(m.asked, l.safe, l.recent)
		queues, lanes, lows = append(queues, l.queue), append(lanes, l.number), append(lows, l.safe)
	}
	return queues, lanes, lows
}

// answer moves the safe marks when the proof is complete, and proposes the next position.
func (m *marks) answer(lows []int64, row *store.HorizonRow) {
	oldest, err := strconv.ParseUint(row.OldestXid, 10, 64)
	m.mu.Lock()
	// Not the marks of now: a claim may have taken what was enqueued after the answer.
	if err != nil || row.LastPos < m.proposed || row.LastPos < m.asked {
		m.mu.Unlock()
		m.forget()
		return
	}
	defer m.mu.Unlock()
	if m.proposed > 0 && (m.proof == 0 || oldest <= m.proof) {
		return // some transaction of that time is still running, or nothing was claimed since
	}
	if m.proposed > 0 {
		for i := range m.lanes {
			if i >= len(row.Heads) || m.lanes[i].safe != lows[i] {
				continue // thrown away meanwhile
			}
			safe := m.proposed
			if head := row.Heads[i]; head > 0 {
				safe = min(safe, head-1)
			}
			m.lanes[i].safe = max(m.lanes[i].safe, safe)
		}
	}
	m.proposed, m.proof = row.LastPos, 0
}

// horizonLoop moves the marks while jobs are being claimed.
func (s *session) horizonLoop(life context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var before int64 = -1
	for {
		select {
		case <-life.Done():
			return
		case <-tick.C:
		}
		s.mu.Lock()
		claimed := s.totals.claimed
		s.mu.Unlock()
		if claimed == before {
			continue // an idle worker asks nothing
		}
		before = claimed
		ctx, cancel := context.WithTimeout(life, s.config.Heartbeat)
		queues, lanes, lows := s.marks.question()
		row, err := s.db.Horizon(ctx, queues, lanes, lows)
		cancel()
		if err != nil {
			s.marks.forget()
			continue
		}
		s.marks.answer(lows, row)
	}
}
