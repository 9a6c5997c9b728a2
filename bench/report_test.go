package main

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

func sampleResult(river, reference float64) result {
	v := variant{name: "1 000 slots & more", reference: reference, contenders: []contender{{name: "stem", settings: "s"}, {name: "river", settings: "r"}}}
	runs := [][]sample{
		{{Value: 30, Metrics: map[string]float64{"wal_bytes_per_job": 4}, Series: []float64{1, 2, 3}, Slice: 2}, {Value: 50}, {Value: 40}},
		{{Value: river, Series: []float64{3, 1}, Slice: 2}},
	}
	return result{Scenario: "drain", About: "a < b", Unit: "jobs/s", Comparisons: []comparison{compare(v, "jobs/s", runs)}}
}

func TestTheHeadlineIsOneObjectPerScenario(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := writeHeadlines(&b, []result{sampleResult(10, 0)}); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), `{"drain":{"stem":40,"river":10,"ratio":4,"unit":"jobs/s"}}`+"\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestARiverUnderHalfOfItsFigureIsAWarningEverywhere(t *testing.T) {
	t.Parallel()
	if w := sampleResult(11, 22).Comparisons[0].Warnings; len(w) != 0 {
		t.Errorf("just half is no fault: %v", w)
	}
	r := sampleResult(10.9, 22)
	var line, table strings.Builder
	if err := errors.Join(writeHeadlines(&line, []result{r}), writeTable(&table, r)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"JSON": line.String(), "table": table.String()} {
		if !strings.Contains(text, "a fault of the bench") {
			t.Errorf("the %s does not warn: %s", name, text)
		}
	}
}

func TestAScenarioOfTheServerAloneDoesNotCallItStem(t *testing.T) {
	t.Parallel()
	v := variant{name: "COPY", contenders: []contender{{name: "postgres"}}}
	got := headlines([]result{{Scenario: "limits", Unit: "rows/s", Comparisons: []comparison{compare(v, "rows/s", [][]sample{{{Value: 5}}})}}})
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"limits":{"postgres":5,"unit":"rows/s"}}`; string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
}

func TestThePlotIsWellFormedAndHasABarForEach(t *testing.T) {
	t.Parallel()
	svg := plot(sampleResult(10, 0), "a note")
	d := xml.NewDecoder(strings.NewReader(svg))
	count := map[string]int{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok {
			count[e.Name.Local]++
		}
	}
	// The background, two bars and two keys of the chart; a curve and its area for each contender.
	if count["rect"] != 5 || count["polyline"] != 2 || count["polygon"] != 2 {
		t.Errorf("elements = %v, want 5 rect, 2 polyline, 2 polygon", count)
	}
	for _, want := range []string{"stem ÷ river: jobs/s 4.00", "a note", ">40.00 (30.00 … 50.00)<", ">jobs/s<", ">seconds<", "river: r"} {
		if !strings.Contains(svg, want) {
			t.Errorf("%q is not in\n%s", want, svg)
		}
	}
}

func TestAPlotOfZerosDividesByNothing(t *testing.T) {
	t.Parallel()
	svg := plot(result{Scenario: "idle", Unit: "tx/s", Comparisons: []comparison{{Variant: "v", Entries: []entry{{Name: "stem"}}}}}, "")
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Error(svg)
	}
}

func TestTheTableHasTheRatiosBelowTheFiguresThatTheyAreOf(t *testing.T) {
	t.Parallel()
	v := variant{name: "v", contenders: []contender{{name: "stem"}, {name: "river"}, {name: "stem, no snapshot"}}}
	r := result{Scenario: "held", Unit: "jobs/s", Comparisons: []comparison{compare(v, "jobs/s", [][]sample{
		{{Value: 60, Metrics: map[string]float64{"wal_bytes_per_job": 100, "dead_tuples": 0}}},
		{{Value: 10, Metrics: map[string]float64{"wal_bytes_per_job": 400, "dead_tuples": 0}}},
		{{Value: 75, Metrics: map[string]float64{"wal_bytes_per_job": 0}}},
	})}}
	var b strings.Builder
	if err := writeTable(&b, r); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(b.String()) {
		if strings.Contains(line, "÷") {
			got = append(got, strings.Join(strings.Fields(line), " "))
		}
	}
	want := []string{"stem ÷ river 6.00 0.25 -", "stem ÷ stem, no snapshot 0.80 - -"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAnAxisEndsAtARoundNumber(t *testing.T) {
	t.Parallel()
	for most, want := range map[float64]axis{9: {2, 10}, 10: {2, 10}, 8815: {2000, 10_000}, 0.004: {0.001, 0.004}, 60: {20, 60}, 0: {1, 1}} {
		got := axisTo(most)
		if math.Abs(got.step-want.step) > 1e-9 || math.Abs(got.end-want.end) > 1e-9 {
			t.Errorf("axisTo(%v) = %v, want %v", most, got, want)
		}
	}
}
