package spec

import (
	"strings"
	"time"

	"github.com/stemqueue/stem/internal/duration"
)

const microsecond = int64(time.Microsecond)

// maxEvery keeps the arithmetic in microseconds far from its end.
const maxEvery = 100 * 366 * 24 * time.Hour

type interval struct {
	every      time.Duration
	start, end time.Time // zero: none
}

func newInterval(every, start, end string) (*interval, error) {
	var i interval
	var err error
	if i.every, err = parseDuration("every", every); err != nil {
		return nil, err
	}
	if start != "" {
		if i.start, err = parseInstant("startAt", start); err != nil {
			return nil, err
		}
	}
	if end != "" {
		if i.end, err = parseInstant("endAt", end); err != nil {
			return nil, err
		}
	}
	return &i, i.check()
}

func (i *interval) check() error {
	switch {
	case i.every < time.Second:
		return wrong("every", "%s; want 1s or more", i.every)
	case i.every > maxEvery:
		return wrong("every", "%s; want 100 years or less", i.every)
	case !i.end.IsZero() && i.end.Before(i.start):
		return wrong("endAt", "%s is before startAt, %s", stamp(i.end), stamp(i.start))
	}
	return nil
}

func (i *interval) next(after time.Time, _ *time.Location, _ Policy) (Run, bool) {
	if !i.start.IsZero() && after.Before(i.start) {
		return Run{At: i.start}, true
	}
	var anchor int64
	if !i.start.IsZero() {
		anchor = i.start.UnixMicro()
	}
	every := int64(i.every) / microsecond
	since := after.UnixMicro() - anchor
	phase := since % every
	if phase < 0 {
		phase += every
	}
	at := time.UnixMicro(anchor + since - phase + every)
	return Run{At: at}, i.end.IsZero() || !at.After(i.end)
}

func (i *interval) keys() any {
	return struct {
		Every   string `json:"every"`
		StartAt string `json:"startAt,omitempty"`
		EndAt   string `json:"endAt,omitempty"`
	}{duration.Format(i.every), stamp(i.start), stamp(i.end)}
}

type clocked struct{ at time.Time }

func newClocked(at string) (*clocked, error) {
	t, err := parseInstant("clocked", at)
	return &clocked{t}, err
}

func (c *clocked) next(after time.Time, _ *time.Location, _ Policy) (Run, bool) {
	return Run{At: c.at}, c.at.After(after)
}

func (c *clocked) keys() any {
	return struct {
		Clocked string `json:"clocked"`
	}{stamp(c.at)}
}

// stamp is an instant as specs write it; nothing for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// parseInstant reads an RFC 3339 instant of the years 1 to 9999, in whole microseconds.
func parseInstant(path, text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err == nil {
		// Year 0 would be before the zero time, which is none.
		if y := t.UTC().Year(); y < 1 || y > 9999 || t.IsZero() {
			return time.Time{}, wrong(path, "%q; want a year from 1 to 9999", text)
		}
		if t.Nanosecond()%int(microsecond) != 0 {
			return time.Time{}, wrong(path, "%q; want no more than six digits of a second", text)
		}
		return t.UTC(), nil
	}
	switch {
	case strings.Contains(err.Error(), "out of range"):
		return time.Time{}, wrong(path, "%q: no such date or time", text)
	case parses(text, "2006-01-02T15:04:05"), parses(text, "2006-01-02 15:04:05"), parses(text, time.DateOnly):
		return time.Time{}, wrong(path, "%q; want the offset from UTC as well, such as 2026-02-01T09:00:00Z or 2026-02-01T09:00:00+01:00", text)
	default:
		return time.Time{}, wrong(path, "%q; want an instant such as 2026-02-01T09:00:00Z", text)
	}
}

func parses(text, layout string) bool {
	_, err := time.Parse(layout, text)
	return err == nil
}
