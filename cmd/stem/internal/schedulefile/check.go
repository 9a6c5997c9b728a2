package schedulefile

import (
	"cmp"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/stemqueue/stem/internal/yamltree"
	"github.com/stemqueue/stem/queue"
	"github.com/stemqueue/stem/scheduler"
	"github.com/stemqueue/stem/scheduler/spec"
)

// check says what scheduler.Check finds, where it stands. What could not be read has been reported.
func (r *reader) check(q *queue.Queue, e *scheduler.Entry, s *source) {
	before := "schedule " + quote(e.ID) + ": "
	for _, err := range parts(scheduler.Check(q, *e)) {
		mistake, ok := errors.AsType[*scheduler.EntryError](err)
		switch {
		case !ok:
			r.add(s.at, "%s%v", before, err)
		case mistake.Field == "job":
			for _, err := range parts(mistake.Err) {
				r.job(before, s, err)
			}
		case s.bad[mistake.Field]:
		case mistake.Field == "spec":
			r.spec(before, s, mistake.Err)
		case mistake.Field == "zone":
			r.add(s.place("zone"), "%s%v", before, mistake.Err) // an *spec.Error, which begins with timezone
		default:
			r.add(s.place(mistake.Field), "%s%s: %v", before, mistake.Field, mistake.Err)
		}
	}
}

// parts are the errors that one is joined of.
func parts(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var list []error
	for _, e := range joined.Unwrap() {
		list = append(list, parts(e)...)
	}
	return list
}

// jobFields says which field package queue means, by how its message begins.
var jobFields = []struct{ begins, field string }{
	{"task:", "task"},
	{"queue:", "queue"},
	{"priority:", "priority"},
	{"max attempts:", "options.maxAttempts"},
	{"unique key:", "options.uniqueKey"},
	{"ExpiresIn:", "options.expiresIn"},
	{"soft limit", "options.softLimit"},
	{"version:", "options.version"},
	{"group:", "options.group"},
	{"header", "options.headers"},
	{"payload", "args"},
}

func (r *reader) job(before string, s *source, err error) {
	message := err.Error()
	if _, text, ok := strings.Cut(message, queue.ErrInvalid.Error()+": "); ok {
		message = text
	}
	for _, f := range jobFields {
		if !strings.HasPrefix(message, f.begins) {
			continue
		}
		if s.bad[f.field] {
			return
		}
		p, ok := s.fields[f.field]
		if meta, there := s.fields["meta"]; !ok && f.field == "options.headers" && there {
			p, ok = meta, true
		}
		if ok {
			r.add(p, "%s%s", before, message)
			return
		}
		break
	}
	r.add(s.at, "%s%s", before, message)
}

var unknownKey = regexp.MustCompile(`^unknown key "([^"]*)"`)

func (r *reader) spec(before string, s *source, err error) {
	e, ok := errors.AsType[*spec.Error](err)
	if !ok {
		r.add(s.place("spec"), "%s%v", before, err)
		return
	}
	node := s.part(e.Path)
	if m := unknownKey.FindStringSubmatch(e.Reason); m != nil {
		node = cmp.Or(s.part(strings.TrimPrefix(e.Path+"."+m[1], ".")), node)
	}
	p := s.place("spec")
	if node != nil {
		p = of(node)
	}
	if e.Text == "" {
		r.add(p, "%s%s%s", before, prefix(e.Path), e.Reason)
		return
	}
	exact, found := r.inside(node, e)
	if found {
		p = exact
	}
	r.add(p, "%s%s%s", before, prefix(e.Path), e.Reason)
	r.problems[len(r.problems)-1].Caret = e.Caret()
}

// spellings are what a part of a spec may be called in an object with kind, or in the Dart system.
var spellings = map[string][]string{
	"every":   {"everyMs", "every_ms"},
	"cron":    {"expression"},
	"solar":   {"event"},
	"clocked": {"runAt", "run_at"},
	"startAt": {"start_at"},
	"endAt":   {"end_at"},
	"offset":  {"offsetMs", "offset_ms"},
}

func (s *source) part(path string) ast.Node {
	for _, name := range append([]string{path, strings.TrimPrefix(path, "calendar.")}, spellings[path]...) {
		if node, ok := s.parts[name]; ok {
			return node
		}
	}
	return s.whole
}

// inside is the position of a mistake in the middle of a text, where the text stands on its line as it is.
func (r *reader) inside(node ast.Node, e *spec.Error) (place, bool) {
	n, ok := node.(*ast.StringNode)
	if !ok {
		return place{}, false
	}
	p := at(yamltree.Place(n))
	if p.line == 0 || p.line > len(r.lines) {
		return p, false
	}
	if t := n.Token.Type; t == token.DoubleQuoteType || t == token.SingleQuoteType {
		p.column++
	}
	line := []rune(r.lines[p.line-1])
	if p.column > len(line) || !strings.HasPrefix(string(line[p.column-1:]), e.Text) {
		return p, false
	}
	p.column += len([]rune(e.Text[:e.Offset]))
	return p, true
}

func compare(a, b place) int {
	return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
}

func index(i int) string { return "[" + strconv.Itoa(i) + "]" }
