package arg

import (
	"fmt"
	"slices"
	"strings"
)

// MaxSlots bounds the slots of one queue and the concurrency of one worker.
const MaxSlots = 10000

// QueueSlots is a queue to work on and how many of its jobs may run at once; nought means the worker's concurrency.
type QueueSlots struct {
	Queue string
	Slots int
}

// Slots is a list of name[=slots]: the flag is repeated, or the entries are separated by commas.
type Slots []QueueSlots

// Set implements pflag.Value.
func (q *Slots) Set(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		entry, err := parseSlots(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		same := func(e QueueSlots) bool { return e.Queue == entry.Queue }
		switch i := slices.IndexFunc(*q, same); {
		case i < 0:
			*q = append(*q, entry)
		case (*q)[i] != entry:
			return fmt.Errorf("queue %q is given twice with different slots", entry.Queue)
		}
	}
	return nil
}

func parseSlots(s string) (QueueSlots, error) {
	name, number, given := strings.Cut(s, "=")
	queue, err := ParseName(name)
	if err != nil || !given {
		return QueueSlots{Queue: queue}, err
	}
	n, err := ParseInt(number, 1, MaxSlots)
	if err != nil {
		return QueueSlots{}, fmt.Errorf("slots of %s: %w", name, err)
	}
	return QueueSlots{Queue: queue, Slots: n}, nil
}

func (q *Slots) String() string {
	parts := make([]string, len(*q))
	for i, e := range *q {
		parts[i] = e.Queue
		if e.Slots > 0 {
			parts[i] = fmt.Sprintf("%s=%d", e.Queue, e.Slots)
		}
	}
	return strings.Join(parts, ",")
}

// Type implements pflag.Value.
func (*Slots) Type() string { return "name[=slots]" }
