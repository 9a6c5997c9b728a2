// Package schedulefile reads files of schedules, YAML or JSON, and says of everything that is wrong with one where it stands.
//
//	schedules:
//	  nightly-report:
//	    task: report
//	    cron: "0 2 * * *"
//	    timezone: Europe/Berlin
//	    args: {kind: daily}
package schedulefile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/stemqueue/stem/internal/yamltree"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
)

// A File is what a file says.
type File struct {
	Name    string
	Entries []scheduler.Entry
	Ignored *Problem // keys that say how a schedule has run, which the database knows; nil where there are none
	sources []*source
}

// A Problem is one mistake.
type Problem struct {
	Where        string // file:line:column, or the file alone
	Line, Column int    // 0 where it is about the file as a whole
	Text         string
	Caret        string // the expression and under it what marks the mistake; "" where Where says enough
}

func (p Problem) String() string { return p.Where + ": " + p.Text }

// An Error is all that is wrong with a file, in the order of its lines.
type Error struct{ Problems []Problem }

func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Load reads a file: see Parse.
func Load(path string, q *queue.Queue) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, yamltree.MaxBytes+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	return Parse(path, data, q)
}

func unreadable(path string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("%s: %w", path, err)
}

// Parse reads the text of a file and checks its schedules as scheduler.Check does, with a queue. A mistake is an *Error with all of them.
func Parse(name string, data []byte, q *queue.Queue) (*File, error) {
	root, text, wrong := yamltree.Parse(data, maxDepth)
	r := &reader{name: name, lines: strings.Split(text, "\n")}
	for _, m := range wrong {
		r.add(place{m.Line, m.Column}, "%s", m.Text)
	}
	if root == nil && len(wrong) == 0 {
		r.add(place{}, "no schedules; write schedules: {} if none is what you mean")
	}
	f := &File{Name: name}
	if root != nil {
		r.file(f, root)
		for i := range f.Entries {
			r.check(q, &f.Entries[i], f.sources[i])
		}
	}
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, &Error{r.problems}
	}
	if len(r.ignored) > 0 {
		f.Ignored = &Problem{Where: name, Text: "ignored, because the database has it: " + strings.Join(r.ignored, ", ")}
	}
	return f, nil
}

// Where tells where a field of a schedule stands, as file:line:column: task, queue, spec. Of one that is not there it is the schedule.
func (f *File) Where(id, field string) string {
	for i := range f.Entries {
		if f.Entries[i].ID == id {
			return f.sources[i].place(field).in(f.Name)
		}
	}
	return f.Name
}

// maxDepth is more than arguments need.
const maxDepth = 100

// place is a position in the file; the zero place is the file.
type place struct{ line, column int }

func (p place) in(name string) string {
	if p.line == 0 {
		return name
	}
	return fmt.Sprintf("%s:%d:%d", name, p.line, p.column)
}

func at(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{}
	}
	return place{max(t.Position.Line, 1), max(t.Position.Column, 1)}
}

func of(n ast.Node) place { return at(yamltree.Place(n)) }

// source says where the parts of an entry stand.
type source struct {
	at     place            // the entry
	fields map[string]place // by the name that scheduler.EntryError has for it, and those of this file below "job"
	whole  ast.Node         // what is said of when
	parts  map[string]ast.Node
	bad    map[string]bool // what was reported already
}

func (s *source) place(field string) place {
	if p, ok := s.fields[field]; ok {
		return p
	}
	return s.at
}

// reader is one file on its way through the checks.
type reader struct {
	name     string
	lines    []string
	problems []Problem
	ignored  []string
	ids      map[string]place
}

func (r *reader) add(p place, format string, args ...any) {
	if p.line > len(r.lines) { // behind what the parser has found, to its own surprise
		p = place{len(r.lines), 1}
	}
	if p.line > 0 {
		p.column = min(p.column, len([]rune(r.lines[p.line-1]))+1)
	}
	r.problems = append(r.problems, Problem{Where: p.in(r.name), Line: p.line, Column: p.column, Text: fmt.Sprintf(format, args...)})
}
