package output

import (
	"bytes"
	"strings"
	"unicode"
)

// Sheet describes a type of result: what one is called and which columns it has. T is a struct, not a pointer: the
// columns of CSV are learnt from its zero value.
type Sheet[T any] struct {
	Noun    string // singular: "job", "dead letter"
	Plural  string // "" adds an s
	Empty   string // what is said of an empty list; "" is no and the plural
	Columns []Column[T]
}

// Column is one property of a result. The zero options make a column that stands in every format.
type Column[T any] struct {
	Header string // in tables; the JSON key is its lowerCamel form: "Last error" is lastError
	Key    string // the JSON key, where it differs

	// Value is a string, bool, integer, float, time.Time, time.Duration, Precise, []string, json.RawMessage, the result of
	// [Nest], or a type over string. Nil, the zero time and a nil pointer are absent: "-" in tables, null in JSON. A
	// duration that may be absent is a *time.Duration, so that it keeps both of its keys.
	Value func(T) any

	Wide bool         // not in plain tables
	Data bool         // only in JSON, YAML and CSV, and when a single object is shown
	Name bool         // what --output name prints; never shortened
	Tone func(T) Tone // nil is Plain; the text must say the same without colour
}

// Tone is a shade of meaning, shown as a colour where there is colour.
type Tone int

// The tones.
const (
	Plain Tone = iota
	Good
	Warn
	Bad
	Faint
)

func (s *Sheet[T]) plural() string {
	if s.Plural != "" {
		return s.Plural
	}
	return s.Noun + "s"
}

func (c *Column[T]) key() string {
	if c.Key != "" {
		return c.Key
	}
	return camel(c.Header)
}

// camel turns "Last error" into "lastError".
func camel(header string) string {
	var b strings.Builder
	for i, word := range strings.FieldsFunc(header, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		word = strings.ToLower(word)
		if i > 0 {
			word = strings.ToUpper(word[:1]) + word[1:]
		}
		b.WriteString(word)
	}
	return b.String()
}

// members lists what a row is in JSON, YAML and CSV, in the order of the columns.
func (s *Sheet[T]) members(row T) []member {
	all := make([]member, 0, len(s.Columns)+2)
	for _, c := range s.Columns {
		all = appendMember(all, c.key(), c.Value(row))
	}
	return all
}

// name is the text of the column that identifies a row.
func (s *Sheet[T]) name(row T) string {
	for _, c := range s.Columns {
		if c.Name {
			return cell(c.Value(row))
		}
	}
	panic("output: the sheet of " + s.plural() + " has no Name column")
}

// Nested is a list of results inside a result, such as the attempts of a job.
type Nested struct {
	rows  [][]member
	table func(p *Printer) string
}

// Nest makes the value of a column out of a list that has columns of its own.
func Nest[U any](s *Sheet[U], rows []U) Nested {
	n := Nested{table: func(p *Printer) string {
		var b strings.Builder
		p.table(&b, grid(s, rows, p.Format == Wide))
		return b.String()
	}}
	for _, r := range rows {
		n.rows = append(n.rows, s.members(r))
	}
	return n
}

func (n Nested) json() (string, error) {
	var b bytes.Buffer
	err := appendArray(&b, n.rows)
	return b.String(), err
}
