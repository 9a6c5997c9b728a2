package tasksfile

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stemqueue/stem/internal/jsonlimit"
	"github.com/stemqueue/stem/queue"
)

// An Outcome is what becomes of the job.
type Outcome int

// The outcomes.
const (
	Completed Outcome = iota + 1
	PutBack           // later, not charged
	Dead              // to the dead letters
	Failed            // a failed attempt
)

// A Report is how a run of a task went.
type Report struct {
	Outcome Outcome
	Delay   time.Duration   // of PutBack
	Err     error           // nil when Completed; wraps the context's cause when that ended the run
	Result  json.RawMessage // of Completed; nil when there was no output
}

const (
	maxErrorBytes = 4 << 10
	firstDelay    = 2 * time.Second
	mostDelay     = 5 * time.Minute
	mostAsked     = 24 * time.Hour // of Retry-After
)

// Run runs one job and blocks until nothing of it runs any more. When ctx is done the command is stopped, or the call is
// given up; the error wraps ctx's cause.
func (t *Task) Run(ctx context.Context, run *queue.Run) Report {
	if ctx.Err() != nil {
		return Report{Outcome: Failed, Err: fmt.Errorf("not begun: %w", context.Cause(ctx))}
	}
	if t.HTTP != nil {
		return t.call(ctx, run)
	}
	return t.execute(ctx, run)
}

// backoff grows with the number of times that the job was put back; the jitter keeps jobs that failed together apart.
func backoff(releases int) time.Duration {
	d := mostDelay
	if releases < 8 { // 2 s doubled 8 times is above 5 min
		d = firstDelay << max(releases, 0)
	}
	return d/2 + rand.N(d/2)
}

// result makes a job's result of output, total bytes long, of which head is the beginning.
func result(head []byte, total int64) json.RawMessage {
	if total > queue.MaxResultBytes {
		return truncated(total)
	}
	text := strings.TrimRight(string(head), "\r\n")
	if text == "" {
		return nil
	}
	if jsonlimit.Check([]byte(text)) == nil && utf8.ValidString(text) {
		return json.RawMessage(text)
	}
	b, err := json.Marshal(clean(text))
	if err != nil {
		panic(err) // a string
	}
	if len(b) > queue.MaxResultBytes {
		return truncated(total)
	}
	return b
}

func truncated(total int64) json.RawMessage {
	return fmt.Appendf(nil, `{"truncated":true,"bytes":%d}`, total)
}

// clean makes text fit to be stored: valid UTF-8 without NUL.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// head keeps the first bytes that are written to it and counts the rest.
type head struct {
	limit int
	bytes []byte
	total int64
}

func (h *head) Write(p []byte) (int, error) {
	h.bytes = append(h.bytes, p[:min(len(p), h.limit-len(h.bytes))]...)
	h.total += int64(len(p))
	return len(p), nil
}

// tail keeps the last maxErrorBytes that are written to it.
type tail struct {
	bytes []byte
	cut   bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.bytes = append(t.bytes, p...)
	if over := len(t.bytes) - maxErrorBytes; over > 0 {
		t.bytes = append(t.bytes[:0], t.bytes[over:]...)
		t.cut = true
	}
	return len(p), nil
}

// text is the tail as an error's text; one that was cut begins with a whole character.
func (t *tail) text() string {
	b := t.bytes
	for i := 0; t.cut && i < utf8.UTFMax && len(b) > 0 && !utf8.RuneStart(b[0]); i++ {
		b = b[1:]
	}
	return clean(strings.TrimSpace(string(b)))
}

var traceForm = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// traceparent is the job's trace context, "" when it has none that is well-formed.
func traceparent(run *queue.Run) string {
	if tp := run.Headers["traceparent"]; traceForm.MatchString(tp) {
		return tp
	}
	return ""
}
