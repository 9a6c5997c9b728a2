package output

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/stemqueue/stem/cmd/stem/internal/escape"
)

// The formats of --output.
const (
	Table = "table"
	Wide  = "wide"
	JSON  = "json"
	JSONL = "jsonl"
	YAML  = "yaml"
	CSV   = "csv"
	Name  = "name"
)

// Formats lists the formats, the default first.
var Formats = []string{Table, Wide, JSON, JSONL, YAML, CSV, Name}

// Printer is where results go and how.
type Printer struct {
	Out    io.Writer // data
	Err    io.Writer // what is said beside it
	Format string    // one of Formats; "" is Table
	Width  int       // columns of a terminal; 0 does not shorten
	Colour bool
	Quiet  bool // say nothing on Err
}

// Machine tells whether the format is one of JSON, so that errors must be JSON too.
func (p *Printer) Machine() bool { return p.Format == JSON || p.Format == JSONL }

// ForPeople tells whether lists are shown as tables.
func (p *Printer) ForPeople() bool { return p.Format == "" || p.Format == Table || p.Format == Wide }

// Note says something to people, on stderr; with Quiet it does not.
func (p *Printer) Note(format string, args ...any) {
	if !p.Quiet {
		fmt.Fprintln(p.Err, escape.Text(fmt.Sprintf(format, args...)))
	}
}

// List prints the rows of a listing. JSON lines, CSV and names are written as the rows come; JSON and YAML only when
// all have come, so that a failure leaves no half document. The first error of the sequence ends it and is returned. An
// empty list is not a failure; it is said on stderr.
func List[T any](p *Printer, s *Sheet[T], rows iter.Seq2[T, error]) error {
	n := 0
	counted := func(yield func(T, error) bool) {
		for row, err := range rows {
			n++
			if !yield(row, err) {
				return
			}
		}
	}
	if err := list(p, s, counted); err != nil {
		return err
	}
	if n == 0 {
		p.Note("%s", cmp.Or(s.Empty, "no "+s.plural()))
	}
	return nil
}

func list[T any](p *Printer, s *Sheet[T], rows iter.Seq2[T, error]) error {
	switch p.Format {
	case JSONL:
		return each(rows, func(row T) error { return writeLine(p.Out, s.members(row)) })
	case Name:
		return each(rows, func(row T) error {
			_, err := fmt.Fprintln(p.Out, escape.Text(s.name(row)))
			return err
		})
	case CSV:
		return writeCSV(p.Out, s, rows)
	}
	var all []T
	if err := each(rows, func(row T) error { all = append(all, row); return nil }); err != nil {
		return err
	}
	switch p.Format {
	case JSON:
		return writeDocuments(p.Out, s, all)
	case YAML:
		return writeYAML(p.Out, s, all)
	}
	if len(all) == 0 {
		return nil
	}
	var b strings.Builder
	p.table(&b, grid(s, all, p.Format == Wide))
	_, err := io.WriteString(p.Out, b.String())
	return err
}

func each[T any](rows iter.Seq2[T, error], do func(T) error) error {
	for row, err := range rows {
		if err != nil {
			return err
		}
		if err := do(row); err != nil {
			return err
		}
	}
	return nil
}

// One prints a single result: an object, or in tables a line per property.
func One[T any](p *Printer, s *Sheet[T], row T) error {
	switch p.Format {
	case JSON:
		var line, pretty bytes.Buffer
		if err := appendJSON(&line, s.members(row)); err != nil {
			return err
		}
		if err := json.Indent(&pretty, line.Bytes(), "", "  "); err != nil {
			return err
		}
		pretty.WriteByte('\n')
		_, err := p.Out.Write(pretty.Bytes())
		return err
	case YAML:
		var b bytes.Buffer
		if err := appendYAML(&b, s.members(row), ""); err != nil {
			return err
		}
		_, err := p.Out.Write(b.Bytes())
		return err
	case JSONL, CSV, Name:
		return list(p, s, func(yield func(T, error) bool) { yield(row, nil) })
	}
	var b strings.Builder
	properties(p, &b, s, row)
	_, err := io.WriteString(p.Out, b.String())
	return err
}

func writeLine(w io.Writer, members []member) error {
	var b bytes.Buffer
	if err := appendJSON(&b, members); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// writeDocuments prints an array with one indented object after the other.
func writeDocuments[T any](w io.Writer, s *Sheet[T], rows []T) error {
	if len(rows) == 0 {
		_, err := io.WriteString(w, "[]\n")
		return err
	}
	members := make([][]member, len(rows))
	for i, row := range rows {
		members[i] = s.members(row)
	}
	var line, pretty bytes.Buffer
	if err := appendArray(&line, members); err != nil {
		return err
	}
	if err := json.Indent(&pretty, line.Bytes(), "", "  "); err != nil {
		return err
	}
	pretty.WriteByte('\n')
	_, err := w.Write(pretty.Bytes())
	return err
}

func writeYAML[T any](w io.Writer, s *Sheet[T], rows []T) error {
	if len(rows) == 0 {
		_, err := io.WriteString(w, "[]\n")
		return err
	}
	members := make([][]member, len(rows))
	for i, row := range rows {
		members[i] = s.members(row)
	}
	var b bytes.Buffer
	if err := appendYAMLList(&b, members, ""); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// Rows is a slice as the sequence that List takes.
func Rows[T any](rows []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}
