package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
)

// function is one of Stem's, as the catalog has it. Reading it at run time keeps the bench from repeating its SQL.
type function struct {
	name     string
	inputs   []argument
	outputs  []string
	source   string
	settings []string // "name=value"
}

type argument struct{ name, kind string }

func describeFunction(ctx context.Context, conn *pgx.Conn, name string) (function, error) {
	f := function{name: name}
	err := conn.QueryRow(ctx, "select prosrc, coalesce(proconfig, '{}') from pg_proc where oid = $1::text::regproc", name).Scan(&f.source, &f.settings)
	if err != nil {
		return f, fmt.Errorf("%s: %w", name, err)
	}
	rows, err := conn.Query(ctx, `select a.name, format_type(a.kind, null), coalesce(a.mode, 'i') in ('t', 'o')
		from pg_proc p
		cross join lateral unnest(p.proargnames, p.proargmodes::text[], coalesce(p.proallargtypes, p.proargtypes::oid[]))
			with ordinality a(name, mode, kind, ord)
		where p.oid = $1::text::regproc
		order by a.ord`, name)
	if err != nil {
		return f, err
	}
	defer rows.Close()
	for rows.Next() {
		var a argument
		var output bool
		if err := rows.Scan(&a.name, &a.kind, &output); err != nil {
			return f, err
		}
		if output {
			f.outputs = append(f.outputs, a.name)
		} else {
			f.inputs = append(f.inputs, a)
		}
	}
	return f, rows.Err()
}

// column is the place of an output in a row.
func (f function) column(name string) (int, error) {
	for i, output := range f.outputs {
		if output == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%s has no output %s", f.name, name)
}

// call is the text of a call. It has a parameter for each input.
func (f function) call() string {
	places := make([]string, len(f.inputs))
	for i := range places {
		places[i] = fmt.Sprintf("$%d", i+1)
	}
	return "select * from " + f.name + "(" + strings.Join(places, ", ") + ")"
}

// arguments puts what is known into the order of the inputs. What is not named is null.
func (f function) arguments(known map[string]any) ([]any, error) {
	list, used := make([]any, len(f.inputs)), 0
	for i, input := range f.inputs {
		if v, ok := known[input.name]; ok {
			list[i] = v
			used++
		}
	}
	if used != len(known) {
		return nil, fmt.Errorf("%s has other arguments than the bench knows: %v", f.name, f.inputs)
	}
	return list, nil
}

var (
	comment     = regexp.MustCompile(`--[^\n]*`)
	declaration = regexp.MustCompile(`(?m)^\s*(v_\w+)\s+([\w.\[\]]+)\s*:=\s*([^;]+);`)
	localName   = regexp.MustCompile(`\b[pv]_\w+\b`)
	queryStart  = regexp.MustCompile(`\breturn query\s`)
)

// statement is the one statement of the function, with parameters in the place of its inputs, and subqueries in the place of
// its variables.
func (f function) statement() (string, error) {
	source := comment.ReplaceAllString(f.source, "")
	starts := queryStart.FindAllStringIndex(source, -1)
	if len(starts) != 1 {
		return "", fmt.Errorf("%s returns %d queries, want one", f.name, len(starts))
	}
	head, text := source[:starts[0][0]], source[starts[0][1]:]
	text, _, ended := strings.Cut(text, ";")
	if !ended {
		return "", fmt.Errorf("%s: its statement has no end", f.name)
	}
	meanings := map[string]string{}
	for i, input := range f.inputs {
		meanings[input.name] = fmt.Sprintf("($%d::%s)", i+1, input.kind)
	}
	var unknown []string
	replace := func(name string) string {
		meaning, ok := meanings[name]
		if !ok {
			unknown = append(unknown, name)
		}
		return meaning
	}
	for _, v := range declaration.FindAllStringSubmatch(head, -1) {
		meanings[v[1]] = fmt.Sprintf("((select %s)::%s)", localName.ReplaceAllStringFunc(v[3], replace), v[2])
	}
	text = localName.ReplaceAllStringFunc(text, replace)
	if unknown != nil {
		return "", fmt.Errorf("%s: no meaning was found for %v", f.name, unknown)
	}
	return text, nil
}
