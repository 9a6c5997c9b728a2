package tasksfile

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/stemqueue/stem/internal/nearest"
	"github.com/stemqueue/stem/internal/yamltree"
)

// maxDepth is far above what a tasks file needs.
const maxDepth = 20

// reading is one file on its way through the checks.
type reading struct {
	name     string
	dir      string
	problems []Problem
}

func (r *reading) add(t *token.Token, format string, args ...any) {
	p := Problem{Where: r.name, Text: fmt.Sprintf(format, args...)}
	if t != nil && t.Position != nil {
		p.Line, p.col = t.Position.Line, t.Position.Column
		p.Where = fmt.Sprintf("%s:%d:%d", r.name, p.Line, p.col)
	}
	r.problems = append(r.problems, p)
}

// Parse checks the text of a tasks file, YAML or JSON. Relative paths in it are relative to the directory of name, and
// the commands must be there. The error is an *Error with everything that is wrong.
func Parse(name string, data []byte) (*File, error) {
	r := &reading{name: name}
	dir, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		return nil, fmt.Errorf("tasks file %s: %w", name, err)
	}
	r.dir = dir
	file := &File{Name: name}
	if body := r.tree(data); body != nil {
		file.Tasks = r.file(body)
	}
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.col, b.col))
		})
		return nil, &Error{Problems: r.problems}
	}
	return file, nil
}

// tree returns the root of the one document, nil when there is a problem.
func (r *reading) tree(data []byte) ast.Node {
	root, _, wrong := yamltree.Parse(data, maxDepth)
	for _, m := range wrong {
		var t *token.Token
		if m.Line > 0 {
			t = &token.Token{Position: &token.Position{Line: m.Line, Column: m.Column}}
		}
		r.add(t, "%s", m.Text)
	}
	if root == nil && len(wrong) == 0 {
		r.add(nil, "no tasks")
	}
	return root
}

// entry is one key of a mapping with its value.
type entry struct {
	key   string
	at    *token.Token
	value ast.Node
}

// entries returns what is in a mapping. Keys that are not known, or come twice, are problems; known nil means any.
func (r *reading) entries(node ast.Node, known []string, within string) []entry {
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		r.add(node.GetToken(), "want key: value%s", within)
		return nil
	}
	var list []entry
	lines := map[string]int{}
	for _, v := range values {
		e := entry{at: v.Key.GetToken(), value: v.Value}
		e.key = e.at.Value
		if known != nil && !slices.Contains(known, e.key) {
			text := fmt.Sprintf("unknown key %q%s", abbreviate(e.key), within)
			if near, ok := nearest.Name(e.key, slices.Values(known)); ok {
				text += ". Did you mean " + near + "?"
			}
			r.add(e.at, "%s", text)
			continue
		}
		if line, twice := lines[e.key]; twice {
			r.add(e.at, "%q%s is defined twice, first in line %d", abbreviate(e.key), within, line)
			continue
		}
		lines[e.key] = e.at.Position.Line
		list = append(list, e)
	}
	return list
}

// text is a scalar as it stands in the file.
func (r *reading) text(e entry) (string, bool) {
	switch n := e.value.(type) {
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.StringNode:
		return n.Value, true
	case *ast.NullNode:
		r.add(e.at, "%s: no value", abbreviate(e.key))
		return "", false
	case ast.ScalarNode:
		return n.GetToken().Value, true
	}
	r.add(e.value.GetToken(), "%s: want one value", abbreviate(e.key))
	return "", false
}

func (r *reading) list(e entry) ([]string, bool) {
	seq, ok := e.value.(*ast.SequenceNode)
	if !ok {
		return nil, false
	}
	list := make([]string, 0, len(seq.Values))
	for _, v := range seq.Values {
		text, ok := r.text(entry{key: e.key, at: v.GetToken(), value: v})
		if !ok {
			return nil, true
		}
		list = append(list, text)
	}
	return list, true
}

func abbreviate(s string) string {
	if len(s) <= 60 {
		return s
	}
	return strings.ToValidUTF8(s[:60], "") + "…"
}
