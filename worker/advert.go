package worker

import (
	"encoding/json"
	"fmt"
	"regexp"
	"time"
)

// maxAdvertBytes bounds what a worker says of its tasks. The database takes twice as much, in its own spelling.
const maxAdvertBytes = 512 << 10

var kindForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,15}$`)

// advert is what a worker registers for one task; the comment on stem.workers.tasks describes it. Zero means not said.
type advert struct {
	Kind        string `json:"kind"`
	Queue       string `json:"queue,omitempty"`
	MaxAttempts int    `json:"max_attempts,omitempty"`
	SoftLimitUs int64  `json:"soft_limit_us,omitempty"`
	HardLimitUs int64  `json:"hard_limit_us,omitempty"`
}

// SetKind says what sort of handler a registered task has: what `stem tasks ls` shows. Without it the kind is "go". Kinds are 1-16
// of a-z, 0-9, _ and -, and begin with a letter. It panics when the kind is of another form, or the task has no handler.
func (reg *Registry) SetKind(task, kind string) {
	e, known := reg.entries[task]
	if !known {
		panic(fmt.Sprintf("worker: SetKind: task %q has no handler", task))
	}
	if !kindForm.MatchString(kind) {
		panic(fmt.Sprintf("worker: SetKind: kinds are 1-16 of a-z, 0-9, _ and -, beginning with a letter; got %q", kind))
	}
	e.kind = kind
	reg.entries[task] = e
}

// adverts is what the worker registers: each task with what its definition says.
func (reg *Registry) adverts() (json.RawMessage, error) {
	all := make(map[string]advert, len(reg.entries))
	for task, e := range reg.entries {
		d := e.defaults
		all[task] = advert{
			Kind: e.kind, Queue: d.Queue, MaxAttempts: d.MaxAttempts,
			SoftLimitUs: int64(d.SoftLimit / time.Microsecond), HardLimitUs: int64(d.HardLimit / time.Microsecond),
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("worker: tasks: %w", err)
	}
	if len(text) > maxAdvertBytes {
		return nil, fmt.Errorf("worker: %d tasks make a registration of %d bytes, at most %d: divide them among several workers",
			len(all), len(text), maxAdvertBytes)
	}
	return text, nil
}
