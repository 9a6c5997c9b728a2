package worker

import (
	"testing"
	"time"

	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/queue"
)

// ledger drives marks of one queue by hand.
type ledger struct {
	marks
	now time.Time
}

func newLedger() *ledger {
	l := &ledger{now: time.Now()}
	l.init([]string{"q"})
	l.nextFull, l.nextSafe = l.now.Add(time.Hour), l.now.Add(time.Hour)
	return l
}

// begin begins a claim of at most 100.
func (l *ledger) begin() (began, []int64) {
	var p store.ClaimParams
	b := l.look(&p, []int32{100}, false, l.now)
	return b, p.Lows
}

func ticket(pos int64) *held {
	return &held{run: queue.Run{Envelope: queue.Envelope{Queue: "q"}}, lane: 5, pos: pos}
}

// horizon answers: the sequence's last value, the oldest running transaction, the lowest visible ticket of lane 5.
func (l *ledger) horizon(last int64, oldest string, head int64) {
	_, _, lows := l.question()
	heads := make([]int64, laneCount)
	heads[laneCount-1-5] = head
	l.answer(lows, &store.HorizonRow{LastPos: last, OldestXid: oldest, Heads: heads})
}

func (l *ledger) lane5() lane { return l.lanes[laneCount-1-5] }

func TestTheSafeMarkNeverPassesAnOpenTransaction(t *testing.T) {
	t.Parallel()
	l := newLedger()
	// Transaction 11 has drawn position 5 and stays open; 10 other tickets were claimed.
	l.horizon(10, "11", 0)
	b, _ := l.begin()
	l.saw(b, []*held{ticket(10)}, 20, true, l.now)
	for _, oldest := range []string{"11", "11", "20"} {
		if l.horizon(30, oldest, 0); l.lane5().safe != 0 {
			t.Fatalf("oldest %s: safe mark %d although transaction 11 is open", oldest, l.lane5().safe)
		}
	}
	if l.horizon(30, "21", 5); l.lane5().safe != 4 { // 11 has committed: its ticket is visible
		t.Errorf("safe mark %d, want 4, just below the ticket", l.lane5().safe)
	}
}

func TestAClaimThatBeganBeforeThePositionWasReadProvesNothing(t *testing.T) {
	t.Parallel()
	l := newLedger()
	early, _ := l.begin() // its transaction will be 10
	l.horizon(5, "10", 0) // transaction 11 has drawn position 5 by now
	l.saw(early, []*held{ticket(3)}, 10, true, l.now)
	l.horizon(5, "11", 0) // 10 has ended, 11 has not
	if l.lane5().safe != 0 {
		t.Errorf("safe mark %d although transaction 11 is open", l.lane5().safe)
	}
	late, _ := l.begin()
	l.saw(late, []*held{ticket(4)}, 12, true, l.now)
	if l.horizon(6, "13", 0); l.lane5().safe != 5 {
		t.Errorf("safe mark %d, want 5", l.lane5().safe)
	}
}

func TestAClaimBeginsAtTheRecentMarkAndSweepsFromTheSafeOne(t *testing.T) {
	t.Parallel()
	l := newLedger()
	b, _ := l.begin()
	l.saw(b, []*held{ticket(50), ticket(40)}, 10, false, l.now)
	if b, lows := l.begin(); b.kind != lookRecent || lows[laneCount-1-5] != 50 || lows[0] != 0 {
		t.Errorf("got kind %d from %v", b.kind, lows)
	} else {
		l.saw(b, nil, 0, true, l.now) // nothing above: late commits are next
	}
	b, lows := l.begin()
	if b.kind != lookSafe || lows[laneCount-1-5] != 0 {
		t.Errorf("got kind %d from %v", b.kind, lows)
	}
	l.saw(b, nil, 0, true, l.now.Add(10*time.Millisecond))
	l.now = l.now.Add(100 * time.Millisecond)
	if b, _ := l.begin(); b.kind != lookRecent {
		t.Errorf("swept again after 100 ms a sweep that took 10 ms: more than 5 %% of the time")
	}
	l.now = l.now.Add(2 * time.Hour)
	if b, lows := l.begin(); b.kind != lookFull || lows[laneCount-1-5] != 0 {
		t.Errorf("an hour later: got kind %d from %v", b.kind, lows)
	}
}

func TestMarksAreThrownAwayWhenTheSequenceWentBack(t *testing.T) {
	t.Parallel()
	l := newLedger()
	l.horizon(60, "10", 0)
	b, _ := l.begin()
	l.saw(b, []*held{ticket(50)}, 20, false, l.now)
	l.horizon(61, "21", 0)
	if l.lane5().safe != 60 {
		t.Fatalf("safe mark %d, want 60", l.lane5().safe)
	}
	l.horizon(30, "22", 0)
	if got := l.lane5(); got.safe != 0 || got.recent != 0 || l.proposed != 0 {
		t.Errorf("kept %+v, proposed %d", got, l.proposed)
	}
	if b, _ := l.begin(); b.kind != lookFull {
		t.Errorf("kind %d, want a full sweep", b.kind)
	}
}

func TestSuspectsHaveNoMarks(t *testing.T) {
	t.Parallel()
	l := newLedger()
	b, _ := l.begin()
	l.saw(b, []*held{ticket(50)}, 10, false, l.now)
	var p store.ClaimParams
	if b := l.look(&p, []int32{1}, true, l.now); b.kind != lookSuspects || p.Lanes[0] != suspectLane+9 || p.Lows[laneCount-1-5] != 0 {
		t.Errorf("got %v from %v", p.Lanes, p.Lows)
	}
}

func TestAClaimDuringTheQuestionDoesNotThrowTheMarksAway(t *testing.T) {
	t.Parallel()
	l := newLedger()
	_, _, lows := l.question()
	b, _ := l.begin()
	l.saw(b, []*held{ticket(70)}, 20, false, l.now)
	l.answer(lows, &store.HorizonRow{LastPos: 60, OldestXid: "10", Heads: make([]int64, laneCount)})
	if got := l.lane5(); got.recent != 70 || l.proposed != 60 {
		t.Errorf("got %+v, proposed %d", got, l.proposed)
	}
}
