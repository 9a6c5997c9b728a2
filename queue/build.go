package queue

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/stemqueue/stem/signing/encryption"
)

// Limits of what a job may be. The database checks them again.
const (
	MaxBatch       = 10_000 // jobs in one Enqueue
	maxHeaders     = 64
	maxHeaderBytes = 16 << 10
	maxHeaderName  = 128
	maxCodec       = 128
	maxKeyBytes    = 1 << 10 // a longer unique key is hashed
	maxDelay       = 366 * 24 * time.Hour
)

var (
	earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// validName is the check of every enqueue, so it is a loop: a regular expression took 1 µs.
func validName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '_', c == '.', c == ':', c == '/', c == '-':
		default:
			return false
		}
	}
	return name != "" && len(name) <= 128
}

func nameProblem(what, name string) string {
	return fmt.Sprintf("%s: names are 1-128 of letters, digits, _ . : / -; got %q", what, abbreviate(name))
}

func abbreviate(s string) string {
	if len(s) <= 60 {
		return s
	}
	return strings.ToValidUTF8(s[:60], "") + "…"
}

// problems lists everything that is wrong with the options, without the arguments.
func (s *spec) problems() []string {
	list := slices.Clone(s.mistakes)
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if s.queue != "" && !validName(s.queue) {
		add("%s", nameProblem("queue", s.queue))
	}
	if p := s.priority; p != nil && (*p < 0 || *p > 9) {
		add("priority: want 0 to 9, got %d", *p)
	}
	if n := s.maxAttempts; n != nil && (*n < 1 || *n > 1000) {
		add("max attempts: want 1 to 1000, got %d", *n)
	}
	if s.delay < 0 || s.delay > maxDelay {
		add("delay: want 0 to 8784h (a year), got %v", s.delay)
	}
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"run at", s.runAt}, {"expires at", s.expiresAt}, {"nominal at", s.nominalAt}} {
		if !t.at.IsZero() && (t.at.Before(earliest) || t.at.After(latest)) {
			add("%s: want a time from 2000 to 2200, got %s", t.name, t.at.Format(time.RFC3339))
		}
	}
	if s.hardLimit < 0 || s.softLimit < 0 {
		add("time limits: want 0 (none) or more, got hard %v and soft %v", s.hardLimit, s.softLimit)
	}
	if s.hardLimit > 0 && s.softLimit > s.hardLimit {
		add("soft limit %v is above the hard limit %v", s.softLimit, s.hardLimit)
	}
	if s.version < 0 {
		add("version: want 1 or more, got %d", s.version)
	}
	if s.replace && s.uniqueScope == notUnique {
		add("Replace needs a unique key: UntilFinished, UntilStarted or UniqueFor")
	}
	if s.id != uuid.Nil && s.id.Version() != 7 {
		add("id %s: want a UUIDv7", s.id)
	}
	for _, t := range []struct{ name, text string }{{"group", s.group}, {"origin", s.origin}} {
		if len(t.text) > 256 || !cleanText(t.text) {
			add("%s: want at most 256 bytes of text without control characters, got %q", t.name, abbreviate(t.text))
		}
	}
	return append(list, headerProblems(s.headers)...)
}

func headerProblems(headers map[string]string) []string {
	if len(headers) == 0 {
		return nil
	}
	var list []string
	if len(headers) > maxHeaders {
		list = append(list, fmt.Sprintf("headers: want at most %d, got %d", maxHeaders, len(headers)))
	}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		value := headers[name]
		total += len(name) + len(value)
		if name == "" || len(name) > maxHeaderName || !cleanText(name) {
			list = append(list, fmt.Sprintf("header %q: names are 1-%d bytes without control characters", abbreviate(name), maxHeaderName))
		}
		if !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
			list = append(list, fmt.Sprintf("header %q: the value is not valid UTF-8 without NUL", abbreviate(name)))
		}
	}
	if total > maxHeaderBytes {
		list = append(list, fmt.Sprintf("headers: want at most %d bytes together, got %d", maxHeaderBytes, total))
	}
	return list
}

// cleanText tells whether s is valid UTF-8 without control characters.
func cleanText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// envelope merges the options with the defaults; id, payload and signature come later.
func (s *spec) envelope(task string, c Config) Envelope {
	e := Envelope{
		ID: s.id, Task: task, Queue: cmp.Or(s.queue, c.DefaultQueue), Headers: maps.Clone(s.headers), // hooks may add some
		Priority: 5, MaxAttempts: c.DefaultMaxAttempts,
		RunAt: micro(s.runAt), Delay: s.delay.Truncate(time.Microsecond), NominalAt: micro(s.nominalAt), ExpiresAt: micro(s.expiresAt),
		HardLimit: s.hardLimit.Truncate(time.Microsecond), SoftLimit: s.softLimit.Truncate(time.Microsecond),
		Origin: cmp.Or(s.origin, "app"), PayloadVersion: s.version, Group: s.group,
	}
	if s.priority != nil {
		e.Priority = *s.priority
	}
	if s.maxAttempts != nil {
		e.MaxAttempts = *s.maxAttempts
	}
	switch {
	case s.storedKey != nil:
		e.UniqueKey = s.storedKey
	case s.uniqueScope != notUnique:
		e.UniqueKey = uniqueKey(task, s.uniqueKey)
	}
	return e
}

func micro(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Microsecond)
}

// built is a request that passed every check.
type built struct {
	envelope Envelope
	spec     *spec
}

// build checks and encodes every request, and reports what is wrong with each of them at once.
func (q *Queue) build(requests []Request) ([]built, error) {
	if len(requests) == 0 || len(requests) > MaxBatch {
		return nil, fmt.Errorf("queue: enqueue: %w: want 1 to %d jobs in one call, got %d", ErrInvalid, MaxBatch, len(requests))
	}
	jobs := make([]built, len(requests))
	now := q.now() // one for all: they are one act, and a column of one value is sent once
	ids := newIDs(now, len(requests))
	var wrong []error
	for i := range requests {
		r := &requests[i]
		problems := q.buildOne(&jobs[i], r, ids[i], now)
		for _, p := range problems {
			if len(requests) > 1 {
				p = "job " + strconv.Itoa(i) + ": " + p
			}
			wrong = append(wrong, fmt.Errorf("queue: enqueue %s: %w: %s", abbreviate(r.task), ErrInvalid, p))
		}
	}
	return jobs, errors.Join(wrong...)
}

func (q *Queue) buildOne(b *built, r *Request, id uuid.UUID, now time.Time) []string {
	b.spec = cmp.Or(r.spec, none)
	problems := b.spec.problems()
	if !validName(r.task) {
		problems = append(problems, nameProblem("task", r.task))
	}
	b.envelope = b.spec.envelope(r.task, q.config)
	e := &b.envelope
	var err error
	if e.Payload, e.Codec, err = r.encode(); err != nil {
		problems = append(problems, err.Error())
	}
	if c := q.config.Encryption; c != nil && c.On() && len(encryption.Wrap(e.Codec)) > maxCodec {
		problems = append(problems, fmt.Sprintf("codec %q is too long to be encrypted: %s has more than %d bytes",
			abbreviate(e.Codec), abbreviate(encryption.Wrap(e.Codec)), maxCodec))
	}
	if n := len(e.Payload); n > q.config.MaxPayloadBytes {
		problems = append(problems, fmt.Sprintf("payload is %s bytes; limit %s (STEM_MAX_PAYLOAD_BYTES). Store the data elsewhere and pass a reference",
			grouped(n), grouped(q.config.MaxPayloadBytes)))
	}
	if e.ID == uuid.Nil {
		e.ID = id
	}
	e.IssuedAt = micro(now)
	if b.spec.expiresIn > 0 {
		e.ExpiresAt = micro(now.Add(b.spec.expiresIn))
	}
	return problems
}

// grouped writes n with a thin gap between thousands, as 1 048 576.
func grouped(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + " " + text[i:]
	}
	return text
}
