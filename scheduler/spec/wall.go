package spec

import "time"

// span is a stretch of time in which a zone's offset is the same.
type span struct {
	start, end    time.Time     // end is not part of it; zero: none
	before, after time.Duration // the offsets around it; its own at the ends of time
	offset        time.Duration
}

func spanAt(t time.Time, zone *time.Location) span {
	s := span{offset: offsetAt(t, zone)}
	s.before, s.after = s.offset, s.offset
	s.start, _ = t.In(zone).ZoneBounds()
	s.end = endAfter(t.In(zone))
	// Bounds are also where only the name changes.
	for !s.start.IsZero() {
		if s.before = offsetAt(s.start.Add(-1), zone); s.before != s.offset {
			break
		}
		s.start, _ = s.start.Add(-1).ZoneBounds()
	}
	for !s.end.IsZero() {
		if s.after = offsetAt(s.end, zone); s.after != s.offset {
			break
		}
		s.end = endAfter(s.end)
	}
	return s
}

// endAfter returns the end of the zone's bounds. Where a rule goes on after the last year of the data, Go has a year end after 365
// days: on the last day of a leap year the bounds end before the day does, or where they are asked for.
func endAfter(t time.Time) time.Time {
	_, end := t.ZoneBounds()
	if !end.IsZero() && !end.After(t) {
		return endAfter(t.Add(24 * time.Hour))
	}
	return end
}

func offsetAt(t time.Time, zone *time.Location) time.Duration {
	_, seconds := t.In(zone).Zone()
	return time.Duration(seconds) * time.Second
}

// next finds the first instant after one at which the pattern matches. It goes through the spans of the zone: within
// one, local time runs evenly.
func (p *pattern) next(after time.Time, zone *time.Location, policy Policy) (Run, bool) {
	from := after.UTC().Truncate(time.Second).Add(time.Second)
	limit := from.AddDate(400, 0, 0)
	var notes []Note
	for !from.After(limit) {
		s := spanAt(from, zone)
		if from.Equal(s.start) {
			if note, ok := p.gap(s, policy); ok {
				notes = append(notes, note)
				if note.Kind == Shifted {
					return Run{At: from, Notes: p.repeated(notes, from, s)}, true
				}
			}
		}
		if at, ok := p.within(s, from, policy); ok {
			return Run{At: at, Notes: p.repeated(notes, at, s)}, true
		}
		if s.end.IsZero() {
			break
		}
		from = s.end.UTC()
	}
	return Run{}, false
}

// gap returns what to say of the local times that the beginning of a span leaves out, if any match.
func (p *pattern) gap(s span, policy Policy) (Note, bool) {
	begin, end := s.start.UTC().Add(s.before), s.start.UTC().Add(s.offset)
	first, ok := p.at(begin)
	if !ok || !first.Before(end) {
		return Note{}, false
	}
	// The last match matters to the reader only, so it is looked for once a gap is hit.
	last := first
	for {
		next, ok := p.at(last.Add(time.Second))
		if !ok || !next.Before(end) {
			break
		}
		last = next
	}
	kind := Shifted
	if p.elapsed || policy.gap() == "skip" {
		kind = Skipped
	}
	return Note{Kind: kind, From: first.Format(time.DateTime), To: last.Format(time.DateTime)}, true
}

// within returns the first match in a span, at or after an instant of it, leaving out the pass through repeated local times that
// the policy does not want.
func (p *pattern) within(s span, from time.Time, policy Policy) (time.Time, bool) {
	lower := from.Add(s.offset)
	if !p.elapsed && policy.overlap() == "first" && s.before > s.offset {
		if first := s.start.UTC().Add(s.before); first.After(lower) {
			lower = first
		}
	}
	at, ok := p.at(lower)
	if !ok {
		return time.Time{}, false
	}
	at = at.Add(-s.offset)
	if s.end.IsZero() {
		return at, true
	}
	end := s.end.UTC()
	if !p.elapsed && policy.overlap() == "second" && s.after < s.offset {
		end = end.Add(s.after - s.offset)
	}
	return at, at.Before(end)
}

// repeated adds the note that a run is at a local time that exists twice, if it is.
func (p *pattern) repeated(notes []Note, at time.Time, s span) []Note {
	kind := ""
	switch {
	case !s.end.IsZero() && s.after < s.offset && !at.Before(s.end.Add(s.after-s.offset)):
		kind = First
	case !s.start.IsZero() && s.before > s.offset && at.Before(s.start.Add(s.before-s.offset)):
		kind = Second
	default:
		return notes
	}
	local := at.UTC().Add(s.offset).Format(time.DateTime)
	return append(notes, Note{Kind: kind, From: local, To: local})
}
