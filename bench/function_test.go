package main

import (
	"strings"
	"testing"
)

func TestTheStatementOfAFunctionHasParametersInThePlaceOfNames(t *testing.T) {
	t.Parallel()
	f := function{name: "f", inputs: []argument{{"p_lanes", "smallint[]"}, {"p_worker", "uuid"}}, source: `
declare
    v_drop text[] := g(p_worker);
    v_kind stem.kind[] := p_lanes;
begin
    return query
    -- a comment; with p_nothing in it
    select p.x from t p where p.lane = p_lanes[i] and p.queue <> all (v_drop) and p.kind = any (v_kind);
end`}
	got, err := f.statement()
	if err != nil {
		t.Fatal(err)
	}
	want := "select p.x from t p where p.lane = ($1::smallint[])[i] and p.queue <> all (((select g(($2::uuid)))::text[])) and p.kind = any (((select ($1::smallint[]))::stem.kind[]))"
	if got = strings.Join(strings.Fields(got), " "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAFunctionThatIsNoSingleStatementIsAnError(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{
		"no query":                 "begin perform 1; end",
		"two queries":              "begin return query select 1; return query select 2; end",
		"no end":                   "begin return query select 1",
		"a name that is not":       "begin return query select p_other; end",
		"a variable without value": "declare v_x integer; begin return query select v_x; end",
	} {
		if got, err := (function{name: "f", source: source}).statement(); err == nil {
			t.Errorf("%s: got %q, want an error", name, got)
		}
	}
}

func TestArgumentsThatAFunctionDoesNotHaveAreAnError(t *testing.T) {
	t.Parallel()
	f := function{name: "f", inputs: []argument{{"p_a", "text"}, {"p_b", "text"}}}
	if got, err := f.arguments(map[string]any{"p_b": "x"}); err != nil || got[0] != nil || got[1] != "x" {
		t.Errorf("arguments = %v (%v), want null and x", got, err)
	}
	if _, err := f.arguments(map[string]any{"p_c": "x"}); err == nil {
		t.Error("an unknown argument was accepted")
	}
}
