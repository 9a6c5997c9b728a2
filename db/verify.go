package db

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// manifestQuery lists what is in schema stem; manifest.txt is what it lists where nothing but the migrations was at work.
var (
	//go:embed manifest.sql
	manifestQuery string
	//go:embed manifest.txt
	manifest string
)

// A Drift is a difference between the schema of a database and what the migrations make.
type Drift struct {
	Kind    string // function, table, column, constraint, index, trigger, view, sequence, grant, owner, …
	Name    string
	Problem string // missing, changed, unexpected
	Want    string // the definition in words; the text of functions and views as a hash; empty when unexpected
	Got     string // empty when missing
	Fix     string // SQL where one statement does it
}

// A VersionError means that a database is at another version than this program, so that there is nothing to compare.
type VersionError struct{ Current, Newest int64 }

func (e *VersionError) Error() string {
	if e.Current > e.Newest {
		return fmt.Sprintf("schema is at %d, newer than this binary, which knows %d: use a newer stem", e.Current, e.Newest)
	}
	return fmt.Sprintf("schema is at %d, this binary needs %d: run stem migrate up", e.Current, e.Newest)
}

// Verify compares the schema of a database with what the migrations make, object by object: functions with their text and their
// settings, tables with columns, constraints, indexes, triggers and options, views, sequences, owners and grants. What a role was
// granted on functions, views and the schema is left out: that is the operator's to decide. Verify only reads the catalog, for
// which a login needs one of the roles, or SELECT on VersionTable; the error is a *[VersionError] when the database is at another version.
func (m *Migrator) Verify(ctx context.Context) ([]Drift, error) {
	current, newest, err := m.Versions(ctx)
	if err != nil {
		return nil, err
	}
	if current != newest {
		return nil, &VersionError{current, newest}
	}
	live, err := m.manifest(ctx)
	if err != nil {
		return nil, wrap("migrate verify", err)
	}
	return compare(parseManifest(manifest), live), nil
}

// An item is one line of a manifest.
type item struct{ kind, name, definition string }

func (m *Migrator) manifest(ctx context.Context) (items []item, err error) {
	err = m.read(ctx, func(tx *sql.Tx) error {
		// Names and literals in definitions are written as these say.
		_, err := tx.ExecContext(ctx, `set local search_path = pg_catalog; set local timezone = 'UTC'; set local datestyle = 'ISO, YMD';
			set local intervalstyle = 'postgres'; set local quote_all_identifiers = off; set local extra_float_digits = 1`)
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, manifestQuery)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var i item
			if err := rows.Scan(&i.kind, &i.name, &i.definition); err != nil {
				return err
			}
			items = append(items, i)
		}
		return rows.Err()
	})
	return items, err
}

func parseManifest(text string) []item {
	var items []item
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 3)
		items = append(items, item{fields[0], fields[1], fields[2]})
	}
	return items
}

func compare(want, live []item) []Drift {
	var list []Drift
	got, known := index(live), index(want)
	for _, w := range want {
		g, there := got[w.key()]
		d := Drift{Kind: w.kind, Name: w.name, Want: w.definition, Got: g.definition}
		switch {
		case !there:
			d.Problem = "missing"
		case g.definition != w.definition:
			d.Problem = "changed"
		default:
			continue
		}
		d.Fix = d.fix()
		list = append(list, d)
	}
	for _, g := range live {
		if _, is := known[g.key()]; !is {
			d := Drift{Kind: g.kind, Name: g.name, Problem: "unexpected", Got: g.definition}
			d.Fix = d.fix()
			list = append(list, d)
		}
	}
	return withoutConsequences(list)
}

func (i item) key() [2]string { return [2]string{i.kind, i.name} }

func index(items []item) map[[2]string]item {
	m := make(map[[2]string]item, len(items))
	for _, i := range items {
		m[i.key()] = i
	}
	return m
}

// withoutConsequences leaves out what belongs to an object that is itself missing or unexpected: its columns, its owner and their
// rights.
func withoutConsequences(list []Drift) []Drift {
	whole := map[string]string{} // "stem.jobs" to what is wrong with all of it
	for _, d := range list {
		if d.Problem != "changed" && strings.Count(d.Name, ".") == 1 && d.Kind != "grant" && d.Kind != "owner" {
			whole[d.Name] = d.Problem
		}
	}
	list = slices.DeleteFunc(list, func(d Drift) bool {
		switch d.Kind {
		case "grant", "owner":
			object, _, _ := strings.Cut(d.Name, " to ")
			return d.Problem == whole[object[strings.Index(object, " stem")+1:]]
		case "column", "constraint", "index", "trigger", "rule", "policy":
			parent, _ := split(d.Name)
			return d.Problem == whole[parent]
		}
		return false
	})
	slices.SortStableFunc(list, func(a, b Drift) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
	return list
}

// split takes stem.ready.ready_job apart into stem.ready and ready_job.
func split(name string) (parent, child string) {
	i := strings.LastIndex(name, ".")
	return name[:max(i, 0)], name[i+1:]
}

// fix says what to do about it.
func (d Drift) fix() string {
	parent, child := split(d.Name)
	switch {
	case d.Kind == "grant":
		return d.fixGrant()
	case d.Kind == "owner":
		return "alter " + d.Name + " owner to the owner of schema stem"
	case d.Problem == "unexpected":
		return "not of Stem: drop it unless it is meant"
	case d.Kind == "function":
		return "run it from " + d.source() + ", as create or replace"
	case d.Kind == "constraint" && d.Problem == "missing":
		return "alter table " + parent + " add constraint " + child + " " + d.Want
	case d.Kind == "constraint":
		return "alter table " + parent + " drop constraint " + child + ", add constraint " + child + " " + d.Want
	case (d.Kind == "index" || d.Kind == "trigger") && d.Problem == "missing":
		return d.Want
	}
	return "make it as in " + d.source()
}

func (d Drift) fixGrant() string {
	object, grantee, _ := strings.Cut(d.Name, " to ")
	object = strings.TrimPrefix(object, "view ")
	revoke, grant := "revoke "+d.Got+" on "+object+" from "+grantee, "grant "+d.Want+" on "+object+" to "+grantee
	switch d.Problem {
	case "missing":
		return grant
	case "unexpected":
		return revoke
	}
	return revoke + "; " + grant
}

var bareName = regexp.MustCompile(`^stem\.\w+`)

// source is the file of the last migration that makes the object, or the table that it belongs to.
func (d Drift) source() string {
	made := regexp.MustCompile(`(?m)^create .*` + regexp.QuoteMeta(bareName.FindString(d.Name)) + `\b`)
	if d.Kind == "schema" {
		made = regexp.MustCompile(`(?m)^create schema stem`)
	}
	source := "db/migrations"
	files, err := fs.ReadDir(Migrations(), ".")
	if err != nil {
		return source
	}
	for _, f := range files {
		if text, err := fs.ReadFile(Migrations(), f.Name()); err == nil && made.Match(text) {
			source = f.Name()
		}
	}
	return source
}
