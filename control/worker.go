package control

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/internal/store"
	"github.com/stemqueue/stem/signing"
)

// A Worker is a worker process as the database knows it.
type Worker struct {
	ID        uuid.UUID
	State     string // live; silent: its lease is over, and nobody has declared it lost yet; lost: within the last 24 hours
	Node      string
	Namespace string
	Host      string
	PID       int
	Boot      string
	Version   string
	Epoch     int64

	StartedAt   time.Time
	HeartbeatAt time.Time
	Silent      time.Duration // since its last heartbeat
	LeaseLeft   time.Duration // below zero for a silent one
	LostAt      time.Time

	Slots   map[string]int // by queue
	Idle    []string       // the queues for which it is asleep
	Tasks   []string
	Stats   json.RawMessage // its own counters, as of its last heartbeat
	Signing *WorkerSigning  // how it verifies jobs, as of its last heartbeat; nil when it does not
	Running int64           // claims it holds, prefetched ones included
}

// WorkerSigning is what a worker says of its keys.
type WorkerSigning struct {
	Policy   string      `json:"policy"`
	Audience string      `json:"audience"`
	Keys     []WorkerKey `json:"keys"`     // that it accepts
	Unsigned int64       `json:"unsigned"` // jobs that it ran although nobody had signed them
	Refused  int64       `json:"refused"`  // jobs that it did not run for their signature
}

// A WorkerKey is a key that a worker accepts.
type WorkerKey struct {
	ID          string `json:"id"`
	Fingerprint string `json:"fingerprint"`
	Uses        string `json:"uses"` // job, schedule, result, control
}

// Agrees tells whether a worker treats jobs signed with a key as the ring has it: accepts them, or where the key is revoked does not. why
// says in what they differ. A heartbeat is a worker's own word.
func (w *Worker) Agrees(ring *signing.Ring, key signing.Key) (ok bool, why string) {
	switch {
	case len(w.Stats) == 0 || string(w.Stats) == "{}":
		return false, "it has not sent a heartbeat yet"
	case w.Signing == nil:
		return false, "it verifies nothing"
	}
	why = w.accepts(ring, key)
	if key.State != signing.StateRevoked {
		return why == "", why
	}
	if why == "" {
		return false, "it accepts the key"
	}
	return true, ""
}

// accepts says why a worker does not accept the jobs of a key, or nothing.
func (w *Worker) accepts(ring *signing.Ring, key signing.Key) string {
	if w.Signing.Audience != ring.Audience() {
		return fmt.Sprintf("its audience is %q", w.Signing.Audience)
	}
	i := slices.IndexFunc(w.Signing.Keys, func(k WorkerKey) bool { return k.ID == key.ID })
	if i < 0 {
		return "it does not have the key"
	}
	k := w.Signing.Keys[i]
	switch {
	case key.Fingerprint != "" && k.Fingerprint != key.Fingerprint:
		return fmt.Sprintf("its key %q is another one (%s)", k.ID, k.Fingerprint)
	case !slices.Contains(strings.Split(k.Uses, ","), signing.UseJob.String()):
		return fmt.Sprintf("its key %q is for %s, not for jobs", k.ID, k.Uses)
	}
	return ""
}

// A Task is what live workers have registered under one name. Workers that say different things of it make several. The
// defaults are those of the task's definition; a producer may decide otherwise for each job.
type Task struct {
	Name        string
	Kind        string        // of its handler: go, command, http; "" when the worker does not say
	Queue       string        // "" when the definition leaves it to the producer
	MaxAttempts int           // zero likewise
	SoftLimit   time.Duration // zero means none
	HardLimit   time.Duration // zero means none
	// Malformed names what was not of the right form, and is therefore zero here: "name" (then Name is cut to 128 characters),
	// "entry" (all of it), "kind", "queue", "max_attempts", "soft_limit_us", "hard_limit_us".
	Malformed []string
	Workers   int64
	Nodes     []string // at most 100
	Queues    []string // those that these workers serve, at most 100
}

// Workers lists the workers of a namespace (empty: of all), live ones first, then silent, then lost ones, each by node.
func (p *Plane) Workers(ctx context.Context, namespace string) ([]Worker, error) {
	rows, err := p.queries.ListWorkers(ctx, namespace)
	if err != nil {
		return nil, wrap("list workers", err)
	}
	list := make([]Worker, 0, len(rows))
	for _, r := range rows {
		list = append(list, Worker{
			ID: r.ID, State: r.State, Node: r.Node, Namespace: r.Namespace, Host: r.Host, PID: int(r.Pid), Boot: r.Boot,
			Version: r.Version, Epoch: r.Epoch, StartedAt: store.Instant(r.StartedAt), HeartbeatAt: store.Instant(r.HeartbeatAt),
			Silent: store.Span(r.SilentUs), LeaseLeft: store.Span(r.LeaseLeftUs), LostAt: store.Instant(r.LostAt),
			Slots: slots(r.Slots), Idle: r.Idle, Tasks: r.Tasks, Stats: r.Stats, Signing: signingOf(r.Stats),
			Running: r.Running,
		})
	}
	return list, nil
}

// Tasks lists what the live workers of a namespace (empty: of all) have registered, by name; what most of them say comes first.
func (p *Plane) Tasks(ctx context.Context, namespace string) ([]Task, error) {
	rows, err := p.queries.ListTasks(ctx, namespace)
	if err != nil {
		return nil, wrap("list tasks", err)
	}
	list := make([]Task, 0, len(rows))
	for _, r := range rows {
		list = append(list, Task{
			Name: r.Task, Kind: r.Kind, Queue: r.Queue, MaxAttempts: int(r.MaxAttempts),
			SoftLimit: store.Span(r.SoftLimitUs), HardLimit: store.Span(r.HardLimitUs), Malformed: r.Malformed,
			Workers: r.Workers, Nodes: r.Nodes, Queues: r.Queues,
		})
	}
	return list, nil
}

// signingOf reads what a worker says of its keys.
func signingOf(stats []byte) *WorkerSigning {
	var said struct {
		Signing *WorkerSigning `json:"signing"`
	}
	if json.Unmarshal(stats, &said) != nil {
		return nil
	}
	return said.Signing
}

// slots reads what a worker said of itself: what is no number is left out, so that one odd row does not hide the others.
func slots(b []byte) map[string]int {
	var raw map[string]any
	if json.Unmarshal(b, &raw) != nil {
		return nil
	}
	m := make(map[string]int, len(raw))
	for queue, v := range raw {
		if n, ok := v.(float64); ok {
			m[queue] = int(n)
		}
	}
	return m
}
