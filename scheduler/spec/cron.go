package spec

import (
	"fmt"
	"strconv"
	"strings"
)

// field is a place in a cron expression.
type field struct {
	name     string // as errors call it
	key      string // as a calendar calls it
	min, max int
	names    []string // of the values from min on
}

var (
	seconds   = field{name: "second", max: 59}
	minutes   = field{name: "minute", key: "minutes", max: 59}
	hours     = field{name: "hour", key: "hours", max: 23}
	monthdays = field{name: "day of month", key: "monthdays", min: 1, max: 31}
	months    = field{name: "month", key: "months", min: 1, max: 12, names: []string{
		"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
	}}
	weekdays = field{name: "day of week", key: "weekdays", max: 7, names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}}
)

var macros = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// parser reads one expression.
type parser struct {
	path, text string
	p          pattern
}

func parseCron(text string) (*pattern, error) {
	r := &parser{path: "cron", text: text}
	source := text
	if name := strings.TrimSpace(text); strings.HasPrefix(name, "@") {
		known, ok := macros[strings.ToLower(name)]
		if !ok {
			return nil, r.fault(strings.Index(text, "@"), len(name), "%s; want @hourly, @daily, @weekly, @monthly or @yearly", quote(name))
		}
		source = known
	}
	offsets, words := split(source)
	fields := []field{seconds, minutes, hours, monthdays, months, weekdays}
	switch len(words) {
	case 5:
		fields = fields[1:]
		r.p.seconds = 1
	case 6:
	default:
		return nil, r.fault(0, len(text), "%d fields; want 5 (minute, hour, day of month, month, day of week), or 6 with seconds first", len(words))
	}
	for i, f := range fields {
		if err := r.field(f, words[i], offsets[i]); err != nil {
			return nil, err
		}
	}
	r.p.source = strings.TrimSpace(text)
	if !r.p.possible() {
		return nil, r.fault(0, len(text), "never matches any date")
	}
	return &r.p, nil
}

// split returns the words of a text and where they begin.
func split(text string) (offsets []int, words []string) {
	begin := -1
	for i := range len(text) + 1 {
		switch blank := i == len(text) || strings.IndexByte(" \t\r\n", text[i]) >= 0; {
		case blank && begin >= 0:
			offsets, words = append(offsets, begin), append(words, text[begin:i])
			begin = -1
		case !blank && begin < 0:
			begin = i
		}
	}
	return offsets, words
}

func (r *parser) fault(offset, length int, format string, args ...any) error {
	e := wrong(r.path, format, args...)
	if r.text != "" { // a calendar has none
		e.Text, e.Offset, e.Length = r.text, offset, min(length, len(r.text)-offset) // what is missing may be at the end
	}
	return e
}

// quote keeps a long token from drowning its error.
func quote(s string) string {
	if len(s) > 40 {
		return strconv.Quote(s[:40]) + "…"
	}
	return strconv.Quote(s)
}

func (r *parser) field(f field, text string, offset int) error {
	star := text[0] == '*'
	for item := range strings.SplitSeq(text, ",") {
		if err := r.item(f, item, offset); err != nil {
			return err
		}
		offset += len(item) + 1
	}
	switch f.name {
	case hours.name:
		r.p.elapsed = star
	case monthdays.name:
		r.p.anyMonthday = star
	case weekdays.name:
		r.p.anyWeekday = star
	}
	return nil
}

// item reads one element of a list: *, a value, a range, each with a step if need be, or one of the special days.
func (r *parser) item(f field, text string, offset int) error {
	if text == "" {
		return r.fault(offset, 1, "%s: nothing; want a number, a range or *", f.name)
	}
	if done, err := r.special(f, text, offset); done || err != nil {
		return err
	}
	span, step, stepped := strings.Cut(text, "/")
	from, to, ranged := strings.Cut(span, "-")
	low, high := f.min, f.max
	if f.name == weekdays.name {
		high = 6
	}
	if span != "*" {
		var err error
		if low, err = r.value(f, from, offset); err != nil {
			return err
		}
		switch {
		case ranged:
			if high, err = r.value(f, to, offset+len(from)+1); err != nil {
				return err
			}
			if f.name == weekdays.name && high == 0 && low > 0 {
				high = 7 // FRI-SUN
			}
		case !stepped:
			high = low
		}
		if low > high {
			return r.fault(offset, len(span), "%s: %s runs backwards", f.name, quote(span))
		}
	}
	by := 1
	if stepped {
		n, ok := number(step)
		if limit := f.max - f.min; !ok || n < 1 || n > limit {
			return r.fault(offset+len(span)+1, len(step), "%s: step %s; want 1-%d", f.name, quote(step), limit)
		}
		by = n
	}
	for v := low; v <= high; v += by {
		r.p.set(f, v)
	}
	return nil
}

func (r *parser) value(f field, text string, offset int) (int, error) {
	for i, name := range f.names {
		if strings.EqualFold(text, name) {
			return f.min + i, nil
		}
	}
	n, ok := number(text)
	if ok && n >= f.min && n <= f.max {
		return n, nil
	}
	want := fmt.Sprintf("%d-%d", f.min, f.max)
	if len(f.names) > 0 {
		want += fmt.Sprintf(" or %s-%s", f.names[0], f.names[len(f.names)-1])
	}
	if !ok && text == "" {
		return 0, r.fault(offset, 1, "%s: nothing; want %s", f.name, want)
	}
	return 0, r.fault(offset, len(text), "%s: %s; want %s%s", f.name, quote(text), want, didYouMean(text, f.names))
}

// number reads one to four digits.
func number(text string) (int, bool) {
	if len(text) == 0 || len(text) > 4 || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

// special reads L, W and #, and reports whether the item was one.
func (r *parser) special(f field, text string, offset int) (bool, error) {
	upper := strings.ToUpper(text)
	switch f.name {
	case monthdays.name:
		switch {
		case upper == "L":
			r.p.last = true
			return true, nil
		case upper == "LW", upper == "WL":
			r.p.lastWorking = true
			return true, nil
		case strings.HasSuffix(upper, "W"):
			day, err := r.value(f, text[:len(text)-1], offset)
			r.p.working |= 1 << day
			return true, err
		}
	case weekdays.name:
		if day, nth, ok := strings.Cut(text, "#"); ok {
			d, err := r.value(f, day, offset)
			if err != nil {
				return true, err
			}
			n, ok := number(nth)
			if !ok || n < 1 || n > 5 {
				return true, r.fault(offset+len(day)+1, len(nth), "%s: number %s; want 1-5", f.name, quote(nth))
			}
			r.p.nth[n] |= 1 << (d % 7)
			return true, nil
		}
		if strings.HasSuffix(upper, "L") && upper != "L" {
			d, err := r.value(f, text[:len(text)-1], offset)
			r.p.lastOf |= 1 << (d % 7)
			return true, err
		}
	}
	return false, nil
}
