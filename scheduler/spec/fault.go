package spec

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error is what is wrong with a spec.
type Error struct {
	Path   string // the key, such as "cron" or "calendar.hours[2]"; empty if the whole text is meant
	Text   string // the expression that holds the mistake; empty if the key says enough
	Offset int    // where in Text, in bytes
	Length int    // how many bytes
	Reason string // what was found, what was expected
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	b.WriteString(e.Reason)
	if e.Text != "" {
		fmt.Fprintf(&b, " (column %d of %q)", utf8.RuneCountInString(e.Text[:e.Offset])+1, e.Text)
	}
	return b.String()
}

// Caret returns the expression and under it a line that marks the mistake; nothing if there is no expression.
func (e *Error) Caret() string {
	if e.Text == "" {
		return ""
	}
	plain := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r < ' ' || r == utf8.RuneError || r >= 0x7f && r < 0xa0 {
				return '?'
			}
			return r
		}, s)
	}
	indent := utf8.RuneCountInString(e.Text[:e.Offset])
	width := utf8.RuneCountInString(e.Text[e.Offset : e.Offset+e.Length])
	return plain(e.Text) + "\n" + strings.Repeat(" ", indent) + strings.Repeat("^", max(width, 1))
}

func wrong(path, format string, args ...any) *Error {
	return &Error{Path: path, Reason: fmt.Sprintf(format, args...)}
}
