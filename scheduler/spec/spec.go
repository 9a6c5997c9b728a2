package spec

import (
	"strings"
	"time"
)

// maxText is how long a spec may be, in bytes.
const maxText = 4096

// Spec is a parsed spec. It does not change and may be shared.
type Spec struct {
	kind string
	form schedule
}

// schedule is one kind of spec.
type schedule interface {
	next(after time.Time, zone *time.Location, p Policy) (Run, bool)
	// keys is the canonical form, ready for encoding/json.
	keys() any
}

// Parse reads a spec: a JSON object, "every:" and a duration, or a cron expression. A mistake is an *Error.
func Parse(text string) (*Spec, error) {
	if len(text) > maxText {
		return nil, wrong("", "%d bytes; want %d or fewer", len(text), maxText)
	}
	trimmed := strings.TrimSpace(text)
	if strings.HasPrefix(trimmed, "{") {
		return parseJSON(trimmed)
	}
	if every, ok := strings.CutPrefix(trimmed, "every:"); ok {
		i, err := newInterval(strings.TrimSpace(every), "", "")
		return made("every", i, err)
	}
	p, err := parseCron(text)
	return made("cron", p, err)
}

// made is a spec of a kind, unless there is an error.
func made[S schedule](kind string, form S, err error) (*Spec, error) {
	if err != nil {
		return nil, err
	}
	return &Spec{kind: kind, form: form}, nil
}

// Kind returns "every", "cron", "calendar", "solar" or "clocked".
func (s *Spec) Kind() string { return s.kind }

// String returns the spec as JSON in one spelling, whichever it was parsed from.
func (s *Spec) String() string { return encode(s.form.keys()) }

// Next returns the first run strictly after an instant, or false if there is none: never again, or not within the 400 years
// in which the calendar repeats (for the sun, eleven years).
func (s *Spec) Next(after time.Time, zone *time.Location, p Policy) (Run, bool) {
	run, ok := s.form.next(after, zone, p)
	if ok {
		run.At = run.At.In(zone)
	}
	return run, ok
}

// Run is an instant at which a schedule fires.
type Run struct {
	At    time.Time // in the zone of the schedule
	Notes []Note    // what is unusual about it, and what was left out since the instant that Next was asked about
}

// Remarks are the notes in one line; empty if there is none.
func (r Run) Remarks() string {
	list := make([]string, 0, len(r.Notes))
	for _, n := range r.Notes {
		list = append(list, n.String())
	}
	return strings.Join(list, "; ")
}

// Note is something that whoever reads a list of runs should be told.
type Note struct {
	Kind     string // one of the constants
	From, To string // the local times or dates that it is about, the same if it is one
}

// The kinds of notes.
const (
	Shifted    = "shifted"         // the local time does not exist, the run is at the end of the gap
	Skipped    = "skipped"         // the local time does not exist, and nothing runs for it
	First      = "repeated first"  // the local time exists twice, this is the first
	Second     = "repeated second" // the local time exists twice, this is the second
	PolarDay   = "polar day"       // the sun does not sink low enough for the event on these days
	PolarNight = "polar night"     // the sun does not climb high enough for it
)

func (n Note) String() string {
	when := n.From
	if n.To != n.From {
		when += " to " + n.To
	}
	switch n.Kind {
	case Shifted:
		return "shifted: " + when + " does not exist, runs at the end of the gap"
	case Skipped:
		return "skipped: " + when + " does not exist"
	case First:
		return "repeated: " + when + " exists twice, this is the first"
	case Second:
		return "repeated: " + when + " exists twice, this is the second"
	default:
		return "skipped: " + n.Kind + " " + when
	}
}
