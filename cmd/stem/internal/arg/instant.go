package arg

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Instant is a point in time, or a duration that means so long ago.
type Instant struct {
	text string
	at   time.Time
	ago  time.Duration
}

// Set implements pflag.Value.
func (i *Instant) Set(s string) error {
	if at, err := parseTime(s); err == nil {
		*i = Instant{text: s, at: at}
		return nil
	} else if errors.Is(err, errNoZone) {
		return err
	}
	d, shape := readDuration(s)
	if !shape || d == nil || *d < 0 || *d > 100*Year {
		return fmt.Errorf("want RFC 3339 (2026-01-02T15:04:05Z) or a duration like 2h, got %q", clip(s))
	}
	*i = Instant{text: s, ago: *d}
	return nil
}

func (i *Instant) String() string { return i.text }

// Type implements pflag.Value.
func (*Instant) Type() string { return "time|duration" }

// Given tells whether the flag was set.
func (i Instant) Given() bool { return i.text != "" }

// Before returns the point in time, with "ago" counted back from now. The zero time stands for a flag not given.
func (i Instant) Before(now time.Time) time.Time {
	if !i.Given() || !i.at.IsZero() {
		return i.at
	}
	return now.Add(-i.ago)
}

// Window is the pair --since and --until.
type Window struct{ Since, Until Instant }

// Bind adds the two flags.
func (w *Window) Bind(f *pflag.FlagSet) {
	f.Var(&w.Since, "since", "only from this time on: RFC 3339 with a zone, or a duration ago such as 2h")
	f.Var(&w.Until, "until", "only before this time: RFC 3339 with a zone, or a duration ago such as 30m")
}

// Resolve returns both ends, the zero time for one that was not given, and fails when they are the wrong way round.
func (w *Window) Resolve(now time.Time) (since, until time.Time, err error) {
	since, until = w.Since.Before(now), w.Until.Before(now)
	if w.Since.Given() && w.Until.Given() && since.After(until) {
		return since, until, fmt.Errorf("--since (%s) is after --until (%s)", &w.Since, &w.Until)
	}
	return since, until, nil
}

// Time is a point in time, RFC 3339 with a zone.
type Time struct{ Value time.Time }

// Set implements pflag.Value.
func (t *Time) Set(s string) error {
	at, err := parseTime(s)
	if err != nil {
		return err
	}
	t.Value = at
	return nil
}

func (t *Time) String() string {
	if t.Value.IsZero() {
		return ""
	}
	return t.Value.Format(time.RFC3339Nano)
}

// Type implements pflag.Value.
func (*Time) Type() string { return "time" }

var (
	errNoZone = errors.New("time has no zone; add Z or +01:00")
	zoneless  = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?$`)
)

func parseTime(s string) (time.Time, error) {
	if zoneless.MatchString(s) {
		return time.Time{}, errNoZone
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	switch {
	case err != nil && strings.HasSuffix(err.Error(), "out of range"):
		return time.Time{}, fmt.Errorf("no such date or time, got %q", clip(s))
	case err != nil:
		return time.Time{}, fmt.Errorf("want RFC 3339 (2026-01-02T15:04:05Z), got %q", clip(s))
	case t.Year() < 2000 || t.Year() > 2200:
		return time.Time{}, fmt.Errorf("want a year from 2000 to 2200, got %q", clip(s))
	}
	return t.UTC(), nil
}
