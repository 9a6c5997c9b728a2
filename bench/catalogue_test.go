package main

import (
	"strings"
	"testing"
)

func TestResolveKeepsTheCataloguesOrderAndNamesEachOnce(t *testing.T) {
	t.Parallel()
	all := scenarios()
	got, err := resolve(all, []string{"pickup", " drain", "drain"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].name != "drain" || got[1].name != "pickup" {
		t.Errorf("resolve = %d scenarios, want drain and pickup", len(got))
	}
	if got, err := resolve(all, []string{"all"}); err != nil || len(got) != len(all) {
		t.Errorf("all = %d scenarios (%v), want %d", len(got), err, len(all))
	}
}

func TestAnUnknownScenarioIsAnErrorThatNamesTheNearest(t *testing.T) {
	t.Parallel()
	for wrong, want := range map[string]string{"drian": `"drain"`, "pick-up": `"pickup"`, "recover": `"recovery"`} {
		_, err := resolve(scenarios(), []string{wrong})
		if err == nil || !strings.Contains(err.Error(), "did you mean "+want) {
			t.Errorf("resolve(%q): %v, want a hint at %s", wrong, err, want)
		}
	}
	if _, err := resolve(scenarios(), nil); err == nil {
		t.Error("no name at all was accepted")
	}
}

func TestScenariosHaveNamesThatAreFilesAndTellOneFromAnother(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range scenarios() {
		if s.name == "" || strings.ContainsAny(s.name, "/. ,") || s.about == "" || s.unit == "" || s.open == nil {
			t.Errorf("scenario %q is not whole", s.name)
		}
		if seen[s.name] {
			t.Errorf("scenario %q is there twice", s.name)
		}
		seen[s.name] = true
	}
}

func TestParseChoosesTheRounds(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]int{"": 3, "--quick": 1, "--quick --output json": 3, "--rounds 7 --quick": 7, "--smoke --output json": 1} {
		got, err := parse(strings.Fields(args))
		if err != nil || got.rounds != want {
			t.Errorf("parse(%q): %d rounds (%v), want %d", args, got.rounds, err, want)
		}
	}
	for _, args := range []string{"--output yaml", "--rounds -1", "drain", "--quick --smoke"} {
		if _, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("parse(%q) was accepted", args)
		}
	}
}

func TestLanesNameTenForEachQueueTheHighestFirst(t *testing.T) {
	t.Parallel()
	v := newLanes(3)
	if len(v.numbers) != 30 || v.numbers[0] != 9 || v.numbers[29] != 0 || v.first[2] != 21 || v.last[2] != 30 || v.queues[0] != "default" || v.queues[2] != "q2" {
		t.Errorf("lanes = %+v", v)
	}
}
