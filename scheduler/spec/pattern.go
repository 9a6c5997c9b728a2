package spec

import (
	"math/bits"
	"time"
)

// pattern is a cron expression or a calendar: a set of local times. Bit n of a field is the value n.
type pattern struct {
	source   string         // the cron expression
	calendar map[string]any // or the calendar it was made from

	seconds, minutes, hours, monthdays, months, weekdays uint64

	elapsed                 bool // the hours begin with *
	anyMonthday, anyWeekday bool // these begin with *

	last, lastWorking bool      // L, LW
	working           uint64    // 15W
	nth               [6]uint64 // FRI#2 is bit 5 of 2
	lastOf            uint64    // 5L
}

func (p *pattern) set(f field, v int) {
	bit := uint64(1) << v
	switch f.name {
	case seconds.name:
		p.seconds |= bit
	case minutes.name:
		p.minutes |= bit
	case hours.name:
		p.hours |= bit
	case monthdays.name:
		p.monthdays |= bit
	case months.name:
		p.months |= bit
	case weekdays.name:
		p.weekdays |= 1 << (v % 7)
	}
}

func (p *pattern) keys() any {
	if p.calendar != nil {
		return map[string]any{"calendar": p.calendar}
	}
	return map[string]any{"cron": p.source}
}

// possible reports whether any date matches, in the 400 years after which the calendar repeats.
func (p *pattern) possible() bool {
	_, ok := p.at(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))
	return ok
}

// at returns the first local time at or after one that matches. Local times are written as UTC, for its days have no gaps.
func (p *pattern) at(from time.Time) (time.Time, bool) {
	year, month, day := from.Date()
	hour, minute, second := from.Clock()
	if from.Nanosecond() > 0 {
		from = from.Truncate(time.Second).Add(time.Second)
		return p.at(from)
	}
	last := year + 400
	for year <= last {
		if p.months&(1<<month) != 0 {
			first := weekday(year, month, 1)
			length := daysIn(year, month)
			for ; day <= length; day++ {
				if p.day(day, length, first) {
					if h, m, s, ok := p.clock(hour, minute, second); ok {
						return time.Date(year, month, day, h, m, s, 0, time.UTC), true
					}
				}
				hour, minute, second = 0, 0, 0
			}
		}
		day, hour, minute, second = 1, 0, 0, 0
		if month++; month > 12 {
			month = 1
			year++
		}
	}
	return time.Time{}, false
}

func weekday(year int, month time.Month, day int) int {
	return int(time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Weekday())
}

func daysIn(year int, month time.Month) int {
	return time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// day reports whether a day matches, of a month that is so long and begins on that day of the week.
func (p *pattern) day(day, length, first int) bool {
	inMonth, inWeek := p.monthday(day, length, first), p.weekday(day, length, first)
	if p.anyMonthday || p.anyWeekday {
		return inMonth && inWeek
	}
	return inMonth || inWeek
}

func (p *pattern) monthday(day, length, first int) bool {
	if p.monthdays&(1<<day) != 0 || p.last && day == length {
		return true
	}
	if p.lastWorking && day == nearestWorking(length, length, first) {
		return true
	}
	for rest := p.working; rest != 0; rest &= rest - 1 {
		if n := bits.TrailingZeros64(rest); n <= length && day == nearestWorking(n, length, first) {
			return true
		}
	}
	return false
}

func (p *pattern) weekday(day, length, first int) bool {
	bit := uint64(1) << ((first + day - 1) % 7)
	return (p.weekdays|p.nth[(day-1)/7+1])&bit != 0 || day > length-7 && p.lastOf&bit != 0
}

// nearestWorking returns the day from Monday to Friday nearest to a day, in the same month.
func nearestWorking(day, length, first int) int {
	switch time.Weekday((first + day - 1) % 7) {
	case time.Saturday:
		if day == 1 {
			return 3
		}
		return day - 1
	case time.Sunday:
		if day == length {
			return day - 2
		}
		return day + 1
	default:
		return day
	}
}

// clock returns the first time of day at or after one that matches.
func (p *pattern) clock(hour, minute, second int) (h, m, s int, ok bool) {
	for h = hour; h < 24; h++ {
		if p.hours&(1<<h) == 0 {
			minute, second = 0, 0
			continue
		}
		for m = minute; m < 60; m++ {
			if p.minutes&(1<<m) != 0 {
				if rest := p.seconds >> second << second; rest != 0 {
					return h, m, bits.TrailingZeros64(rest), true
				}
			}
			second = 0
		}
		minute, second = 0, 0
	}
	return 0, 0, 0, false
}
